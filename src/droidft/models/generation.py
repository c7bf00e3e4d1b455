"""`generation_config.json`: what of its makers' advice on sampling is used, and what is not."""

from __future__ import annotations

from pathlib import Path

from droidft.models.files import read_json

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty", "max_new_tokens")


def describe_generation(path: Path) -> str | None:
    """A line on the `generation_config.json` of the model folder `path`; None without one.

    Raises:
        ModelError: the file is damaged.
    """
    if not (path / "generation_config.json").is_file():
        return None
    settings = read_json(path / "generation_config.json")
    advice = [f"{name} {settings[name]}" for name in _SAMPLING if settings.get(name) is not None]
    ends = "its end tokens are used" if settings.get("eos_token_id") is not None else "it names no end tokens"
    return f"{ends}; not used: {', '.join(advice)}" if advice else ends

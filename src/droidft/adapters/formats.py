"""What a folder is that is no adapter in mlx-lm's format: PEFT's, a whole model, weights of another name."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from droidft.errors import AdapterError, DroidError
from droidft.support import stored

PEFT_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
CONFIG = "adapter_config.json"


def is_peft(path: Path) -> bool:
    """Whether a folder holds an adapter in PEFT's format, and none in mlx-lm's."""
    return _signs_of_peft(path) != []


def _signs_of_peft(path: Path) -> list[str]:
    """What in a folder's names and config shows that it is PEFT's; nothing where it is mlx-lm's too."""
    try:
        names = sorted(each.name for each in path.iterdir())
    except OSError:
        return []  # whoever reads it reports that
    if any(name.endswith("adapters.safetensors") for name in names):
        return []
    kind = None
    with suppress(DroidError):
        kind = stored.mapping(path / CONFIG).get("peft_type") if CONFIG in names else None
    return [f"peft_type {kind}"] * (kind is not None) + [name for name in PEFT_WEIGHTS if name in names]


def refuse_other_formats(path: Path) -> None:
    """Call a folder what it is, where it is whole but not what is read here.

    Raises:
        AdapterError: it holds an adapter in PEFT's format, a model, or weights under a name that mlx-lm does not use.
    """
    try:
        names = sorted(each.name for each in path.iterdir())
    except OSError:
        return  # whoever reads it reports that
    if any(name.endswith("adapters.safetensors") for name in names):
        return
    if signs := _signs_of_peft(path):
        raise AdapterError(
            f"adapter {path.name} is in PEFT's format ({', '.join(signs)}): its weights have other names and lie the "
            "other way round",
            hint=f"convert it once with `droidft adapters import {path} --base MODEL`, and use the name it gets",
        )
    weights = [name for name in names if name.endswith((".safetensors", ".npz", ".gguf", ".bin"))]
    if "config.json" in names and CONFIG not in names and weights:
        raise AdapterError(
            f"{path.name} is a whole model ({weights[0]}), not an adapter", hint="give it as the model (`model_path`)"
        )
    if weights:
        listed = ", ".join(weights[:3])
        raise AdapterError(
            f"adapter {path.name} has no adapters.safetensors; it holds {listed}",
            hint="if these are weights in mlx-lm's format, rename the file to adapters.safetensors",
        )

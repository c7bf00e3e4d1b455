"""The settings in a GGUF file that are one architecture's own, each checked before it is believed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from droidft.errors import ModelError
from droidft.models.gguf.reader import GgufFile

_LLAMA3_CONTEXT = 8192

_WITHOUT_EFFECT = frozenset(
    {
        "vocab_size",
        "tensor_data_layout",
        "pooling_type",
        "rope.scaling.finetuned",
        "rope.scaling.original_context_length",
    }
)
"""Settings that the tensors say as well, or that change no logit by themselves."""


class Settings:
    """The metadata of the file's architecture, which also knows what nobody has asked for."""

    def __init__(self, file: GgufFile, architecture: str) -> None:
        self.file = file
        self.name = file.path.name
        self.architecture = architecture
        self.warnings: list[str] = []
        self._asked: set[str] = set()

    def any(self, name: str) -> Any:
        """What the file says, unchecked; None where it says nothing."""
        self._asked.add(name)
        return self.file.metadata.get(f"{self.architecture}.{name}")

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number. Raises ModelError where the file has none and there is no default, as all that follow."""
        value = default if (given := self.any(name)) is None else given
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ModelError(
                f"{self.name}: {self.architecture}.{name} is {value!r}, not a number",
                hint="the file is damaged or incomplete",
            )
        return value

    def decimal(self, name: str, default: float | None = None) -> float:
        """The positive decimal number whose float32 is in the file: 1e-5, not 9.999999747378752e-06."""
        if (value := self.number(name, default)) <= 0:
            raise ModelError(f"{self.name}: {self.architecture}.{name} is {value:g}, not a positive number")
        return float(str(np.float32(value)))

    def count(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number from `least` up."""
        value = self.number(name, default)
        if not isinstance(value, int) or not least <= value < 2**31:
            raise ModelError(f"{self.name}: {name} is {value!r}, not a whole number from {least} up")
        return value

    def refuse(self, what: str) -> ModelError:
        """The error for a model that would not compute the same here."""
        return ModelError(
            f"{self.name} {what}", hint="use the model's safetensors folder: `droidft models pull org/name`"
        )

    def check_all_asked(self) -> None:
        """Refuse a setting that nothing here knows: it may change what the model computes."""
        given = {key.partition(".")[2] for key in self.file.metadata if key.startswith(f"{self.architecture}.")}
        if unknown := sorted(given - self._asked - _WITHOUT_EFFECT):
            value = self.any(unknown[0])
            raise self.refuse(f"sets {self.architecture}.{unknown[0]} to {value!r}, which GGUF import does not know")


def rope_scaling(
    settings: Settings, model_type: str, scalings: tuple[str, ...], head_dim: int
) -> dict[str, Any] | None:
    """`rope_scaling` of the config; `scalings` are the kinds that mlx-lm computes for `model_type`.

    Raises:
        ModelError: any other kind, or one with factors that mlx-lm does not take.
    """
    given = settings.any("rope.scaling.type") or "linear"
    factor = settings.number("rope.scaling.factor", settings.number("rope.scale_linear", 1.0))
    if factor < 0:
        raise settings.refuse(f"scales rotary positions by {factor:g}")
    if given == "none" or (given == "linear" and factor in (0, 1)):
        if "llama3" in scalings and "rope_freqs.weight" in settings.file.tensors:
            return _llama3_scaling(settings, head_dim)
        return None
    if given not in scalings:
        raise settings.refuse(f"scales rotary positions by {given!r}, which mlx-lm's {model_type} does not")
    if "rope_freqs.weight" in settings.file.tensors:
        raise settings.refuse(f"scales rotary positions by {given!r} and by factors of its own")
    if given == "longrope":
        return None  # It lies in tensors, and in the settings of the one architecture that has it.
    if given == "linear":
        # mlx-lm's phi3 asks for the older name, transformers for the newer.
        return {"type": "linear", "rope_type": "linear", "factor": float(factor)}
    return _yarn(settings, factor)


def _yarn(settings: Settings, factor: float) -> dict[str, Any]:
    """YaRN as its paper has it; mlx-lm takes no other factor for attention or extrapolation."""
    neutral = {
        "rope.scaling.attn_factor": 1.0,
        "rope.scaling.yarn_ext_factor": 1.0,
        "rope.scaling.yarn_attn_factor": 1.0,
        "rope.scaling.yarn_log_multiplier": 0.0,
    }
    for name, value in neutral.items():
        if (given := settings.number(name, value)) != value:
            raise settings.refuse(f"sets {settings.architecture}.{name} to {given:g}, which mlx-lm does not compute")
    return {
        "rope_type": "yarn",
        "factor": float(factor),
        "original_max_position_embeddings": settings.count("rope.scaling.original_context_length"),
        "beta_fast": settings.decimal("rope.scaling.yarn_beta_fast", 32.0),
        "beta_slow": settings.decimal("rope.scaling.yarn_beta_slow", 1.0),
    }


def _llama3_scaling(settings: Settings, head_dim: int) -> dict[str, Any]:
    """Llama 3.1's scaling, which GGUF holds only as its result: one divisor per frequency."""
    divisors = settings.file.load("rope_freqs.weight")
    factor = float(divisors.max())
    low, high = 1.0, 4.0
    base = float(settings.number("rope.freq_base", 10000.0))
    wavelengths = 2 * math.pi * base ** (np.arange(0, head_dim, 2) / head_dim)
    smooth = np.clip((_LLAMA3_CONTEXT / wavelengths - low) / (high - low), 0, 1)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-3):
        raise settings.refuse("has rotary factors that are not Llama 3.1's, which import does not cover")
    return {
        "rope_type": "llama3",
        "factor": round(factor, 3),
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": _LLAMA3_CONTEXT,
    }

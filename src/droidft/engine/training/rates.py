"""A learning rate to begin with, from a model's family and width."""

from __future__ import annotations

from dataclasses import dataclass

FULL_RATE = 5e-5
LORA_FACTOR = 10
REFERENCE_WIDTH = 2000
EXPONENTS = {"llama": 0.781, "qwen": 0.0775}
"""By the beginning of the model type; fitted by the authors of the Tinker cookbook (Thinking Machines, 2025)."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A rate and where it comes from."""

    value: float
    why: str


def suggest(model_type: str, width: int) -> Suggestion:
    """Tinker's formula for LoRA, 5e-5 x 10 x (2000 / width) ^ p, rounded to two digits.

    For a family without a fit it is the smaller of the known families' rates.
    """
    family = next((name for name in EXPONENTS if model_type.startswith(name)), None)
    if family is not None:
        rate, source = _rate(width, family), f"Tinker's formula, fitted to {family.capitalize()} models"
    else:
        family = min(EXPONENTS, key=lambda name: _rate(width, name))
        rate = _rate(width, family)
        source = (
            f"there is no fit for {model_type}; Tinker's formula for {family.capitalize()} is the smaller one here"
        )
    formula = f"{FULL_RATE:g} x {LORA_FACTOR} x ({REFERENCE_WIDTH} / {width}) ^ {EXPONENTS[family]:g} = {rate:.1e}"
    advice = "a place to begin, found on other data than yours: lower it if the loss jumps"
    return Suggestion(rate, f"{source}: {formula}; {advice}")


def _rate(width: int, family: str) -> float:
    return float(f"{FULL_RATE * LORA_FACTOR * (REFERENCE_WIDTH / width) ** EXPONENTS[family]:.1e}")

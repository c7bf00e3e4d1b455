"""What the losses of preferences are compared on, in torch and MLX alike: pairs and settings, from NumPy or literals.

The weights are those of `tests.parity`, the adapter that of `policy_cases`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.engine.methods.policy_cases import END
from tests.places import GOLDEN

RECORDED = GOLDEN / "trl_preferences.txt"

LENGTHS = ((3, 4, 6), (9, 1, 8), (6, 7, 2), (5, 10, 5), (2, 3, 3))
"""Of each pair: the prompt, the chosen answer, the rejected one."""


@dataclass(frozen=True)
class Case:
    """A loss under its settings."""

    name: str
    method: str
    beta: float


CASES = (
    Case("dpo", "dpo", 0.1),
    Case("dpo strong", "dpo", 2.0),
    Case("orpo", "orpo", 0.1),
    Case("orpo strong", "orpo", 1.5),
)


def pairs() -> list[tuple[list[int], list[int], list[int]]]:
    """Tokens of prompt, chosen answer and rejected answer; both answers end with `END`."""
    generator = np.random.default_rng(21)

    def drawn(length: int) -> list[int]:
        return generator.integers(0, 256, length).tolist()

    return [(drawn(prompt), [*drawn(one - 1), END], [*drawn(other - 1), END]) for prompt, one, other in LENGTHS]

"""What the policy losses of two frameworks are compared on: an adapter, prompts, completions, rewards, settings.

Everything comes from NumPy or from literals, so that torch and MLX start from the same numbers; the base weights are
those of `tests.parity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests import parity
from tests.places import GOLDEN
from tests.tiny import LLAMA, VOCABULARY

RECORDED = GOLDEN / "trl_policy.txt"

RANK, SCALE = 4, 2.0
KEYS = ("self_attn.q_proj", "self_attn.v_proj")
GROUPS, SIZE, LONGEST, END = 3, 4, 10, 258
LENGTHS = (1, 10, 4, 7, 10, 2, 10, 3, 5, 8, 6, 10)
"""Of the completions, group by group; those of `LONGEST` tokens are cut off, all others end with `END`."""
PROMPT_LENGTHS = (3, 9, 6)
REWARDS = np.array(
    # format, answer: the last group is tied in its weighted sum, though not in each reward.
    [
        [1, 0],
        [0, 0.25],
        [0.5, 1],
        [1, 1],
        [0, 0],
        [0, 1],
        [0.75, 0],
        [0, 0],
        [1, 0.5],
        [0.5, 1.5],
        [1, 0.5],
        [0.5, 1.5],
    ]
)
REWARD_WEIGHTS = (1.0, 0.5)
TOGETHER = (-0.5, 0.5, 0.5, -0.5, 0.5, -0.5)
"""Which way completions move as a whole, so that better and worse ones are met on both sides of the clip."""
RATE, STEPS, ITERATIONS = 1e-3, 6, 3
"""Of the training compared step by step: two rollouts, three updates each."""


@dataclass(frozen=True)
class Case:
    """A loss under its settings; `spread` is how far the sampling policy lies from the trained one."""

    name: str
    loss_type: str = "grpo"
    sequence_level: bool = False
    epsilon: float = 0.2
    epsilon_high: float = 0.2
    beta: float = 0.0
    scale: str = "group"
    mask_truncated: bool = False
    temperature: float = 1.0
    spread: float = 0.25


def _gspo(name: str, **changes: object) -> Case:
    narrow = {"sequence_level": True, "epsilon": 3e-4, "epsilon_high": 4e-4, "spread": 2e-3}
    return Case(name, **{**narrow, **changes})  # type: ignore[arg-type]


CASES = (
    Case("grpo"),
    Case("grpo beta", beta=0.04),
    Case("grpo clip-higher", beta=0.04, epsilon_high=0.28),
    Case("grpo batch", scale="batch"),
    Case("grpo none", scale="none"),
    Case("grpo cool", temperature=0.7, beta=0.04),
    Case("grpo masked", mask_truncated=True, beta=0.04),
    Case("grpo on policy", spread=0.0, beta=0.04),
    _gspo("gspo"),
    _gspo("gspo beta", beta=0.04),
    _gspo("gspo cool", temperature=0.7, scale="batch"),
    _gspo("gspo wide", epsilon=0.05, epsilon_high=0.08, spread=0.25, beta=0.04),
    _gspo("gspo masked", mask_truncated=True),
    _gspo("gspo over tokens", loss_type="dapo"),
    Case("dr_grpo", loss_type="dr_grpo", scale="none"),
    Case("dr_grpo beta", loss_type="dr_grpo", scale="none", beta=0.04, temperature=0.7),
    Case("dr_grpo masked", loss_type="dr_grpo", scale="none", mask_truncated=True),
    Case("dapo", loss_type="dapo", epsilon_high=0.28),
    Case("dapo masked", loss_type="dapo", epsilon_high=0.28, mask_truncated=True, beta=0.04),
    Case("bnpo", loss_type="bnpo", beta=0.04),
    Case("bnpo masked", loss_type="bnpo", mask_truncated=True, scale="batch"),
)

TRAININGS = (
    Case("grpo", epsilon=0.05, epsilon_high=0.05, beta=0.04),
    _gspo("gspo", epsilon=0.01, epsilon_high=0.015),
    Case("dr_grpo", loss_type="dr_grpo", scale="none", epsilon=0.05, epsilon_high=0.05),
    Case("dapo", loss_type="dapo", epsilon=0.05, epsilon_high=0.07, mask_truncated=True, beta=0.04, temperature=0.7),
)


def prompts() -> list[list[int]]:
    """The prompts' tokens."""
    generator = np.random.default_rng(11)
    return [generator.integers(0, 256, length).tolist() for length in PROMPT_LENGTHS]


def completions(sampling: int = 0) -> list[list[int]]:
    """The completions' tokens, group by group; another `sampling` has others, a group further."""
    generator = np.random.default_rng(12 + sampling)
    lengths = np.roll(LENGTHS, sampling * SIZE).tolist()
    return [[*generator.integers(0, 256, length - 1).tolist(), END if length < LONGEST else 97] for length in lengths]


def rewards(sampling: int = 0) -> NDArray[np.float64]:
    """What the completions earned, [completions, rewards], unweighted."""
    return np.roll(REWARDS, sampling * SIZE, axis=0)


def lora_a(path: str, in_dims: int) -> NDArray[np.float32]:
    """A of a module, [in, rank] as mlx-lm keeps it."""
    return parity.numbers(f"policy {path}.lora_a", in_dims, RANK, scale=in_dims**-0.5)


def lora_b(path: str, out_dims: int) -> NDArray[np.float32]:
    """B of a module, [rank, out]; not zero, so that the policy is another one than the base."""
    return parity.numbers(f"policy {path}.lora_b", RANK, out_dims, scale=0.03)


def moved(now: list[float], completion: int, spread: float) -> list[float]:
    """Log-probabilities at sampling, some way from those of now; half of the way is common to the completion."""
    own = parity.numbers(f"moved {completion}", len(now), scale=0.5)
    found = np.array(now) + spread * (own + TOGETHER[completion % len(TOGETHER)])
    return [float(f"{value:.6f}") for value in found] if spread else now


@dataclass(frozen=True)
class Section:
    """A part of the golden file: lines of a name and its numbers."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def one(self, name: str) -> float:
        """The number under `name`, which has one."""
        (found,) = self.values[name]
        return found

    def rows(self, name: str) -> list[list[float]]:
        """The numbers of `name 0`, `name 1` …"""
        numbered = sorted((key for key in self.values if key.rpartition(" ")[0] == name), key=_number)
        return [self.values[key] for key in numbered]


def read(path: Path = RECORDED) -> Mapping[str, Section]:
    """The sections of the golden file by name."""
    found: dict[str, Section] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = found[line.strip("[]")] = Section()
        elif line and not line.startswith("#"):
            name, _, numbers = line.partition(": ")
            section.values[name] = [float(number) for number in numbers.split()]
    return found


def write(header: str, sections: Mapping[str, Mapping[str, list[float]]], path: Path = RECORDED) -> None:
    """The sections as text: nine digits tell two float32 numbers apart."""
    lines = [f"# {header}"]
    for name, values in sections.items():
        lines.append(f"\n[{name}]")
        lines += [f"{key}: {' '.join(f'{number:.9g}' for number in numbers)}" for key, numbers in values.items()]
    path.write_text("\n".join(lines) + "\n")


def policy_name(case: Case) -> str:
    """The section with the log-probabilities that `case` starts from."""
    return f"policy temperature={case.temperature:g}"


def old_name(case: Case) -> str:
    """The section with the log-probabilities at sampling of `case`."""
    return f"old temperature={case.temperature:g} spread={case.spread:g}"


def modules() -> list[tuple[str, int, int]]:
    """Path, inputs and outputs of each adapted module."""
    hidden = LLAMA["hidden_size"]
    narrow = hidden // LLAMA["num_attention_heads"] * LLAMA["num_key_value_heads"]
    return [
        (f"model.layers.{block}.{key}", hidden, hidden if key.endswith("q_proj") else narrow)
        for block in range(LLAMA["num_hidden_layers"])
        for key in KEYS
    ]


def shown(flat: NDArray[np.float32]) -> list[float]:
    """Eight values spread over an array, [in, rank] or [rank, out] as mlx-lm keeps it, flattened."""
    return [float(flat[place]) for place in np.linspace(0, len(flat) - 1, 8).astype(int)]


def _number(key: str) -> int:
    return int(key.rpartition(" ")[2])


assert VOCABULARY > END

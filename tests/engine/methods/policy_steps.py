"""Random optimizer steps for the tests of the policy loss: shapes, settings and numbers, by Hypothesis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.engine.methods import reference_policy as reference
from tests.engine.methods.reference_policy import Completion, Settings

NARROW = (3e-4, 4e-4)
"""GSPO's clip range."""
FAR = 1e-5
"""Relative distance of every ratio to the bounds of the clip, where the loss has a kink."""


@dataclass(frozen=True, eq=False)
class Step:
    """The completions of one optimizer step, group by group, and what they are trained with."""

    completions: list[Completion]
    settings: Settings
    scale: str
    rewards: NDArray[np.float64]
    """[groups, G]"""

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion."""
        return [len(one.now) for one in self.completions]


@st.composite
def settings(draw: st.DrawFn) -> Settings:
    """All loss types, both levels of the ratio, with and without KL, symmetric and asymmetric clipping."""
    epsilon, epsilon_high = draw(st.sampled_from([(0.2, 0.2), (0.2, 0.28), (0.1, 0.5), NARROW]))
    return Settings(
        loss_type=draw(st.sampled_from(["grpo", "dapo", "bnpo", "dr_grpo"])),
        sequence_level=draw(st.booleans()),
        epsilon=epsilon,
        epsilon_high=epsilon_high,
        beta=draw(st.sampled_from([0.0, 0.001, 0.04, 1.0])),
        max_completion_length=draw(st.integers(16, 40)),
    )


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """A step of one to four groups of two to six completions of one to sixteen tokens."""
    chosen = draw(settings())
    groups, size = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    scale = draw(st.sampled_from(["group", "batch", "none"]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rewards = (
        generator.choice([0.0, 0.25, 1.0], (groups, size))
        if draw(st.booleans())
        else _normal(generator, groups, size)
    )
    cut = draw(st.sampled_from([0.0, 0.3, 1.0]))
    # How far the policy has moved since sampling, in the units of the clip range, so that both sides are met.
    moved = draw(st.sampled_from([0.0, 0.5, 2.0])) * chosen.epsilon
    advantages = reference.advantages(rewards, scale).reshape(-1)
    completions = [
        _completion(generator, float(advantage), moved, chosen, kept=generator.random() >= cut)
        for advantage in advantages
    ]
    return Step(completions, chosen, scale, rewards)


def _completion(
    generator: np.random.Generator, advantage: float, moved: float, chosen: Settings, *, kept: bool
) -> Completion:
    length = int(generator.integers(1, 17))
    old = -np.abs(_normal(generator, length)) * 3
    # A part of the move is common to the completion, or its mean, the sequence's ratio, would hardly move.
    now = old + moved * (_normal(generator, length) + _normal(generator, 1)) / 2
    base = now + 0.3 * _normal(generator, length)
    rounded = (_rounded(array) for array in (now, old, base))
    one = Completion(*rounded, advantage=float(np.float32(advantage)), kept=bool(kept))
    while _near_a_kink(one, chosen):
        one = replace(one, now=_rounded(one.now + 0.01 * chosen.epsilon))
    return one


def _near_a_kink(one: Completion, chosen: Settings) -> bool:
    apart = one.now - one.old
    ratios = np.exp(apart.mean(keepdims=True) if chosen.sequence_level else apart)
    bounds = np.array([1 - chosen.epsilon, 1 + chosen.epsilon_high])
    return bool((np.abs(ratios[:, None] / bounds - 1) < FAR).any())


def _normal(generator: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    return generator.standard_normal(shape)


def _rounded(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest float32 numbers, which is what the engine is given."""
    return array.astype(np.float32).astype(np.float64)

"""The NumPy reference held against finite differences and against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.engine.methods import policy_steps
from tests.engine.methods import reference_policy as reference
from tests.engine.methods.reference_policy import Completion, Floats, Settings

SEEDED = settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def completion(
    now: list[float], old: list[float], base: list[float], advantage: float, **changes: bool
) -> Completion:
    return Completion(np.array(now), np.array(old), np.array(base), advantage, **changes)


def differences(function: Callable[[Floats], float], at: Floats, step: float) -> Floats:
    """The gradient by central differences."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        for sign in (1, -1):
            moved = at.copy()
            moved[place] += sign * step
            found[place] += sign * function(moved) / (2 * step)
    return found


@SEEDED
@given(policy_steps.steps())
def test_its_gradient_is_that_of_finite_differences(step: policy_steps.Step) -> None:
    found = reference.outcome(step.completions, step.settings)
    for number, one in enumerate(step.completions):

        def loss(now: Floats, number: int = number, one: Completion = one) -> float:
            moved = [*step.completions]
            moved[number] = replace(one, now=now)
            return reference.outcome(moved, step.settings).loss

        wanted = differences(loss, one.now, 1e-7)
        assert found.gradients[number] == pytest.approx(wanted, abs=2e-7)


def test_its_gradient_to_the_logits_is_that_of_finite_differences() -> None:
    generator = np.random.default_rng(0)
    logits, targets = generator.standard_normal((5, 7)), generator.integers(0, 7, 5).astype(np.int32)
    weights = generator.standard_normal(5)

    def weighted(at: Floats) -> float:
        return float((weights * reference.log_softmax(at, 0.7)[np.arange(5), targets]).sum())

    found = reference.to_logits(logits, targets, 0.7, weights)
    assert found == pytest.approx(differences(weighted, logits, 1e-6), abs=1e-8)


def test_advantages_by_hand() -> None:
    rewards = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    group = reference.advantages(rewards, "group")
    assert group == pytest.approx(np.array([[-1, 0, 1], [0, 0, 0]]) / (1 + 1e-4))
    assert reference.advantages(rewards, "none").tolist() == [[-1, 0, 1], [0, 0, 0]]
    # All six: mean 3.5, squares 6.25 + 2.25 + 0.25 + 3 * 2.25 = 15.5, over 5.
    assert reference.advantages(rewards, "batch")[0, 2] == pytest.approx(1 / (3.1**0.5 + 1e-4))
    assert reference.tied_groups(rewards) == 0.5


@pytest.mark.parametrize(
    ("loss_type", "weights"),
    [
        ("grpo", [1 / 6, 1 / 3, 0]),
        ("dapo", [1 / 3] * 2 + [0]),
        ("bnpo", [1 / 3] * 2 + [0]),
        ("dr_grpo", [1 / 48] * 2 + [0]),
    ],
)
def test_weights_by_hand(loss_type: str, weights: list[float]) -> None:
    """Three completions of 2, 1 and 5 tokens, the last of them cut off and left out."""
    found = reference.token_weights([2, 1, 5], [True, True, False], Settings(loss_type=loss_type))
    assert found == pytest.approx(weights)


def test_a_clipped_token_by_hand() -> None:
    """Ratios 1.5 and 0.5: what is gained is capped, what is lost is not."""
    now, old = [float(np.log(0.75)), float(np.log(0.25))], [float(np.log(0.5))] * 2
    better = reference.outcome([completion(now, old, now, 2.0)], Settings())
    assert better.loss == pytest.approx(-(1.2 * 2 + 0.5 * 2) / 2)
    assert better.gradients[0] == pytest.approx([0, -0.5 * 2 / 2])
    assert (better.clip_low, better.clip_high, better.kl) == (0, 0.5, 0)
    worse = reference.outcome([completion(now, old, now, -2.0)], Settings())
    assert worse.loss == pytest.approx((1.5 * 2 + 0.8 * 2) / 2)
    assert worse.gradients[0] == pytest.approx([1.5 * 2 / 2, 0])
    assert (worse.clip_low, worse.clip_high) == (0.5, 0)


def test_a_sequence_ratio_by_hand() -> None:
    """Ratios 2 and 0.5 have the geometric mean 1: nothing is clipped, and both tokens share the gradient."""
    now, old = [float(np.log(0.8)), float(np.log(0.2))], [float(np.log(0.4))] * 2
    found = reference.outcome([completion(now, old, now, 3.0)], Settings(sequence_level=True))
    assert found.loss == pytest.approx(-3)
    assert found.gradients[0] == pytest.approx([-1.5, -1.5])
    assert (found.clip_low, found.clip_high) == (0, 0)


def test_the_divergence_by_hand() -> None:
    """k3 at a log-ratio of ln 2: 2 - ln 2 - 1."""
    found = reference.outcome([completion([-2.0], [-2.0], [-2 + np.log(2)], 0.0)], Settings(beta=0.5))
    assert found.kl == pytest.approx(1 - np.log(2))
    assert found.loss == pytest.approx(0.5 * (1 - np.log(2)))
    assert found.gradients[0] == pytest.approx([0.5 * (1 - 2)])


def test_entropy_and_lengths_by_hand() -> None:
    assert reference.entropies(np.zeros((1, 8)), 0.7) == pytest.approx([np.log(8)])
    # Probabilities 0.8 and 0.2 at temperature 1 are 16/17 and 1/17 at temperature 0.5.
    sharp = reference.entropies(np.log(np.array([[0.8, 0.2]])), 0.5)
    assert sharp == pytest.approx([np.log(17) - 16 / 17 * np.log(16)])
    assert reference.lengths_and_cuts([2, 4, 6], [True, True, False]) == (4, 6, 1 / 3)

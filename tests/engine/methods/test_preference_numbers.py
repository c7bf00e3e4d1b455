"""The losses of DPO and ORPO held against NumPy and against TRL, quantity by quantity."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from droidft.engine.methods.preference import PairBatch, Preference, dpo_loss, orpo_loss, pair_batch
from droidft.engine.model.loss import SplitModel
from tests.engine.methods import policy_cases, policy_compare, preferred
from tests.engine.methods import preference_cases as cases
from tests.engine.methods import reference_preference as reference
from tests.engine.methods.preference_cases import Case
from tests.engine.methods.reference_preference import Answer, Outcome, Pair

SEEDED = settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LENGTHS = st.lists(st.tuples(st.integers(2, 6), st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5)


@SEEDED
@given(
    LENGTHS,
    st.sampled_from(["dpo", "orpo", "orpo with prompts"]),
    st.sampled_from([0.01, 0.1, 1.0, 5.0]),
    st.sampled_from([1e-3, 0.1, 2.0]),
    st.integers(0, 2**32 - 1),
)
def test_loss_gradient_and_statistics_equal_numpy(
    lengths: list[tuple[int, int, int]], method: str, beta: float, scale: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    rows = [tuple([1] * length for length in of) for of in lengths]
    batch = pair_batch(preferred.pair_set(rows), range(len(rows)), with_prompts=method == "orpo with prompts")
    found = [_pair(generator, of, scale) for of in lengths]
    outcomes = [_wanted(pair, method, beta) for pair in found]
    now, batch = _laid_out(found, batch)
    of_batch = dpo_loss if method == "dpo" else orpo_loss
    (loss, sums), gradient = mx.value_and_grad(lambda logps: of_batch(logps, batch, beta=beta))(mx.array(now))
    wanted = reference.means(outcomes)
    count = len(rows)
    assert loss.item() / count == pytest.approx(wanted.pop("loss"), rel=3e-6, abs=1e-6)
    for name, value in wanted.items():
        # Sums of many log-probabilities keep seven digits of the sum, not of their difference.
        assert sums[name].item() / count == pytest.approx(value, rel=1e-5, abs=1e-5), name
    assert sums["pairs"].item() == count
    np.testing.assert_allclose(np.array(gradient), _gradients(outcomes, batch), rtol=1e-5, atol=1e-6 * beta)


@given(st.sampled_from(["dpo", "orpo", "orpo with prompts"]), st.floats(0.05, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=50, derandomize=True, deadline=None)
def test_the_reference_derives_what_finite_differences_give(method: str, beta: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    pair = _pair(generator, (3, 4, 5), 1.0)
    outcome, small = _wanted(pair, method, beta), 1e-6
    for side, part, derivative in (
        ("chosen", "prompt", outcome.to_prompt),
        ("chosen", "now", outcome.to_chosen),
        ("rejected", "now", outcome.to_rejected),
    ):
        for place in range(len(derivative)):
            losses = []
            for step in (-small, small):
                answer = getattr(pair, side)
                moved = getattr(answer, part).copy()
                moved[place] += step
                changed = Answer(**{**vars(answer), part: moved})
                losses.append(_wanted(Pair(**{**vars(pair), side: changed}), method, beta).loss)
            assert (losses[1] - losses[0]) / (2 * small) == pytest.approx(derivative[place], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_everything_equals_trl(case: Case) -> None:
    found = from_trl(case)
    # TRL subtracts sums of about 50 nats, which float32 holds to 4e-6 each, where we sum the differences of tokens.
    limit = 2e-6 + (2e-5 * case.beta if case.method == "dpo" else 0.0)
    assert not {name: apart for name, apart in found.items() if apart > limit}


def test_the_golden_file_is_of_these_pairs() -> None:
    inputs = policy_cases.read(cases.RECORDED)["inputs"]
    for name, tokens in zip(("prompt", "chosen", "rejected"), zip(*cases.pairs(), strict=True), strict=True):
        assert inputs.rows(name) == [list(map(float, row)) for row in tokens]


def from_trl(case: Case) -> dict[str, float]:
    """How far each quantity lies from TRL's: absolute, of gradients relative."""
    wanted = policy_cases.read(cases.RECORDED)[f"case {case.name}"]
    split = SplitModel(policy_compare.model())
    data = preferred.pair_set(cases.pairs())
    method = Preference(preferred.config(method=case.method, beta=case.beta, mask_prompt=False), data, data)
    batch = method._with_reference(split, method._batch(data, range(len(data))))
    count = len(data)

    def share() -> tuple[mx.array, Any]:
        loss, sums = method.loss(split, batch)
        return loss / count, sums

    (loss, sums), tree = nn.value_and_grad(split.model, share)()
    measured = {name: value.item() / count for name, value in sums.items() if name != "pairs"}
    flat = {name: np.array(array).reshape(-1) for name, array in tree_flatten(tree)}
    norms = {name: float(np.linalg.norm(array.astype(np.float64))) for name, array in flat.items()}
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    apart = {name: abs(value - wanted.one(name)) / max(1, abs(value)) for name, value in measured.items()}
    apart["loss"] = abs(loss.item() - wanted.one("loss"))
    apart["gradient norm"] = abs(total / wanted.one("gradient_norm") - 1)
    apart["gradient norms of tensors"] = max(
        abs(norm / wanted.one(f"norm {name}") - 1) for name, norm in norms.items()
    )
    apart["gradient"] = max(
        float(np.abs(np.array(policy_cases.shown(array)) - wanted.values[f"values {name}"]).max() / norms[name])
        for name, array in flat.items()
    )
    return apart


def _pair(generator: np.random.Generator, lengths: tuple[int, int, int], scale: float) -> Pair:
    """Log-probabilities as float32 holds them, below zero."""

    def drawn(length: int) -> Any:
        return -np.float32(scale * (0.05 + generator.exponential(size=length))).astype(np.float64)

    prompt, chosen, rejected = lengths
    return Pair(
        Answer(drawn(chosen), drawn(chosen), drawn(prompt - 1)), Answer(drawn(rejected), drawn(rejected), np.zeros(0))
    )


def _wanted(pair: Pair, method: str, beta: float) -> Outcome:
    if method == "dpo":
        return reference.dpo(pair, beta)
    return reference.orpo(pair, beta, with_prompt=method == "orpo with prompts")


def _laid_out(found: list[Pair], batch: PairBatch) -> tuple[Any, PairBatch]:
    """The pairs' numbers in the order of the batch's targets."""
    with_prompts = batch.counted.sum() > batch.answers.sum()
    now, base = [], []
    for pair in found:
        if with_prompts:
            now.append(pair.chosen.prompt)
            base.append(np.zeros(len(pair.chosen.prompt)))
        now.append(pair.chosen.now)
        base.append(pair.chosen.base)
    now += [pair.rejected.now for pair in found]
    base += [pair.rejected.base for pair in found]
    values = vars(batch) | {"reference": np.concatenate(base).astype(np.float32)}
    return np.concatenate(now).astype(np.float32), PairBatch(**values)


def _gradients(outcomes: list[Outcome], batch: PairBatch) -> Any:
    with_prompts = batch.counted.sum() > batch.answers.sum()
    parts = []
    for one in outcomes:
        parts += [one.to_prompt, one.to_chosen] if with_prompts else [one.to_chosen]
    return np.concatenate([*parts, *(one.to_rejected for one in outcomes)])

"""What must hold of a policy gradient whatever the numbers are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from droidft.config import LossType, ScaleRewards
from droidft.data.batches import make_batch
from droidft.engine.methods.policy import PolicyBatch, advantages, policy_loss, tied, token_weights
from droidft.engine.model import lora
from droidft.engine.model.loss import SplitModel, log_probabilities, losses
from tests.engine.methods import policy_cases as cases
from tests.engine.methods import policy_compare as compare

CLIP: dict[str, Any] = {"epsilon": 0.2, "epsilon_high": 0.2}


def at_the_base(*, advantage: float) -> tuple[SplitModel, PolicyBatch]:
    """A policy that is its own reference (B is zero), with every completion at one advantage."""
    model = compare.model()
    zeros = {name: mx.zeros_like(array) for name, array in lora.trainable(model).items() if name.endswith("lora_b")}
    model.load_weights(list(zeros.items()), strict=False)
    split = SplitModel(model)
    plain = make_batch(compare.Sampled.of(), range(cases.GROUPS * cases.SIZE))
    now = -np.array(losses(split, plain))
    lengths = np.array(cases.LENGTHS)
    count = len(now)
    return split, PolicyBatch(
        **vars(plain),
        sequences=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        old=now,
        reference=now,
        advantages=np.full(count, advantage, np.float32),
        weights=np.full(count, 1 / count, np.float32),
    )


def gradient(split: SplitModel, batch: PolicyBatch, **settings: Any) -> dict[str, Any]:
    def loss() -> mx.array:
        return policy_loss(log_probabilities(split, batch), batch, **CLIP | settings)[0]

    return {name: np.array(array) for name, array in tree_flatten(nn.value_and_grad(split.model, loss)()[1])}


@pytest.mark.parametrize("sequence_level", [False, True])
def test_no_advantage_at_the_reference_gives_no_gradient(sequence_level: bool, arithmetic: None) -> None:
    split, batch = at_the_base(advantage=0.0)
    exact = gradient(split, batch, sequence_level=sequence_level, beta=0.0)
    assert all((array == 0).all() for array in exact.values())
    with_kl = gradient(split, batch, sequence_level=sequence_level, beta=0.5)
    assert max(np.abs(array).max() for array in with_kl.values()) < 1e-6
    some = gradient(
        split, replace(batch, advantages=np.ones_like(batch.advantages)), sequence_level=sequence_level, beta=0
    )
    assert max(np.abs(array).max() for array in some.values()) > 1e-3


def test_kl_is_zero_at_the_reference_and_never_negative() -> None:
    _, batch = at_the_base(advantage=0.0)
    for spread in (0.0, 0.01, 1.0, 5.0):
        now = batch.old + spread * np.random.default_rng(1).standard_normal(len(batch.old)).astype(np.float32)
        for place in range(0, len(now), 7):
            one = replace(batch, weights=np.eye(1, len(now), place, dtype=np.float32)[0])
            kl = policy_loss(mx.array(now), one, sequence_level=False, beta=1.0, **CLIP)[1]["kl"].item()
            assert kl == 0 if spread == 0 else kl >= 0


def test_the_prompt_is_part_of_a_completions_probability() -> None:
    split = SplitModel(compare.model())
    prompts, completion = cases.prompts(), cases.completions()[1]
    rows = compare.Sampled([compare._row(prompt, completion) for prompt in prompts])
    found = np.split(np.array(log_probabilities(split, make_batch(rows, range(3)))), 3)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(found[one] - found[other]).max() > 1e-2


@pytest.mark.parametrize("scale", ScaleRewards)
def test_advantages_sum_to_zero_in_a_group_and_ties_have_exact_zeros(scale: ScaleRewards) -> None:
    rewards = np.array([[0.1, 0.1, 0.1], [0.1, 0.7, 0.2], [1e9, 1e9, 1e9]])
    found = advantages(rewards, scale)
    assert found.sum(axis=1) == pytest.approx(np.zeros(3), abs=1e-9)
    assert (found[[0, 2]] == 0).all()
    assert tied(rewards).tolist() == [True, False, True]
    assert tied(np.array([[0.1 + 0.2, 0.3], [1e-9, 2e-9]])).tolist() == [True, False], "rounding is no difference"
    assert advantages(rewards[1:2] + 5, scale) == pytest.approx(advantages(rewards[1:2], scale)), "only leads count"


def test_scaling_of_rewards_cancels_only_where_it_is_divided_by() -> None:
    rewards = np.array([[0.0, 1.0, 3.0]])
    assert advantages(10 * rewards, ScaleRewards.GROUP) == pytest.approx(
        advantages(rewards, ScaleRewards.GROUP), rel=1e-3
    )
    assert advantages(10 * rewards, ScaleRewards.NONE) == pytest.approx(10 * advantages(rewards, ScaleRewards.NONE))


def test_the_ratio_of_a_completion_of_one_token_is_that_tokens() -> None:
    _, batch = at_the_base(advantage=1.0)
    rng = np.random.default_rng(2)
    count = len(batch.old)
    rows = np.zeros((count, 1), np.int32)
    one = replace(batch, inputs=rows, sequences=np.arange(count, dtype=np.int32), reference=None)
    now = mx.array(batch.old + 0.1 * rng.standard_normal(len(batch.old)).astype(np.float32))
    both = [policy_loss(now, one, sequence_level=level, beta=0.0, **CLIP)[0].item() for level in (False, True)]
    assert both[0] == pytest.approx(both[1], rel=1e-6)


@pytest.mark.parametrize("kind", LossType)
def test_masked_completions_weigh_nothing_and_the_others_as_the_loss_type_says(kind: LossType) -> None:
    lengths, nothing_left = np.array([2, 8, 5]), np.zeros(3, np.bool_)
    kept = np.array([True, False, True])
    whole = token_weights(lengths, ~nothing_left, kind, longest=10)
    part = token_weights(lengths, kept, kind, longest=10)
    assert part[1] == 0
    factor = 15 / 7 if kind in (LossType.DAPO, LossType.BNPO) else 1
    assert part[[0, 2]] == pytest.approx(whole[[0, 2]] * factor)
    assert (token_weights(lengths, nothing_left, kind, longest=10) == 0).all()
    total = (whole * lengths).sum()
    assert total == pytest.approx(15 / 30 if kind is LossType.DR_GRPO else 1)


@pytest.mark.parametrize("scale", list(ScaleRewards))
def test_completions_without_a_reward_take_no_part(scale: ScaleRewards) -> None:
    nothing = np.nan
    rewards = np.array(
        [[1.0, nothing, 3.0, 2.0], [nothing] * 4, [5.0, nothing, nothing, nothing], [4.0, 4.0, 4.0, nothing]]
    )
    found = advantages(rewards, scale)
    assert tied(rewards).tolist() == [False, True, True, True]
    assert (found[1:] == 0).all()
    assert found[0, 1] == 0
    spread = {
        ScaleRewards.NONE: 1.0,
        ScaleRewards.GROUP: np.std([1, 3, 2], ddof=1) + 1e-4,
        ScaleRewards.BATCH: np.std([1, 3, 2, 5, 4, 4, 4], ddof=1) + 1e-4,
    }[scale]
    assert found[0, [0, 2, 3]] == pytest.approx(np.array([-1, 1, 0]) / spread)
    assert not np.isnan(found).any()

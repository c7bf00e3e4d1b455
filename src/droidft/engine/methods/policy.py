"""The losses of GRPO, GSPO and Dr. GRPO as functions of log-probabilities, and the advantages they weigh.

Sources: GRPO, Shao et al. 2024 (arXiv 2402.03300); GSPO, Zheng et al. 2025 (arXiv 2507.18071); Dr. GRPO, Liu et al.
2025 (arXiv 2503.20783); DAPO, Yu et al. 2025 (arXiv 2503.14476). The KL estimate is k3 of Schulman's note (2020).

Suffixes name dimensions: N targets, C completions, P prompts of G completions each.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from droidft.config import LossType, ScaleRewards
from droidft.data.batches import Batch
from droidft.engine.training.method import Sums

STD_FLOOR = 1e-4
"""Added to a standard deviation before it divides."""
ROUNDING = 1e-12
"""Relative difference below which two rewards are the same number."""


@dataclass(frozen=True, eq=False)
class PolicyBatch(Batch):
    """Prompts with their completions; what follows has one value for each target, [N].

    The targets are the tokens of completions, end tokens included.
    """

    sequences: NDArray[np.int32]
    """Which completion of the batch, from 0, a target belongs to."""
    old: NDArray[np.float32]
    """Its log-probability under the policy that sampled it."""
    reference: NDArray[np.float32] | None
    """Its log-probability under the base model; None where the loss needs none."""
    advantages: NDArray[np.float32]
    """The advantage of its completion."""
    weights: NDArray[np.float32]
    """Its share in the loss of the optimizer step."""


def advantages(rewards_PG: NDArray[np.float64], scale: ScaleRewards) -> NDArray[np.float64]:
    """By how much each completion leads its group, [P, G].

    Divided by the standard deviation (with n - 1) of the group or of all, or by nothing. A group of equal rewards
    gives exact zeros. A completion without a reward (NaN) takes no part: its advantage is zero, and the others are
    compared without it.
    """
    if np.isnan(rewards_PG).any():
        return _advantages_of_some(rewards_PG, scale)
    lead_PG = np.asarray(rewards_PG - rewards_PG.mean(axis=1, keepdims=True))
    lead_PG[tied(rewards_PG)] = 0.0
    match scale:
        case ScaleRewards.GROUP:
            return np.asarray(lead_PG / (rewards_PG.std(axis=1, ddof=1, keepdims=True) + STD_FLOOR))
        case ScaleRewards.BATCH:
            return np.asarray(lead_PG / (rewards_PG.std(ddof=1) + STD_FLOOR))
        case ScaleRewards.NONE:
            return lead_PG


def _advantages_of_some(rewards_PG: NDArray[np.float64], scale: ScaleRewards) -> NDArray[np.float64]:
    """As `advantages`, group by group over the completions that have a reward."""
    lead_PG = np.zeros_like(rewards_PG)
    everything = rewards_PG[~np.isnan(rewards_PG)]
    spread = everything.std(ddof=1) if len(everything) > 1 else 0.0
    for lead_G, rewards_G in zip(lead_PG, rewards_PG, strict=True):
        scored = ~np.isnan(rewards_G)
        if scored.sum() > 1:
            # Not divided by the batch here: its spread is over all groups.
            within = ScaleRewards.NONE if scale is ScaleRewards.BATCH else scale
            lead_G[scored] = advantages(rewards_G[scored][None], within)[0]
    return lead_PG / (spread + STD_FLOOR) if scale is ScaleRewards.BATCH else lead_PG


def tied(rewards_PG: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which groups have nothing but equal rewards, up to the rounding of weighted sums; [P].

    So has a group in which none or one of the completions has a reward.
    """
    known_PG = ~np.isnan(rewards_PG)
    lowest_P = np.where(known_PG, rewards_PG, np.inf).min(axis=1)
    highest_P = np.where(known_PG, rewards_PG, -np.inf).max(axis=1)
    largest_P = np.where(known_PG, np.abs(rewards_PG), 0.0).max(axis=1)
    range_P = np.where(known_PG.any(axis=1), highest_P, 0.0) - np.where(known_PG.any(axis=1), lowest_P, 0.0)
    return np.asarray(range_P <= ROUNDING * np.maximum(largest_P, 1e-300))


def token_weights(
    lengths_C: NDArray[np.int64], kept_C: NDArray[np.bool_], loss_type: LossType, *, longest: int
) -> NDArray[np.float64]:
    """The share that each token of a completion has in the loss of the step, [C].

    The step trains on completions of these lengths; those that are not kept weigh nothing. `longest` is the most
    tokens that a completion may have.
    """
    count = len(lengths_C)
    match loss_type:
        case LossType.GRPO:
            shares_C = 1 / (count * lengths_C)
        case LossType.DAPO | LossType.BNPO:
            shares_C = np.full(count, 1 / max(int(lengths_C[kept_C].sum()), 1))
        case LossType.DR_GRPO:
            shares_C = np.full(count, 1 / (count * longest))
    return np.asarray(np.where(kept_C, shares_C, 0.0))


def policy_loss(
    logps_N: mx.array,
    batch: PolicyBatch,
    *,
    sequence_level: bool,
    epsilon: float,
    epsilon_high: float,
    beta: float,
) -> tuple[mx.array, Sums]:
    """The clipped objective, negated, plus `beta` times the KL divergence from the base; a scalar, and statistics.

    `logps_N` are those of the policy that is trained. The ratio to the policy that sampled is taken for each token
    or, with `sequence_level`, for each completion: the geometric mean of its tokens' ratios. Summed are `kl` over
    tokens and `clip_low`, `clip_high` over what has a ratio: tokens, or completions.
    """
    advantages_N, weights_N = mx.array(batch.advantages), mx.array(batch.weights)
    log_ratio_N = logps_N - mx.array(batch.old)
    counted_N = (weights_N > 0).astype(mx.float32)
    if sequence_level:
        members_CN = _members(batch)
        sizes_C = mx.maximum(members_CN.sum(axis=1), 1)
        log_ratio_N = ((members_CN @ log_ratio_N) / sizes_C) @ members_CN
        counted_N = counted_N / mx.maximum(sizes_C @ members_CN, 1)
    ratio_N = mx.exp(log_ratio_N)
    low, high = 1 - epsilon, 1 + epsilon_high
    objective_N = mx.minimum(ratio_N * advantages_N, mx.clip(ratio_N, low, high) * advantages_N)
    sums = {
        "clip_low": (counted_N * (ratio_N < low) * (advantages_N < 0)).sum(),
        "clip_high": (counted_N * (ratio_N > high) * (advantages_N > 0)).sum(),
    }
    loss_N = -objective_N
    if batch.reference is not None:
        gap_N = mx.array(batch.reference) - logps_N
        kl_N = mx.exp(gap_N) - gap_N - 1
        loss_N = loss_N + beta * kl_N
        sums["kl"] = (kl_N * (weights_N > 0)).sum()
    return (weights_N * loss_N).sum(), {name: mx.stop_gradient(value) for name, value in sums.items()}


def _members(batch: PolicyBatch) -> mx.array:
    """Which targets belong to which completion: ones and zeros, [C, N]."""
    completions_C = mx.arange(batch.inputs.shape[0])
    return (completions_C[:, None] == mx.array(batch.sequences)[None]).astype(mx.float32)

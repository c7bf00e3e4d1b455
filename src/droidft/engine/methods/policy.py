"""The losses of GRPO, GSPO and Dr. GRPO as functions of log-probabilities, and the advantages they weigh.

Sources: GRPO, Shao et al. 2024 (arXiv 2402.03300); GSPO, Zheng et al. 2025 (arXiv 2507.18071); Dr. GRPO, Liu et al.
2025 (arXiv 2503.20783); DAPO, Yu et al. 2025 (arXiv 2503.14476). The KL estimate is k3 of Schulman's note (2020).
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


def advantages(rewards: NDArray[np.float64], scale: ScaleRewards) -> NDArray[np.float64]:
    """By how much each completion leads its group, [groups, members] like `rewards`.

    Divided by the standard deviation (with n - 1) of the group or of all, or by nothing. A group of equal rewards
    gives exact zeros.
    """
    lead = np.asarray(rewards - rewards.mean(axis=1, keepdims=True))
    lead[tied(rewards)] = 0.0
    match scale:
        case ScaleRewards.GROUP:
            return np.asarray(lead / (rewards.std(axis=1, ddof=1, keepdims=True) + STD_FLOOR))
        case ScaleRewards.BATCH:
            return np.asarray(lead / (rewards.std(ddof=1) + STD_FLOOR))
        case ScaleRewards.NONE:
            return lead


def tied(rewards: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which groups have nothing but equal rewards, up to the rounding of weighted sums; [groups]."""
    apart = rewards.max(axis=1) - rewards.min(axis=1)
    return np.asarray(apart <= ROUNDING * np.maximum(np.abs(rewards).max(axis=1), 1e-300))


def token_weights(
    lengths: NDArray[np.int64], kept: NDArray[np.bool_], loss_type: LossType, *, longest: int
) -> NDArray[np.float64]:
    """The share that each token of a completion has in the loss of the step, [completions].

    `lengths` [completions] are all that the step trains on; those that are not `kept` weigh nothing. `longest` is
    the most tokens that a completion may have.
    """
    match loss_type:
        case LossType.GRPO:
            shares = 1 / (len(lengths) * lengths)
        case LossType.DAPO | LossType.BNPO:
            shares = np.full(len(lengths), 1 / max(int(lengths[kept].sum()), 1))
        case LossType.DR_GRPO:
            shares = np.full(len(lengths), 1 / (len(lengths) * longest))
    return np.asarray(np.where(kept, shares, 0.0))


def policy_loss(
    logps: mx.array,
    batch: PolicyBatch,
    *,
    sequence_level: bool,
    epsilon: float,
    epsilon_high: float,
    beta: float,
) -> tuple[mx.array, Sums]:
    """The clipped objective, negated, plus `beta` times the KL divergence from the base; a scalar, and statistics.

    `logps` [N] are those of the policy that is trained. The ratio to the policy that sampled is taken for each
    token or, with `sequence_level`, for each completion: the geometric mean of its tokens' ratios. Summed are `kl`
    over tokens and `clip_low`, `clip_high` over what has a ratio: tokens, or completions.
    """
    advantage, weights = mx.array(batch.advantages), mx.array(batch.weights)
    log_ratio = logps - mx.array(batch.old)
    counted = (weights > 0).astype(mx.float32)
    if sequence_level:
        members = _members(batch.sequences)
        sizes = members.sum(axis=1)
        log_ratio = ((members @ log_ratio) / sizes) @ members
        counted = counted / (sizes @ members)
    ratio = mx.exp(log_ratio)
    low, high = 1 - epsilon, 1 + epsilon_high
    objective = mx.minimum(ratio * advantage, mx.clip(ratio, low, high) * advantage)
    sums = {
        "clip_low": (counted * (ratio < low) * (advantage < 0)).sum(),
        "clip_high": (counted * (ratio > high) * (advantage > 0)).sum(),
    }
    loss = -objective
    if batch.reference is not None:
        gap = mx.array(batch.reference) - logps
        kl = mx.exp(gap) - gap - 1
        loss = loss + beta * kl
        sums["kl"] = (kl * (weights > 0)).sum()
    return (weights * loss).sum(), {name: mx.stop_gradient(value) for name, value in sums.items()}


def _members(sequences: NDArray[np.int32]) -> mx.array:
    """Which targets belong to which completion: ones and zeros, [completions, N]."""
    numbers = np.unique(sequences)
    return mx.array((numbers[:, None] == sequences[None]).astype(np.float32))

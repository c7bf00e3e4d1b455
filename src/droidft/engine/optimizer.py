"""Schedules, clipping and the update. Everything is counted in optimizer steps."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.optimizers as optimizers
import numpy as np
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from droidft.config import LrSchedule, Optimizer, TrainingConfig


def learning_rate(config: TrainingConfig, *, step: int, total: int) -> float:
    """Rate of optimizer step `step` (1-based) of `total`.

    Warm-up rises linearly and reaches the peak at step `warmup_steps`; `linear` and `cosine` then fall and
    reach `lr_end_fraction` of the peak at the last step.
    """
    peak = config.learning_rate
    if step < config.warmup_steps:
        return peak * step / config.warmup_steps
    start = max(config.warmup_steps, 1)
    progress = (step - start) / (total - start) if total > start else 0.0
    floor = config.lr_end_fraction
    match config.lr_schedule:
        case LrSchedule.CONSTANT:
            return peak
        case LrSchedule.LINEAR:
            return peak * (floor + (1 - floor) * (1 - progress))
        case LrSchedule.COSINE:
            return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)


def build(config: TrainingConfig) -> optimizers.Optimizer:
    """The optimizer of `config`, its learning rate to be set before each update."""
    rate, betas = config.learning_rate, [config.adam_beta1, config.adam_beta2]
    match config.optimizer:
        case Optimizer.ADAMW:
            return optimizers.AdamW(
                rate,
                betas=betas,
                eps=config.adam_eps,
                weight_decay=config.weight_decay,
                bias_correction=config.adam_bias_correction,
            )
        case Optimizer.ADAM:
            return optimizers.Adam(
                rate, betas=betas, eps=config.adam_eps, bias_correction=config.adam_bias_correction
            )
        case Optimizer.SGD:
            return optimizers.SGD(rate, momentum=config.adam_beta1, weight_decay=config.weight_decay)
        case Optimizer.LION:
            return optimizers.Lion(rate, betas=betas, weight_decay=config.weight_decay)


def global_norm(gradients: Any) -> float:
    """Square root of the sum of all squared gradients; NaN if any gradient is. Evaluates the gradients."""
    squares = [mx.square(g.astype(mx.float32)).sum() for _, g in tree_flatten(gradients)]
    return float(np.sqrt(np.asarray(mx.stack(squares), dtype=np.float64).sum()))


def clip(gradients: Any, *, norm: float, limit: float) -> Any:
    """Gradients scaled so that their global norm is at most `limit` (0: left alone)."""
    if limit == 0 or norm <= limit:
        return gradients
    factor = limit / (norm + 1e-6)
    return tree_map(lambda g: g * factor, gradients)


def state_arrays(optimizer: optimizers.Optimizer) -> dict[str, mx.array]:
    """The optimizer's whole state, by name, as it is saved."""
    return dict(tree_flatten(optimizer.state))


def restore(optimizer: optimizers.Optimizer, arrays: dict[str, mx.array]) -> None:
    """Put back what `state_arrays` gave."""
    optimizer.state = tree_unflatten(list(arrays.items()))

"""Clipping and the update; `droidft.config.schedule` gives the rate of each step."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.optimizers as optimizers
import numpy as np
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from droidft.config import Optimizer, TrainingConfig


def build(config: TrainingConfig) -> optimizers.Optimizer:
    """The optimizer of `config`, its learning rate to be set before each update."""
    rate, decay, betas = config.learning_rate, config.weight_decay, [config.adam_beta1, config.adam_beta2]
    adam = {"betas": betas, "eps": config.adam_eps, "bias_correction": config.adam_bias_correction}
    match config.optimizer:
        case Optimizer.ADAMW:
            return optimizers.AdamW(rate, weight_decay=decay, **adam)
        case Optimizer.ADAM:
            return optimizers.Adam(rate, **adam)
        case Optimizer.SGD:
            return optimizers.SGD(rate, momentum=config.adam_beta1, weight_decay=decay)
        case Optimizer.LION:
            return optimizers.Lion(rate, betas=betas, weight_decay=decay)


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
    """Put back what `state_arrays` returned."""
    optimizer.state = tree_unflatten(list(arrays.items()))

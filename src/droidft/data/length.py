"""How long a run is, from its settings and the number of its rows."""

from __future__ import annotations

import math

from droidft.config import Family, TrainingConfig
from droidft.events import TrainingPlan

EPOCHS = {Family.ANSWERS: 3.0, Family.REWARDS: 1.0, Family.PREFERENCES: 1.0}
"""Passes over the data where neither `iterations` nor `epochs` is given."""


def plan(config: TrainingConfig, steps_per_epoch: int) -> TrainingPlan:
    """The optimizer steps that `iterations` or `epochs` ask for."""
    rewarded = config.method.family is Family.REWARDS
    epochs = EPOCHS[config.method.family] if config.epochs is None else config.epochs
    steps = max(1, math.ceil(epochs * steps_per_epoch)) if config.iterations is None else config.iterations
    return TrainingPlan(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        epochs=steps / steps_per_epoch,
        effective_batch=config.completions_per_step
        if rewarded
        else config.batch_size * config.grad_accumulation_steps,
    )

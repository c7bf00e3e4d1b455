"""The learning rate over a run, counted in optimizer steps."""

from __future__ import annotations

import math

from droidft.config import LrSchedule, TrainingConfig


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


def curve(config: TrainingConfig, *, total: int, points: int = 200) -> list[tuple[int, float]]:
    """The schedule as at most `points` pairs of step and rate, among them first, last and the end of the warm-up."""
    most = min(total, points - 1)
    steps = {round(1 + index * (total - 1) / max(most - 1, 1)) for index in range(most)}
    if 1 <= config.warmup_steps <= total:
        steps.add(config.warmup_steps)
    return [(step, learning_rate(config, step=step, total=total)) for step in sorted(steps)]

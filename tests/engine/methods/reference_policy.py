"""GRPO, GSPO and Dr. GRPO in NumPy, float64, from the papers: what the engine's policy loss is held against.

Shao et al. 2024 (DeepSeekMath, equations 3, 4 and 21), Zheng et al. 2025 (GSPO, equations 5 to 7), Liu et al. 2025
(Dr. GRPO), Yu et al. 2025 (DAPO: clip-higher, token-level loss); statistics as TRL counts them. Written completion
by completion with loops and ragged lists, without a look at the engine: slow, and easy to hold against the papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SMALL = 1e-4
"""Added to a standard deviation before it divides (TRL)."""


@dataclass(frozen=True)
class Settings:
    """What shapes the loss of an optimizer step."""

    loss_type: str = "grpo"
    sequence_level: bool = False
    epsilon: float = 0.2
    epsilon_high: float = 0.2
    beta: float = 0.0
    max_completion_length: int = 16


@dataclass(frozen=True, eq=False)
class Completion:
    """One completion: log-probabilities of its tokens now, when it was sampled, and under the base model."""

    now: Floats
    old: Floats
    base: Floats
    advantage: float
    kept: bool = True
    """False for one that was cut off and is left out of the loss."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Loss of a step, its gradient to each completion's `now`, and its statistics."""

    loss: float
    gradients: list[Floats]
    kl: float
    clip_low: float
    clip_high: float


def advantages(rewards: Floats, scale: str) -> Floats:
    """Advantages [groups, G] of rewards [groups, G]: over the group's mean, divided as `scale` says."""
    found = np.zeros_like(rewards)
    spread = _deviation(rewards.reshape(-1).tolist())
    for number, group in enumerate(rewards):
        mean = sum(group) / len(group)
        divisor = {"group": _deviation(group.tolist()) + SMALL, "batch": spread + SMALL, "none": 1.0}[scale]
        for place, reward in enumerate(group):
            found[number, place] = (reward - mean) / divisor
    return found


def tied_groups(rewards: Floats) -> float:
    """Share of groups whose completions all earned the same."""
    return sum(1.0 for group in rewards if max(group) == min(group)) / len(rewards)


def token_weights(lengths: Sequence[int], kept: Sequence[bool], settings: Settings) -> list[float]:
    """The weight of each token's loss in the step's loss, by completion (all its tokens have the same)."""
    tokens = sum(length for length, keep in zip(lengths, kept, strict=True) if keep)
    weights = []
    for length, keep in zip(lengths, kept, strict=True):
        match settings.loss_type:
            case "grpo":
                weight = 1 / length / len(lengths)
            case "dapo" | "bnpo":
                weight = 1 / max(tokens, 1)
            case "dr_grpo":
                weight = 1 / (len(lengths) * settings.max_completion_length)
            case _:
                raise AssertionError(settings.loss_type)
        weights.append(weight if keep else 0.0)
    return weights


def outcome(step: Sequence[Completion], settings: Settings) -> Outcome:
    """Loss, exact gradient and statistics of one optimizer step."""
    weights = token_weights([len(one.now) for one in step], [one.kept for one in step], settings)
    loss, gradients = 0.0, []
    kls: list[float] = []
    lows: list[bool] = []
    highs: list[bool] = []
    for one, weight in zip(step, weights, strict=True):
        gradient = np.zeros_like(one.now)
        length = len(one.now)
        for place in range(length):
            ratio = _ratio(one, place, settings)
            clipped = min(max(ratio, 1 - settings.epsilon), 1 + settings.epsilon_high)
            objective = min(ratio * one.advantage, clipped * one.advantage)
            # The gradient of the minimum is that of the unclipped side, or none where the clipped side is smaller.
            slope = ratio * one.advantage if ratio * one.advantage <= clipped * one.advantage else 0.0
            apart = one.base[place] - one.now[place]
            kl = np.exp(apart) - apart - 1
            loss += weight * (-objective + settings.beta * kl)
            if settings.sequence_level:
                gradient += weight * -slope / length
            else:
                gradient[place] += weight * -slope
            gradient[place] += weight * settings.beta * (1 - np.exp(apart))
            if one.kept:
                kls.append(float(kl))
        gradients.append(gradient)
        # What is left out has no ratio; TRL counts it as a sequence that is not clipped, though not as tokens.
        ratios = (1 if settings.sequence_level else length) if one.kept else 0
        for place in range(ratios):
            ratio = _ratio(one, place, settings)
            lows.append(ratio < 1 - settings.epsilon and one.advantage < 0)
            highs.append(ratio > 1 + settings.epsilon_high and one.advantage > 0)
    return Outcome(loss, gradients, _mean(kls), _mean(lows), _mean(highs))


def log_softmax(logits: Floats, temperature: float) -> Floats:
    """Log-probabilities [N, V] of logits [N, V] at a temperature."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    found: Floats = scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True))
    return found


def entropies(logits: Floats, temperature: float) -> Floats:
    """Entropy of the distribution at each position [N], in nats."""
    logps = log_softmax(logits, temperature)
    found: Floats = -(np.exp(logps) * logps).sum(axis=-1)
    return found


def to_logits(logits: Floats, targets: NDArray[np.int32], temperature: float, gradient: Floats) -> Floats:
    """Gradient to the logits [N, V] of what has `gradient` [N] to the log-probabilities of `targets` [N]."""
    one_hot = np.zeros_like(logits)
    one_hot[np.arange(len(targets)), targets] = 1
    found: Floats = gradient[:, None] * (one_hot - np.exp(log_softmax(logits, temperature))) / temperature
    return found


def lengths_and_cuts(lengths: Sequence[int], ended: Sequence[bool]) -> tuple[float, float, float]:
    """Mean and largest length of completions, and the share of those that did not end by themselves."""
    return sum(lengths) / len(lengths), float(max(lengths)), sum(not end for end in ended) / len(ended)


def _ratio(one: Completion, place: int, settings: Settings) -> float:
    """Of the probabilities now and at sampling: of a token, or the geometric mean over the completion."""
    if settings.sequence_level:
        return float(np.exp(sum(one.now - one.old) / len(one.now)))
    return float(np.exp(one.now[place] - one.old[place]))


def _deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample (n - 1)."""
    mean = sum(values) / len(values)
    found: float = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0

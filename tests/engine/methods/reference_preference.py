"""DPO and ORPO in NumPy, float64, one pair at a time: what the engine's losses are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answer:
    """Log-probabilities of an answer's tokens, by the policy and by the base; `prompt` those of the prompt's."""

    now: Numbers
    base: Numbers
    prompt: Numbers


@dataclass(frozen=True, eq=False)
class Pair:
    """A chosen answer and a rejected one."""

    chosen: Answer
    rejected: Answer


@dataclass(frozen=True, eq=False)
class Outcome:
    """A pair's loss, its statistics, and derivatives to the log-probabilities of prompt and both answers."""

    loss: float
    statistics: dict[str, float]
    to_prompt: Numbers
    to_chosen: Numbers
    to_rejected: Numbers


def dpo(pair: Pair, beta: float) -> Outcome:
    """Rafailov et al., equation 7; the derivative is beta times one minus the probability of the preference."""
    ratings = [beta * float((answer.now - answer.base).sum()) for answer in (pair.chosen, pair.rejected)]
    margin = ratings[0] - ratings[1]
    slope = beta * _sigmoid(-margin)
    return Outcome(
        loss=-_log_sigmoid(margin),
        statistics={
            "accuracy": float(ratings[0] > ratings[1]),
            "margin": margin,
            "reward_chosen": ratings[0],
            "reward_rejected": ratings[1],
            "logp_chosen": float(pair.chosen.now.sum()),
            "logp_rejected": float(pair.rejected.now.sum()),
        },
        to_prompt=np.zeros_like(pair.chosen.prompt),
        to_chosen=np.full_like(pair.chosen.now, -slope),
        to_rejected=np.full_like(pair.rejected.now, slope),
    )


def orpo(pair: Pair, beta: float, *, with_prompt: bool) -> Outcome:
    """Hong et al., equations 3 to 7, with the mean over tokens in the place of log P."""
    means = [float(answer.now.mean()) for answer in (pair.chosen, pair.rejected)]
    odds = [mean - float(np.log(-np.expm1(mean))) for mean in means]
    log_odds = odds[0] - odds[1]
    counted = np.concatenate([pair.chosen.prompt, pair.chosen.now]) if with_prompt else pair.chosen.now
    nll = -float(counted.mean())
    slope = beta * _sigmoid(-log_odds)
    # d(log odds)/d(log m) = 1 / (1 - m)
    pulls = [slope / -np.expm1(mean) for mean in means]
    return Outcome(
        loss=nll - beta * _log_sigmoid(log_odds),
        statistics={
            "accuracy": float(means[0] > means[1]),
            "margin": beta * (means[0] - means[1]),
            "logp_chosen": means[0],
            "logp_rejected": means[1],
            "nll": nll,
            "log_odds": log_odds,
        },
        to_prompt=np.full_like(pair.chosen.prompt, -1 / len(counted) if with_prompt else 0.0),
        to_chosen=np.full_like(pair.chosen.now, -1 / len(counted) - pulls[0] / len(pair.chosen.now)),
        to_rejected=np.full_like(pair.rejected.now, pulls[1] / len(pair.rejected.now)),
    )


def means(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Mean statistics over pairs, and the mean loss."""
    found = {name: float(np.mean([one.statistics[name] for one in outcomes])) for name in outcomes[0].statistics}
    return found | {"loss": float(np.mean([one.loss for one in outcomes]))}


def _sigmoid(value: float) -> float:
    return float(np.exp(_log_sigmoid(value)))


def _log_sigmoid(value: float) -> float:
    return -float(np.logaddexp(0.0, -value))

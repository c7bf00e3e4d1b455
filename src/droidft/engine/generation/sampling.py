"""How the next token is chosen from a model's logits.

On the host: NumPy's exponentials and sorts are vectorised, MLX's on a processor are not. Every answer has a stream of
random numbers of its own, one number a token, so a seed gives the same answer whatever else is drawn beside it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from droidft.errors import ConfigError, NonFiniteError

REPETITION_WINDOW = 64
COLDEST = 1e-4
"""Lower temperatures but 0 act as this one, which differs from 0 in nothing but rounding; quotients stay finite."""
MOST_BIAS = 100
FIRST_SORTED = 256
"""So many of the likeliest tokens are sorted first; they hold a usual `top_p`."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. At temperature 0 it is the likeliest one, and only the penalties have an effect.

    `top_p`, `min_p` and `top_k` cut unlikely tokens off before drawing; 1, 0 and 0 turn them off.
    `repetition_penalty` above 1 makes the last 64 tokens less likely to come again; `presence_penalty` is taken from
    the logit of every token that the answer holds already, `frequency_penalty` as often as it holds it. `logit_bias`
    is added to the logits of single tokens. With `seed` None every answer is drawn differently.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 0.9
    min_p: float = 0.05
    top_k: int = 40
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._within("max_tokens", 1, 2**31)
        self._within("temperature", 0, 10)
        self._within("top_p", 0, 1, above=True)
        self._within("min_p", 0, 1)
        self._within("top_k", 0, 2**31)
        self._within("repetition_penalty", 0, 10, above=True)
        self._within("presence_penalty", -2, 2)
        self._within("frequency_penalty", -2, 2)
        if self.seed is not None:
            self._within("seed", 0, 2**63)
        for token, bias in self.logit_bias.items():
            if not -MOST_BIAS <= bias <= MOST_BIAS:
                raise ConfigError(
                    f"logit_bias of token {token} is {bias:g}",
                    hint=f"use from -{MOST_BIAS} up to {MOST_BIAS}",
                    field="logit_bias",
                )

    def _within(self, name: str, low: float, high: float, *, above: bool = False) -> None:
        value = getattr(self, name)
        if not (low < value <= high if above else low <= value <= high):
            raise ConfigError(
                f"{name} is {value}",
                hint=f"use {'more than' if above else 'from'} {low:g} up to {high:g}",
                field=name,
            )


class Drawer:
    """Chooses the tokens of one answer to `prompt`, one after another."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._numbers = np.random.Generator(np.random.PCG64(seed))
        self._recent = list(prompt[-REPETITION_WINDOW:])
        self._answer: list[int] = []

    def draw(self, logits_V: Floats, unused: NDArray[np.bool_] | None = None) -> int:
        """The next token, given the logits that the model has for it, but none that is `unused` [V].

        Raises:
            NonFiniteError: they are not finite.
        """
        if not np.isfinite(logits_V.max()):  # a NaN is the largest of all
            raise NonFiniteError(
                f"the model's logits are NaN or infinite at token {len(self._answer) + 1} of the answer",
                hint="the weights of the model or the adapter are damaged, or overflow in their data type: "
                "get or train them again",
            )
        token = self._choose(self._changed(logits_V, unused))
        self._answer.append(token)
        self._recent = [*self._recent, token][-REPETITION_WINDOW:]
        return token

    def _changed(self, logits_V: Floats, unused: NDArray[np.bool_] | None) -> Floats:
        """With penalties, bias, and no chance for what is unused."""
        sampling, logits_V = self._sampling, logits_V.copy()
        if sampling.repetition_penalty != 1 and self._recent:
            again = np.unique(self._recent)
            known, penalty = logits_V[again], np.float32(sampling.repetition_penalty)
            logits_V[again] = np.where(known < 0, known * penalty, known / penalty)
        if (sampling.presence_penalty or sampling.frequency_penalty) and self._answer:
            said, times = np.unique(self._answer, return_counts=True)
            logits_V[said] -= (sampling.presence_penalty + sampling.frequency_penalty * times).astype(np.float32)
        for token, bias in sampling.logit_bias.items():
            logits_V[token] += np.float32(bias)
        if unused is not None:
            logits_V[unused] = -np.inf
        return logits_V

    def _choose(self, logits_V: Floats) -> int:
        if self._sampling.temperature == 0:
            return int(logits_V.argmax())
        number = self._numbers.random()
        scores_V = logits_V - logits_V.max()
        kept = self._cut(scores_V)
        warmth = np.float32(max(self._sampling.temperature, COLDEST))
        passed = np.cumsum(np.exp(scores_V[kept] / warmth), dtype=np.float64)
        place = int(np.searchsorted(passed, number * passed[-1], side="right"))
        return int(kept[min(place, len(kept) - 1)])

    def _cut(self, scores_V: Floats) -> NDArray[np.intp]:
        """Tokens that may be drawn, in their order: all whose score none of `top_p`, `min_p` and `top_k` cuts off.

        Each keeps the likeliest, so what one leaves is all that the next has to look at.
        """
        sampling = self._sampling
        if sampling.min_p > 0:
            kept = np.flatnonzero(scores_V >= np.log(np.float32(sampling.min_p)))
        else:
            kept = np.flatnonzero(scores_V > -np.inf)
        if 0 < sampling.top_k < len(kept):
            kept = kept[np.argpartition(-scores_V[kept], sampling.top_k - 1)[: sampling.top_k]]
        if sampling.top_p < 1:
            wanted = sampling.top_p * float(np.exp(scores_V).sum(dtype=np.float64))
            kept = kept[scores_V[kept] >= _least_of(scores_V[kept], wanted)]
        return np.sort(kept)


def _least_of(scores: Floats, wanted: float) -> float:
    """The lowest score among the fewest of the likeliest whose exponentials add up to `wanted`; or of all."""
    size = FIRST_SORTED
    while True:
        most = scores if size >= len(scores) else np.partition(scores, len(scores) - size)[-size:]
        ordered = np.sort(most)[::-1]
        passed = np.cumsum(np.exp(ordered), dtype=np.float64)
        if passed[-1] >= wanted or size >= len(scores):
            return float(ordered[min(int(np.searchsorted(passed, wanted)), len(ordered) - 1)])
        size *= 16

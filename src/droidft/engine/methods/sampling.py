"""Sampling completions in batches: what each token's probability was is kept as it is drawn.

A prompt is read once, whatever the size of its group; its key-value cache is then laid out for every completion.
What is drawn for a completion depends on the model's probabilities and on a stream of random numbers that belongs
to (seed, sampling, place in it) alone, so a sampling can be done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from droidft.engine.training.method import Interrupted
from droidft.errors import NonFiniteError

COMPACT_AT = 0.75
"""Ended completions are dropped from the batch when no more than this share of it goes on; dropping copies caches."""
PART_OF_PROMPT = 512
LOWEST = -1e4
"""Stands for logits of minus infinity; their probability is zero all the same."""


@dataclass(frozen=True, eq=False)
class Completion:
    """Tokens drawn after a prompt, the end token included where one was drawn.

    `logps` are their log-probabilities [n] in nats, at the temperature of sampling; `entropies` those of the
    distributions they were drawn from.
    """

    tokens: NDArray[np.int32]
    logps: NDArray[np.float32]
    entropies: NDArray[np.float32]
    truncated: bool
    """Cut off before the model ended it."""


@dataclass(frozen=True)
class Sampler:
    """How completions are drawn. `ends` are the tokens that end one."""

    ends: frozenset[int]
    max_tokens: int
    temperature: float
    batch_size: int

    def sample(
        self,
        model: nn.Module,
        prompts: Sequence[NDArray[np.int32]],
        streams: Sequence[Sequence[np.random.Generator]],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, int, Completion]]:
        """A completion for each stream of each prompt, as (prompt, member, completion), in the order they end.

        Raises:
            Interrupted: `should_stop`, asked before every token, said so.
        """
        # Prompts of like length share a batch, so that little of its caches is padding.
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        slots = [(index, member) for index in order for member in range(len(streams[index]))]
        for start in range(0, len(slots), self.batch_size):
            chosen = slots[start : start + self.batch_size]
            batch = _Batch(self, [streams[index][member] for index, member in chosen])
            for row, completion in batch.run(model, prompts, [index for index, _ in chosen], should_stop):
                yield *chosen[row], completion


def streams(seed: int, sampling: int, prompts: int, group: int) -> list[list[np.random.Generator]]:
    """Random numbers for every completion of a sampling: functions of (seed, sampling, prompt, member)."""

    def stream(prompt: int, member: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, sampling, prompt, member])))

    return [[stream(prompt, member) for member in range(group)] for prompt in range(prompts)]


class _Batch:
    """Completions that are drawn side by side."""

    def __init__(self, sampler: Sampler, streams: Sequence[np.random.Generator]) -> None:
        self.sampler = sampler
        self.uniforms = np.stack([stream.random(sampler.max_tokens) for stream in streams])
        rows = len(streams)
        self.tokens = np.zeros((rows, sampler.max_tokens), np.int32)
        self.logps = np.zeros((rows, sampler.max_tokens), np.float32)
        self.entropies = np.zeros((rows, sampler.max_tokens), np.float32)

    def run(
        self,
        model: nn.Module,
        prompts: Sequence[NDArray[np.int32]],
        prompt_of: list[int],
        should_stop: Callable[[], bool],
    ) -> Iterator[tuple[int, Completion]]:
        """(row, completion) as each is done."""
        cache, logits = _read_prompts(model, prompts, prompt_of, should_stop)
        rows = np.arange(len(prompt_of))
        alive = np.ones(len(rows), np.bool_)
        ends = np.array(sorted(self.sampler.ends), np.int32)
        for at in range(self.sampler.max_tokens):
            if should_stop():
                raise Interrupted
            drawn = draw(logits, self.uniforms[rows, at], self.sampler.temperature)
            self.tokens[rows, at], self.logps[rows, at], self.entropies[rows, at] = drawn
            if not np.isfinite(drawn[1]).all():
                raise NonFiniteError(
                    "the model's logits are NaN or infinite while completions are sampled",
                    hint="its weights are damaged, or learning_rate is too high: lower it, and resume",
                )
            ended = alive & np.isin(drawn[0], ends)
            last = at + 1 == self.sampler.max_tokens
            for row in rows[alive] if last else rows[ended]:
                yield int(row), self._completion(row, at + 1, ends)
            alive = alive & ~ended
            if last or not alive.any():
                return
            kept = np.flatnonzero(alive)
            if len(kept) <= COMPACT_AT * len(rows):
                rows, alive = rows[kept], alive[kept]
                for layer in cache:
                    layer.filter(mx.array(kept))
            logits = model(mx.array(self.tokens[rows, at][:, None]), cache=cache)[:, -1]

    def _completion(self, row: int, length: int, ends: NDArray[np.int32]) -> Completion:
        tokens = self.tokens[row, :length].copy()
        return Completion(
            tokens,
            self.logps[row, :length].copy(),
            self.entropies[row, :length].copy(),
            truncated=not bool(np.isin(tokens[-1], ends)),
        )


def draw(
    logits: mx.array, uniforms: NDArray[np.float64], temperature: float
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Tokens [B], their log-probabilities and the entropies of their distributions, from logits [B, V].

    The token is where the cumulated probability passes the uniform number. Logits are divided by `temperature`.
    """
    if mx.default_device() == mx.Device(mx.cpu):
        # NumPy's exponentials are vectorised, MLX's on the CPU are not.
        return _draw_on_host(np.array(logits.astype(mx.float32)), uniforms, temperature)
    return _draw_on_device(logits, uniforms, temperature)


def _draw_on_host(
    logits: NDArray[np.float32], uniforms: NDArray[np.float64], temperature: float
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    scores = logits / np.float32(temperature)
    scores -= scores.max(axis=1, keepdims=True)
    np.maximum(scores, np.float32(LOWEST), out=scores)
    weights = np.exp(scores)
    passed = np.cumsum(weights, axis=1, dtype=np.float64)
    total = passed[:, -1]
    found = zip(passed, uniforms * total, strict=True)
    tokens = np.array([np.searchsorted(row, level, side="right") for row, level in found], np.int32)
    tokens = np.minimum(tokens, logits.shape[1] - 1).astype(np.int32)
    log_total = np.log(total)
    logps = scores[np.arange(len(tokens)), tokens] - log_total
    entropies = log_total - np.einsum("bv,bv->b", weights, scores) / total
    return tokens, logps.astype(np.float32), entropies.astype(np.float32)


def _draw_on_device(
    logits: mx.array, uniforms: NDArray[np.float64], temperature: float
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    scores = logits.astype(mx.float32) / temperature
    scores = mx.maximum(scores - scores.max(axis=1, keepdims=True), LOWEST)
    weights = mx.exp(scores)
    passed = mx.cumsum(weights, axis=1)
    total = passed[:, -1:]
    # Rounding must not make it one: the last tokens may have no probability.
    below = np.minimum(uniforms, 1 - 2.0**-24).astype(np.float32)
    level = mx.array(below)[:, None] * total
    tokens = mx.minimum((passed <= level).sum(axis=1), logits.shape[1] - 1)
    logps = mx.take_along_axis(scores, tokens[:, None], axis=1) - mx.log(total)
    entropies = mx.log(total) - (weights * scores).sum(axis=1, keepdims=True) / total
    mx.eval(tokens, logps, entropies)
    return np.array(tokens).astype(np.int32), np.array(logps[:, 0]), np.array(entropies[:, 0])


def _read_prompts(
    model: nn.Module, prompts: Sequence[NDArray[np.int32]], prompt_of: list[int], should_stop: Callable[[], bool]
) -> tuple[list[Any], mx.array]:
    """A batched cache that holds the prompt of each row, and the logits [rows, V] that follow."""
    different = list(dict.fromkeys(prompt_of))
    caches = [_read_prompt(model, prompts[index], should_stop) for index in different]
    cache = [layers[0].merge(list(layers)) for layers in zip(*caches, strict=True)]
    last = mx.array([[int(prompts[index][-1])] for index in different])
    logits = model(last, cache=cache)[:, -1]
    rows = mx.array([different.index(index) for index in prompt_of])
    for layer in cache:
        layer.filter(rows)
    return cache, logits[rows]


def _read_prompt(model: nn.Module, prompt: NDArray[np.int32], should_stop: Callable[[], bool]) -> list[Any]:
    """The cache after all of a prompt but its last token."""
    from mlx_lm.models.cache import make_prompt_cache

    cache: list[Any] = make_prompt_cache(model)
    tokens = mx.array(prompt[:-1])[None]
    for start in range(0, tokens.shape[1], PART_OF_PROMPT):
        if should_stop():
            raise Interrupted
        # Its logits are never asked for, so they are never computed.
        model(tokens[:, start : start + PART_OF_PROMPT], cache=cache)
        mx.eval([layer.state for layer in cache])
    return cache

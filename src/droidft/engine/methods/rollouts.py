"""Rollouts: completions sampled in batches, with the probability of each token kept as it is drawn.

A prompt is read once, whatever the size of its group; its key-value cache is then laid out for every completion.
What is drawn for a completion depends on the model's probabilities and on a stream of random numbers that belongs
to (seed, rollout, place in it) alone, so a rollout can be repeated.

Suffixes name dimensions: B completions drawn side by side, V the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from droidft.data.prompts import PromptRow
from droidft.engine.generation.text import shown
from droidft.engine.training.method import Interrupted
from droidft.errors import NonFiniteError
from droidft.rewards.rules import ToScore

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

COMPACT_AT = 0.75
"""Ended completions are dropped from the batch when no more than this share of it goes on; dropping copies caches."""
PART_OF_PROMPT = 512
LOWEST = -1e4
"""Stands for logits of minus infinity; their probability is zero all the same."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Completion:
    """Tokens drawn after a prompt, the end token included where one was drawn.

    `logps` are their log-probabilities [n] in nats, at the temperature of sampling; `entropies` those of the
    distributions they were drawn from.
    """

    tokens: NDArray[np.int32]
    logps: Floats
    entropies: Floats
    truncated: bool
    """Cut off before the model ended it."""


@dataclass(frozen=True)
class Texts:
    """Turns the tokens of completions into text; `ends` are the tokens that end one."""

    tokenizer: TokenizerWrapper | Any
    ends: frozenset[int]

    @classmethod
    def of(cls, tokenizer: TokenizerWrapper) -> Texts:
        """As the model's tokenizer does."""
        return cls(tokenizer, frozenset(int(token) for token in tokenizer.eos_token_ids))

    @property
    def known(self) -> frozenset[int] | None:
        """Every token that there is, as the embedding may have more rows; None without a tokenizer."""
        return frozenset(self.tokenizer.get_vocab().values()) if self.tokenizer is not None else None

    def completion(self, prompt: PromptRow, tokens: NDArray[np.int32]) -> str:
        """A completion's text as chat shows it: without the token that ends it, other special ones included."""
        kept = [token for token in tokens.tolist() if token not in self.ends]
        after = int(prompt.tokens[-1]) if prompt.messages is None else None
        return shown(self.tokenizer, kept, after=after)

    def to_score(self, prompt: PromptRow, completion: Completion) -> ToScore:
        """A completion with what rewards may look at."""
        return ToScore(
            prompt.asked,
            self.completion(prompt, completion.tokens),
            len(completion.tokens),
            prompt.columns,
            prompt.place,
            messages=prompt.messages or (),
            ids=completion.tokens.tolist(),
        )


@dataclass(eq=False)
class Rollout:
    """Scored completions, group after group; tokens and what belongs to each are joined.

    `prompts` [completions] are indices of the training set, `lengths` [completions] in tokens, `scores`
    [completions, rewards] unweighted. `tokens`, `old` (log-probabilities at sampling) and `entropies` are [tokens].
    """

    number: int
    """Which rollout of the run, from 0."""
    prompts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    scores: NDArray[np.float64]
    tokens: NDArray[np.int32]
    old: Floats
    entropies: Floats
    tokens_per_second: float
    reference: Floats | None = None
    """Log-probabilities under the base model, where the loss needs them."""

    @classmethod
    def of(
        cls,
        number: int,
        prompts: NDArray[np.int64],
        completions: list[Completion],
        scores: NDArray[np.float64],
        *,
        seconds: float,
    ) -> Rollout:
        """Join completions whose sampling took `seconds`."""
        lengths = np.array([len(completion.tokens) for completion in completions], np.int64)
        return cls(
            number=number,
            prompts=prompts,
            lengths=lengths,
            truncated=np.array([completion.truncated for completion in completions]),
            scores=scores,
            tokens=np.concatenate([completion.tokens for completion in completions]),
            old=np.concatenate([completion.logps for completion in completions]),
            entropies=np.concatenate([completion.entropies for completion in completions]),
            tokens_per_second=float(lengths.sum()) / seconds,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def span(self, index: int) -> slice:
        """Where the tokens of a completion stand."""
        end = int(self._ends[index])
        return slice(end - int(self.lengths[index]), end)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.lengths)

    def arrays(self) -> dict[str, mx.array]:
        """Everything, to the bit, as arrays that can be saved."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {
            "number": np.array([self.number], np.int64),
            # Safetensors of MLX have no doubles.
            "scores": np.ascontiguousarray(self.scores).view(np.uint32),
            "tokens_per_second": np.array([self.tokens_per_second], np.float32),
        }
        return {name: mx.array(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: dict[str, mx.array]) -> Rollout:
        """The rollout that `arrays` was made from."""
        values: dict[str, Any] = {name: np.array(value) for name, value in arrays.items()}
        values |= {
            "number": int(values["number"][0]),
            "scores": values["scores"].view(np.float64),
            "tokens_per_second": float(values["tokens_per_second"][0]),
        }
        return cls(**values)


@dataclass(frozen=True)
class Sampler:
    """How completions are drawn. `ends` are the tokens that end one."""

    ends: frozenset[int]
    max_tokens: int
    temperature: float
    batch_size: int
    tokens: frozenset[int] | None = None
    """Those that can be drawn; None for every row of the vocabulary."""

    def sample(
        self,
        model: nn.Module,
        prompts: Sequence[NDArray[np.int32]],
        streams: Sequence[Sequence[np.random.Generator]],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, int, Completion]]:
        """A completion for each stream of each prompt, as (prompt, member, completion), in the order they end.

        Raises:
            Interrupted: `should_stop`, asked before every token, returned True.
        """
        # Prompts of like length share a batch, so that little of its caches is padding.
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        slots = [(index, member) for index in order for member in range(len(streams[index]))]
        for start in range(0, len(slots), self.batch_size):
            chosen = slots[start : start + self.batch_size]
            batch = _Batch(self, [streams[index][member] for index, member in chosen])
            for row, completion in batch.run(model, prompts, [index for index, _ in chosen], should_stop):
                yield *chosen[row], completion


def streams(seed: int, rollout: int, prompts: int, group: int) -> list[list[np.random.Generator]]:
    """Random numbers for every completion of a rollout: functions of (seed, rollout, prompt, member)."""

    def stream(prompt: int, member: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, rollout, prompt, member])))

    return [[stream(prompt, member) for member in range(group)] for prompt in range(prompts)]


class _Batch:
    """Completions that are drawn side by side."""

    def __init__(self, sampler: Sampler, streams: Sequence[np.random.Generator]) -> None:
        self.sampler = sampler
        self.uniforms = np.stack([stream.random(sampler.max_tokens) for stream in streams])
        self.tokens = np.zeros(self.uniforms.shape, np.int32)
        self.logps = np.zeros(self.uniforms.shape, np.float32)
        self.entropies = np.zeros(self.uniforms.shape, np.float32)

    def run(
        self,
        model: nn.Module,
        prompts: Sequence[NDArray[np.int32]],
        prompt_of: list[int],
        should_stop: Callable[[], bool],
    ) -> Iterator[tuple[int, Completion]]:
        """(row, completion) as each is done."""
        cache, logits_BV = _read_prompts(model, prompts, prompt_of, should_stop)
        rows = np.arange(len(prompt_of))
        alive = np.ones(len(rows), np.bool_)
        ends = np.array(sorted(self.sampler.ends), np.int32)
        unused = self._unused(logits_BV.shape[1])
        for at in range(self.sampler.max_tokens):
            if should_stop():
                raise Interrupted
            drawn = draw(logits_BV, self.uniforms[rows, at], self.sampler.temperature, unused)
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
            logits_BV = model(mx.array(self.tokens[rows, at][:, None]), cache=cache)[:, -1]

    def _unused(self, size: int) -> NDArray[np.bool_] | None:
        """True [V] for rows that are no token; None where all are."""
        tokens = self.sampler.tokens
        if tokens is None or tokens.issuperset(range(size)):
            return None
        return ~np.isin(np.arange(size), list(tokens))

    def _completion(self, row: int, length: int, ends: NDArray[np.int32]) -> Completion:
        tokens = self.tokens[row, :length].copy()
        return Completion(
            tokens,
            self.logps[row, :length].copy(),
            self.entropies[row, :length].copy(),
            truncated=not bool(np.isin(tokens[-1], ends)),
        )


def draw(
    logits_BV: mx.array,
    uniforms_B: NDArray[np.float64],
    temperature: float,
    unused: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Tokens [B], their log-probabilities and the entropies of their distributions.

    The token is where the cumulated probability passes the uniform number. Logits are divided by `temperature`.
    A row that is `unused` [V] is never drawn; probabilities are those of the model, which has it too.
    """
    if mx.default_device() == mx.Device(mx.cpu):
        # NumPy's exponentials are vectorised, MLX's on the CPU are not.
        return _draw_on_host(np.array(logits_BV.astype(mx.float32)), uniforms_B, temperature, unused)
    return _draw_on_device(logits_BV, uniforms_B, temperature, unused)


def _draw_on_host(
    logits_BV: Floats, uniforms_B: NDArray[np.float64], temperature: float, unused: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int32], Floats, Floats]:
    scores_BV = logits_BV / np.float32(temperature)
    scores_BV -= scores_BV.max(axis=1, keepdims=True)
    np.maximum(scores_BV, np.float32(LOWEST), out=scores_BV)
    weights_BV = np.exp(scores_BV)
    passed_BV = np.cumsum(weights_BV, axis=1, dtype=np.float64)
    total_B = passed_BV[:, -1]
    last = logits_BV.shape[1] - 1
    if unused is not None:
        passed_BV = np.cumsum(np.where(unused, 0, weights_BV), axis=1, dtype=np.float64)
        last = int(np.flatnonzero(~unused)[-1])
    levels = zip(passed_BV, uniforms_B * passed_BV[:, -1], strict=True)
    tokens_B = np.array([np.searchsorted(row, level, side="right") for row, level in levels], np.int32)
    tokens_B = np.minimum(tokens_B, last).astype(np.int32)
    log_total_B = np.log(total_B)
    logps_B = scores_BV[np.arange(len(tokens_B)), tokens_B] - log_total_B
    entropies_B = log_total_B - np.einsum("bv,bv->b", weights_BV, scores_BV) / total_B
    return tokens_B, logps_B.astype(np.float32), entropies_B.astype(np.float32)


def _draw_on_device(
    logits_BV: mx.array, uniforms_B: NDArray[np.float64], temperature: float, unused: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int32], Floats, Floats]:
    scores_BV = logits_BV.astype(mx.float32) / temperature
    scores_BV = mx.maximum(scores_BV - scores_BV.max(axis=1, keepdims=True), LOWEST)
    weights_BV = mx.exp(scores_BV)
    passed_BV = mx.cumsum(weights_BV, axis=1)
    total_B1 = passed_BV[:, -1:]
    last = logits_BV.shape[1] - 1
    if unused is not None:
        passed_BV = mx.cumsum(mx.where(mx.array(unused), 0, weights_BV), axis=1)
        last = int(np.flatnonzero(~unused)[-1])
    drawable_B1 = passed_BV[:, -1:]
    # Rounding must not make it one: the last tokens may have no probability.
    below_B = np.minimum(uniforms_B, 1 - 2.0**-24).astype(np.float32)
    tokens_B = mx.minimum((passed_BV <= mx.array(below_B)[:, None] * drawable_B1).sum(axis=1), last)
    logps_B1 = mx.take_along_axis(scores_BV, tokens_B[:, None], axis=1) - mx.log(total_B1)
    entropies_B1 = mx.log(total_B1) - (weights_BV * scores_BV).sum(axis=1, keepdims=True) / total_B1
    mx.eval(tokens_B, logps_B1, entropies_B1)
    return np.array(tokens_B).astype(np.int32), np.array(logps_B1[:, 0]), np.array(entropies_B1[:, 0])


def _read_prompts(
    model: nn.Module, prompts: Sequence[NDArray[np.int32]], prompt_of: list[int], should_stop: Callable[[], bool]
) -> tuple[list[Any], mx.array]:
    """A batched cache that holds the prompt of each row, and the logits [B, V] that follow."""
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

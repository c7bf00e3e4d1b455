"""Answers that are made side by side: rows that join and leave a batch at every token, each with its own adapter.

A row's prompt is read alone, part by part, between the tokens of the others; then it joins. What a row's answer is
depends on that row alone: on a processor with our kernels to the bit, elsewhere within rounding. Rows share a batch
where their caches and adapters allow it; where not, they take turns.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from numpy.typing import NDArray

from droidft.engine.generation.likelihood import Likelihood, likelihoods
from droidft.engine.generation.prompt import Prompt
from droidft.engine.generation.reuse import Kept, Span
from droidft.engine.generation.sampling import Drawer, Floats, Sampling
from droidft.engine.generation.text import Text
from droidft.engine.model.lora import Attached
from droidft.engine.model.stacked import Stack, repeats, stackable
from droidft.engine.model.vocabulary import padding
from droidft.errors import ConfigError, DroidError, NonFiniteError, PromptTooLong

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

MOST_ROWS = 64
"""Rows that are answered at once; `few_rows` of the kernels covers as many."""
PART, PART_ON_GPU = 128, 512
"""Tokens of prompts that are read between two tokens of the answers."""
SHORTEST = 1024
"""Rows share a batch with those of like length, by powers of two from here on: a batch is as long as its longest."""
KEPT_MEMBERS = 4
"""Adapters that stay stacked though no row has them now."""
ALONE = frozenset({"afm7", "gear", "gemma2", "gpt_bigcode", "minimax_m3_vl", "phi3small"})
"""Architectures that mlx-lm computes otherwise, or not at all, where rows of unlike length share a batch
(`python -m bench.batching`)."""
KEPT_SHARE = 0.25
"""How much of the memory may hold prompts that were read before."""


@dataclass(frozen=True)
class Token:
    """One step of an answer.

    `text` may be empty while a character is still incomplete. `finish_reason` is None until the last step,
    then `stop` (the model ended its answer) or `length`. Speeds are in tokens per second.
    """

    text: str
    token_id: int
    finish_reason: str | None
    prompt_tokens: int
    tokens: int
    tokens_per_second: float
    likelihood: Likelihood | None = None
    """How likely the model had it, where that was asked for."""


def _nothing(done: int, total: int) -> None:
    """Nobody wants to know."""


@dataclass(eq=False)
class Row:
    """A prompt, and its answer of at most `room` tokens.

    `adapter` was made for the model, None for the base alone. With `top_logprobs` each token comes with its
    likelihood and that of so many of the likeliest; `prompt_logprobs` asks for the same of the prompt's tokens, which
    are then in `known` once the prompt is read. `reading` is called with prompt tokens read and all, before the first
    and after each part; what it raises ends the step.
    """

    prompt: Prompt
    sampling: Sampling
    room: int
    adapter: Attached | None = None
    top_logprobs: int | None = None
    prompt_logprobs: int | None = None
    reading: Callable[[int, int], None] = _nothing
    party: object = None
    """Whose row it is: parties have equal shares where rows have to wait."""
    known: list[Likelihood | None] = field(default_factory=lambda: [None])
    ended: bool = False
    error: DroidError | None = None
    """Why it ended before its answer did."""

    @property
    def tokens(self) -> list[int]:
        """Of the prompt."""
        return self.prompt.tokens


def room_for(prompt: Sequence[int], max_tokens: int, context_length: int | None) -> int:
    """How many tokens an answer of at most `max_tokens` may have.

    Raises:
        ConfigError: the prompt is empty.
        PromptTooLong: it fills the context.
    """
    if not prompt:
        raise ConfigError("the prompt is empty", hint="write at least one word", field="prompt")
    if context_length is None:
        return max_tokens
    if len(prompt) + min(max_tokens, 1) > context_length:
        raise PromptTooLong(
            f"the prompt has {len(prompt):,} tokens, and the model's context is {context_length:,}",
            hint="shorten it, or start a new conversation",
            field="prompt",
        )
    return min(max_tokens, context_length - len(prompt))


def part_size() -> int:
    """Tokens of prompts that are read at once: the fewer, the sooner others go on and reading can be cancelled."""
    return PART if mx.default_device() == mx.Device(mx.cpu) else PART_ON_GPU


@dataclass(eq=False)
class _Reader:
    """A row whose prompt is being read; the last token of it is the first input of the batch."""

    row: Row
    cache: list[Any]
    left: list[Span]
    """Parts that are to be read."""


class _Answer:
    """The answer of a row that is in a batch."""

    def __init__(self, row: Row, tokenizer: TokenizerWrapper) -> None:
        self.row = row
        self.last = row.tokens[-1]
        self._ends = tokenizer.eos_token_ids
        self._drawer = Drawer(row.sampling, row.tokens)
        self._text = Text(tokenizer, after=None if row.prompt.chat_template_used else row.tokens[-1])
        self._tokens = 0
        self._begun = self._first = time.perf_counter()

    def advance(self, host_V: Floats, logits_1V: mx.array, unused: NDArray[np.bool_] | None) -> Token:
        """The next token, given its logits. Raises as `Drawer.draw`."""
        row, token = self.row, self._drawer.draw(host_V, unused)
        self.last = token
        self._tokens += 1
        now = time.perf_counter()
        if self._tokens == 1:
            self._first = now
        is_end = token in self._ends
        reason = "stop" if is_end else "length" if self._tokens == row.room else None
        row.ended = reason is not None
        speed = (self._tokens - 1) / (now - self._first) if self._tokens > 1 else 1 / (now - self._begun)
        top = row.top_logprobs
        return Token(
            text=self._text.add(None if is_end else token, last=row.ended),
            token_id=token,
            finish_reason=reason,
            prompt_tokens=len(row.tokens),
            tokens=self._tokens,
            tokens_per_second=speed,
            likelihood=None if top is None else likelihoods(logits_1V, [token], top)[0],
        )


class _Batch:
    """Answers with one cache between them; or, if it is `single`, one with a cache that cannot be shared."""

    def __init__(self, *, single: bool = False) -> None:
        self.single = single
        self.answers: list[_Answer] = []
        self.cache: list[Any] = []

    def join(self, answers: Sequence[_Answer], caches: Sequence[list[Any]]) -> None:
        """Take the first rows in, each with the cache of its prompt."""
        self.answers += answers
        if self.single:
            (self.cache,) = caches
        else:
            self.cache = [layers[0].merge(list(layers)) for layers in zip(*caches, strict=True)]

    def absorb(self, other: _Batch) -> None:
        """Take the rows of another batch in."""
        self.answers += other.answers
        if self.cache:
            for layer, more in zip(self.cache, other.cache, strict=True):
                layer.extend(more)
        else:
            self.cache = other.cache

    def leave(self, gone: Callable[[_Answer], bool]) -> None:
        """Let rows go."""
        kept = [number for number, answer in enumerate(self.answers) if not gone(answer)]
        if len(kept) == len(self.answers):
            return
        self.answers = [self.answers[number] for number in kept]
        if kept:
            for layer in self.cache:
                layer.filter(mx.array(kept))

    def logits(self, model: nn.Module) -> mx.array:
        """What follows the last token of each row, [B, V]."""
        last = mx.array([[answer.last] for answer in self.answers])
        logits: mx.array = model(last, cache=self.cache)[:, -1].astype(mx.float32)
        return logits


def shareable(model: nn.Module, cache: list[Any]) -> bool:
    """Whether rows of this model, with caches of this kind, can stand in one batch."""
    return getattr(model, "model_type", None) not in ALONE and all(joinable(layer) for layer in cache)


def joinable(layer: Any) -> bool:
    """Whether mlx-lm can join caches of this kind."""
    from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

    if type(layer) is CacheList:
        return all(joinable(each) for each in layer.caches)
    if type(layer) is RotatingKVCache:
        return bool(layer.keep == 0)
    return type(layer) in (KVCache, ArraysCache)


class Engine:
    """Answers rows with one model. `put` puts a row's adapter, or a stack of them, on the model.

    Without `put`, rows are answered with what is on the model at each step. `memory` bounds the caches in bytes: rows
    beyond it wait, though one is always answered.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: TokenizerWrapper,
        *,
        put: Callable[[Attached | None], None] | None = None,
        memory: int | None = None,
        most_rows: int = MOST_ROWS,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._manages, self._put = put is not None, put or (lambda attached: None)
        self._memory, self._most_rows = memory, most_rows
        self._part = part_size()
        self._kept = Kept(int(KEPT_SHARE * (memory or 0)), part=self._part)
        self._waiting: list[Row] = []
        self._readers: deque[_Reader] = deque()
        self._reading = False
        """Whether the last step was spent on prompts."""
        self._batches: dict[Any, _Batch] = {}
        self._stack: Stack | None = None
        self._lone: dict[Attached, Stack] = {}
        """Adapters that are faster as a stack of one, for the reading of prompts."""
        self._unused: list[NDArray[np.bool_] | None] = []
        self._token_bytes = 0

    @property
    def rows(self) -> list[Row]:
        """All that are not answered yet."""
        reading = [reader.row for reader in self._readers]
        return [*self._waiting, *reading, *(answer.row for answer in self._answers())]

    @property
    def busy(self) -> bool:
        """Whether there are any."""
        return bool(self._waiting or self._readers or self._batches)

    def add(self, row: Row) -> None:
        """Answer a row in the steps to come."""
        self._waiting.append(row)

    def drop(self, row: Row) -> None:
        """A row's answer is no longer wanted."""
        row.ended = True
        if row in self._waiting:
            self._waiting.remove(row)
        self._readers = deque(reader for reader in self._readers if reader.row is not row)
        self._let_go()

    def step(self) -> list[tuple[Row, Token]]:
        """Read a part of the prompts that wait, and give rows that are read by then their first token; or, in turn
        with that where there is either, give every other row its next token.

        A row whose `ended` is set has had its last; one with an `error` gives none.
        """
        self._admit()
        self._reading = bool(self._readers) and not (self._reading and self._batches)
        if self._reading:
            made = self._read()
        else:
            made = [each for batch in self._batches.values() for each in self._advance(batch)]
        self._let_go()
        return made

    def _answers(self) -> Iterator[_Answer]:
        for batch in self._batches.values():
            yield from batch.answers

    def _let_go(self) -> None:
        for key, batch in list(self._batches.items()):
            batch.leave(lambda answer: answer.row.ended)
            if not batch.answers:
                del self._batches[key]

    def _admit(self) -> None:
        """Begin rows that there is room for, of the party with the fewest first."""
        from mlx_lm.models.cache import make_prompt_cache

        active = [reader.row for reader in self._readers] + [answer.row for answer in self._answers()]
        taken, parties = sum(map(self._bytes, active)), Counter(id(row.party) for row in active)
        while self._waiting and len(active) < self._most_rows:
            row = min(self._waiting, key=lambda it: parties[id(it.party)])
            taken += self._bytes(row)
            if active and self._memory is not None and taken > self._memory:
                return
            self._waiting.remove(row)
            active.append(row)
            parties[id(row.party)] += 1
            row.reading(0, len(row.tokens))
            self._readers.append(
                _Reader(row, make_prompt_cache(self._model), self._kept.spans(row.adapter, row.tokens[:-1]))
            )

    def _bytes(self, row: Row) -> int:
        """What the keys and values of a row may take."""
        if self._memory is None:
            return 0
        if not self._token_bytes:
            self._put(None)
            self._token_bytes = _bytes_per_token(self._model)
        return _length(row) * self._token_bytes

    def _read(self) -> list[tuple[Row, Token]]:
        """One part of prompts; those that are read get their first token, before they join a batch of others."""
        left, read = self._part, []
        while self._readers and left > 0:
            reader = self._readers.popleft()
            left -= self._read_part(reader)
            if reader.left:
                self._readers.append(reader)
            else:
                read.append(reader)
        joining: dict[Any, list[_Reader]] = {}
        for reader in read:
            if reader.row.room == 0:
                reader.row.ended = True
            elif not reader.row.ended:
                joining.setdefault(self._place(reader), []).append(reader)
        made = []
        for key, readers in joining.items():
            new = _Batch(single=isinstance(key, Row))
            new.join([_Answer(reader.row, self._tokenizer) for reader in readers], [it.cache for it in readers])
            made += self._advance(new)
            new.leave(lambda answer: answer.row.ended)
            if new.answers:
                self._batches.setdefault(key, _Batch(single=new.single)).absorb(new)
        return made

    def _read_part(self, reader: _Reader) -> int:
        """How many tokens were read."""
        row, known = reader.row, 0
        if row.prompt_logprobs is None:
            known = self._kept.find(reader.left, reader.cache)
            reader.left = reader.left[known:]
        if not reader.left:
            return 0
        span = reader.left.pop(0)
        self._put(self._alone(row.adapter))
        logits = self._model(mx.array([row.tokens[span.start : span.end]]), cache=reader.cache)
        if row.prompt_logprobs is not None:
            row.known += likelihoods(logits[0], row.tokens[span.start + 1 : span.end + 1], row.prompt_logprobs)
        mx.eval([layer.state for layer in reader.cache])
        self._kept.keep(span, reader.cache)
        row.reading(span.end, len(row.tokens))
        return span.end - span.start

    def _place(self, reader: _Reader) -> Any:
        """The batch that a row belongs into: rows of one place can share it."""
        row = reader.row
        if not shareable(self._model, reader.cache):
            return row
        alone = row.adapter is not None and not stackable(row.adapter)
        return (id(row.adapter) if alone else None), _length(row)

    def _advance(self, batch: _Batch) -> list[tuple[Row, Token]]:
        self._put(self._attached([answer.row.adapter for answer in batch.answers]))
        logits = batch.logits(self._model)
        mx.eval(logits)
        host = np.asarray(memoryview(logits))  # type: ignore[arg-type]
        unused, made = self._padding(host.shape[1]), []
        for number, answer in enumerate(batch.answers):
            row = answer.row
            try:
                token = answer.advance(host[number], logits[number : number + 1], unused)
            except NonFiniteError as error:
                row.error, row.ended = error, True
                continue
            if token.tokens == 1:
                row.reading(len(row.tokens), len(row.tokens))
            made.append((row, token))
        return made

    def _attached(self, adapters: Sequence[Attached | None]) -> Attached | None:
        """What goes on the model for a batch of rows with these adapters."""
        wanted = list(dict.fromkeys(each for each in adapters if each is not None))
        if not self._manages or not wanted or not stackable(wanted[0]):
            return wanted[0] if wanted else None
        if self._stack is None or not set(wanted) <= set(self._stack.members):
            used = {row.adapter for row in self.rows}
            before = [] if self._stack is None else self._stack.members
            kept = [each for each in before if each in used and each not in wanted]
            spare = [each for each in before if each not in used][: max(0, KEPT_MEMBERS - len(kept) - len(wanted))]
            self._stack = Stack([*spare, *kept, *wanted])
        self._stack.choose(adapters)
        return self._stack

    def _alone(self, adapter: Attached | None) -> Attached | None:
        """What goes on the model while one row's prompt is read; the same whatever else is stacked."""
        if adapter is None or not self._manages or not repeats(adapter):
            return adapter
        stack = self._lone.pop(adapter, None) or Stack([adapter])
        self._lone[adapter] = stack  # the last used is the last
        if len(self._lone) > KEPT_MEMBERS:
            del self._lone[next(iter(self._lone))]
        stack.choose([adapter])
        return stack

    def _padding(self, size: int) -> NDArray[np.bool_] | None:
        """True [V] for rows of the vocabulary that are no token; None where all are."""
        if not self._unused:
            mask = padding(self._tokenizer, size)
            self._unused.append(None if mask is None else np.array(mask))
        return self._unused[0]


def _length(row: Row) -> int:
    """A length that holds prompt and answer: a power of two."""
    return max(SHORTEST, 1 << (len(row.tokens) + row.room - 1).bit_length())


def _bytes_per_token(model: nn.Module) -> int:
    """What the cache of a model takes for each token, at most; computes nothing."""
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model)
    model(mx.zeros((1, 1), mx.int32), cache=cache)
    arrays = [array for layer in cache for _, array in tree_flatten(layer.state) if isinstance(array, mx.array)]
    # Caches of keys and values grow in steps: the first token makes one.
    return 1 + int(sum(array.nbytes / (array.shape[2] if array.ndim == 4 else SHORTEST) for array in arrays))

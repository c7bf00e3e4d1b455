"""A loaded model as the evaluation harness asks it: log-probabilities of continuations, greedy answers.

Prefixes and cuts are those of the harness's own class for causal models, `HFLM`, so that scores can be compared with
published ones. Only `harness` imports this module, when needed: `lm-eval` is an optional package.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from droidft.data.batches import Batch
from droidft.engine.generation.batch import Engine, Row
from droidft.engine.generation.prompt import Prompt
from droidft.engine.generation.sampling import Sampling
from droidft.engine.model import loss
from droidft.engine.model.loss import SplitModel
from droidft.engine.training.method import Interrupted
from droidft.errors import ConfigError

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

TOKENS_AT_ONCE = 4096
"""Inputs are read in batches of this many tokens, padding included; a longer one is read alone."""
ANSWERS_AT_ONCE = 16
LONGEST_ANSWER = 256
"""Tokens of an answer where its task sets no limit."""

Pair = tuple[Any, list[int], list[int]]
"""What was asked, or None; tokens of the context; tokens of the continuation."""


@dataclass(frozen=True)
class Asked:
    """An answer that is wanted: after which tokens, how many tokens at most, up to which texts."""

    prompt: list[int]
    most: int
    stops: list[str]

    @cached_property
    def reach(self) -> int:
        """Last tokens of an answer that hold a stop text which ends with it; no token is shorter than a byte."""
        return max((len(stop.encode()) for stop in self.stops), default=0) + 1

    def cut(self, text: str) -> str:
        """`text` up to the first of the stop texts."""
        return text[: min((text.index(stop) for stop in self.stops if stop in text), default=len(text))]


class HarnessModel(TemplateLM):  # type: ignore[misc]
    """The model and its tokenizer behind the harness's interface. The model has to be in evaluation mode."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: TokenizerWrapper | Any,
        *,
        context_length: int,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_length = context_length
        self._model = model
        self._split = SplitModel(model)
        self._progress = progress
        self._should_stop = should_stop
        self._done = self._known = 0

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token before a text that follows nothing: the one that begins texts, else the one that ends them."""
        begins = self.tokenizer.bos_token_id
        return self.eot_token_id if begins is None else int(begins)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Tokens of a text, with what the tokenizer puts before it unless that is there already."""
        if add_special_tokens is None and string.startswith(self.tokenizer.decode([self.prefix_token_id])):
            add_special_tokens = False
        special = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **special))

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Of each (context, continuation): summed log-probability in nats, and whether it is the greedy one."""
        scores: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return scores

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Log-probability of each whole text in nats; every token is counted once, after all that fits before it."""
        windows: list[Pair] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            for window in get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            ):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(number)
        sums = [0.0] * len(requests)
        for owner, (value, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            sums[owner] += value
        return sums

    def _loglikelihood_tokens(self, requests: Sequence[Pair], **options: Any) -> list[tuple[float, bool]]:
        self._known += len(requests)
        # Choices of one token share their input, as in MMLU: it is read once.
        sharing: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, (_, context, continuation) in enumerate(requests):
            self._check(continuation)
            # A context of nothing but spaces has lost them to its continuation: there is no token left of it.
            whole = (context or [self.prefix_token_id]) + continuation
            sharing[tuple(whole[-(self.max_length + 1) : -1])].append(number)
        answers = [(0.0, False)] * len(requests)
        for rows in _batches(sharing):
            self._pause()
            numbers = [(row, number) for row, tokens in enumerate(rows) for number in sharing[tokens]]
            scores = score(self._split, rows, [(row, requests[number][2]) for row, number in numbers])
            for (_, number), each in zip(numbers, scores, strict=True):
                answers[number] = each
            self._advance(len(numbers))
        return answers

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """The greedy answer to each (context, options), up to the first of the texts `until` in its options."""
        self._known += len(requests)
        asked = [self._asked(*request.args) for request in requests]
        answers = [""] * len(asked)
        for index, tokens in self._greedy(asked):
            answers[index] = asked[index].cut(self.tokenizer.decode(tokens, skip_special_tokens=True))
            self._advance(1)
        return answers

    def _asked(self, context: str, options: Mapping[str, Any]) -> Asked:
        wanted = normalize_gen_kwargs(dict(options), LONGEST_ANSWER)
        most, room = wanted["max_gen_toks"], self.max_length - wanted["max_gen_toks"]
        if room < 1:
            raise ConfigError(
                f"a task wants answers of {most} tokens, and the model's context is {self.max_length}",
                hint="lower max_gen_toks in the task's file, or leave the task out",
                field="harness",
            )
        prompt = self.tok_encode(context)[-room:] or [self.prefix_token_id]
        return Asked(prompt, most, [stop for stop in wanted["until"] if stop])

    def _greedy(self, asked: Sequence[Asked]) -> Iterator[tuple[int, list[int]]]:
        """(index, tokens) of each answer without its end token, in the order in which they end."""
        # The longest first, so that rows of like length share a batch.
        order = sorted(range(len(asked)), key=lambda index: -len(asked[index].prompt))
        index_of = {self._row(asked[index]): index for index in order}
        engine = Engine(self._model, self.tokenizer, most_rows=ANSWERS_AT_ONCE)
        for row in index_of:
            engine.add(row)
        drawn: dict[Row, list[int]] = {row: [] for row in index_of}
        while drawn:
            self._pause()
            for row, token in engine.step():
                if token.finish_reason != "stop":
                    drawn[row].append(token.token_id)
                if row.ended or self._is_stopped(asked[index_of[row]], drawn[row]):
                    engine.drop(row)
                    yield index_of[row], drawn.pop(row)
            for row in drawn:
                if row.error is not None:
                    raise row.error

    def _row(self, asked: Asked) -> Row:
        return Row(Prompt(asked.prompt, chat_template_used=False), Sampling(max_tokens=asked.most), asked.most)

    def _is_stopped(self, asked: Asked, tokens: list[int]) -> bool:
        if not asked.stops:
            return False
        end = self.tokenizer.decode(tokens[-asked.reach :])
        return any(stop in end for stop in asked.stops)

    def _check(self, continuation: list[int]) -> None:
        if not 0 < len(continuation) <= self.max_length:
            raise ConfigError(
                f"a task asks for the probability of a text of {len(continuation)} tokens",
                hint=f"from 1 to {self.max_length}, the model's context, are possible",
                field="harness",
            )

    def _pause(self) -> None:
        if self._should_stop():
            raise Interrupted

    def _advance(self, answered: int) -> None:
        self._done += answered
        if self._progress is not None:
            self._progress(self._done, self._known)


def score(
    model: SplitModel, rows: Sequence[Sequence[int]], asked: Sequence[tuple[int, Sequence[int]]]
) -> list[tuple[float, bool]]:
    """Log-probability in nats of each continuation, and whether each of its tokens is the likeliest.

    `rows` are inputs as tokens. `asked` are (row, continuation): the last outputs of that row are to predict it, so
    its last token is not in the row. Sums are in float64 over float32 log-probabilities.
    """
    width = max(len(row) for row in rows)
    inputs = np.zeros((len(rows), width), np.int32)
    for number, row in enumerate(rows):
        inputs[number, : len(row)] = row
    # The end of row r is at r * width + its length.
    ends = [(row * width + len(rows[row]), len(tokens)) for row, tokens in asked]
    positions = np.concatenate([np.arange(end - length, end, dtype=np.int32) for end, length in ends])
    targets = np.concatenate([np.asarray(tokens, np.int32) for _, tokens in asked])
    batch = Batch(inputs, positions, targets, rows=(), tokens=sum(len(row) for row in rows))
    logps, greedy = [], []
    for hidden, expected in loss.chunks_of(model, *loss.supervised(model, batch)):
        logits = model.head(hidden)
        logps.append(-np.array(loss.cross_entropy(logits, expected), np.float64))
        greedy.append(np.array(mx.argmax(logits, axis=-1) == expected))
    starts = np.cumsum([0, *(length for _, length in ends[:-1])])
    sums = np.add.reduceat(np.concatenate(logps), starts)
    all_greedy = np.logical_and.reduceat(np.concatenate(greedy), starts)
    return [(float(value), bool(likeliest)) for value, likeliest in zip(sums, all_greedy, strict=True)]


def _batches(inputs: Mapping[tuple[int, ...], Any]) -> Iterator[list[tuple[int, ...]]]:
    """By falling length, so that the largest allocation comes first and little is padding."""
    order = sorted(inputs, key=len, reverse=True)
    start = 0
    while start < len(order):
        rows = max(1, TOKENS_AT_ONCE // len(order[start]))
        yield order[start : start + rows]
        start += rows

"""Data for methods that learn from preferences (DPO, ORPO): what was asked, and a chosen and a rejected answer.

    files -> records -> a prompt with two answers -> tokens and mask of both

Both answers are encoded with the prompt before them, exactly as rows of answers are. Only the answer is trained, its
end of turn included, whatever `mask_prompt` says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from droidft.config import DataFormat, TrainingConfig
from droidft.data.calls import Tool
from droidft.data.conversation import Message, characters, messages_key, with_own_system
from droidft.data.fields import (
    CONVERSATIONS,
    HISTORY,
    PROMPTS,
    TOOLS,
    answer_in,
    filled,
    first_of,
    history_of,
    input_column,
    is_conversation,
    listed,
    missing,
    optional,
    prompt_in,
    tools_of,
    with_input,
)
from droidft.data.prepare import Indices, Keys, Kind, Parts, Sets
from droidft.data.rows import Columns, Located, Row, Schema, refuse_two_prompts
from droidft.data.sources import Fetch, Progress
from droidft.data.statistics import Measured
from droidft.data.tokens import Encoded, RowEncoder, TokenizedRow, TokenSet, hash64, untrainable
from droidft.errors import ConfigError
from droidft.support.faults import Refused

CHOSEN, REJECTED = "chosen", "rejected"


class Choice(NamedTuple):
    """A prompt with two answers.

    `joinable` says that all three are texts, which need no chat template; `plain` that none touches them.
    """

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: list[Tool] | None = None
    plain: bool = False
    joinable: bool = False

    @property
    def characters(self) -> int:
        """How much text it holds."""
        return 2 * characters(self.prompt) + characters(self.chosen) + characters(self.rejected)

    @property
    def key(self) -> int:
        """Equal for equal rows, within this process."""
        return hash((messages_key(self.prompt), messages_key(self.chosen), messages_key(self.rejected)))


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs of answers. Row 2 i of `rows` is the chosen answer of pair i, row 2 i + 1 the rejected one."""

    rows: TokenSet

    def __len__(self) -> int:
        return len(self.rows) // 2

    def __getitem__(self, index: int) -> tuple[TokenizedRow, TokenizedRow]:
        """The chosen and the rejected answer of pair `index`."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        index %= len(self)
        return self.rows[2 * index], self.rows[2 * index + 1]

    def __iter__(self) -> Iterator[tuple[TokenizedRow, TokenizedRow]]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> Indices:
        """Tokens of the longer answer of each pair, with the prompt, after the cut. Shape (pairs,)."""
        longer: Indices = self.rows.lengths.reshape(-1, 2).max(axis=1, initial=0)
        return longer

    @property
    def full_lengths(self) -> npt.NDArray[np.int32]:
        """The same before the cut."""
        longer: npt.NDArray[np.int32] = self.rows.full_lengths.reshape(-1, 2).max(axis=1, initial=0)
        return longer

    @property
    def cut(self) -> npt.NDArray[np.int32]:
        """Tokens that both answers of each pair lost."""
        return _of_both(self.rows.cut)

    @property
    def token_count(self) -> int:
        """Tokens of all pairs."""
        return self.rows.token_count

    @property
    def supervised_counts(self) -> npt.NDArray[np.int32]:
        """Tokens of both answers of each pair."""
        return _of_both(self.rows.supervised_counts)

    @cached_property
    def digests(self) -> Keys:
        """A hash of both answers of each pair."""
        both = self.rows.digests.astype("<u8").reshape(-1, 2)
        return np.array([hash64(pair.tobytes()) for pair in both], dtype=np.uint64)

    def place(self, index: int) -> str:
        """`file:line` of pair `index`, the file by its name."""
        return self.rows.place(2 * index)

    def take(self, pairs: Indices) -> PairSet:
        """The pairs of these indices, in this order, as a set of their own."""
        rows = (2 * pairs[:, None] + np.arange(2)).reshape(-1)
        return PairSet(self.rows.take(rows))

    def update_hash(self, digest: hashlib._Hash) -> None:
        """Feed tokens, offsets and masks to a hash."""
        self.rows.update_hash(digest)


class PreparedPairs(Sets[PairSet]):
    """The sets of a run that learns from preferences."""


def prepare_pairs(
    config: TrainingConfig,
    tokenizer: Any,
    *,
    context_length: int | None = None,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> PreparedPairs:
    """Read, check, tokenize, mask and split the preferences of a run; arguments and errors as those of `prepare`."""
    return PreparedPairs(**vars(Preferences(config, tokenizer, context_length).prepare(fetch, progress)))


class Preferences(Kind[Choice, PairSet]):
    """Rows with a prompt and two answers."""

    whole_texts = "whole texts have no turns"

    @staticmethod
    def recogniser(config: TrainingConfig) -> Callable[[dict[str, Any]], Schema[Choice]]:
        """By the columns chosen, or the usual ones."""
        return partial(recognise_preferences, config=config)

    def encode(self, rows: Sequence[Choice]) -> list[Parts | Refused]:
        """Both answers, each with the prompt before it."""
        encoder = RowEncoder(self.codec, mask_prompt=True, system_prompt=self.config.system_prompt)
        both = [_row(choice, answer) for choice in rows for answer in (choice.chosen, choice.rejected)]
        encoded: Sequence[Encoded | Refused]
        encoded = encoder.pairs(both) if rows and rows[0].plain else encoder.encode(both)
        pairs: list[Parts | Refused] = []
        for chosen, rejected in zip(encoded[::2], encoded[1::2], strict=True):
            if isinstance(chosen, Refused):
                pairs.append(chosen)
            elif isinstance(rejected, Refused):
                pairs.append(rejected)
            else:
                pairs.append({CHOSEN: chosen, REJECTED: rejected})
        return pairs

    def refuse(self, row: Choice, parts: Parts) -> Refused | None:
        """A pair of which the cut takes away an answer, or what distinguishes the two."""
        for column, encoded in parts.items():
            if (why := untrainable(encoded, self.limit)) is not None:
                return Refused(why.kind, f"{why.reason} (in {column!r})", why.fix)
        chosen, rejected = parts[CHOSEN].tokens, parts[REJECTED].tokens
        if np.array_equal(chosen, rejected):
            return Refused("no-preference", "has two answers that are the same in tokens", "remove the row")
        if np.array_equal(chosen[: self.limit], rejected[: self.limit]):
            shared = min(len(chosen), len(rejected))
            first = int(np.argmax(np.append(chosen[:shared] != rejected[:shared], True))) + 1
            return Refused(
                "all-cut",
                f"has answers that differ from token {first:,} on, beyond the limit of {self.limit:,}",
                f"raise max_seq_length to {first:,} or more, or remove the row",
            )
        return None

    def collect(self, rows: TokenSet, records: list[bytes]) -> PairSet:
        """Two rows for each pair."""
        return PairSet(rows)

    def measured(self, rows: PairSet) -> Measured:
        """The pairs."""
        return rows

    def split_keys(self, rows: PairSet) -> Keys:
        """Pairs of one prompt stay on one side of the split."""
        return rows.rows.groups[::2]

    def group(self, located: Located[Choice], parts: Parts) -> int:
        """By the prompt."""
        chosen = parts[CHOSEN]
        return hash64(chosen.tokens[: int(np.argmax(chosen.supervised))].tobytes())


def _row(choice: Choice, answer: list[Message]) -> Row:
    given = sum(turn["role"] == "assistant" for turn in choice.prompt)
    return Row.of([*choice.prompt, *answer], choice.tools, given=given, joinable=choice.joinable)


def _of_both(counts: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    summed: npt.NDArray[np.int32] = counts.reshape(-1, 2).sum(axis=1, dtype=np.int32)
    return summed


# -- records -> preferences


def recognise_preferences(first: dict[str, Any], config: TrainingConfig) -> Schema[Choice]:
    """The schema of the file of preferences whose first record is `first`.

    Raises:
        ConfigError: the settings are about data of another kind.
        Refused: the record is no preference.
    """
    columns = Columns.of(config)
    _refuse_others(columns, config)
    for column in (CHOSEN, REJECTED):
        if column not in first:
            raise Refused("unknown-fields", f"{listed(first)}: {column!r} is not among them", _KNOWN_FIX)
    prompt = columns.messages or columns.prompt
    if prompt is None:
        prompt = first_of((*PROMPTS, *CONVERSATIONS), first)
    elif prompt not in first:
        raise missing(first, prompt, "prompt_column" if columns.messages is None else "messages_column")
    source = None
    if prompt is not None:
        source = _Prompt(prompt, input_column(first, prompt), is_conversation(first[prompt]))
    if is_conversation(first[CHOSEN]):
        return _Turns(source)
    return _WholeTexts() if source is None else _Texts(source)


@dataclass(frozen=True)
class _Prompt:
    """Where the prompt stands: text, with alpaca's `input` after it, or messages."""

    column: str
    input: str | None
    messages: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, *([self.input] if self.input else []))

    def read(self, value: dict[str, Any]) -> list[Message]:
        if self.column not in value:
            raise missing(value, self.column, "prompt_column")
        before = history_of(value)
        if self.messages:
            return [*before, *prompt_in(value[self.column], self.column)]
        text = with_input(filled(value[self.column], self.column), value, self.input)
        return [*before, {"role": "user", "content": text}]


_READ = (CHOSEN, REJECTED, "system", HISTORY, *TOOLS)


@dataclass(frozen=True)
class _Texts:
    """A prompt and two answers as texts."""

    prompt: _Prompt
    format: str = "preference"

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.prompt.columns, *_READ)

    def row(self, value: dict[str, Any]) -> Choice:
        prompt = with_own_system(self.prompt.read(value), optional(value, "system"))
        chosen, rejected = (_answer(value, column) for column in (CHOSEN, REJECTED))
        if chosen == rejected:
            raise _same()
        return Choice(prompt, chosen, rejected, tools_of(value), joinable=not self.prompt.messages)


@dataclass(frozen=True)
class _Turns:
    """Answers as messages: they follow the prompt, or are whole conversations whose common beginning it is."""

    prompt: _Prompt | None
    format: str = "preference"

    @property
    def columns(self) -> tuple[str, ...]:
        return (*(self.prompt.columns if self.prompt else ()), *_READ)

    def row(self, value: dict[str, Any]) -> Choice:
        chosen, rejected = (_turns(value, column) for column in (CHOSEN, REJECTED))
        if chosen == rejected:
            raise _same()
        if chosen[0]["role"] == rejected[0]["role"] == "assistant":
            if self.prompt is None:
                raise Refused("no-prompt", "has answers and no prompt", "add 'prompt', or write whole conversations")
            prompt = self.prompt.read(value)
        else:
            shared = _shared(chosen, rejected)
            if self.prompt is not None:
                self._check_beginning(value, chosen[:shared])
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        return Choice(with_own_system(prompt, optional(value, "system")), chosen, rejected, tools_of(value))

    def _check_beginning(self, value: dict[str, Any], shared: list[Message]) -> None:
        """Refuse a row whose prompt is not the beginning of both conversations, and would be left out.

        A prompt in messages must be the beginning; of one in text, which may be any turn of it, the words must occur.
        """
        assert self.prompt is not None
        if self.prompt.messages:
            prompt = prompt_in(value[self.prompt.column], self.prompt.column)
            begins = shared[: len(prompt)] == prompt
        else:
            said = _words(" ".join(turn["content"] for turn in shared))
            begins = all(_words(turn["content"]) in said for turn in self.prompt.read(value))
        if not begins:
            reason = "'chosen' and 'rejected' do not both begin with the prompt"
            raise Refused("different-prompts", reason, _SAME_PROMPT)


def _words(text: str) -> str:
    return " ".join(text.split())


@dataclass(frozen=True)
class _WholeTexts:
    """Two whole texts; the prompt is what they share, up to the last white space."""

    format: str = DataFormat.TEXT.value
    columns: tuple[str, ...] = (CHOSEN, REJECTED)

    def row(self, value: dict[str, Any]) -> Choice:
        chosen, rejected = (_answer(value, column)[0]["content"] for column in (CHOSEN, REJECTED))
        if chosen == rejected:
            raise _same()
        end = next((at for at, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other), None)
        end = min(len(chosen), len(rejected)) if end is None else end
        while end and not chosen[end - 1].isspace():
            end -= 1
        while end and chosen[end - 1].isspace():
            end -= 1
        if not end:
            raise Refused(
                "different-prompts", "'chosen' and 'rejected' share no beginning: there is no prompt", _SPLIT
            )
        texts = [chosen[:end], chosen[end:], rejected[end:]]
        prompt, one, other = ([{"role": role, "content": text}] for role, text in zip(_ROLES, texts, strict=True))
        for column, turn in ((CHOSEN, one), (REJECTED, other)):
            if not turn[0]["content"].strip():
                raise Refused(
                    "empty-text", f"{column!r} says nothing after what both share", "fill it or remove the row"
                )
        return Choice(prompt, one, other, plain=True)


_ROLES = ("user", "assistant", "assistant")
_SPLIT = "write the prompt into a column of its own, 'prompt'"


def _answer(value: dict[str, Any], column: str) -> list[Message]:
    if column not in value:
        raise missing(value, column, "")
    if isinstance(value[column], list | dict):
        reason = f"has messages in {column!r} where the first row has text"
        raise Refused("mixed", reason, "keep one form in a file")
    return [{"role": "assistant", "content": filled(value[column], column)}]


def _turns(value: dict[str, Any], column: str) -> list[Message]:
    if column not in value:
        raise missing(value, column, "")
    return answer_in(value[column], column)


def _shared(chosen: list[Message], rejected: list[Message]) -> int:
    """How many turns two whole conversations share.

    Raises:
        Refused: what follows them is not an answer on both sides.
    """
    pairs = list(zip(chosen, rejected, strict=False))
    shared = next((at for at, (one, other) in enumerate(pairs) if one != other), len(pairs))
    if shared == 0:
        raise Refused("different-prompts", "'chosen' and 'rejected' begin with different turns", _SAME_PROMPT)
    if shared == len(pairs):
        reason = f"one answer is only the beginning of the other: they share all {shared} turns"
        raise Refused("different-prompts", reason, _SAME_PROMPT)
    for messages in (chosen, rejected):
        if messages[shared]["role"] != "assistant":
            reason = f"'chosen' and 'rejected' differ in turn {shared + 1}, which is not the assistant's"
            raise Refused("different-prompts", reason, _SAME_PROMPT)
    return shared


_SAME_PROMPT = "both must answer the same prompt: fix or remove the row"


def _same() -> Refused:
    return Refused("no-preference", "'chosen' and 'rejected' are the same", "remove the row: nothing is preferred")


def _refuse_others(columns: Columns, config: TrainingConfig) -> None:
    for setting, column in (("completion_column", columns.completion), ("text_column", columns.text)):
        if column is not None:
            raise ConfigError(
                f"{setting} has no place with method '{config.method}': it reads 'chosen' and 'rejected'",
                hint="leave it out" + (", and give these columns those names" if setting[0] == "c" else ""),
                field=setting,
            )
    refuse_two_prompts(columns)


_KNOWN_FIX = "a preference has 'prompt', 'chosen' and 'rejected'; or whole conversations in the latter two"

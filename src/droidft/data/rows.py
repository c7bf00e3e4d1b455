"""Files -> records -> rows that know where they stand, and the parts that every format of rows is made of.

`formats` has those of data with answers, `prompts` and `preferences` their own.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from droidft.config import DataFormat, TrainingConfig
from droidft.data.calls import Tool, tools_in
from droidft.data.conversation import Message, characters, checked_turns, messages_key, without_weights
from droidft.data.readers import Reading, read_records
from droidft.data.sources import Meter
from droidft.errors import ConfigError
from droidft.support.faults import Refused
from droidft.support.strict_json import json_type

PROMPTS = ("prompt", "instruction", "question")
INSTRUCTIONS = ("instruction", "prompt", "question")
COMPLETIONS = ("completion", "answer", "output", "response")
INPUTS = ("input", "context")
CONVERSATIONS = ("messages", "conversations")
HISTORY = "history"
TOOLS = ("tools", "functions")
_BATCH_ROWS = 256
_BATCH_CHARACTERS = 4 << 20


# -- rows that know where they stand


class Content(Protocol):
    """A row of any family."""

    @property
    def characters(self) -> int:
        """Roughly how much text it holds."""
        ...

    @property
    def key(self) -> int:
        """Equal for equal rows, within this process."""
        ...


R = TypeVar("R", bound=Content)
R_co = TypeVar("R_co", bound=Content, covariant=True)


class Schema(Protocol[R_co]):
    """A format with its column names, fixed by the first record."""

    @property
    def format(self) -> str:
        """The format's name, for people."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns read, the optional ones included."""
        ...

    def row(self, value: dict[str, Any]) -> R_co:
        """The row in `value`.

        Raises:
            Refused: a field is missing, of the wrong type, empty, or breaks a rule of its format.
        """
        ...


@dataclass(frozen=True)
class Located(Generic[R_co]):
    """A row, the record that it was read from, and where it stands.

    `line` is counted from 1, `offset` is its first byte (None in Parquet).
    """

    row: R_co
    path: Path
    line: int
    offset: int | None
    record: dict[str, Any]


@dataclass
class RowReader(Generic[R]):
    """Files -> rows. The first row of the first file fixes the schema; faults go to `reading.log`."""

    recognise: Callable[[dict[str, Any]], Schema[R]]
    reading: Reading
    schema: Schema[R] | None = None
    unused: set[str] = field(default_factory=set)

    def rows(self, paths: Sequence[Path], meter: Meter) -> Iterator[Located[R]]:
        """All rows that meet the rules. At the end the columns that no format reads are noted."""
        self.reading.progress = meter.in_file
        for path in paths:
            yield from self._file(path)
            meter.next_file(path)
        if self.unused:
            names = ", ".join(sorted(self.unused)[:8])
            self.reading.notes.append(f"{paths[0].name}: columns not used: {names}")

    def _file(self, path: Path) -> Iterator[Located[R]]:
        for value, line, offset in read_records(path, self.reading):
            try:
                if self.schema is None:
                    self.schema = self.recognise(value)
                    self.unused = set(value) - set(self.schema.columns)
                row = self.schema.row(value)
            except Refused as why:
                self.reading.log.add(path, line, offset, why)
                if self.schema is None:
                    return  # Without a format there is nothing to hold the other rows to.
                continue
            yield Located(row, path, line, offset, value)


def batched(rows: Iterator[Located[R]]) -> Iterator[list[Located[R]]]:
    """Rows in batches that are bounded in number and in text."""
    batch: list[Located[R]] = []
    size = 0
    for located in rows:
        batch.append(located)
        size += located.row.characters
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# -- rows with answers


class Row(NamedTuple):
    """One training example: plain `text`, or a conversation that ends with the assistant's turn.

    Of the assistant's turns, counted from 0, the first `given` and those in `masked` are not to be trained.
    """

    text: str | None
    messages: list[Message]
    tools: list[Tool] | None = None
    given: int = 0
    masked: frozenset[int] = frozenset()

    @classmethod
    def of(cls, messages: list[Message], tools: list[Tool] | None = None, *, given: int = 0) -> Row:
        """A conversation; turns of weight 0 are masked, and no message has a weight from here on."""
        weights = [turn.get("weight", 1) for turn in messages if turn["role"] == "assistant"]
        masked = frozenset(number for number, weight in enumerate(weights) if weight == 0)
        return cls(None, without_weights(messages), tools, given, masked)

    def trains(self, answer: int) -> bool:
        """Whether the assistant's turn `answer`, counted from 0, is to be trained."""
        return answer >= self.given and answer not in self.masked

    @property
    def characters(self) -> int:
        """How much text it holds."""
        return len(self.text or "") + characters(self.messages)

    @property
    def key(self) -> int:
        """Equal for equal rows, within this process."""
        return hash(self.text) if self.text is not None else messages_key(self.messages)


@dataclass(frozen=True)
class Columns:
    """The format and the column names that the user chose; None is "recognise it"."""

    format: DataFormat = DataFormat.AUTO
    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: str | None = None

    @classmethod
    def of(cls, config: TrainingConfig) -> Columns:
        """The choices made in a training configuration."""
        return cls(
            config.data_format,
            config.text_column,
            config.prompt_column,
            config.completion_column,
            config.messages_column,
        )


# -- a record's fields, with the rules that hold for them in every format


def filled(text: Any, column: str) -> str:
    """The text in a field that must hold some.

    Raises:
        Refused: it is no text, empty, or holds NUL.
    """
    if type(text) is not str:
        raise Refused("not-text", f"has {json_type(text)} in {column!r}, not text", "put it in quotes")
    if not text or text.isspace():
        state = "holds only white space" if text else "is empty"
        raise Refused("empty-text", f"{column!r} {state}", "fill it or remove the row")
    if "\0" in text:
        raise Refused("nul", f"{column!r} holds a NUL character", "remove it")
    return text


def optional(value: dict[str, Any], column: str) -> str | None:
    """The text in a field that may be missing, null or blank: then None.

    Raises:
        Refused: it holds something else.
    """
    text = value.get(column)
    if text is not None and type(text) is not str:
        raise Refused("not-text", f"has {json_type(text)} in {column!r}, not text", "put it in quotes")
    return text if text and not text.isspace() else None


def input_column(first: dict[str, Any], prompt: str) -> str | None:
    """Where alpaca's input is, which belongs to an instruction."""
    return first_of(INPUTS, first) if prompt == "instruction" else None


def with_input(text: str, value: dict[str, Any], column: str | None) -> str:
    """An instruction with its input after an empty line, if it has one."""
    extra = optional(value, column) if column else None
    return f"{text}\n\n{extra}" if extra else text


def parsed(value: Any, column: str) -> Any:
    """A list, which CSV and many Parquet files keep as JSON text.

    Raises:
        Refused: it is text, but not JSON.
    """
    if type(value) is not str:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        reason = f"has text in {column!r} that is not a JSON list"
        raise Refused("not-list", reason, 'write [{"role": "user", "content": "…"}, …]') from None


def tools_of(value: dict[str, Any]) -> list[Tool] | None:
    """The tools a record offers the model, or None.

    Raises:
        Refused: they are not tools.
    """
    column = next((name for name in TOOLS if value.get(name)), None)
    return tools_in(value[column], column) if column else None


def messages_in(value: Any, column: str) -> list[Message]:
    """Messages of either form, or JSON text of them; a single one may stand without its list.

    Raises:
        Refused: they break a rule; the reason names the column.
    """
    turns = parsed(value, column)
    if isinstance(turns, dict):
        turns = [turns]
    try:
        return checked_turns(turns, column, by_from=is_sharegpt(turns))
    except Refused as why:
        where = "" if repr(column) in why.reason else f" (in {column!r})"
        raise Refused(why.kind, why.reason + where, why.fix) from None


def prompt_in(value: Any, column: str) -> list[Message]:
    """Messages that ask something: they end with the user's turn, or with what a tool has given.

    Raises:
        Refused: as `messages_in`; or they do not.
    """
    messages = messages_in(value, column)
    if (role := messages[-1]["role"]) not in ("user", "tool"):
        reason = f"has a prompt that ends with the {role}'s turn (in {column!r})"
        raise Refused("last-turn", reason, "end it with what the user asks")
    return messages


def answer_in(value: Any, column: str) -> list[Message]:
    """Messages that end with the assistant's turn.

    Raises:
        Refused: as `messages_in`; or they do not.
    """
    messages = messages_in(value, column)
    if (role := messages[-1]["role"]) != "assistant":
        reason = f"has no answer at the end of {column!r}: the last turn is the {role}'s"
        raise Refused("last-turn", reason, "add it or remove the row")
    return messages


def history_of(value: dict[str, Any]) -> list[Message]:
    """Alpaca's earlier turns: a list of pairs of what was asked and answered, or JSON text of it.

    Raises:
        Refused: it is something else.
    """
    given = value.get(HISTORY)
    if given is None or given == "" or given == []:
        return []
    pairs = parsed(given, HISTORY)
    if not isinstance(pairs, list):
        raise Refused("history", f"has {json_type(pairs)} in 'history', not a list", _HISTORY_FIX)
    if all(isinstance(pair, dict) for pair in pairs):
        return messages_in(pairs, HISTORY)
    messages: list[Message] = []
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Refused(
                "history", f"has {json_type(pair)} as pair {number} of 'history', not two texts", _HISTORY_FIX
            )
        for role, text in zip(("user", "assistant"), pair, strict=True):
            messages.append({"role": role, "content": filled(text, f"history[{number}]")})
    return messages


_HISTORY_FIX = 'write [["question", "answer"], …]'


def first_of(names: Iterable[str], value: dict[str, Any]) -> str | None:
    """The first of these columns that a record has."""
    return next((name for name in names if name in value), None)


def listed(value: dict[str, Any]) -> str:
    """The fields of a record as a predicate: `has the fields 'a', 'b'`."""
    if not value:
        return "has no fields"
    names = ", ".join(repr(name if len(name) <= 30 else name[:27] + "…") for name in list(value)[:6])
    return f"has the fields {names}" + (" …" if len(value) > 6 else "")


def missing(value: dict[str, Any], column: str, option: str) -> Refused:
    """Why a record without `column` is refused; `option` is the setting that names the column, if any does."""
    close = difflib.get_close_matches(column, value, n=1)
    did = f"; did you mean {close[0]!r}?" if close else ""
    fix = f"fill it, or name the column: {option}" if option else "fill it or remove the row"
    return Refused("missing-field", f"lacks {column!r}: it {listed(value)}{did}", fix)


def near(value: dict[str, Any], names: Iterable[str]) -> str:
    """A question after a field whose name is nearly one of `names`; empty if there is none."""
    for known in names:
        if close := difflib.get_close_matches(known, value, n=1, cutoff=0.75):
            return f"; did you mean {known!r} for {close[0]!r}?"
    return ""


def is_conversation(value: Any) -> bool:
    """Whether a field holds messages: a list, one message, or either as JSON text (CSV, Parquet)."""
    if isinstance(value, str):
        return value.startswith(("[{", "{")) and ('"role"' in value or '"from"' in value)
    return isinstance(value, list | dict)


def is_sharegpt(turns: Any) -> bool:
    """Whether turns have ShareGPT's `from` and `value` where all other formats have `role` and `content`."""
    if isinstance(turns, str):
        return '"from"' in turns and '"role"' not in turns
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, dict) and "from" in first


def refuse_two_prompts(columns: Columns) -> None:
    """Raise `ConfigError` where the prompt is in two columns."""
    if columns.prompt is not None and columns.messages is not None:
        raise ConfigError(
            "prompt_column and messages_column both say where the prompt is",
            hint="keep one of them",
            field="prompt_column",
        )

"""Files -> records -> rows: which fields hold what, and the rules that every row must meet.

The first record of a file decides its format; every other one is held to it. The formats here are those of data with
answers; `prompts` and `preferences` have formats of their own, made of the same parts.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from droidft.config import DataFormat, TrainingConfig
from droidft.data.conversation import Message, characters, conversation, messages_key, sharegpt, with_system
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

    The first `given` of the assistant's turns are not to be trained.
    """

    text: str | None
    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    given: int = 0

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


def recognise(first: dict[str, Any], columns: Columns) -> Schema[Row]:
    """The schema of the file whose first record is `first`.

    Raises:
        ConfigError: the chosen columns contradict each other.
        Refused: the record fits no known format.
    """
    form = columns.format if columns.format is not DataFormat.AUTO else _by_columns(columns) or guess(first)
    match form:
        case DataFormat.TEXT:
            return _Text(_column(first, columns.text, ("text",), form))
        case DataFormat.COMPLETION | DataFormat.INSTRUCTION:
            prompt = _column(first, columns.prompt, PROMPTS if form is DataFormat.COMPLETION else INSTRUCTIONS, form)
            completion = _column(first, columns.completion, COMPLETIONS, form)
            return _Pair(form, prompt, completion, input_column(first, prompt))
        case DataFormat.CHAT | DataFormat.SHAREGPT:
            names = CONVERSATIONS if form is DataFormat.CHAT else CONVERSATIONS[::-1]
            return _Chat(form, _column(first, columns.messages, names, form))
        case _:
            known = (*CONVERSATIONS, *PROMPTS, *COMPLETIONS, "text")
            raise Refused(
                "unknown-fields", f"{listed(first)}, which fit no known format{near(first, known)}", _KNOWN_FIX
            )


def guess(value: dict[str, Any]) -> DataFormat | None:
    """The format whose usual fields `value` has: conversations first, then pairs, then text."""
    if name := first_of(CONVERSATIONS, value):
        return DataFormat.SHAREGPT if is_sharegpt(value[name]) else DataFormat.CHAT
    prompt = first_of(PROMPTS, value)
    if prompt and first_of(COMPLETIONS, value):
        return DataFormat.INSTRUCTION if prompt == "instruction" else DataFormat.COMPLETION
    if "text" in value:
        return DataFormat.TEXT
    # Half a pair is a pair with something missing, which the rule for pairs words better.
    return DataFormat.COMPLETION if prompt else None


@dataclass(frozen=True)
class _Text:
    column: str
    format: DataFormat = DataFormat.TEXT

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def row(self, value: dict[str, Any]) -> Row:
        return Row(_text(value, self.column, self.format), [])


@dataclass(frozen=True)
class _Pair:
    format: DataFormat
    prompt: str
    completion: str
    input: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.prompt, self.completion, "system", *([self.input] if self.input else []))

    def row(self, value: dict[str, Any]) -> Row:
        prompt = with_input(_text(value, self.prompt, self.format), value, self.input)
        completion = _text(value, self.completion, self.format)
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        return Row(None, with_system(messages, optional(value, "system")))


@dataclass(frozen=True)
class _Chat:
    format: DataFormat
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, "tools", *(["system"] if self.format is DataFormat.SHAREGPT else []))

    def row(self, value: dict[str, Any]) -> Row:
        if self.column not in value:
            raise _missing(value, self.column, self.format)
        turns = parsed(value[self.column], self.column)
        if self.format is DataFormat.SHAREGPT:
            messages = sharegpt(turns, self.column, optional(value, "system"))
        else:
            messages = conversation(turns, self.column)
        return Row(None, messages, tools_of(value))


def _by_columns(columns: Columns) -> DataFormat | None:
    chosen = {
        "text_column": columns.text and DataFormat.TEXT,
        "prompt_column": columns.prompt and DataFormat.COMPLETION,
        "completion_column": columns.completion and DataFormat.COMPLETION,
        "messages_column": columns.messages and DataFormat.CHAT,
    }
    given = {name: form for name, form in chosen.items() if form}
    if len(set(given.values())) > 1:
        raise ConfigError(
            f"{' and '.join(given)} belong to different formats",
            hint="keep one of them, or choose with data_format",
            field=next(iter(given)),
        )
    return next((DataFormat(form) for form in given.values()), None)


def _column(first: dict[str, Any], chosen: str | None, usual: tuple[str, ...], form: DataFormat) -> str:
    column = chosen if chosen is not None else first_of(usual, first)
    if column is None or column not in first:
        raise _missing(first, column or usual[0], form)
    return column


def _text(value: dict[str, Any], column: str, form: DataFormat) -> str:
    if column not in value:
        raise _missing(value, column, form)
    return filled(value[column], column)


def _missing(value: dict[str, Any], column: str, form: DataFormat) -> Refused:
    other = guess(value)
    if other is not None and _OPTIONS[other] != _OPTIONS[form]:
        reason = f"is a {other} row ({listed(value)}) where {form} rows with {column!r} are expected"
        return Refused("mixed", reason, "keep one format in a file, or choose it with data_format")
    return missing(value, column, _OPTIONS[form])


_OPTIONS = {
    DataFormat.TEXT: "text_column",
    DataFormat.COMPLETION: "prompt_column, completion_column",
    DataFormat.INSTRUCTION: "prompt_column, completion_column",
    DataFormat.CHAT: "messages_column",
    DataFormat.SHAREGPT: "messages_column",
}
"""The settings that name a format's columns."""
_KNOWN_FIX = "use text, prompt and completion, instruction and output, or messages; or name your columns"


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


def tools_of(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The tools a record offers the model, or None.

    Raises:
        Refused: they are not a list of objects.
    """
    tools = value.get("tools")
    if not tools:
        return None
    tools = parsed(tools, "tools")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Refused("tools", "has 'tools' that are not a list of objects", "write one JSON schema for each tool")
    return tools


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

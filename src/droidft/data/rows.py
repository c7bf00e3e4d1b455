"""Files -> records -> rows that know where they stand, and the parts that every format of rows is made of.

`formats` has those of data with answers, `prompts` and `preferences` their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from droidft.config import DataFormat, TrainingConfig
from droidft.data.calls import Tool
from droidft.data.conversation import Message, characters, messages_key, without_weights
from droidft.data.fields import USUAL, refuse_media, without_nan
from droidft.data.lines import Reading
from droidft.data.readers import read_records
from droidft.data.sources import Meter
from droidft.errors import ConfigError
from droidft.support.faults import Refused

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
    aliases: dict[str, str] = field(default_factory=dict)
    """Columns whose usual names are written differently, such as `Prompt`, by their usual names."""

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
        for record, line, offset, may_hold_nan in read_records(path, self.reading):
            value = record
            try:
                if self.schema is None:
                    self.aliases = _aliases(record)
                    value = self._usual(record)
                    self.schema = self.recognise(value)
                    used = set(self.schema.columns)
                    self.unused = set(record) - used - {self.aliases[name] for name in used & set(self.aliases)}
                elif self.aliases:
                    value = self._usual(record)
                refuse_media(value)
                if may_hold_nan:
                    value = without_nan(value, self.schema.columns)
                row = self.schema.row(value)
            except Refused as why:
                self.reading.log.add(path, line, offset, why)
                if self.schema is None:
                    return  # Without a format there is nothing to hold the other rows to.
                continue
            yield Located(row, path, line, offset, value)

    def _usual(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with its columns by their usual names as well."""
        return record | {usual: record[name] for usual, name in self.aliases.items() if name in record}


def first_record(paths: Sequence[Path]) -> dict[str, Any] | None:
    """The first record of these files, its columns by their usual names as well; None where it cannot be read."""
    for path in paths:
        for record, *_ in read_records(path, Reading()):
            return record | {usual: record[name] for usual, name in _aliases(record).items()}
    return None


def _aliases(first: dict[str, Any]) -> dict[str, str]:
    """Usual names -> the columns that are meant by them, in another case or with spaces around."""
    found: dict[str, str] = {}
    for name in first:
        usual = name.strip().casefold()
        if usual != name and usual in USUAL and usual not in first:
            found.setdefault(usual, name)
    return found


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
    joinable: bool = False
    """Whether it is a prompt and a completion as texts, which need no chat template."""

    @classmethod
    def of(
        cls, messages: list[Message], tools: list[Tool] | None = None, *, given: int = 0, joinable: bool = False
    ) -> Row:
        """A conversation; turns of weight 0 are masked, and no message has a weight from here on."""
        weights = [turn.get("weight", 1) for turn in messages if turn["role"] == "assistant"]
        masked = frozenset(number for number, weight in enumerate(weights) if weight == 0)
        return cls(None, without_weights(messages), tools, given, masked, joinable and len(messages) == 2)

    def trains(self, answer: int) -> bool:
        """Whether the assistant's turn `answer`, counted from 0, is to be trained."""
        return answer >= self.given and answer not in self.masked

    def only_last(self) -> Row:
        """The same, with no answer to train but the last."""
        count = sum(turn["role"] == "assistant" for turn in self.messages)
        return self._replace(given=max(self.given, count - 1))

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


def refuse_two_prompts(columns: Columns) -> None:
    """Raise `ConfigError` where the prompt is in two columns."""
    if columns.prompt is not None and columns.messages is not None:
        raise ConfigError(
            "prompt_column and messages_column both say where the prompt is",
            hint="keep one of them",
            field="prompt_column",
        )

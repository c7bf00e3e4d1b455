"""Files -> rows that know where they stand: the first record fixes the format, every other one is held to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from droidft.config import TrainingConfig
from droidft.data.hub import fetch_dataset
from droidft.data.readers import Reading, read_records
from droidft.data.sources import Fetch, Sources, find_sources
from droidft.support.faults import Refused

Progress = Callable[[int, int | None], None]
_BATCH_ROWS = 256
_BATCH_CHARACTERS = 4 << 20


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


def locate(config: TrainingConfig, fetch: Fetch | None = None) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files of the training and of the validation set; the latter is empty when rows are to be held out."""
    fetch = fetch or partial(fetch_dataset, offline=config.offline)
    train = find_sources(config.train_data_path, fetch)
    if config.val_data_path is None:
        return train.train, train.validation
    other: Sources = find_sources(config.val_data_path, fetch)
    return train.train, other.validation or other.train


class Meter:
    """Turns bytes of one file into bytes of all."""

    def __init__(self, progress: Progress | None, files: Sequence[Path]) -> None:
        self._progress = progress
        self._total = sum(map(_size, files))
        self._behind = 0

    def in_file(self, done: int) -> None:
        """So many bytes of the current file are done."""
        if self._progress:
            self._progress(self._behind + done, self._total)

    def next_file(self, path: Path) -> None:
        """The current file is done."""
        self._behind += _size(path)
        self.in_file(0)


def _size(path: Path) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


@dataclass
class RowReader(Generic[R]):
    """Files -> rows. The first row of the first file fixes the schema; faults go to `reading.log`."""

    recognise: Callable[[dict[str, Any]], Schema[R]]
    reading: Reading
    schema: Schema[R] | None = None
    unused: set[str] = field(default_factory=set)

    def rows(self, paths: Sequence[Path], meter: Meter) -> Iterator[Located[R]]:
        """All rows that meet the rules."""
        self.reading.progress = meter.in_file
        for path in paths:
            yield from self._file(path)
            meter.next_file(path)

    def note_unused(self, paths: Sequence[Path]) -> None:
        """Tell the reading which columns of the first record no format reads."""
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

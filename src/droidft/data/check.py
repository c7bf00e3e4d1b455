"""The checks that need no tokenizer: what a file holds, and what is wrong with it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.config import Family, TrainingConfig
from droidft.data.located import Content, Located, Meter, Progress, RowReader, Schema, locate
from droidft.data.preference_rows import recognise_preferences
from droidft.data.prompt_rows import recognise_prompts
from droidft.data.readers import Reading
from droidft.data.rows import Columns, recognise
from droidft.data.sources import Fetch
from droidft.data.statistics import Places
from droidft.support.faults import Fault, FaultLog

COMPARED_ROWS = 2_000_000
"""Rows compared with each other: 16 bytes each, so that the memory for a huge file has a limit."""


@dataclass
class FileCheck:
    """One set: its files, what they hold, and rows that repeat earlier ones."""

    files: list[str]
    format: str = ""
    rows: int = 0
    bytes: int = 0
    duplicates: Places = field(default_factory=Places)


@dataclass
class StructureReport:
    """What the structural checks found. `faults` holds the first hundred of `fault_count`."""

    train: FileCheck
    validation: FileCheck | None
    overlap: Places
    faults: list[Fault]
    fault_count: int
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def check_structure(
    config: TrainingConfig, *, fetch: Fetch | None = None, progress: Progress | None = None
) -> StructureReport:
    """Read the data of `config` and hold every row to its rules; faults are listed, not raised.

    Equal rows are found by a 64-bit hash each, up to `COMPARED_ROWS`; nothing else is kept, so memory stays flat.

    Raises:
        DataError, ConfigError, DownloadError: as `prepare` does, but for faults in files and rows.
    """
    train_from, validation_from = locate(config, fetch)
    meter = Meter(progress, [*train_from, *validation_from])
    reading = Reading(FaultLog())
    train, hashes = _check(train_from, config, reading, meter)
    validation: FileCheck | None = None
    both = Places()
    if validation_from:
        validation, others = _check(validation_from, config, reading, meter)
        both = _places(np.isin(others.keys, hashes.keys), others)
    return StructureReport(train, validation, both, reading.log.faults, reading.log.count, reading.notes)


@dataclass
class _Hashes:
    paths: Sequence[Path]
    values: array[int] = field(default_factory=lambda: array("q"))
    lines: array[int] = field(default_factory=lambda: array("q"))
    starts: list[int] = field(default_factory=list)
    rows: int = 0
    _path: Path | None = None

    def add(self, located: Located[Content]) -> None:
        self.rows += 1
        if len(self.values) >= COMPARED_ROWS:
            return
        if located.path is not self._path:
            self._path = located.path
            self.starts.append(len(self.values))
        self.values.append(located.row.key)
        self.lines.append(located.line)

    @property
    def keys(self) -> npt.NDArray[np.int64]:
        return np.array(self.values, dtype=np.int64)

    def place(self, index: int) -> str:
        path = self.paths[int(np.searchsorted(self.starts, index, side="right")) - 1]
        return f"{path.name}:{self.lines[index]}"


def _check(
    paths: Sequence[Path], config: TrainingConfig, reading: Reading, meter: Meter
) -> tuple[FileCheck, _Hashes]:
    reader = RowReader(recogniser(config), reading)
    hashes = _Hashes(paths)
    before = reading.bytes_read
    for located in reader.rows(paths, meter):
        hashes.add(located)
    keys = hashes.keys
    repeated = np.ones(len(keys), dtype=np.bool_)
    repeated[np.unique(keys, return_index=True)[1]] = False
    found = FileCheck(
        files=[str(path) for path in paths],
        format=str(reader.schema.format) if reader.schema else "",
        rows=hashes.rows,
        bytes=reading.bytes_read - before,
        duplicates=_places(repeated, hashes),
    )
    if hashes.rows > len(keys):
        reading.notes.append(f"{paths[0].name}: repeated rows were looked for among the first {len(keys):,}")
    reader.note_unused(paths)
    return found, hashes


def recogniser(config: TrainingConfig) -> Callable[[dict[str, Any]], Schema[Content]]:
    """What the first record of a file is recognised by: each family of methods has rows of its own."""
    match config.method.family:
        case Family.ANSWERS:
            return partial(recognise, columns=Columns.of(config))
        case Family.REWARDS:
            return partial(recognise_prompts, config=config)
        case Family.PREFERENCES:
            return partial(recognise_preferences, config=config)


def _places(chosen: npt.NDArray[np.bool_], hashes: _Hashes) -> Places:
    places = Places()
    for index in np.flatnonzero(chosen):
        places.add(hashes.place(int(index)))
    return places

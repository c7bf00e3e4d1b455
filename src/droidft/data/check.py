"""The checks of a data set before a run: its structure first, then its tokens, then how long the run will be."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.config import Family, TrainingConfig
from droidft.data.batches import plan, steps_per_epoch
from droidft.data.lines import Reading
from droidft.data.preferences import Preferences, prepare_pairs
from droidft.data.prepare import Answers, Kind, prepare
from droidft.data.prompts import Prompts, prepare_prompts
from droidft.data.report import CheckReport, FileReport, Places, StructureReport, TokenReport
from droidft.data.rows import Content, Located, RowReader
from droidft.data.sources import Fetch, Meter, locate
from droidft.data.sources import Progress as BytesRead
from droidft.errors import DataError
from droidft.rewards.scorer import Scorer
from droidft.support.faults import Fault, FaultLog, InvalidData
from droidft.support.progress import Progress

KINDS: dict[Family, type[Kind[Any, Any]]] = {
    Family.ANSWERS: Answers,
    Family.REWARDS: Prompts,
    Family.PREFERENCES: Preferences,
}
COMPARED_ROWS = 2_000_000
"""Rows compared with each other: 16 bytes each, so that the memory for a huge file has a limit."""
Tokenizer = Callable[[], tuple[Any, int | None]]
"""Loads a tokenizer and the model's limit in tokens."""


def check_data(
    config: TrainingConfig,
    tokenizer: Tokenizer | None,
    *,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
    notice: Callable[[CheckReport], None] | None = None,
    rewards: Path | None = None,
) -> CheckReport:
    """Hold the data of `config` to every rule; faults are listed, not raised.

    `notice` is called with the report on the structure before tokens are counted. `rewards` is the folder of the
    user's own reward files, none of which is run; with it, the columns that rewards need are checked too.

    Raises:
        ConfigError, ModelError, DownloadError: the settings, the tokenizer or a hub data set cannot be used.
        RewardError: there is no such file of the user's own.
    """
    report = check_structure(config, fetch=fetch, progress=_named("checking rows", progress))
    if report.fault_count or tokenizer is None:
        return report
    if notice is not None:
        notice(report)
    loaded, limit = tokenizer()
    try:
        tokens = _tokens(config, loaded, limit, fetch, _named("counting tokens", progress), rewards)
    except InvalidData as error:
        return replace(report, faults=error.faults, fault_count=error.count)
    except DataError as error:  # of the data as a whole: no line is at fault
        reason = error.message.removeprefix(f"{config.train_data_path}: ")
        fault = Fault(config.train_data_path, None, None, "data", reason, error.hint)
        return replace(report, faults=[fault], fault_count=1)
    return replace(report, tokens=tokens, plan=plan(config, steps_per_epoch(config, tokens.train.rows)))


def check_structure(
    config: TrainingConfig, *, fetch: Fetch | None = None, progress: BytesRead | None = None
) -> CheckReport:
    """Read the data of `config` and hold every row to its rules; no tokenizer is needed, and no fault is raised.

    Equal rows are recognised by a 64-bit hash each, up to `COMPARED_ROWS`; nothing else is kept.

    Raises:
        DataError, ConfigError, DownloadError: as `prepare` does, but for faults in files and rows.
    """
    train_from, validation_from = locate(config, fetch)
    meter = Meter(progress, [*train_from, *validation_from])
    reading = Reading(FaultLog())
    train, hashes = _check(train_from, config, reading, meter)
    validation: FileReport | None = None
    both = Places(0, [])
    if validation_from:
        validation, others = _check(validation_from, config, reading, meter)
        both = _places(np.isin(others.keys, hashes.keys), others)
    structure = StructureReport(train, validation, both, reading.notes)
    return CheckReport(reading.log.count, reading.log.faults, structure)


def _tokens(
    config: TrainingConfig,
    tokenizer: Any,
    limit: int | None,
    fetch: Fetch | None,
    progress: BytesRead | None,
    rewards: Path | None,
) -> TokenReport:
    """What the data is, as the method will see it."""
    match config.method.family:
        case Family.ANSWERS:
            return prepare(config, tokenizer, context_length=limit, fetch=fetch, progress=progress).report
        case Family.REWARDS:
            prompts = prepare_prompts(config, tokenizer, context_length=limit, fetch=fetch, progress=progress)
            if rewards is not None:
                Scorer(config.rewards, rewards).check(prompts.places_and_columns())
            return prompts.report
        case Family.PREFERENCES:
            return prepare_pairs(config, tokenizer, context_length=limit, fetch=fetch, progress=progress).report


def _named(what: str, progress: Progress | None) -> BytesRead | None:
    return None if progress is None else lambda done, total: progress(what, done, total or 0)


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
) -> tuple[FileReport, _Hashes]:
    reader = RowReader[Content](KINDS[config.method.family].recogniser(config), reading)
    hashes = _Hashes(paths)
    before = reading.bytes_read
    for located in reader.rows(paths, meter):
        hashes.add(located)
    keys = hashes.keys
    repeated = np.ones(len(keys), dtype=np.bool_)
    repeated[np.unique(keys, return_index=True)[1]] = False
    report = FileReport(
        files=[str(path) for path in paths],
        format=str(reader.schema.format) if reader.schema else "",
        rows=hashes.rows,
        bytes=reading.bytes_read - before,
        duplicates=_places(repeated, hashes),
    )
    if hashes.rows > len(keys):
        reading.notes.append(f"{paths[0].name}: only the first {len(keys):,} rows were compared for repeated ones")
    return report, hashes


def _places(chosen: npt.NDArray[np.bool_], hashes: _Hashes) -> Places:
    places = Places(0, [])
    for index in np.flatnonzero(chosen):
        places.add(hashes.place(int(index)))
    return places

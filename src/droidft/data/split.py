"""Training, validation and test set: where a row belongs is decided by its own hash, never by its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from droidft.config import SplitBy, TrainingConfig
from droidft.data.located import Meter, Progress, locate
from droidft.data.readers import Reading
from droidft.data.sources import Fetch
from droidft.errors import DataError

Indices = npt.NDArray[np.int64]


class Rows(Protocol):
    """Rows that can be divided."""

    @property
    def split_keys(self) -> npt.NDArray[np.uint64]:
        """A hash of each row; rows with the same one stay on one side."""
        ...

    def take(self, rows: Indices) -> Self:
        """The rows of these indices, in this order."""
        ...


S = TypeVar("S", bound=Rows)


@dataclass(frozen=True)
class Parts(Generic[S]):
    """The rows of a run: those trained on, those evaluated on, those set aside, and how they were chosen."""

    train: S
    validation: S
    test: S
    sentence: str


@dataclass(frozen=True)
class Division:
    """Indices of rows, ascending, in disjoint parts. Rows that `train_fraction` leaves out are in none."""

    train: Indices
    validation: Indices
    test: Indices


def load_parts(
    config: TrainingConfig,
    load: Callable[[Sequence[Path], Meter], S],
    reading: Reading,
    *,
    fetch: Fetch | None,
    progress: Progress | None,
) -> Parts[S]:
    """All sets, read by `load`.

    Raises:
        InvalidData: `reading` has faults, all of them listed.
        DataError, ConfigError, DownloadError: the data as a whole cannot be used.
    """
    train_from, validation_from = locate(config, fetch)
    meter = Meter(progress, [*train_from, *validation_from])
    rows = load(train_from, meter)
    held = load(validation_from, meter) if validation_from else None
    reading.log.raise_if_any()
    found = divide(rows.split_keys, config, hold_out=held is None)
    return Parts(
        rows.take(found.train) if len(found.train) < len(rows.split_keys) else rows,
        rows.take(found.validation) if held is None else held,
        rows.take(found.test),
        _sentence(config, found, rows.split_keys, [path.name for path in validation_from]),
    )


def divide(digests: npt.NDArray[np.uint64], config: TrainingConfig, *, hold_out: bool = True) -> Division:
    """Which rows are trained on, held out for validation (with `hold_out`) and set aside as a test.

    A pure function of the hashes, the seed and the fractions: each row, or group of rows that belong together, is
    drawn by its own hash, so neither the order of the file nor the other rows matter to it. Rows of one hash stay in
    one part, unless that would leave one empty. A smaller `train_fraction` chooses among the rows of a larger one,
    and leaves the other parts alone.

    Raises:
        DataError: there are too few rows.
    """
    fractions = [config.validation_fraction if hold_out else 0.0, config.test_fraction]
    needed = 1 + sum(fraction > 0 for fraction in fractions)
    if len(digests) < needed:
        raise DataError(
            f"{config.train_data_path}: {len(digests)} row is too few to hold one out for validation"
            if len(digests) == 1
            else f"{config.train_data_path}: {len(digests)} rows are too few for {needed} parts",
            hint="add rows, or give val_data_path" + (", or a test file of its own" if config.test_fraction else ""),
        )
    keys = mixed(digests, _seed(config))
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    first = _end(ranked, 0, fractions[0], needed - 1)
    second = _end(ranked, first, fractions[1], 1)
    begin = second + _left_out(ranked[second:], config.train_fraction)
    return Division(np.sort(order[begin:]), np.sort(order[:first]), np.sort(order[first:second]))


def rows_of_share(digests: npt.NDArray[np.uint64], config: TrainingConfig, share: float) -> int:
    """How many training rows of these hashes a `train_fraction` of `share` leaves."""
    return len(digests) - _left_out(np.sort(mixed(digests, _seed(config))), share)


def _left_out(ranked: npt.NDArray[np.uint64], share: float) -> int:
    begin = len(ranked) - max(1, round(len(ranked) * share))
    while 0 < begin < len(ranked) and ranked[begin] == ranked[begin - 1]:
        begin -= 1
    return begin


def _seed(config: TrainingConfig) -> int:
    return config.seed if config.split_seed is None else config.split_seed


def _end(ranked: npt.NDArray[np.uint64], start: int, fraction: float, left: int) -> int:
    """Where a part of this fraction of all rows ends that begins at `start`, `left` rows at least being left over."""
    rows = len(ranked)
    if fraction == 0:
        return start
    wanted = cut = start + min(max(1, round(rows * fraction)), rows - start - left)
    while cut < rows and ranked[cut] == ranked[cut - 1]:
        cut += 1
    if cut > rows - left:
        cut = wanted
        while cut > start and ranked[cut] == ranked[cut - 1]:
            cut -= 1
    return cut if cut > start else wanted


def _sentence(config: TrainingConfig, found: Division, digests: npt.NDArray[np.uint64], files: list[str]) -> str:
    rows = len(digests)
    if files:
        sentences = [f"validation rows come from {', '.join(files)}"]
    else:
        sentences = [
            f"{len(found.validation):,} of {rows:,} rows held out for validation at random "
            f"(seed {_seed(config)}, fraction {config.validation_fraction:g})"
        ]
    if config.split_column is not None or config.split_by is SplitBy.CONVERSATION:
        what = config.split_column or "conversation"
        parts = [set(digests[part].tolist()) for part in (found.train, found.validation, found.test)]
        whole = sum(map(len, parts)) == len(set.union(*parts))
        sentences.append(
            f"rows of one {what} stay together"
            if whole
            else f"rows of one {what} do not all stay together, since there are too few of them for the parts"
        )
    if config.test_fraction:
        sentences.append(f"{len(found.test):,} set aside as a test")
    if config.train_fraction < 1:
        left = rows - len(found.test) - len(found.validation)
        sentences.append(f"{len(found.train):,} of the other {left:,} are trained on")
    return "; ".join(sentences)


def mixed(digests: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """SplitMix64's finalizer: a bijection, so that equal keys mean equal rows."""
    shift = np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    mixed = digests + shift
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))

"""Training and validation set: which rows are held out is decided by each row's own hash, never by its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from droidft.config import TrainingConfig
from droidft.engine.data.located import Meter, Progress, locate
from droidft.engine.data.readers import Reading
from droidft.engine.data.sources import Fetch
from droidft.errors import DataError


class Rows(Protocol):
    """Rows that can be divided."""

    @property
    def split_keys(self) -> npt.NDArray[np.uint64]:
        """A hash of each row; rows with the same one stay on one side."""
        ...

    def take(self, rows: npt.NDArray[np.int64]) -> Self:
        """The rows of these indices, in this order."""
        ...


S = TypeVar("S", bound=Rows)


def load_both(
    config: TrainingConfig,
    load: Callable[[Sequence[Path], Meter], S],
    reading: Reading,
    *,
    fetch: Fetch | None,
    progress: Progress | None,
) -> tuple[S, S, str]:
    """Both sets, read by `load`, and how validation rows were obtained, as a sentence.

    Raises:
        InvalidData: `reading` has faults, all of them listed.
        DataError, ConfigError, DownloadError: the data as a whole cannot be used.
    """
    train_from, validation_from = locate(config, fetch)
    meter = Meter(progress, [*train_from, *validation_from])
    train = load(train_from, meter)
    held = load(validation_from, meter) if validation_from else None
    reading.log.raise_if_any()
    if held is not None:
        return train, held, f"validation rows come from {', '.join(path.name for path in validation_from)}"
    rest, chosen, sentence = divide(train.split_keys, config)
    return train.take(rest), train.take(chosen), sentence


def held_out(digests: npt.NDArray[np.uint64], *, seed: int, fraction: float) -> npt.NDArray[np.int64]:
    """Indices of the validation rows, ascending: a pure function of the rows' hashes, the seed and the fraction.

    Each row is drawn by its own hash, so neither the order of the file nor the other rows matter to it. Equal rows
    stay on one side, unless that would leave a side empty. Both sides have at least one row.
    """
    rows = len(digests)
    wanted = min(max(1, round(rows * fraction)), rows - 1)
    keys = _mixed(digests, seed)
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    cut = wanted
    while cut < rows and ranked[cut] == ranked[cut - 1]:
        cut += 1
    if cut == rows:
        cut = wanted
        while cut > 0 and ranked[cut] == ranked[cut - 1]:
            cut -= 1
    return np.sort(order[: cut or wanted])


def divide(
    digests: npt.NDArray[np.uint64], config: TrainingConfig
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], str]:
    """Indices of the training rows, of those held out, and the split as a sentence.

    Raises:
        DataError: there are too few rows.
    """
    count = len(digests)
    if count < 2:
        raise DataError(
            f"{config.train_data_path}: {count} row is too few to hold one out for validation",
            hint="add rows, or give val_data_path",
        )
    chosen = held_out(digests, seed=config.seed, fraction=config.validation_fraction)
    sentence = (
        f"{len(chosen):,} of {count:,} rows held out for validation at random "
        f"(seed {config.seed}, fraction {config.validation_fraction:g})"
    )
    return np.setdiff1d(np.arange(count), chosen), chosen, sentence


def _mixed(digests: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """SplitMix64's finalizer: a bijection, so that equal keys mean equal rows."""
    shift = np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    mixed = digests + shift
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))

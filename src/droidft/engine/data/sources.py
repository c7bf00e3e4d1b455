"""A data reference -> the files behind it: a file, a folder in mlx-lm's manner, or a hub data set."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from droidft.engine.data.readers import SUFFIXES
from droidft.errors import DataError

HUB = "hub:"
Fetch = Callable[[str], Path]
"""Brings a `hub:` reference to this machine and returns its file or folder."""

_SPLIT = re.compile(r"(train|valid|validation|val|dev|test)(?:[-_.]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Sources:
    """Files of one reference; `validation` is empty unless the folder holds a validation split."""

    train: tuple[Path, ...]
    validation: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Splits:
    """Names of data files sorted by split, as their names say it."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


def find_sources(reference: str, fetch: Fetch) -> Sources:
    """The files that a data reference stands for.

    A single file is returned as it is, even if it is missing: its reader says what is wrong with it.

    Raises:
        DataError: a folder or hub data set without recognisable files.
        DownloadError: from `fetch`.
    """
    path = fetch(reference) if reference.startswith(HUB) else Path(reference).expanduser()
    # `Path.is_dir` raises where a folder above cannot be entered; the reader words that better.
    if not os.path.isdir(path):
        return Sources((path,))
    names = [str(found.relative_to(path)) for found in sorted(path.rglob("*")) if os.path.isfile(found)]
    if not reference.startswith(HUB):
        names = [name for name in names if "/" not in name]
    splits = pick_splits(names, reference)
    return Sources(tuple(path / name for name in splits.train), tuple(path / name for name in splits.validation))


def pick_splits(names: Iterable[str], reference: str) -> Splits:
    """Sort file names into splits: train.jsonl, data/train-00000-of-00002.parquet, validation.csv …

    Raises:
        DataError: there is no data file, none for training, or more than one candidate.
    """
    files = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    by_split: dict[str, list[str]] = {}
    for name in files:
        if found := _SPLIT.match(PurePosixPath(name).name):
            by_split.setdefault(found.group(1).lower(), []).append(name)
    train = by_split.get("train", files if len(files) == 1 else [])
    if not train:
        known = " ".join(SUFFIXES)
        what = f"holds {len(files)} data files, none named train" if files else f"holds no data file ({known})"
        raise DataError(f"{reference}: {what}", hint="name the training file, such as train.jsonl, or give its path")
    valid = next((by_split[name] for name in ("validation", "valid", "val", "dev") if name in by_split), [])
    for group in (train, valid):
        _one_family(group, reference)
    return Splits(tuple(sorted(train)), tuple(sorted(valid)))


def _one_family(names: list[str], reference: str) -> None:
    """Shards share folder and suffix; anything else is a choice that only the user can make."""
    families = {(str(PurePosixPath(name).parent), PurePosixPath(name).suffix.lower()) for name in names}
    if len(families) > 1:
        raise DataError(
            f"{reference}: holds more than one training set: {', '.join(sorted(names)[:6])}",
            hint="give the path of one of them (for a hub data set: hub:org/name/folder)",
        )

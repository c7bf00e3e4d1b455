"""A data reference -> the files behind it: a file, a folder in mlx-lm's manner, or a hub data set."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from droidft.data.readers import SUFFIXES
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


Pick = Callable[[Iterable[str], str], tuple[str, ...]]
"""(names of files, the reference for messages) -> those that are wanted: `files_to_train` or `files_to_test`."""


def find_sources(reference: str, fetch: Fetch) -> Sources:
    """The files that a data reference stands for.

    A single file is returned as it is, even if it is missing: its reader says what is wrong with it.

    Raises:
        DataError: a folder or hub data set without recognisable files.
        DownloadError: from `fetch`.
    """
    path, names = _listed(reference, fetch)
    if names is None:
        return Sources((path,))
    splits = pick_splits(names, reference)
    return Sources(tuple(path / name for name in splits.train), tuple(path / name for name in splits.validation))


def find_test(reference: str, fetch: Fetch) -> tuple[Path, ...]:
    """The files of a data reference that a model is tested on: a single file, or a folder's test split.

    Raises:
        DataError: a folder or hub data set without a test split.
        DownloadError: from `fetch`.
    """
    path, names = _listed(reference, fetch)
    return (path,) if names is None else tuple(path / name for name in files_to_test(names, reference))


def _listed(reference: str, fetch: Fetch) -> tuple[Path, list[str] | None]:
    """Where a reference is, and the names of the files in it; None when it is a file itself."""
    path = fetch(reference) if reference.startswith(HUB) else Path(reference).expanduser()
    # `Path.is_dir` raises where a folder above cannot be entered; the reader words that better.
    if not os.path.isdir(path):
        return path, None
    names = [str(found.relative_to(path)) for found in sorted(path.rglob("*")) if os.path.isfile(found)]
    return path, names if reference.startswith(HUB) else [name for name in names if "/" not in name]


def pick_splits(names: Iterable[str], reference: str) -> Splits:
    """Sort file names into splits: train.jsonl, data/train-00000-of-00002.parquet, validation.csv …

    Raises:
        DataError: there is no data file, none for training, or more than one candidate.
    """
    files, by_split = _by_split(names)
    train = by_split.get("train", files if len(files) == 1 else [])
    if not train:
        raise _no_split(reference, files, "training", "train")
    valid = next((by_split[name] for name in ("validation", "valid", "val", "dev") if name in by_split), [])
    for group in (train, valid):
        _one_family(group, reference, "training")
    return Splits(tuple(sorted(train)), tuple(sorted(valid)))


def files_to_train(names: Iterable[str], reference: str) -> tuple[str, ...]:
    """Those of the training and validation splits. Raises as `pick_splits`."""
    splits = pick_splits(names, reference)
    return (*splits.train, *splits.validation)


def files_to_test(names: Iterable[str], reference: str) -> tuple[str, ...]:
    """Those of the test split: test.jsonl …, or the only file unless its name says that it is another split.

    Raises:
        DataError: there is no data file, none for testing, or more than one candidate.
    """
    files, by_split = _by_split(names)
    test = by_split.get("test", files if len(files) == 1 and not by_split else [])
    if not test:
        raise _no_split(reference, files, "test", "test")
    _one_family(test, reference, "test")
    return tuple(sorted(test))


def _by_split(names: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Data files, and those whose names say their split."""
    files = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    by_split: dict[str, list[str]] = {}
    for name in files:
        if found := _SPLIT.match(PurePosixPath(name).name):
            by_split.setdefault(found.group(1).lower(), []).append(name)
    return files, by_split


def _no_split(reference: str, files: list[str], kind: str, name: str) -> DataError:
    known = " ".join(SUFFIXES)
    count = f"{len(files)} data file{'s' if len(files) > 1 else ''}"
    what = f"holds {count}, none named {name}" if files else f"holds no data file ({known})"
    return DataError(f"{reference}: {what}", hint=f"name the {kind} file, such as {name}.jsonl, or give its path")


def _one_family(names: list[str], reference: str, kind: str) -> None:
    """Shards share folder and suffix; anything else is a choice that only the user can make."""
    families = {(str(PurePosixPath(name).parent), PurePosixPath(name).suffix.lower()) for name in names}
    if len(families) > 1:
        raise DataError(
            f"{reference}: holds more than one {kind} set: {', '.join(sorted(names)[:6])}",
            hint="give the path of one of them (for a hub data set: hub:org/name/folder)",
        )

"""A data reference -> the files behind it: a file, a folder as mlx-lm has them, or a hub data set."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from droidft.data.readers import SUFFIXES
from droidft.errors import DataError, DownloadError
from droidft.models import hub, snapshot, transfer
from droidft.support.words import count

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from droidft.config import TrainingConfig

HUB = "hub:"
Fetch = Callable[[str], Path]
"""Brings a `hub:` reference to this machine and returns its file or folder."""
Pick = Callable[[Iterable[str], str], tuple[str, ...]]
"""(names of files, the reference for messages) -> those that are wanted: `files_to_train` or `files_to_test`."""
Progress = Callable[[int, int | None], None]
"""Called with bytes done and bytes in all."""

_SPLIT = re.compile(r"(train|valid|validation|val|dev|test)(?:[-_.]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Splits:
    """Data files of the training and the validation split; the latter may be empty."""

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()


def locate(config: TrainingConfig, fetch: Fetch | None = None) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files of the training and of the validation set; the latter is empty when rows are to be held out.

    A single file is returned as it is, even if it is missing: its reader reports what is wrong with it.

    Raises:
        DataError: a folder or hub data set without recognisable files.
        DownloadError: a hub data set cannot be had.
    """
    fetch = fetch or partial(fetch_dataset, offline=config.offline)
    train, validation = _files(config.train_data_path, fetch)
    if config.val_data_path is None:
        return train, validation
    train_of_other, validation_of_other = _files(config.val_data_path, fetch)
    return train, validation_of_other or train_of_other


def _files(reference: str, fetch: Fetch) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    path, names = _listed(reference, fetch)
    if names is None:
        return (path,), ()
    splits = pick_splits(names, reference)
    return tuple(path / name for name in splits.train), tuple(path / name for name in splits.validation)


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
    names = [str(file.relative_to(path)) for file in sorted(path.rglob("*")) if os.path.isfile(file)]
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
        if split := _SPLIT.match(PurePosixPath(name).name):
            by_split.setdefault(split.group(1).lower(), []).append(name)
    return files, by_split


def _no_split(reference: str, files: list[str], kind: str, name: str) -> DataError:
    known = " ".join(SUFFIXES)
    what = f"holds {count(len(files), 'data file')}, none named {name}" if files else f"holds no data file ({known})"
    return DataError(f"{reference}: {what}", hint=f"name the {kind} file, such as {name}.jsonl, or give its path")


def _one_family(names: list[str], reference: str, kind: str) -> None:
    """Shards share folder and suffix; anything else is a choice that only the user can make."""
    families = {(str(PurePosixPath(name).parent), PurePosixPath(name).suffix.lower()) for name in names}
    if len(families) > 1:
        raise DataError(
            f"{reference}: holds more than one {kind} set: {', '.join(sorted(names)[:6])}",
            hint="give the path of one of them (for a hub data set: hub:org/name/folder)",
        )


def fetch_dataset(
    reference: str,
    *,
    pick: Pick = files_to_train,
    offline: bool = False,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """Download `hub:org/name`, or a file or folder of it (`hub:org/name/path`), and return its local path.

    Only the files that `pick` chooses are downloaded. `offline` uses what an earlier download left in the cache and
    never opens a connection.

    Raises:
        DataError: the reference is malformed, or the data set has no recognisable files.
        DownloadError: offline and not in the cache; unknown data set; network trouble.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    parts = reference.removeprefix(HUB).strip("/").split("/")
    if len(parts) < 2 or not all(parts) or ".." in parts:
        raise DataError(f"{reference!r} is not a hub data set", hint="write hub:org/name or hub:org/name/file.jsonl")
    repo, inside = "/".join(parts[:2]), "/".join(parts[2:])
    api = HfApi(endpoint=endpoint)
    if offline:
        try:
            folder = _from_cache(api, repo, inside, reference, pick, cache)
        except LocalEntryNotFoundError as error:
            hint = "turn offline off, or download the data once and name the file"
            raise DownloadError(f"{reference} is not on this machine, and offline is on", hint=hint) from error
    else:
        with transfer.worded(reference, kept_in=cache or hub.cache_dir()):
            try:
                fetch = partial(_snapshot, api, repo, inside, reference, pick, cache or hub.cache_dir())
                folder = transfer.patiently(reference, fetch)
            except HFValidationError as error:
                raise DataError(f"{reference}: {_first_line(error)}", hint="write hub:org/name") from error
    if not (folder / inside).exists():
        raise _absent(reference, inside)
    return folder / inside


def _snapshot(api: HfApi, repo: str, inside: str, reference: str, pick: Pick, cache: Path) -> Path:
    # One request; listing the tree instead would retry for half a minute where there is no network.
    listed = [sibling.rfilename for sibling in api.dataset_info(repo).siblings or []]
    names = [name for name in listed if _is_inside(name, inside)]
    if inside and not names:
        raise _absent(reference, inside)
    wanted = list(pick(names, reference))
    return snapshot.fetch(api, repo, kind="dataset", cache=cache, wanted=wanted)


def _from_cache(api: HfApi, repo: str, inside: str, reference: str, pick: Pick, cache: Path | None) -> Path:
    """The snapshot in the cache, if it holds every shard of the wanted splits."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    local = partial(api.snapshot_download, repo, repo_type="dataset", cache_dir=cache, local_files_only=True)
    try:
        folder = Path(local())
    except LocalEntryNotFoundError as error:
        # Files that were never wanted are missing, of course; the shards of the wanted ones are checked below.
        if (partly := getattr(error, "snapshot_path", None)) is None:
            raise
        folder = Path(partly)
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    wanted = pick([name for name in names if _is_inside(name, inside)], reference)
    return Path(local(allow_patterns=[re.sub(r"\d+", "*", name) for name in wanted]))


def _is_inside(name: str, folder: str) -> bool:
    return not folder or name == folder or name.startswith(folder + "/")


def _absent(reference: str, inside: str) -> DownloadError:
    return DownloadError(f"{reference}: the data set has no {inside!r}", hint="check the path on the hub's page")


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


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

"""What an adapter may come in as. One function for each kind recognises it and gives a `Source`, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from droidft.adapters.folder import BEST, CONFIG, LATEST, read_adapter, usual
from droidft.adapters.formats import is_peft
from droidft.adapters.imports.gguf_lora import GgufLora
from droidft.adapters.imports.pack import Pack, is_pack
from droidft.adapters.imports.peft import PeftFolder
from droidft.errors import AdapterError, NotFound
from droidft.models.folder import begins_as_gguf
from droidft.support.durable import storage_errors
from droidft.support.progress import Progress


class Source(Protocol):
    """An adapter of some format."""

    @property
    def name(self) -> str:
        """What it is called where it comes from."""

    def write(self, folder: Path, progress: Progress | None = None) -> None:
        """Write it in mlx-lm's format into an empty folder.

        Raises:
            AdapterError: it cannot be read, or holds what that format has no place for.
            StorageError: it cannot be written.
        """


class Folder:
    """A folder in mlx-lm's format. Its latest and best weights come in, as files of their own."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises as `read_adapter`."""
        self.path = path
        read_adapter(path, usual(path))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    def write(self, folder: Path, progress: Progress | None = None) -> None:
        """Copy it."""
        del progress  # as large as one adapter
        latest, best = self.path / LATEST, self.path / BEST
        with storage_errors(folder):
            shutil.copyfile(self.path / CONFIG, folder / CONFIG)
            shutil.copyfile(latest if latest.is_file() else best, folder / LATEST)
            if best.is_file() and (not latest.is_file() or os.path.samefile(best, latest)):
                os.symlink(LATEST, folder / BEST)
            elif best.is_file():
                shutil.copyfile(best, folder / BEST)


def _packed(path: Path) -> Source | None:
    return Pack(path) if is_pack(path) else None


def _folder(path: Path) -> Source | None:
    return Folder(path) if path.is_dir() else None


def _peft(path: Path) -> Source | None:
    return PeftFolder(path) if path.is_dir() and is_peft(path) else None


def _gguf(path: Path) -> Source | None:
    return GgufLora(path) if path.is_file() and begins_as_gguf(path) else None


KINDS: tuple[Callable[[Path], Source | None], ...] = (_packed, _gguf, _peft, _folder)
"""Tried in this order; the first that knows what it is given decides."""


def open_source(path: Path) -> Source:
    """The adapter that lies at `path`, whatever its format.

    Raises:
        NotFound: nothing is there.
        AdapterError: it is of no kind that is read here, or damaged.
    """
    if not os.path.lexists(path):
        raise NotFound(f"there is no {path}", hint="give a file from `droidft adapters pack`, or an adapter's folder")
    for opened in KINDS:
        if (source := opened(path)) is not None:
            return source
    hint = "a file from `droidft adapters pack` and a folder in mlx-lm's format can be imported"
    raise AdapterError(f"{path.name} is no adapter that is read here", hint=hint)

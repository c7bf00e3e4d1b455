"""What a file was when it was read: as long as its stamp is the same, so is its content."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """One file, with links followed."""

    path: str
    inode: int
    size: int
    changed: int
    """In nanoseconds since the epoch; anybody can set it."""
    noticed: int
    """When the file system last noted a change of the file, in nanoseconds since the epoch; nobody can set it."""


def stamps(*files: Path) -> tuple[Stamp, ...]:
    """The files as they are now.

    Raises:
        OSError: one of them cannot be reached.
    """
    return tuple(map(_stamp, files))


def _stamp(file: Path) -> Stamp:
    state = file.stat()
    return Stamp(str(file.resolve()), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)

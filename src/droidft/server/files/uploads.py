"""Data files that arrive in a request: written under another name, synced, then given a name that was free."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from droidft.data.readers import SUFFIXES
from droidft.errors import ConfigError, NotFound
from droidft.server.errors import TooLarge
from droidft.server.paths import is_data_name
from droidft.server.schemas.data import DataFile
from droidft.support.durable import storage_errors, sync_folder
from droidft.support.room import check_room

CHUNK = 1 << 20
SPARE = 64 << 20
"""What is left free on the disk."""
STALE_SECONDS = 24 * 3600
LONGEST_NAME = 100


async def store(
    folder: Path, name: str, chunks: AsyncIterator[bytes], *, limit: int, length: int | None = None
) -> DataFile:
    """Keep the bytes of `chunks` as `name` in `folder`, or as `name-2` … where that is taken.

    `length` is the size that the client announced. If anything goes wrong, or the client leaves, nothing is kept.

    Raises:
        ConfigError: a name that no reader takes, or an empty file.
        TooLarge: more than `limit` bytes.
        StorageError: the disk has no room for it, or fails.
    """
    if not is_data_name(name):
        known = " ".join(SUFFIXES)
        raise ConfigError(f"{name!r} is not a data file", hint=f"give it one of these endings: {known}", field="name")
    _check_size(length or 0, limit)
    await asyncio.to_thread(_prepare, folder, length or 0)
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        with storage_errors(folder / name):
            size = await _write(part, chunks, limit)
            if not size:
                raise ConfigError(f"{name} is empty", hint="choose a file with at least two rows", field="name")
            return await asyncio.to_thread(_publish, part, folder, name)
    finally:
        part.unlink(missing_ok=True)


def listed(folder: Path) -> list[DataFile]:
    """Data files in `folder` and in the folders in it, newest first."""
    files = []
    for path in (*folder.iterdir(), *folder.glob("*/*")):
        name = str(path.relative_to(folder))
        if is_data_name(path.name) and not path.name.startswith(".") and name.isprintable():
            with suppress(OSError):
                if path.is_file():
                    files.append(_file(path, name))
    return sorted(files, key=lambda file: file.modified, reverse=True)


def remove(folder: Path, name: str) -> None:
    """Remove a file of `folder`.

    Raises:
        NotFound: there is none of that name.
    """
    path = folder / name
    if path.is_dir() or not os.path.lexists(path):
        raise NotFound(f"there is no data file {name!r}", hint="it may have been deleted")
    with storage_errors(path):
        path.unlink()


async def _write(part: Path, chunks: AsyncIterator[bytes], limit: int) -> int:
    """Write and sync; the number of bytes."""
    size, waiting = 0, bytearray()
    with part.open("xb", buffering=0) as file:
        os.fchmod(file.fileno(), 0o600)
        async for chunk in chunks:
            size += len(chunk)
            _check_size(size, limit)
            waiting += chunk
            if len(waiting) >= CHUNK:
                await asyncio.to_thread(_write_all, file.fileno(), bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(_write_all, file.fileno(), bytes(waiting))
        await asyncio.to_thread(os.fsync, file.fileno())
    return size


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(
            f"the file has more than {limit:,} bytes, the limit of this server",
            hint="put it into an allowed folder and name its path instead",
        )


def _prepare(folder: Path, length: int) -> None:
    """Remove what interrupted uploads have left, and refuse a file that the disk cannot hold."""
    for left in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()
    hint = "free some space, or set DROIDFT_HOME to a folder on another disk"
    check_room(length + SPARE, folder, what="the file", hint=hint)


def _publish(part: Path, folder: Path, name: str) -> DataFile:
    """Give the finished file its name, or the first free one with a number; nothing is ever written over."""
    stem, suffix = os.path.splitext(name)
    number = 1
    while True:
        ending = suffix if number == 1 else f"-{number}{suffix}"
        target = folder / f"{stem[: LONGEST_NAME - len(ending)]}{ending}"
        try:
            _place(part, target)
            break
        except FileExistsError:
            number += 1
    sync_folder(folder)
    return _file(target, target.name)


def _place(part: Path, target: Path) -> None:
    """Make `part` appear as `target`.

    Raises:
        FileExistsError: something of that name is there.
    """
    try:
        os.link(part, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A disk without hard links: the name is taken first, then filled.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.replace(part, target)


def _file(path: Path, name: str) -> DataFile:
    state = path.stat()
    return DataFile(name=name, path=str(path), bytes=state.st_size, modified=state.st_mtime)

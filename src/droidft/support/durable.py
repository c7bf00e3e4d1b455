"""Files that survive a crash: written under another name, synced, renamed, the folder synced.

Knows nothing of what it writes. On macOS `fsync` leaves data in the drive's cache, so `F_FULLFSYNC` is used.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from droidft.errors import StorageError

STALE_SECONDS = 3600
"""After so long without a change, a hidden file or folder is nobody's any more."""


def sync_file(path: Path) -> None:
    """Force the contents of a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries (creations, renames) to the disk."""
    sync_file(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: afterwards either the old or the new bytes are there, never a mixture."""
    with storage_errors(path):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            _sync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        sync_folder(path.parent)


def point(link: Path, target: str) -> None:
    """Make the symbolic link `link` point at `target` (relative), atomically."""
    with storage_errors(link):
        temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        os.symlink(target, temporary)
        os.replace(temporary, link)
        sync_folder(link.parent)


def commit_folder(temporary: Path, final: Path, *, replace: bool = True) -> None:
    """Make a finished folder appear under its name, all of it or nothing.

    Raises:
        StorageError: the disk; or there is something of that name, and it is not to be replaced.
    """
    if not replace and final.exists():
        raise StorageError(f"{final} is there already, made meanwhile", hint="give another name, or replace it")
    with storage_errors(final):
        for path in sorted(temporary.iterdir()):
            sync_file(path)
        sync_folder(temporary)
        aside = final.with_name(f".{final.name}.old.tmp")
        if final.exists():
            # Left by a process that was killed when its own was in place already.
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(final, aside)
        os.rename(temporary, final)
        sync_folder(final.parent)
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def hidden_until_whole(final: Path) -> Iterator[Path]:
    """A file beside `final` to write in; it becomes `final` when the block ends well, and vanishes otherwise.

    What a killed process left of the same file more than an hour ago is removed first.
    """
    for left in final.parent.glob(f".{glob.escape(final.name)}.*.part"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            left.unlink(missing_ok=True)
    part = final.with_name(f".{final.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
        sync_file(part)
        os.replace(part, final)
        sync_folder(final.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def folder_hidden_until_whole(final: Path, *, replace: bool = True) -> Iterator[Path]:
    """As `hidden_until_whole`, for a folder; what killed processes left of it is removed first, however new.

    Raises:
        StorageError: as `commit_folder`.
    """
    sweep_parts(final.parent, of=final.name)
    with hidden_folder(final) as part:
        yield part
        commit_folder(part, final, replace=replace)


@contextmanager
def hidden_folder(beside: Path) -> Iterator[Path]:
    """A folder beside `beside` for as long as the block lasts: `.name.….part`, which `sweep_parts` knows as in use.

    It is gone afterwards, unless it was renamed.
    """
    part, lock = _locked_folder(beside)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(lock)


def is_being_written(final: Path, *, but: Path | None = None) -> bool:
    """Whether a living process writes the folder `final` out of sight; `but`: a hidden folder of this one's own."""
    for part in final.parent.glob(f".{glob.escape(final.name)}.*.part"):
        # A name may hold dots, what is drawn for a hidden folder has none.
        if part == but or "." in part.name.removeprefix(f".{final.name}.").removesuffix(".part"):
            continue
        with suppress(FileNotFoundError, NotADirectoryError):
            lock = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:  # a disk without locks: nothing is known
                continue
            finally:
                os.close(lock)
    return False


def sweep_parts(folder: Path, *, of: str | None = None) -> None:
    """Remove the hidden folders in `folder` whose processes have ended, however they ended; `of`: of this name only.

    The lock proves life, so what another process is writing at this moment stays.
    """
    for left in folder.glob(".*.part" if of is None else f".{glob.escape(of)}.*.part"):
        with suppress(OSError):  # gone just then, a file, or held by a living process
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


def _locked_folder(beside: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor that locks it until it is closed or this process ends."""
    while True:
        part = Path(tempfile.mkdtemp(prefix=f".{beside.name}.", suffix=".part", dir=beside.parent))
        with suppress(FileNotFoundError):
            lock = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):  # a disk without locks: nothing on it is ever swept
                fcntl.flock(lock, fcntl.LOCK_EX)
            if part.is_dir():  # else it was swept between its making and its locking
                return part, lock
            os.close(lock)


def sweep(folder: Path) -> None:
    """Remove what a crash has left half-written in a folder; its one writer calls this before it begins."""
    for leftover in folder.glob(".*.tmp"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def storage_errors(path: Path, *, again: str = "run it again (a run: `droidft resume`)") -> Iterator[None]:
    """Turn the operating system's refusals into a `StorageError` that says what to do; `again` names the work."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = f"free some space, then {again}"
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            hint = "make the folder writable"
        elif error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            hint = "give the path of a file in a folder that exists"
        else:
            hint = "check the disk"
        raise StorageError(f"cannot write {path}: {os.strerror(error.errno or 0)}", hint=hint) from error


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)

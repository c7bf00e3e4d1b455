"""A file that a process holds locked for as long as it lives, and that names the process.

The lock, not the pid, proves life, so a pid that was given to another process deceives nobody.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from droidft.support import stored
from droidft.support.durable import storage_errors

KERNEL_LOCKS = Path("/proc/locks")
ATTEMPTS = 100
PAUSE_SECONDS = 0.01


def holder(path: Path) -> int | None:
    """Pid of the process that holds the file `path`; None where none does.

    Raises:
        DamagedFile: something else lies there, such as a folder.
    """
    with stored.reading(path):
        try:
            opening = stored.opened(path)  # a shared lock needs no more, and the home folder may be read-only
        except FileNotFoundError:
            return None
        with opening as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _pid(file)
    return None


def hold(path: Path) -> IO[str] | None:
    """Hold the file `path` until it is closed or this process ends; None where another process does."""
    with storage_errors(path):
        file = path.open("a+")
    # Whoever asks for the holder takes a shared lock for an instant; a holder keeps its own.
    for _ in range(ATTEMPTS):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with storage_errors(path):
                file.truncate(0)
                json.dump({"pid": os.getpid(), "started": time.time()}, file)
                file.flush()
            return file
        time.sleep(PAUSE_SECONDS)
    file.close()
    return None


def is_held_by(file: IO[Any], path: Path) -> bool:
    """Whether `path` is still the file that `hold` returned: not removed, nor another one in its place."""
    try:
        there, ours = os.stat(path), os.fstat(file.fileno())
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _pid(file: IO[bytes]) -> int | None:
    """What the holder wrote, if the kernel agrees: the file may have been edited since, and a signal to the process
    that it then names would hit a stranger. A holder that has just taken the lock is about to write."""
    lockers = _lockers(os.fstat(file.fileno()).st_ino)
    for _ in range(ATTEMPTS):
        file.seek(0)
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            pid = int(json.load(file)["pid"])
            if pid in lockers or (not lockers and pid > 1):
                return pid
        if len(lockers) == 1:
            return lockers[0]
        time.sleep(PAUSE_SECONDS)
    return None


def _lockers(inode: int) -> list[int]:
    """Processes that have locked a file of this number, by the kernel's table; none where it has no such table, or
    they are another container's."""
    try:
        rows = [line.split() for line in KERNEL_LOCKS.read_text().splitlines()]
    except OSError:
        return []
    # 1: FLOCK  ADVISORY  WRITE 4171 00:2f:9265 0 EOF
    locked = [row for row in rows if row[1:2] == ["FLOCK"] and row[3:4] == ["WRITE"] and len(row) > 5]
    pids = [int(row[4]) for row in locked if row[5].rpartition(":")[2] == str(inode) and row[4].isdecimal()]
    return [pid for pid in pids if pid > 1]

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
from typing import IO

ATTEMPTS = 100
PAUSE_SECONDS = 0.01


def holder(path: Path) -> int | None:
    """Pid of the process that holds the file `path`; None where none does."""
    try:
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _pid(file)
    except FileNotFoundError:
        return None
    return None


def hold(path: Path) -> IO[str] | None:
    """Hold the file `path` until it is closed or this process ends; None where another process does."""
    file = path.open("a+")
    # Whoever asks for the holder takes a shared lock for an instant; a holder keeps its own.
    for _ in range(ATTEMPTS):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            json.dump({"pid": os.getpid(), "started": time.time()}, file)
            file.flush()
            return file
        time.sleep(PAUSE_SECONDS)
    file.close()
    return None


def _pid(file: IO[str]) -> int | None:
    """What the holder wrote; one that has just taken the lock is about to."""
    for _ in range(ATTEMPTS):
        file.seek(0)
        with suppress(ValueError):
            return int(json.load(file)["pid"])
        time.sleep(PAUSE_SECONDS)
    return None

"""Worker processes as the server sees them: alive, ended, buried."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

BURY_SECONDS = 10.0
"""How long a process that has done its work may take to end."""


@dataclass(eq=False)
class Worker:
    """A living worker: `process` if it is this server's child."""

    process: subprocess.Popen[bytes] | None
    memory_kills: int
    """The kernel's count when it was first seen."""


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child has ended; its pid stays taken, unless it died while it was being started."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def bury(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that has done its work; kill it if it does not end."""
    try:
        process.wait(timeout=BURY_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

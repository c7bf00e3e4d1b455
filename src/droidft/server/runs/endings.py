"""How a worker ended that gave no reason: killed, out of memory, or an error before its log was open."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from droidft.runs.folder import NO_ROOM, REMOVED
from droidft.server.schemas.runs import Problem
from droidft.support.memory import RESUME_WITH_LESS, names_memory

VMSTAT = Path("/proc/vmstat")
LOG_LINES, LOG_BYTES = 20, 16_384

_RESUME = "resume it: it continues from its last checkpoint"


def kills_for_memory() -> int:
    """How many processes the kernel has killed for lack of memory since it started; 0 where unknown."""
    try:
        match = re.search(r"^oom_kill (\d+)$", VMSTAT.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) if match else 0


def log_tail(path: Path) -> list[str]:
    """The last lines of a worker's log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-LOG_LINES:]


def explain(status: int | None, *, log: Path, memory_kills: int, asked: bool) -> Problem:
    """What is known of a worker that has ended.

    Args:
        status: its exit status, negative for a signal; None if it was not this server's child.
        log: what it printed.
        memory_kills: processes the kernel has killed for memory while it lived.
        asked: whether the user had it killed.
    """
    tail = log_tail(log)
    if status == NO_ROOM:
        message = "the disk took no more events of it (it was full, or could not be written)"
        hint = f"free some space at {log.parent}; {_RESUME}"
        return Problem(code="storage", message=message, hint=hint, log_tail=tail)
    if status == REMOVED:
        message = "its folder, or the log in it, was removed or replaced while it ran"
        return Problem(code="worker_gone", message=message, hint="put it back, or delete the run", log_tail=tail)
    name = signal.Signals(-status).name if status is not None and status < 0 else None
    if asked:
        message = "it was killed on request; progress since its last checkpoint is lost"
        return Problem(code="killed", message=message, hint=_RESUME, signal=name, log_tail=tail)
    killed_for_memory = memory_kills > 0 and name in (None, "SIGKILL")
    if killed_for_memory or (status != 0 and names_memory("\n".join(tail))):
        message = "the machine ran out of memory" + (
            ", and the system killed the worker" if killed_for_memory else ""
        )
        return Problem(code="out_of_memory", message=message, hint=RESUME_WITH_LESS, signal=name, log_tail=tail)
    if name is not None:
        return Problem(
            code="killed",
            message=f"its worker was ended by the signal {name}",
            hint=f"see its log; {_RESUME}",
            signal=name,
            log_tail=tail,
        )
    if status is None:
        message = "its worker ended without saying why (it was killed, or the machine went down)"
        return Problem(code="worker_gone", message=message, hint=_RESUME, log_tail=tail)
    message = f"its worker ended with exit status {status} without saying why"
    return Problem(code="worker_exit", message=message, hint=f"see its log; {_RESUME}", log_tail=tail)

"""Limits on work that somebody else's file steers, such as a chat template or a model's configuration.

Such a file can ask for a loop without end, or for all of the memory. The work is done in this process, so the limits
are the system's: a timer that breaks in, and a bound on what the process may allocate meanwhile.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from droidft.errors import DroidError
from droidft.support.memory import is_out_of_memory
from droidft.support.words import size

STATM = Path("/proc/self/statm")
AGAIN_SECONDS = 0.25
"""The timer comes again: what it breaks into may have swallowed the first one."""
BASELINE_SECONDS = 1.0
"""How long the size of the process, measured once, is taken for its present one."""


class TimeUp(BaseException):
    """The timer: no `except Exception` on the way may keep it."""


@contextmanager
def within(what: str, *, seconds: float, memory: int, kind: type[DroidError], hint: str = "") -> Iterator[None]:
    """Do a block within so many `seconds`, in which the process grows by at most `memory` bytes.

    Time is limited in the main thread, where signals arrive; memory on Linux, which alone has a bound for it.

    Raises:
        DroidError: of this `kind`, with `what` as its beginning: time or memory was not enough, or the recursion
            went too deep.
    """
    try:
        with timed(seconds), _bounded(memory):
            yield
    except TimeUp:
        raise kind(f"{what} took longer than {seconds:g} s and was ended", hint=hint) from None
    except RecursionError:
        raise kind(f"{what} is nested too deeply", hint=hint) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise kind(f"{what} takes more than {size(memory)} of memory and was ended", hint=hint) from None


@contextmanager
def timed(seconds: float) -> Iterator[None]:
    """Raise `TimeUp` out of the block after so many seconds, in the main thread; in others nothing is limited."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def break_in(_number: int, _frame: FrameType | None) -> None:
        raise TimeUp

    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, break_in)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    if 0 < left < seconds:  # a limit around this one ends sooner
        signal.setitimer(signal.ITIMER_REAL, left, interval or AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left > 0:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - began)), interval)


_baseline = (-BASELINE_SECONDS, 0)


@contextmanager
def _bounded(memory: int) -> Iterator[None]:
    used = _used()
    if used is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = used + memory
    bounds = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([wanted, *bounds]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _used() -> int | None:
    """Bytes that the process has allocated, about; None where that is unknown."""
    global _baseline
    if sys.platform != "linux":
        return None
    now = time.monotonic()
    if now - _baseline[0] >= BASELINE_SECONDS:
        with contextlib.suppress(OSError, ValueError, IndexError):
            _baseline = (now, int(STATM.read_text().split()[5]) * resource.getpagesize())
    return _baseline[1] or None

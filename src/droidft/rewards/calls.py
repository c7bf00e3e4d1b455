"""Calls into code of the user's own: how long one may take, and how one is ended from outside.

A worker is one process with one such call at a time. Its heartbeat asks `overdue`, so that a call that does not
return shows as a run that is *stalled*; its signal handler calls `abandon`, so that a stop does not wait for it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STALLED_SECONDS = 60.0
"""A call that takes longer makes its run look stalled."""
LONGEST_SECONDS = 600.0
"""A call that takes longer is ended."""
PATIENCE_SECONDS = 5.0
"""How long a call may go on after it was to be abandoned."""


class Abandoned(BaseException):
    """A stop was asked for while the user's code ran. No `Exception`, so that the code does not swallow it."""


class TooLong(BaseException):
    """The call took longer than `LONGEST_SECONDS`."""


class _UnderWay:
    since: float | None = None
    abandoned: float | None = None


_call = _UnderWay()


@contextmanager
def limited() -> Iterator[None]:
    """While the user's code runs. In the main thread, raises `TooLong` out of it after `LONGEST_SECONDS`."""
    timed = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, _too_long) if timed else None
    _call.since, _call.abandoned = time.monotonic(), None
    try:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)
        yield
    finally:
        _call.since = None
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def overdue() -> bool:
    """Whether a call has taken so long that its run is stalled."""
    since, abandoned = _call.since, _call.abandoned
    if since is None:
        return False
    now = time.monotonic()
    return now - since > STALLED_SECONDS or (abandoned is not None and now - abandoned > PATIENCE_SECONDS)


def abandon() -> None:
    """From a signal handler: raise `Abandoned` out of the call that is under way, if there is one."""
    if _call.since is not None:
        _call.abandoned = time.monotonic()
        raise Abandoned


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise TooLong

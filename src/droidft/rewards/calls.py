"""Calls into code of the user's own: how long one may take, and how one is ended from outside.

A worker is one process with one such call at a time. Its heartbeat asks `overdue`, so that a call that does not
return shows as a run that is *stalled*; its signal handler calls `abandon`, so that a stop does not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from droidft.support.limits import timed

STALLED_SECONDS = 60.0
"""A call that takes longer makes its run look stalled."""
LONGEST_SECONDS = 600.0
"""A call that takes longer is ended."""
PATIENCE_SECONDS = 5.0
"""How long a call may go on after it was to be abandoned."""


class Abandoned(BaseException):
    """A stop was asked for while the user's code ran. No `Exception`, so that the code does not swallow it."""


class _UnderWay:
    since: float | None = None
    abandoned: float | None = None


_call = _UnderWay()


@contextmanager
def limited() -> Iterator[None]:
    """While the user's code runs. In the main thread, raises `TimeUp` out of it after `LONGEST_SECONDS`."""
    _call.since, _call.abandoned = time.monotonic(), None
    try:
        with timed(LONGEST_SECONDS):
            yield
    finally:
        _call.since = None


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

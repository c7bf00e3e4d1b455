"""What a run's log adds up to, kept in the cache, so that a log of any length is read once and not at every start.

A file says up to which byte of the log it goes, and how the log began and went on before that byte: one that another
log has taken the place of is not used, nor one that is damaged. It can always be made again.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from droidft.errors import DroidError, RunError
from droidft.runs import log
from droidft.runs.folder import Run
from droidft.runs.summary import Summary
from droidft.support import stored
from droidft.support.durable import write_atomically

LEAST_BYTES = 1 << 20
"""Shorter logs are read again in less time than it takes to keep what they add up to."""
MARK_BYTES = 4096
CHECKED_LINES = 64
FORMAT = 1

_SUMMARY = TypeAdapter(Summary)


@dataclass(eq=False)
class Account:
    """What the log of `run` adds up to, as far as it has been read."""

    run: Run
    summary: Summary = field(default_factory=Summary)
    offset: int = 0
    unreadable: int = 0
    """Lines that are no records: damaged, or of a newer version."""
    kept: int = 0
    """Offset up to which it is in the cache."""

    @classmethod
    def of(cls, run: Run) -> Account:
        """Where the last reader left off; nothing of the log itself is read."""
        account = cls(run)
        with suppress(DroidError, OSError, ValidationError, KeyError, TypeError, ValueError):
            values: dict[str, Any] = stored.mapping(run.kept_file)
            offset = int(values["offset"])
            if values["format"] == FORMAT and offset and values["mark"] == _mark(run, offset):
                account.summary = _SUMMARY.validate_python(values["summary"])
                account.offset = account.kept = offset
                account.unreadable = int(values["unreadable"])
        return account

    def read(self, *, until: float | None = None) -> bool:
        """Read on, at most until the monotonic clock shows `until`; whether the end was reached.

        Raises:
            RunError: the log cannot be read.
        """
        for number, (line, offset) in enumerate(log.stream(self.run.events_file, self.offset), 1):
            self.offset = offset
            if (record := log.brief(line)) is None:
                self.unreadable += 1
            else:
                self.summary.add(record)
            if until is not None and number % CHECKED_LINES == 0 and time.monotonic() > until:
                return False
        return True

    def keep(self) -> None:
        """Write down what has been read, if that saves anybody time."""
        if self.offset - self.kept < LEAST_BYTES:
            return
        with suppress(DroidError, OSError):  # a full disk: it is read again
            values = {
                "format": FORMAT,
                "offset": self.offset,
                "mark": _mark(self.run, self.offset),
                "unreadable": self.unreadable,
                "summary": _SUMMARY.dump_python(self.summary, mode="json"),
            }
            self.run.kept_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self.run.kept_file, _VALUES.dump_json(values))
            self.kept = self.offset


def summary_of(run: Run) -> Summary:
    """All that the log of `run` adds up to.

    Raises:
        RunError: the log cannot be read, or no line of it can.
    """
    account = Account.of(run)
    account.read()
    account.keep()
    if (fault := fault_of(account)) is not None:
        raise fault
    return account.summary


def fault_of(account: Account) -> DroidError | None:
    """Why nothing of a log can be used; None where something can, or nothing was written yet."""
    if account.summary.last is not None or not account.unreadable:
        return None
    return RunError(
        f"{account.run.events_file} is damaged: none of its lines can be read",
        hint="put the file back, or delete the run",
    )


_VALUES = TypeAdapter(dict[str, Any])


def _mark(run: Run, offset: int) -> str:
    """What tells this log, up to byte `offset`, from another one."""
    with run.events_file.open("rb") as file:
        first = file.read(min(MARK_BYTES, offset))
        file.seek(max(0, offset - MARK_BYTES))
        last = file.read(min(MARK_BYTES, offset))
    return hashlib.sha256(first + b"\0" + last).hexdigest()

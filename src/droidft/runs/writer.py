"""The one writer of a run's events: the worker, which holds the run's lock as long as it lives."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import IO

from droidft.errors import RunError
from droidft.events import Event, Record
from droidft.runs import log
from droidft.runs.folder import Run
from droidft.support import locks
from droidft.support.durable import storage_errors, sweep


class EventLog:
    """The one writer of a run's events; holds the run's lock from `open` to `close`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        lock = locks.hold(run.worker_file)
        if lock is None:
            raise RunError(f"run {run.id} has a worker already")
        self._lock = lock
        sweep(run.path)
        last = run.last_record()
        self._seq = last.seq if last is not None else 0
        with storage_errors(run.events_file):
            self._file: IO[bytes] = run.events_file.open("ab", buffering=0)
            # A crash can leave half a line; it was never read by anyone, so it goes.
            self._file.truncate(log.end(run.events_file))

    def append(self, event: Event) -> Record:
        """Write one event, all of it or nothing, and hand it to the operating system.

        Raises:
            StorageError: the disk refused it.
        """
        record = Record(seq=self._seq + 1, time=time.time(), event=event)
        line = record.model_dump_json().encode() + b"\n"
        with storage_errors(self._run.events_file):
            before = os.fstat(self._file.fileno()).st_size
            try:
                view = memoryview(line)
                while view:
                    view = view[self._file.write(view) or 0 :]
            except OSError:
                self._file.truncate(before)
                raise
        self._seq += 1
        return record

    def beat(self) -> None:
        """Show that the worker lives."""
        with suppress(OSError):  # a full or failing disk is for the next event to report
            os.utime(self._run.worker_file)

    def is_held(self) -> bool:
        """Whether the run's files are still the ones that this worker holds and writes."""
        return locks.is_held_by(self._lock, self._run.worker_file) and self.is_whole()

    def is_whole(self) -> bool:
        """Whether the log that is written is still the one in the run's folder."""
        return locks.is_held_by(self._file, self._run.events_file)

    def sync(self) -> None:
        """Force the events to the disk, as is done with every checkpoint."""
        with storage_errors(self._run.events_file):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Release the run."""
        self._file.close()
        self._lock.close()

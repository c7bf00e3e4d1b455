"""A worker's work done in the process of the tests: for what a run comes to, not for how its process lives and dies.

The process costs two seconds, nearly all of them for imports, and a run of a tiny model a few tenths.
"""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from droidft.runs.folder import Run
from droidft.runs.writer import EventLog
from droidft.workers.train import StopRequest, work


@dataclass(frozen=True)
class Done:
    """Stands for the process of a worker, which has ended."""

    returncode: int

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status."""
        return self.returncode

    def poll(self) -> int:
        """Its exit status."""
        return self.returncode


def start(run: Run) -> Done:
    """What `Run.start` begins, from beginning to end; what is printed goes to the run's log as there."""
    with run.log_file.open("a") as printed, redirect_stdout(printed), redirect_stderr(printed):
        return Done(work(run, EventLog(run), StopRequest()))

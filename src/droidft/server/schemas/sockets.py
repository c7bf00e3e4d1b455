"""Frames of the two sockets."""

from __future__ import annotations

from typing import Literal

from droidft.events import Record
from droidft.server.schemas.base import Wire
from droidft.server.schemas.jobs import Job
from droidft.server.schemas.runs import QueueView, RunSummary


class Rewind(Wire):
    """A worker began: what an earlier one did after `step` is done again, and no longer counts."""

    seq: int
    """Number of the record that says so."""
    step: int
    """-1 where nothing counts, not even the evaluation before the first step."""


class RecordsFrame(Wire):
    """Some records, in order and without a gap; `last` is the sequence number of the last of them."""

    type: Literal["records"] = "records"
    records: list[Record]
    rewinds: list[Rewind]
    last: int
    caught_up: bool
    """Whether these were all there are at the moment."""


class ResetFrame(Wire):
    """The client's position does not exist (the run was deleted or replaced): it has to start again at 0."""

    type: Literal["reset"] = "reset"


class UpdateFrame(Wire):
    """Runs and jobs that changed, runs that are gone, and the queue; the first frame holds everything."""

    type: Literal["update"] = "update"
    runs: list[RunSummary]
    removed: list[str]
    queue: QueueView
    jobs: list[Job]

"""Runs of an experiment one after another, for a terminal. A server puts them into its queue instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from droidft.errors import ExperimentError, RunError
from droidft.events import Record
from droidft.experiments.plan.settled import FixedPlan
from droidft.experiments.runs.folder import Experiment
from droidft.experiments.runs.progress import CellState, Progress, ensure_run, look
from droidft.runs.folder import Run


@dataclass(frozen=True)
class Began:
    """A run is about to begin, or to go on."""

    state: CellState
    progress: Progress


@dataclass(frozen=True)
class Said:
    """A run said something."""

    state: CellState
    record: Record


@dataclass(frozen=True)
class Ended:
    """A run's worker is gone."""

    state: CellState
    progress: Progress


def drive(
    experiment: Experiment, fixed: FixedPlan, *, should_stop: Callable[[], bool]
) -> Iterator[Began | Said | Ended]:
    """Do what is left of `experiment`, one run at a time.

    Ends when all is done, when `should_stop` says so, or when another process wants it to pause.

    Raises:
        ExperimentError: another process drives it, or a run keeps failing.
    """

    def pausing() -> bool:
        return should_stop() or not experiment.wanted().running

    with experiment.driving():
        experiment.want(running=True)
        while not should_stop():
            progress = look(experiment, fixed)
            if progress.complete:
                experiment.want(running=False)
                return
            if not experiment.wanted().running:
                return
            if (problem := progress.obstacle) is not None:
                raise ExperimentError(problem.message, hint=problem.hint)
            state = progress.next
            assert state is not None, "what is not complete has a next run, or an obstacle"
            yield Began(state, progress)
            run = ensure_run(experiment, fixed, state.cell)
            for record in _records(run, pausing):
                yield Said(state, record)
            yield Ended(state, look(experiment, fixed))
        experiment.want(running=False)


def _records(run: Run, should_stop: Callable[[], bool]) -> Iterator[Record]:
    """What the worker says until it is gone; one that runs already (the driver died before it) is followed."""
    asked = False

    def stop_if_wanted() -> None:
        nonlocal asked
        if not asked and should_stop():
            asked = True
            with suppress(RunError):  # it ended in this very moment
                run.stop()

    _, offset = run.records()
    worker = run.start() if run.worker_pid() is None else None
    yield from run.follow(offset, meanwhile=stop_if_wanted)
    if worker is not None:
        worker.wait()

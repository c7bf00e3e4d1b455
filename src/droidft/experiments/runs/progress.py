"""How far an experiment is, from its run folders; which run is next; and, in a terminal, one run after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from droidft.config.measurement import Expected, RunMeasurement, Weights
from droidft.errors import ExperimentError, NonFiniteError, RunError
from droidft.events import EvalReport, Event, Failed, Record, RunStarted, Stopped, TrainReport
from droidft.experiments.plan.settled import (
    Cell,
    FixedPlan,
    config_of,
    first_cells,
    later_cells,
    measurement_of,
    run_id,
)
from droidft.experiments.plan.written import BASE
from droidft.experiments.runs.attempts import Attempts
from droidft.experiments.runs.folder import Experiment, Obstacle
from droidft.runs import folder as runs
from droidft.runs import log
from droidft.runs.folder import Run, RunStatus

MOST_CRASHES = 3
"""A run whose worker has died so often, since the experiment was last started, stops it."""


class ExperimentState(StrEnum):
    """What an experiment is doing."""

    PLANNING = "planning"
    REFUSED = "refused"
    """Its plan cannot be fixed."""
    PLANNED = "planned"
    RUNNING = "running"
    WAITING = "waiting"
    """It is to go on, and no process drives it; a server does so once one runs."""
    STOPPED = "stopped"
    HALTED = "halted"
    """A run ended in a fault."""
    FINISHED = "finished"


@dataclass(frozen=True)
class CellState:
    """One run of an experiment, as it stands."""

    cell: Cell
    run_id: str
    run: Run | None
    status: RunStatus | None
    """None: not made yet."""
    diverged: bool = False
    """Its loss became infinite or NaN, in a plan that tries several settings: a result like others."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to be done: it was trained and measured, or diverged."""
        return self.status is RunStatus.FINISHED or self.diverged


@dataclass(frozen=True)
class Progress:
    """All runs that are known to be needed, in order, and what keeps the next from being run."""

    cells: list[CellState]
    chosen: Mapping[str, int] | None
    """Learning rate of each arm, once every first run is done."""
    obstacle: Obstacle | None = None

    @property
    def next(self) -> CellState | None:
        """The first that is not done."""
        return next((cell for cell in self.cells if not cell.done), None)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be run."""
        return self.chosen is not None and self.next is None


def look(experiment: Experiment, fixed: FixedPlan) -> Progress:
    """How far `experiment` is."""
    first = [_state(experiment, fixed, cell) for cell in first_cells(fixed)]
    if not all(cell.done for cell in first):
        progress = Progress(first, None)
        return Progress(first, None, _obstacle(progress.next, experiment.wanted().since))
    chosen = choose_rates(fixed, first)
    without = [arm.name for arm in fixed.arms if arm.name not in chosen]
    if without and not fixed.plan.sweep:
        return Progress(first, None, _nothing_converged(without))
    progress = Progress([*first, *(_state(experiment, fixed, cell) for cell in later_cells(fixed, chosen))], chosen)
    return Progress(progress.cells, chosen, _obstacle(progress.next, experiment.wanted().since))


def seconds_left(fixed: FixedPlan, progress: Progress) -> float | None:
    """Of all runs that are not done, by what was measured before the start; None where nothing was, or nothing can
    go on.

    A run under way counts as a whole one.
    """
    costs = {cost.arm: cost for cost in fixed.costs}
    left = [state.cell for state in progress.cells if not state.done]
    if not costs or (progress.chosen is None and not left):
        return None
    if progress.chosen is None:
        alive = {state.cell.arm for state in progress.cells if not state.diverged}
        left += later_cells(fixed, {arm: 0 for arm in costs if arm in alive})
    return sum(
        costs[fixed.arms[0].name].base_seconds if cell.arm == BASE else costs[cell.arm].seconds(cell.share)
        for cell in left
    )


def state_of(experiment: Experiment, progress: Progress | None) -> ExperimentState:
    """What it is doing; `progress` is None before its plan is fixed."""
    if progress is None:
        return ExperimentState.PLANNING if experiment.problem() is None else ExperimentState.REFUSED
    if progress.complete:
        return ExperimentState.FINISHED
    wanted = experiment.wanted()
    if not wanted.running:
        return ExperimentState.PLANNED if wanted.since == 0 else ExperimentState.STOPPED
    if progress.obstacle is not None:
        return ExperimentState.HALTED
    return ExperimentState.RUNNING if experiment.driver_pid() is not None else ExperimentState.WAITING


def ensure_run(experiment: Experiment, fixed: FixedPlan, cell: Cell) -> Run:
    """The run of `cell`, made if it is not there."""
    name = run_id(fixed, cell)
    if (run := experiment.run(name)) is not None:
        return run
    measure = RunMeasurement(
        measurement=measurement_of(fixed, cell),
        experiment=fixed.id,
        cell=cell.key,
        base=cell.arm == BASE,
        expected=Expected(
            training=fixed.data_hash if cell.share == 1 else None,
            test=fixed.test_hash,
            general=fixed.general_hash,
            base=fixed.base_hash,
        ),
    )
    return runs.create(experiment.home, config_of(fixed, cell), run_id=name, measure=measure)


def choose_rates(fixed: FixedPlan, first: list[CellState]) -> dict[str, int]:
    """For each arm the learning rate with the lowest validation loss, a mean over seeds.

    One with which a run diverged is not chosen; an arm that diverged with every rate has none.
    """
    if not fixed.plan.learning_rates:
        gone = {state.cell.arm for state in first if state.diverged}
        return {arm.name: 0 for arm in fixed.arms if arm.name not in gone}
    losses: dict[str, dict[int, list[float]]] = {arm.name: {} for arm in fixed.arms}
    weights = fixed.plan.measurement.weights
    for state in first:
        if state.cell.arm == BASE or state.run is None:
            continue
        loss = validation_loss((record.event for record in state.run.stream()), weights)
        score = math.inf if state.diverged or loss is None else loss
        losses[state.cell.arm].setdefault(state.cell.rate, []).append(score)
    best = {arm: min((sum(each) / len(each), rate) for rate, each in rates.items()) for arm, rates in losses.items()}
    return {arm: rate for arm, (loss, rate) in best.items() if loss < math.inf}


def validation_loss(events: Iterable[Event], weights: Weights) -> float | None:
    """The validation loss of a run's best weights, or of its last, from its events."""
    losses = [event.loss for event in events if isinstance(event, EvalReport)]
    if not losses:
        return None
    return losses[-1] if weights is Weights.LAST else min(losses)


def _state(experiment: Experiment, fixed: FixedPlan, cell: Cell) -> CellState:
    name = run_id(fixed, cell)
    if (run := experiment.run(name)) is None:
        return CellState(cell, name, None, None)
    status = run.status()
    several = len(fixed.plan.learning_rates or []) > 1 or bool(fixed.plan.sweep)
    return CellState(cell, name, run, status, several and status is RunStatus.FAILED and _has_diverged(run))


def _has_diverged(run: Run) -> bool:
    record = run.last_record()
    return record is not None and isinstance(record.event, Failed) and record.event.code == NonFiniteError.code


def _nothing_converged(arms: list[str]) -> Obstacle:
    return Obstacle(
        code=NonFiniteError.code,
        message=f"{', '.join(arms)}: a run diverged with every learning rate that was tried",
        hint="plan a new experiment with smaller learning rates",
    )


def _obstacle(state: CellState | None, since: float) -> Obstacle | None:
    """Why the next run is not simply started: it failed, was stopped, or crashed again and again, after `since`."""
    if state is None or state.run is None or state.status is None or state.status not in _ENDINGS:
        return None
    return _ENDINGS[state.status](state.run, since)


def _failed(run: Run, since: float) -> Obstacle | None:
    record = run.last_record()
    if record is None or not isinstance(record.event, Failed) or record.time < since:
        return None  # it was removed, or began again, since it was looked at
    event = record.event
    return Obstacle(code=event.code, message=f"run {run.id}: {event.message}", hint=event.hint)


def _stopped(run: Run, since: float) -> Obstacle | None:
    record = run.last_record()
    if record is None or not isinstance(record.event, Stopped) or record.time < since:
        return None
    hint = "start the experiment again to go on"
    return Obstacle(code="stopped", message=f"run {run.id} was stopped", hint=hint)


def _crashed(run: Run, since: float) -> Obstacle | None:
    starts = 0
    for record in run.stream():
        if record.time >= since:
            starts += isinstance(record.event, RunStarted)
            if isinstance(record.event, TrainReport):
                starts = 1  # it got somewhere
    if starts < MOST_CRASHES:
        return None
    return Obstacle(
        code="crashed",
        message=f"run {run.id}: its worker died {starts} times without saying why (killed, or out of memory)",
        hint=f"its log is {run.log_file}; lower batch_size in a new plan, or start the experiment again",
    )


_ENDINGS: Mapping[RunStatus, Callable[[Run, float], Obstacle | None]] = {
    RunStatus.FAILED: _failed,
    RunStatus.STOPPED: _stopped,
    RunStatus.CRASHED: _crashed,
}


@dataclass(frozen=True)
class Began:
    """A run is about to begin, or to go on."""

    state: CellState
    progress: Progress


@dataclass(frozen=True)
class Reported:
    """A run reported something."""

    state: CellState
    record: Record


@dataclass(frozen=True)
class Ended:
    """A run's worker is gone."""

    state: CellState
    progress: Progress


def drive(
    experiment: Experiment, fixed: FixedPlan, *, should_stop: Callable[[], bool]
) -> Iterator[Began | Reported | Ended]:
    """Do what is left of `experiment`, one run at a time.

    Ends when all is done, when `should_stop` says so, or when another process wants it to pause.

    Raises:
        ExperimentError: another process drives it, or a run keeps failing.
    """

    def pausing() -> bool:
        return should_stop() or not experiment.wanted().running

    attempts = Attempts()
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
            if not run.is_held() and (problem := attempts.next(run)) is not None:
                raise ExperimentError(problem.message, hint=problem.hint)
            for record in _records(run, pausing):
                yield Reported(state, record)
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

    offset = log.end(run.events_file)
    worker = run.start() if run.worker_pid() is None else None
    yield from run.follow(offset, meanwhile=stop_if_wanted)
    if worker is not None:
        worker.wait()

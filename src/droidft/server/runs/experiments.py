"""Experiments under the server: plans are fixed in a process of their own, runs go through the queue one by one.

Everything is kept in the folders, so a server that was killed continues where it was.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from droidft.errors import DroidError, ExperimentError, NotFound, StorageError
from droidft.experiments.findings.results import Analysis
from droidft.experiments.plan.settled import FixedPlan, count_of_runs
from droidft.experiments.plan.written import Plan
from droidft.experiments.report.figures import curves_of, forest_of
from droidft.experiments.runs import folder
from droidft.experiments.runs.attempts import Attempts
from droidft.experiments.runs.folder import Experiment, Obstacle
from droidft.experiments.runs.progress import CellState, ExperimentState, ensure_run, look, seconds_left, state_of
from droidft.home import Home
from droidft.runs.folder import Run, RunStatus
from droidft.server.asking.inspect import NICENESS, Inspector
from droidft.server.runs.supervisor import Supervisor
from droidft.server.schemas.experiments import ExperimentDetail, ExperimentSummary, Figures, Planning
from droidft.server.schemas.runs import RunState
from droidft.support.channel import Child

TICK_SECONDS = 0.5
STOPPING_SECONDS = 20.0
"""So long the deletion of an experiment waits for a run that saves its last checkpoint."""
PLANNER = "droidft.workers.settle"

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Driven:
    """An experiment that this server drives."""

    fixed: FixedPlan
    lock: ExitStack


@dataclass(eq=False)
class Fixing:
    """A plan that is being fixed."""

    task: asyncio.Task[None]
    progress: Planning = field(default_factory=lambda: Planning(phase="starting", done=0, total=None))


class Experiments:
    """Plans experiments and drives those that are wanted."""

    def __init__(self, home: Home, supervisor: Supervisor, inspector: Inspector) -> None:
        self._home, self._supervisor, self._inspector = home, supervisor, inspector
        self._driven: dict[str, Driven] = {}
        self._fixing: dict[str, Fixing] = {}
        self._planner = asyncio.Semaphore(1)
        self._complaints: dict[str, str] = {}
        self._attempts: dict[str, Attempts] = {}
        self._halted: dict[str, Obstacle] = {}
        """Experiments of which a run was started again and again, until they are started by hand."""
        self._lock = asyncio.Lock()
        """Held while an experiment is continued, stopped or deleted: none of these may see the others half done."""

    async def watch(self) -> None:
        """Look after all experiments until cancelled."""
        while True:
            for experiment in await self._everyone():
                # One that fails must not keep the others from continuing.
                [failure] = await asyncio.gather(self._tend(experiment), return_exceptions=True)
                if isinstance(failure, BaseException):
                    self._complain(experiment.id, failure)
            await asyncio.sleep(TICK_SECONDS)

    async def _everyone(self) -> list[Experiment]:
        try:
            return await asyncio.to_thread(folder.all_experiments, self._home)
        except OSError as error:
            self._complain("", error)
            return []

    def _complain(self, experiment_id: str, error: BaseException) -> None:
        """Log an error once, not at every look."""
        if self._complaints.get(experiment_id) != str(error):
            self._complaints[experiment_id] = str(error)
            logger.error("experiment %s: %s; the others continue", experiment_id, error, exc_info=error)

    async def close(self) -> None:
        """Call planning off and let go of what is driven; runs continue."""
        tasks = [fixing.task for fixing in self._fixing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for driven in self._driven.values():
            driven.lock.close()

    # What clients ask for

    async def create(self, plan: Plan, *, start: bool) -> ExperimentSummary:
        """A new experiment; its plan is fixed at once."""
        experiment = await asyncio.to_thread(folder.create, self._home, plan)
        if start:
            await asyncio.to_thread(experiment.want, running=True)
        await self._tend(experiment)
        return await self.summary(experiment.id)

    async def start(self, experiment_id: str) -> ExperimentSummary:
        """Start or continue it; failed runs are tried again."""
        experiment = self._find(experiment_id)
        if experiment.problem() is not None:
            raise ExperimentError(
                f"the plan of {experiment.id} was refused: there is nothing to start",
                hint="make a new experiment with a changed plan",
            )
        await asyncio.to_thread(experiment.want, running=True)
        self._attempts.pop(experiment.id, None)
        self._halted.pop(experiment.id, None)
        await self._tend(experiment)
        return await self.summary(experiment_id)

    async def stop(self, experiment_id: str) -> ExperimentSummary:
        """Pause it; its run saves a checkpoint."""
        experiment = self._find(experiment_id)
        async with self._lock:
            await asyncio.to_thread(experiment.want, running=False)
            self._let_go(experiment.id)
            for run in await asyncio.to_thread(experiment.runs):
                view = self._supervisor.views.get(run.id)
                if view is not None and view.can_stop:
                    await self._supervisor.stop(run.id, force=False)
        return await self.summary(experiment_id)

    async def delete(self, experiment_id: str) -> None:
        """Remove it with its runs and their adapters.

        Raises:
            ExperimentError: it is running.
        """
        async with self._lock:
            experiment = self._find(experiment_id)
            if experiment.wanted().running and await self._state(experiment) is ExperimentState.RUNNING:
                raise ExperimentError(f"experiment {experiment.id} is running", hint="stop it first")
            if (fixing := self._fixing.pop(experiment.id, None)) is not None:
                fixing.task.cancel()
                await asyncio.gather(fixing.task, return_exceptions=True)
            await asyncio.to_thread(experiment.want, running=False)
            self._let_go(experiment.id)
            runs = await asyncio.to_thread(experiment.runs)
            await self._until_stopped(runs)
            for run in runs:
                with suppress(NotFound):
                    await self._supervisor.delete(run.id, files=True)
            await asyncio.to_thread(experiment.delete)

    async def _until_stopped(self, runs: list[Run]) -> None:
        """Wait for runs that are stopping; one that takes too long still counts as running afterwards."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOPPING_SECONDS):
                while any(self._is_stopping(run) for run in runs):
                    await asyncio.sleep(0.05)

    def _is_stopping(self, run: Run) -> bool:
        view = self._supervisor.views.get(run.id)
        return view is not None and view.state is RunState.STOPPING

    async def all(self) -> list[ExperimentSummary]:
        """Every experiment, newest first."""
        experiments = await asyncio.to_thread(folder.all_experiments, self._home)
        return [await self._summary(experiment) for experiment in experiments]

    async def summary(self, experiment_id: str) -> ExperimentSummary:
        """One experiment, in short."""
        return await self._summary(self._find(experiment_id))

    async def detail(self, experiment_id: str) -> ExperimentDetail:
        """One experiment with its results so far."""
        experiment = self._find(experiment_id)
        # First the summary: where it says "finished", the analysis after it holds every run.
        summary, analysis, figures = await self._summary(experiment), None, None
        if experiment.fixed() is not None:
            analysis = Analysis.model_validate(
                await self._inspector.ask_worker("experiment", experiment=experiment.id)
            )
            figures = Figures(differences=forest_of(analysis), efficiency=curves_of(analysis))
        return ExperimentDetail(summary=summary, request=experiment.plan(), analysis=analysis, figures=figures)

    async def report(self, experiment_id: str, form: str) -> str:
        """The report as text of the form `html`, `json` or `md`."""
        experiment = self._find(experiment_id)
        if experiment.fixed() is None:
            raise ExperimentError(
                f"experiment {experiment.id} has no report yet: its plan is not fixed",
                hint="wait until it is planned",
            )
        text: str = await self._inspector.ask_worker("experiment_report", experiment=experiment.id, form=form)
        return text

    # Driving

    async def _tend(self, experiment: Experiment) -> None:
        async with self._lock:
            if experiment.exists:
                await self._look_after(experiment)

    async def _look_after(self, experiment: Experiment) -> None:
        if not experiment.is_fixed:
            known = experiment.id in self._fixing or experiment.problem() is not None
            if not known and experiment.driver_pid() is None:  # a terminal may be planning it
                self._fixing[experiment.id] = Fixing(asyncio.create_task(self._fix(experiment)))
            return
        if not experiment.wanted().running:
            self._let_go(experiment.id)
            return
        fixed = await asyncio.to_thread(experiment.fixed)
        if fixed is None:  # removed in this very moment
            return
        progress = await asyncio.to_thread(look, experiment, fixed)
        if progress.complete:
            await asyncio.to_thread(experiment.want, running=False)
            self._let_go(experiment.id)
        elif progress.obstacle is not None or progress.next is None or experiment.id in self._halted:
            self._let_go(experiment.id)
        elif await self._take(experiment, fixed):
            await self._go_on(experiment, fixed, progress.next)

    async def _go_on(self, experiment: Experiment, fixed: FixedPlan, state: CellState) -> None:
        """Put the next run into the queue, unless it is there or runs."""
        if state.status is RunStatus.RUNNING:
            return
        run = await asyncio.to_thread(ensure_run, experiment, fixed, state.cell)
        view = self._supervisor.views.get(run.id)
        if view is None or (view.queue_position is None and view.can_resume):
            attempts = self._attempts.setdefault(experiment.id, Attempts())
            if (obstacle := await asyncio.to_thread(attempts.next, run)) is not None:
                self._halted[experiment.id] = obstacle
                self._let_go(experiment.id)
                return
            await self._supervisor.resume(run.id)

    async def _take(self, experiment: Experiment, fixed: FixedPlan) -> bool:
        """Drive it from here; whether no other process does."""
        if experiment.id in self._driven:
            return True
        lock = ExitStack()
        try:
            await asyncio.to_thread(lock.enter_context, experiment.driving())  # it waits for half a second
        except ExperimentError:
            return False
        self._driven[experiment.id] = Driven(fixed, lock)
        return True

    def _let_go(self, experiment_id: str) -> None:
        if (driven := self._driven.pop(experiment_id, None)) is not None:
            driven.lock.close()

    async def _fix(self, experiment: Experiment) -> None:
        child = Child(PLANNER, niceness=NICENESS)
        params: dict[str, Any] = {"home": str(self._home.root), "experiment": experiment.id, "timed": True}

        def note(event: dict[str, Any]) -> None:
            self._fixing[experiment.id].progress = Planning.model_validate(event)

        try:
            async with self._planner:
                await child.call("fix", params, note)
        except DroidError as error:
            problem = Obstacle(code=error.code, message=error.message, hint=error.hint)
            with suppress(StorageError):  # it was deleted meanwhile
                await asyncio.to_thread(experiment.refuse, problem)
        finally:
            await child.close()
            self._fixing.pop(experiment.id, None)

    # Reading

    def _find(self, experiment_id: str) -> Experiment:
        experiment = Experiment(self._home.experiment(experiment_id), self._home)
        if not experiment.exists:
            raise NotFound(f"there is no experiment {experiment_id!r}", hint="it may have been deleted")
        return experiment

    async def _state(self, experiment: Experiment) -> ExperimentState:
        return (await self._summary(experiment)).state

    async def _summary(self, experiment: Experiment) -> ExperimentSummary:
        return await asyncio.to_thread(self._summarised, experiment)

    def _summarised(self, experiment: Experiment) -> ExperimentSummary:
        try:
            return self._of_plan(experiment)
        except DroidError as error:
            return _unreadable(experiment, error)

    def _of_plan(self, experiment: Experiment) -> ExperimentSummary:
        plan, fixed = experiment.plan(), experiment.fixed()
        progress = look(experiment, fixed) if fixed is not None else None
        if progress is not None and progress.obstacle is None and experiment.id in self._halted:
            progress = replace(progress, obstacle=self._halted[experiment.id])
        state = state_of(experiment, progress)
        fixing = self._fixing.get(experiment.id)
        obstacle = progress.obstacle if progress is not None and state is ExperimentState.HALTED else None
        upcoming = progress.next if progress is not None else None
        return ExperimentSummary(
            id=experiment.id,
            title=plan.title,
            state=state,
            created=experiment.created,
            model=str(plan.settings.get("model_path", "")),
            data=str(plan.settings.get("train_data_path", "")),
            arms=list(plan.all_arms()),
            seeds=len(plan.seeds),
            runs=count_of_runs(fixed) if fixed is not None else 0,
            done=sum(cell.done for cell in progress.cells) if progress is not None else 0,
            run=upcoming.run_id if upcoming is not None and upcoming.run is not None else None,
            seconds_left=seconds_left(fixed, progress) if fixed is not None and progress is not None else None,
            problem=experiment.problem() or obstacle,
            planning=fixing.progress if fixing is not None else None,
        )


def _unreadable(experiment: Experiment, error: DroidError) -> ExperimentSummary:
    """The summary of an experiment whose files are damaged, or another version wrote them."""
    return ExperimentSummary(
        id=experiment.id,
        title="",
        state=ExperimentState.REFUSED,
        created=experiment.created,
        model="",
        data="",
        arms=[],
        seeds=0,
        runs=0,
        done=0,
        run=None,
        seconds_left=None,
        problem=Obstacle(code=error.code, message=error.message, hint=error.hint),
        planning=None,
    )

"""Experiments: arms that differ in named settings, several seeds, a verdict with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from droidft.api.training import Run, home_at
from droidft.config import load_config_file
from droidft.errors import ExperimentError
from droidft.experiments.findings.results import Analysis
from droidft.experiments.plan.settled import FixedPlan
from droidft.experiments.plan.written import Plan, parse_plan
from droidft.experiments.runs import folder as folders
from droidft.experiments.runs import progress as looks
from droidft.experiments.runs.progress import Began, Ended, ExperimentState, Reported, drive, look, state_of
from droidft.support.progress import Progress


def experiment(
    plan: Plan | Mapping[str, Any] | str | Path,
    *,
    home: str | Path | None = None,
    timed: bool = False,
    progress: Progress | None = None,
) -> Experiment:
    """Plan an experiment: ranks are matched, data is read and hashed, steps are counted. Nothing is trained yet.

    `follow` or `wait` then does its runs one after another; a server or a terminal can do so too.

    Args:
        plan: a plan as docs/experiments.md describes it, or the path of a YAML or JSON file that holds one. Relative
            paths in it begin in the working directory.
        home: the home folder; `DROIDFT_HOME` or `~/.droidft` if it is not given.
        timed: also time a few steps of each arm, for an estimate of what it will cost (`Experiment.plan.estimate`).
        progress: called with what is being planned, how much of it, and of how much.

    Raises:
        ConfigError: the plan is wrong; every fault is named by its place.
        DroidError: data, model or a test set cannot be used.
    """
    source = str(plan) if isinstance(plan, str | Path) else "the plan"
    if not isinstance(plan, Plan):
        values = load_config_file(Path(plan).expanduser()) if isinstance(plan, str | Path) else plan
        plan = parse_plan(values, source=source)
    made = folders.create(home_at(home), plan)
    settle_locked(made, progress, timed=timed, is_new=True)
    return Experiment(made)


def settle_locked(made: folders.Experiment, progress: Progress | None, *, timed: bool, is_new: bool) -> FixedPlan:
    """Settle the plan of an experiment under its lock, so that no server plans it too.

    What refuses the plan leaves no experiment behind that `is_new`.
    """
    from droidft.workers.settle import settle  # slow to import

    with made.driving():
        try:
            return settle(made, report=progress or (lambda what, done, total: None), timed=timed)
        except BaseException:
            if is_new:
                made.forget()
            raise


class Experiment:
    """An experiment, as it stands: everything is read from its folder and those of its runs when it is asked for.

    `experiment` makes one, `Experiment.find` opens one that is there.
    """

    def __init__(self, folder: folders.Experiment) -> None:
        self._folder = folder

    @classmethod
    def find(cls, experiment_id: str = "last", *, home: str | Path | None = None) -> Experiment:
        """The experiment of this id; the unambiguous beginning of one, or `last`, will do.

        Raises:
            NotFound: none, or more than one, answers to it.
        """
        return cls(folders.find(home_at(home), experiment_id))

    def __repr__(self) -> str:
        return f"<droidft.Experiment {self.id}: {self.state}>"

    @property
    def id(self) -> str:
        """Its name, such as `x20260131-101500`; the ids of its runs begin with it."""
        return self._folder.id

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._folder.path

    @property
    def state(self) -> ExperimentState:
        """`planned`, `running`, `waiting` (for a server), `stopped`, `halted` (a run failed), or `finished`."""
        return state_of(self._folder, self.progress if self._folder.is_fixed else None)

    @property
    def plan(self) -> FixedPlan:
        """All that was decided before the first step.

        Raises:
            ExperimentError: that was not done yet, or the plan cannot be read.
        """
        if (fixed := self._folder.fixed()) is None:
            raise ExperimentError(f"the plan of experiment {self.id} is not fixed yet", hint="wait until it is")
        return fixed

    @property
    def progress(self) -> looks.Progress:
        """Every run that is known to be needed, in order, with its status; and what keeps the next from being run."""
        return look(self._folder, self.plan)

    @property
    def runs(self) -> list[Run]:
        """Its runs, as far as they were made, by id."""
        return [Run(run) for run in sorted(self._folder.runs(), key=lambda run: run.id)]

    def follow(self) -> Iterator[Began | Reported | Ended]:
        """Do the runs that are left, one after another, each in a worker process; yields what happens.

        `Began` and `Ended` have the `state` of a run and the `progress` of all, `Reported` the `record` of an event.
        It ends when all is done, or `stop` was called. Where it is left before that, the run under way goes on by
        itself, and the next call goes on from there.

        Raises:
            ExperimentError: another process does so already, or a run keeps failing.
        """
        return drive(self._folder, self.plan, should_stop=lambda: False)

    def wait(self) -> Experiment:
        """Do the runs that are left; returns the experiment itself. Raises as `follow`."""
        for _ in self.follow():
            pass
        return self

    def stop(self) -> None:
        """Ask the run under way to save a checkpoint and end, and whoever does the runs to stop there.

        `follow` goes on from there.
        """
        self._folder.stop()

    @property
    def analysis(self) -> Analysis:
        """What it has found so far: `verdict`, `arms`, `contrasts` with intervals, `table`, `notes` on its limits.

        Losses are in nats per token; intervals cover 95 %. docs/experiments.md says how they are made, with sources.
        """
        from droidft.experiments.findings.analysis import analyse  # with scipy, which is slow to import

        self.plan  # noqa: B018 - reports what is missing
        return analyse(self._folder)

    @property
    def verdict(self) -> str:
        """The answer in a sentence or two; while runs are missing, how many."""
        return self.analysis.verdict

    def report(self, form: Literal["md", "html", "json"] = "md") -> str:
        """The report as Markdown, as a page that needs no network, or as JSON with the figures of every row."""
        from droidft.experiments.findings.analysis import measurements
        from droidft.experiments.report.page import render

        return render(self.analysis, form, measured=measurements(self._folder))

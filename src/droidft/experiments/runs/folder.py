"""An experiment folder. What it is doing is derived from its runs, never stored.

experiments/<id>/
  request.json      the `Plan`, as it was given
  plan.json         the `FixedPlan`: all that was decided before the first step, never changed again
  problem.json      why the plan cannot be fixed
  wanted.json       whether it is to go on, and since when
  driver.json       locked by the process that drives it: a server, or a terminal
Its runs lie among the others, under ids that begin with its own.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from droidft.errors import DamagedFile, ExperimentError, RunError
from droidft.experiments.plan.settled import FixedPlan
from droidft.experiments.plan.written import Plan, parse_plan
from droidft.home import NAME, Home, from_anywhere
from droidft.runs.folder import Run, identified, is_run, newest_first
from droidft.support import locks, stored
from droidft.support.durable import storage_errors, write_atomically

M = TypeVar("M", bound=BaseModel)


class Obstacle(BaseModel):
    """Why something did not work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    message: str
    hint: str = ""


class Wanted(BaseModel):
    """What the user wants of an experiment."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    running: bool
    since: float
    """Seconds since the epoch. What ended in a fault before then is tried again."""


@dataclass(frozen=True)
class Experiment:
    """One experiment folder."""

    path: Path
    home: Home

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def created(self) -> float:
        """When it was made, in seconds since the epoch; 0 where that is not known any more."""
        try:
            return (self.path / "request.json").stat().st_mtime
        except OSError:
            return 0.0

    def plan(self) -> Plan:
        """The plan as it was given.

        Raises:
            ExperimentError: it cannot be read.
        """
        return self._read("request.json", Plan)

    def fixed(self) -> FixedPlan | None:
        """The plan as it was fixed before the first step; None until then.

        Raises:
            ExperimentError: it cannot be read.
        """
        return self._read("plan.json", FixedPlan) if self.is_fixed else None

    def _read(self, name: str, kind: type[M]) -> M:
        hint = "put the file back, use the version that wrote it, or delete the experiment"
        return stored.model(self.path / name, kind, kind=ExperimentError, hint=hint)

    @property
    def exists(self) -> bool:
        """Whether it is there, readable or not; one that was deleted is not."""
        return any(os.path.lexists(self.path / name) for name in ("request.json", "plan.json"))

    @property
    def is_fixed(self) -> bool:
        """Whether its plan is fixed."""
        return os.path.lexists(self.path / "plan.json")

    def fix(self, fixed: FixedPlan) -> FixedPlan:
        """Write down the fixed plan, once: if that was done before, what was written then counts."""
        if (earlier := self.fixed()) is not None:
            return earlier
        write_atomically(self.path / "plan.json", fixed.model_dump_json(indent=1).encode())
        (self.path / "problem.json").unlink(missing_ok=True)  # of an earlier attempt
        return fixed

    def problem(self) -> Obstacle | None:
        """Why its plan could not be fixed."""
        return self._read("problem.json", Obstacle) if os.path.lexists(self.path / "problem.json") else None

    def refuse(self, problem: Obstacle) -> None:
        """Note why its plan cannot be fixed."""
        write_atomically(self.path / "problem.json", problem.model_dump_json().encode())

    def wanted(self) -> Wanted:
        """Whether it is to go on."""
        if not os.path.lexists(self.path / "wanted.json"):
            return Wanted(running=False, since=0.0)
        return self._read("wanted.json", Wanted)

    def want(self, *, running: bool) -> None:
        """Ask for it to go on, or to pause."""
        wanted = Wanted(running=running, since=time.time())
        write_atomically(self.path / "wanted.json", wanted.model_dump_json().encode())

    def stop(self) -> None:
        """Ask for it to pause, and the run under way to save a checkpoint and end."""
        self.want(running=False)
        for run in self.runs():
            if run.is_held():
                with suppress(RunError):  # it ended in this very moment
                    run.stop()

    def runs(self) -> list[Run]:
        """Its runs, as far as they were made."""
        return [
            Run(path) for path in self.home.runs.iterdir() if path.name.startswith(f"{self.id}.") and is_run(path)
        ]

    def run(self, cell_run_id: str) -> Run | None:
        """The run of this id, if it was made."""
        path = self.home.run(cell_run_id)
        return Run(path) if is_run(path) else None

    @property
    def lock_file(self) -> Path:
        """Locked by the process that drives it."""
        return self.path / "driver.json"

    def driver_pid(self) -> int | None:
        """Pid of the process that drives it; where `driver.json` is damaged, nothing can."""
        try:
            return locks.holder(self.lock_file)
        except DamagedFile:
            return None

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Be the one process that drives it.

        Raises:
            ExperimentError: another one is.
        """
        lock = locks.hold(self.lock_file)
        if lock is None:
            raise ExperimentError(
                f"experiment {self.id} is already driven by process {self.driver_pid()}",
                hint="it goes on there; `droidft experiments show` shows its progress",
            )
        with lock:
            yield

    def forget(self) -> None:
        """Remove the folder of one that has no runs."""
        with storage_errors(self.path):
            shutil.rmtree(self.path)

    def delete(self) -> None:
        """Remove it with all its runs and their adapters.

        Raises:
            ExperimentError: it is running.
        """
        if self.driver_pid() is not None or any(run.is_held() for run in self.runs()):
            raise ExperimentError(f"experiment {self.id} is running", hint="stop it first")
        for run in self.runs():
            run.delete(self.home, files=True)
        self.forget()


def create(home: Home, plan: Plan) -> Experiment:
    """A new experiment folder for `plan`, whose relative paths begin in the working directory.

    Raises:
        ConfigError: two values of a sweep are one file.
    """
    plan = parse_plan(_rooted(home, plan).model_dump(mode="json"), source="the plan")
    stamp = datetime.now(UTC).strftime("x%Y%m%d-%H%M%S")
    name, number = stamp, 2
    while home.experiment(name).exists():
        name, number = f"{stamp}-{number}", number + 1
    experiment = Experiment(home.experiment(name), home)
    with storage_errors(experiment.path):
        experiment.path.mkdir(mode=0o700)
        write_atomically(experiment.path / "request.json", plan.model_dump_json(indent=1).encode())
    return experiment


def _rooted(home: Home, plan: Plan) -> Plan:
    """`plan` with whole paths: its runs may be started from elsewhere, by a server or another terminal."""
    measurement = plan.measurement
    changes: dict[str, Any] = {
        name: from_anywhere(value)
        for name in ("test_data_path", "general_data_path")
        if (value := getattr(measurement, name)) is not None
    }
    if measurement.harness is not None and (include := measurement.harness.include) is not None:
        changes["harness"] = measurement.harness.model_copy(update={"include": from_anywhere(include)})
    arms = {name: arm.model_copy(update={"settings": home.rooted(arm.settings)}) for name, arm in plan.arms.items()}
    sweep = {name: [home.rooted({name: value})[name] for value in values] for name, values in plan.sweep.items()}
    return plan.model_copy(
        update={
            "settings": home.rooted(plan.settings),
            "arms": arms,
            "sweep": sweep,
            "measurement": measurement.model_copy(update=changes),
        }
    )


def all_experiments(home: Home) -> list[Experiment]:
    """Every experiment, newest first."""
    named = (path for path in home.experiments.iterdir() if NAME.fullmatch(path.name) and not path.is_symlink())
    return newest_first(experiment for path in named if (experiment := Experiment(path, home)).exists)


def find(home: Home, experiment_id: str) -> Experiment:
    """The experiment of this id; the unambiguous beginning of one, or `last`, will do.

    Raises:
        NotFound: none, or more than one, answers to it.
    """
    known = [experiment.id for experiment in all_experiments(home)]
    return Experiment(home.experiment(identified(experiment_id, known, kind="experiment", last=known[:1])), home)

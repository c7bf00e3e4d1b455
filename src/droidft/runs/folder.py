"""A run folder: configuration, events, checkpoints. Its status is derived, never stored.

runs/<id>/
  config.json       the TrainingConfig
  events.jsonl      one `Record` a line, appended by the worker alone
  worker.json       the worker's pid; the worker holds a lock on it as long as it lives
  log.txt           what the worker printed: tracebacks, library messages
  checkpoints/      see engine/training/checkpoint.py
  measure.json      a `RunMeasurement`, if it is part of an experiment: what to measure at the end
  measured.json     the `Measurements`, written by the worker; then the checkpoints go
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

from droidft.adapters.folder import OWNER, owner_of
from droidft.config import TrainingConfig, nearest, parse_config
from droidft.config.measurement import Measurements, RunMeasurement
from droidft.errors import ConfigError, DamagedFile, NotFound, RunError
from droidft.events import Failed, Finished, Record, Stopped
from droidft.home import NAME, REFERENCES, Home
from droidft.runs import log
from droidft.support import locks, processes, stored
from droidft.support.durable import storage_errors, write_atomically
from droidft.support.words import count

HEARTBEAT_SECONDS = 2.0
NO_ROOM, REMOVED = 74, 75
"""Exit statuses of a worker that could not write its reason: the disk refused an event; its folder was removed."""
_UNREADABLE = "put its config.json back, or delete the run"
LAST = "last"
"""Stands for the newest run or experiment."""


class _Made(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def created(self) -> float: ...


F = TypeVar("F", bound=_Made)


class RunStatus(StrEnum):
    """What became of a run."""

    CREATED = "created"
    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"
    """Its worker is gone and said nothing: killed, out of memory, or the machine went down."""


@dataclass(frozen=True)
class Run:
    """One run folder. Reading is free for all; only the worker writes events and checkpoints."""

    path: Path

    @property
    def id(self) -> str:
        """The folder's name; bytes that are no UTF-8 are written as escapes, so that it can be shown."""
        return self.path.name.encode("utf-8", "backslashreplace").decode()

    @property
    def created(self) -> float:
        """When it was made, in seconds since the epoch; a copy of its folder is as old as its first event says."""
        try:
            made = self.config_file.stat().st_mtime
        except OSError:
            made = math.inf
        first = log.first_record(self.events_file)
        made = made if first is None else min(made, first.time)
        return made if math.isfinite(made) else 0.0

    @property
    def belongs_to_experiment(self) -> bool:
        """Whether an experiment made it."""
        return os.path.lexists(self.path / "measure.json")

    @property
    def home(self) -> Home:
        """The home folder it lies in."""
        return Home(self.path.absolute().parent.parent)

    @property
    def checkpoints(self) -> Path:
        """Folder of its checkpoints."""
        return self.path / "checkpoints"

    @property
    def events_file(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def worker_file(self) -> Path:
        """The worker's pid and lock. A living worker touches it every `HEARTBEAT_SECONDS`."""
        return self.path / "worker.json"

    @property
    def log_file(self) -> Path:
        """What the worker printed."""
        return self.path / "log.txt"

    @property
    def config_file(self) -> Path:
        """The settings."""
        return self.path / "config.json"

    def config(self) -> TrainingConfig:
        """The configuration it was created with.

        Raises:
            RunError: it cannot be read; the message names the file.
        """
        if not NAME.fullmatch(self.path.name):
            hint = "rename it (1 to 64 letters, digits, dots, dashes or underscores), or delete it"
            raise RunError(f"{self.path.parent / self.id}: its name is none that a run can have", hint=hint)
        values = stored.mapping(self.config_file, kind=RunError, hint=_UNREADABLE)
        try:
            return parse_config(self.home.opened(values), source=f"run {self.id}")
        except ConfigError as error:
            raise RunError(
                f"{self.config_file} cannot be used: {error.message}", hint=error.hint or _UNREADABLE
            ) from None

    def keep(self, config: TrainingConfig) -> None:
        """Write its settings."""
        values = self.home.kept(config.model_dump(mode="json"))
        write_atomically(self.config_file, json.dumps(values, indent=1, ensure_ascii=False).encode())

    def measurement(self) -> RunMeasurement | None:
        """What its worker measures at the end, as part of an experiment. Raises as `config`."""
        path = self.path / "measure.json"
        return stored.model(path, RunMeasurement, kind=RunError) if os.path.lexists(path) else None

    def measured(self) -> Measurements | None:
        """What its worker has measured, if it is that far. Raises as `config`."""
        if not os.path.lexists(self.measured_file):
            return None
        hint = "put the file back, or delete the run: its experiment does it again"
        return stored.model(self.measured_file, Measurements, kind=RunError, hint=hint)

    @property
    def measured_file(self) -> Path:
        """What was measured at the end."""
        return self.path / "measured.json"

    def adapter_name(self) -> str:
        """Name of its adapter folder."""
        return self.config().adapter_name or self.id

    def records(self, offset: int = 0) -> tuple[list[Record], int]:
        """The records from byte `offset` of the log on, and the offset after them. Never half a line."""
        return log.records(self.events_file, offset)

    def stream(self, offset: int = 0) -> Iterator[Record]:
        """The same one after another, for logs of any length; of completions only their step."""
        for line, _ in log.stream(self.events_file, offset):
            if (record := log.brief(line)) is not None:
                yield record

    @property
    def kept_file(self) -> Path:
        """What the log adds up to, so that a long one is read once (`runs/kept.py`)."""
        name = hashlib.sha256(os.fsencode(self.path.name)).hexdigest()[:24]
        return self.home.root / "cache" / "logs" / f"{name}.json"

    def follow(self, offset: int = 0, *, meanwhile: Callable[[], None] = lambda: None) -> Iterator[Record]:
        """Records from byte `offset` on as they come, until the worker is gone.

        `meanwhile` is called between looks at the log as long as the worker lives, for a caller that wants to end it.
        """
        while True:
            # Asked before the log is read, so that the last record of a worker that is gone is among those read.
            alive = self.worker_pid() is not None
            records, offset = self.records(offset)
            yield from records
            if alive:
                meanwhile()
            if not records:
                if not alive:
                    return
                time.sleep(log.POLL_SECONDS)

    def status(self) -> RunStatus:
        """Derived from the last event and from whether the worker lives."""
        if self.worker_pid() is not None:
            return RunStatus.RUNNING
        last = self.last_record()
        if last is None:
            return RunStatus.CRASHED if self.worker_file.exists() else RunStatus.CREATED
        match last.event:
            case Finished():
                return RunStatus.FINISHED
            case Stopped():
                return RunStatus.STOPPED
            case Failed():
                return RunStatus.FAILED
        return RunStatus.CRASHED

    def last_record(self) -> Record | None:
        """The newest record; None if there is none."""
        return log.last_record(self.events_file)

    def worker_pid(self) -> int | None:
        """Pid of its living worker.

        Raises:
            DamagedFile: `worker.json` is no file.
        """
        return locks.holder(self.worker_file)

    def is_held(self) -> bool:
        """Whether a worker lives; where `worker.json` is damaged, nothing can hold it."""
        try:
            return self.worker_pid() is not None
        except DamagedFile:
            return False

    def checkpoint_steps(self) -> list[int]:
        """Steps of its complete checkpoints, ascending."""
        if not os.path.lexists(self.checkpoints):
            return []
        with stored.reading(self.checkpoints, kind=RunError):
            names = os.listdir(self.checkpoints)
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal() and len(name) < 16)

    def stop(self) -> None:
        """Ask the worker to save a checkpoint and end. One that is suspended is woken, or it could not hear.

        Raises:
            RunError: it is not running.
        """
        pid = self.worker_pid()
        if pid is None:
            raise RunError(f"run {self.id} is {self.status()}: there is nothing to stop")
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)

    def refuse_to_resume(self) -> None:
        """Check that it can be continued.

        Raises:
            RunError: it is running, or finished.
        """
        match self.status():
            case RunStatus.RUNNING:
                raise RunError(f"run {self.id} is running", hint=f"`droidft runs watch {self.id}` shows it")
            case RunStatus.FINISHED:
                hint = "to train further, start a run with init_adapter and its adapter"
                raise RunError(f"run {self.id} is finished", hint=hint)

    def kill(self) -> None:
        """End the worker and its children at once; the last checkpoint is what is left."""
        pid = self.worker_pid()
        if pid is not None:
            os.killpg(pid, signal.SIGKILL)

    def delete(self, home: Home, *, files: bool) -> None:
        """Remove the run folder, and with `files` its adapter folder too.

        Raises:
            RunError: it is running.
        """
        self.refuse_to_delete()
        adapters = [path for path in home.adapters.iterdir() if owner_of(path) == self.id]
        self.kept_file.unlink(missing_ok=True)
        with storage_errors(self.path):
            shutil.rmtree(self.path)
        for adapter in adapters:
            if files or not (adapter / "adapter_config.json").exists():
                shutil.rmtree(adapter, ignore_errors=True)

    def refuse_to_delete(self) -> None:
        """Check that it can be deleted.

        Raises:
            RunError: it is running.
        """
        if self.is_held():
            raise RunError(f"run {self.id} is running", hint=f"stop it first: `droidft runs stop {self.id}`")

    def start(self, *, shares: int = 1) -> subprocess.Popen[bytes]:
        """Start a worker, in its own process group, and return once it holds the run's lock (or has died).

        It takes its part of a GPU's memory where `shares` runs may be at work at once.
        """
        with storage_errors(self.log_file), self.log_file.open("ab") as printed:
            worker = subprocess.Popen(
                processes.python("droidft.workers.train", str(self.path)),
                env=processes.environment(**({processes.SHARES: str(shares)} if shares > 1 else {})),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
        while worker.poll() is None and self.worker_pid() is None:
            time.sleep(0.02)
        return worker


def create(
    home: Home, config: TrainingConfig, *, run_id: str | None = None, measure: RunMeasurement | None = None
) -> Run:
    """A new run folder for `config`, under `run_id` or an id of its own.

    Raises:
        ConfigError: an adapter of that name exists.
    """
    named = home.rooted(home.opened({name: getattr(config, name) for name in REFERENCES}))
    config = config.model_copy(update=named)
    run = Run(home.run(run_id or _new_id(home, config)))
    if measure is None or not measure.base:
        _reserve(home.adapter(config.adapter_name or run.id), home, run, chosen=run_id is not None)
    with storage_errors(run.path):
        # Under an id that was chosen, what a crash has left of an earlier attempt is taken over.
        run.path.mkdir(mode=0o700, exist_ok=run_id is not None)
        if measure is not None:
            write_atomically(run.path / "measure.json", measure.model_dump_json(indent=1).encode())
        # Last of all: a folder without it is no run.
        run.keep(config)
    return run


def _reserve(adapter: Path, home: Home, run: Run, *, chosen: bool) -> None:
    """Make the adapter's folder, as this run's."""
    try:
        adapter.mkdir(mode=0o700)
    except FileExistsError:
        # A name that is the run's own chosen id is what a crash has left of an earlier attempt.
        if not (chosen and adapter.name == run.id):
            raise ConfigError(
                f"adapter_name: an adapter '{adapter.name}' exists in {home.adapters}",
                hint="choose another name, or delete it with `droidft adapters delete`",
                field="adapter_name",
            ) from None
    with storage_errors(adapter):
        (adapter / OWNER).write_text(run.id)


def find(home: Home, run_id: str) -> Run:
    """The run `run_id`; an unambiguous beginning of an id will do, and `last`: the newest that no experiment made.

    Raises:
        NotFound: no run, or more than one, answers to it.
    """
    listed = all_runs(home)
    own = [run.id for run in listed if not run.belongs_to_experiment] if run_id == LAST else []
    known = {run.id: run for run in listed}
    return known[identified(run_id, list(known), kind="run", last=own[:1])]


def identified(asked: str, known: list[str], *, kind: str, last: list[str]) -> str:
    """Which of the `known` ids is meant by one of them, by its unambiguous beginning, or by `last`.

    Raises:
        NotFound: none, or more than one, answers to it.
    """
    if asked == LAST:
        if last:
            return last[0]
        belong = count(len(known), f"{kind} here belongs", f"{kind}s here belong")
        others = f"; {belong} to an experiment" if known else ""
        raise NotFound(f"there is no {kind} yet{others}", hint=f"`droidft {kind}s` lists what there is")
    matches = [asked] if asked in known else [name for name in known if name.startswith(asked)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise NotFound(f"{asked!r} could be any of {len(matches)} {kind}s: {', '.join(matches[:5])}")
    raise NotFound(f"there is no {kind} {asked!r}{nearest(asked, known)}", hint=f"`droidft {kind}s` lists them")


def all_runs(home: Home) -> list[Run]:
    """Every run, newest first."""
    return newest_first(Run(path) for path in home.runs.iterdir() if is_run(path))


def newest_first(folders: Iterable[F]) -> list[F]:
    """Runs or experiments by the time they were made: ids hold the clock of the machine they were made on."""
    return sorted(folders, key=lambda each: (each.created, each.id), reverse=True)


def is_run(path: Path) -> bool:
    """Whether a run lies there, readable or not. A link is none: what it leads to belongs to somebody else.

    One that has begun is a run even without its settings: it is shown as damaged, and can be deleted. A folder
    without either is a run that is being made, or what a crash has left of that.
    """
    if path.is_symlink() or path.name.startswith("."):
        return False
    return any(os.path.lexists(path / name) for name in ("config.json", "events.jsonl"))


def delete_adapter(home: Home, name: str) -> None:
    """Remove an adapter's folder; of a link, the link alone.

    Raises:
        NotFound: there is no such adapter.
        RunError: its run is under way, or waits to begin.
    """
    folder = check_adapter_deletion(home, name)
    with storage_errors(folder):
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)


def check_adapter_deletion(home: Home, name: str) -> Path:
    """The folder of the adapter `name`, if it may be deleted. Raises as `delete_adapter`."""
    folder = home.adapter(name)
    if not folder.is_dir() and not folder.is_symlink():
        raise NotFound(f"there is no adapter {name!r}", hint="`droidft adapters list` shows those here")
    owner = None if folder.is_symlink() else owner_of(folder)
    if owner is not None and Path(owner).name == owner and is_run(home.runs / owner):
        _refuse_if_needed(Run(home.runs / owner), name)
    return folder


def _refuse_if_needed(run: Run, adapter: str) -> None:
    match run.status():
        case RunStatus.RUNNING:
            hint = "stop the run first"
            raise RunError(f"run {run.id} writes to the adapter {adapter!r}", hint=hint)
        case RunStatus.CREATED:
            hint = "delete the run instead"
            raise RunError(f"the name {adapter!r} is kept for run {run.id}, which has not begun", hint=hint)


def _new_id(home: Home, config: TrainingConfig) -> str:
    model = re.sub(r"[^A-Za-z0-9]+", "-", Path(config.model_path).name).lower()[:12].strip("-") or "model"
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run_id, number = f"{stamp}-{model}", 2
    while home.run(run_id).exists():
        run_id, number = f"{stamp}-{model}-{number}", number + 1
    return run_id

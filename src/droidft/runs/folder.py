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

import json
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Protocol, TypeVar

from droidft.adapters.folder import OWNER
from droidft.config import TrainingConfig, nearest, parse_config
from droidft.errors import ConfigError, NotFound, RunError
from droidft.events import Event, Failed, Finished, Record, Stopped
from droidft.home import REFERENCES, Home
from droidft.measurement import Measurements, RunMeasurement
from droidft.runs import log
from droidft.support import locks, processes
from droidft.support.durable import storage_errors, write_atomically
from droidft.support.words import count

HEARTBEAT_SECONDS = 2.0
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
        """The folder's name."""
        return self.path.name

    @property
    def created(self) -> float:
        """When it was made, in seconds since the epoch; a copy of its folder is as old as its first event says."""
        try:
            made = (self.path / "config.json").stat().st_mtime
        except OSError:
            made = math.inf
        first = log.first_record(self.events_file)
        return made if first is None else min(made, first.time)

    @property
    def belongs_to_experiment(self) -> bool:
        """Whether an experiment made it."""
        return (self.path / "measure.json").exists()

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

    def config(self) -> TrainingConfig:
        """The configuration it was created with."""
        try:
            values = json.loads((self.path / "config.json").read_bytes())
        except ValueError as error:
            raise RunError(f"run {self.id} cannot be read: its config.json is damaged ({error})") from None
        return parse_config(values, source=f"run {self.id}")

    def measurement(self) -> RunMeasurement | None:
        """What its worker measures at the end, as part of an experiment."""
        try:
            return RunMeasurement.model_validate_json((self.path / "measure.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunError(f"run {self.id} cannot be read: its measure.json is damaged ({error})") from None

    def measured(self) -> Measurements | None:
        """What its worker has measured, if it is that far."""
        try:
            return Measurements.model_validate_json(self.measured_file.read_bytes())
        except FileNotFoundError:
            return None

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
        """Pid of its living worker."""
        return locks.holder(self.worker_file)

    def checkpoint_steps(self) -> list[int]:
        """Steps of its complete checkpoints, ascending."""
        try:
            return sorted(int(path.name) for path in self.checkpoints.iterdir() if path.name.isdecimal())
        except FileNotFoundError:
            return []

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
        adapters = [path for path in home.adapters.iterdir() if _owner(path) == self.id]
        shutil.rmtree(self.path)
        for adapter in adapters:
            if files or not (adapter / "adapter_config.json").exists():
                shutil.rmtree(adapter, ignore_errors=True)

    def refuse_to_delete(self) -> None:
        """Check that it can be deleted.

        Raises:
            RunError: it is running.
        """
        if self.worker_pid() is not None:
            raise RunError(f"run {self.id} is running", hint=f"stop it first: `droidft runs stop {self.id}`")

    def start(self) -> subprocess.Popen[bytes]:
        """Start a worker, in its own process group, and return once it holds the run's lock (or has died)."""
        with self.log_file.open("ab") as printed:
            worker = subprocess.Popen(
                processes.python("droidft.workers.train", str(self.path)),
                env=processes.environment(),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
        while worker.poll() is None and self.worker_pid() is None:
            time.sleep(0.02)
        return worker


class EventLog:
    """The one writer of a run's events; holds the run's lock from `open` to `close`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        lock = locks.hold(run.worker_file)
        if lock is None:
            raise RunError(f"run {run.id} has a worker already")
        self._lock = lock
        records, end = run.records()
        self._seq = records[-1].seq if records else 0
        # A crash can leave half a line; it was never read by anyone, so it goes.
        self._file: IO[bytes] = run.events_file.open("ab")
        self._file.truncate(end)

    def append(self, event: Event) -> Record:
        """Write one event and hand it to the operating system."""
        self._seq += 1
        record = Record(seq=self._seq, time=time.time(), event=event)
        with storage_errors(self._run.events_file):
            self._file.write(record.model_dump_json().encode() + b"\n")
            self._file.flush()
        return record

    def beat(self) -> None:
        """Show that the worker lives."""
        with suppress(OSError):  # a full or failing disk is for the next event to report
            os.utime(self._run.worker_file)

    def sync(self) -> None:
        """Force the events to the disk, as is done with every checkpoint."""
        with storage_errors(self._run.events_file):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Release the run."""
        self._file.close()
        self._lock.close()


def create(
    home: Home, config: TrainingConfig, *, run_id: str | None = None, measure: RunMeasurement | None = None
) -> Run:
    """A new run folder for `config`, under `run_id` or an id of its own.

    Raises:
        ConfigError: an adapter of that name exists.
    """
    config = config.model_copy(update=home.rooted({name: getattr(config, name) for name in REFERENCES}))
    run = Run(home.run(run_id or _new_id(home, config)))
    if measure is None or not measure.base:
        _reserve(home.adapter(config.adapter_name or run.id), home, run, chosen=run_id is not None)
    with storage_errors(run.path):
        # Under an id that was chosen, what a crash has left of an earlier attempt is taken over.
        run.path.mkdir(mode=0o700, exist_ok=run_id is not None)
        if measure is not None:
            write_atomically(run.path / "measure.json", measure.model_dump_json(indent=1).encode())
        # Last of all: a folder without it is no run.
        write_atomically(run.path / "config.json", config.model_dump_json(indent=1).encode())
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
    return Run(home.run(identified(run_id, [run.id for run in listed], kind="run", last=own[:1])))


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
    """Whether a run lies there. A link is none: what it leads to belongs to somebody else."""
    return (path / "config.json").is_file() and not path.is_symlink()


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
    owner = None if folder.is_symlink() else _owner(folder)
    if owner is not None and is_run(home.runs / owner):
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


def _owner(adapter: Path) -> str | None:
    """Id of the run that an adapter folder was made for."""
    try:
        return (adapter / OWNER).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _new_id(home: Home, config: TrainingConfig) -> str:
    model = re.sub(r"[^A-Za-z0-9]+", "-", Path(config.model_path).name).lower()[:12].strip("-") or "model"
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run_id, number = f"{stamp}-{model}", 2
    while home.run(run_id).exists():
        run_id, number = f"{stamp}-{model}-{number}", number + 1
    return run_id

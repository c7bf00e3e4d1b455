"""Every run folder as the list shows it, kept up to date by reading only what was added to each log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from droidft.adapters.folder import NUMBERED
from droidft.config import TrainingConfig
from droidft.config.rewards import PythonReward
from droidft.config.settings import command_line, to_yaml
from droidft.errors import DroidError, RunError
from droidft.events import EvalReport, Event, Failed, Finished, Stopped
from droidft.home import Home
from droidft.runs.folder import HEARTBEAT_SECONDS, Run, is_run
from droidft.runs.kept import Account, fault_of
from droidft.runs.summary import Summary
from droidft.server.runs.endings import explain
from droidft.server.runs.verdict import verdict
from droidft.server.schemas.runs import Checkpoint, Problem, RunDetail, RunState, RunSummary

STALLED_SECONDS = 4 * HEARTBEAT_SECONDS
RESUMABLE = {RunState.CREATED, RunState.STOPPED, RunState.FAILED, RunState.CRASHED}
LIVING = {RunState.RUNNING, RunState.STOPPING, RunState.STALLED}


@dataclass(eq=False)
class Entry:
    """One run folder: its configuration, and what its log adds up to so far."""

    run: Run
    created: float
    config: TrainingConfig | None = None
    fault: str = ""
    """Why its settings cannot be read."""
    damage: str = ""
    """Why something else in its folder cannot be."""
    account: Account = field(init=False)
    pid: int | None = None
    """Of the living worker."""
    heartbeat: float | None = None
    checkpoint_steps: list[int] = field(default_factory=list)
    revision: int = 0
    """Goes up whenever something has changed."""
    behind: bool = False
    """Whether the log is longer than what has been read of it."""
    _newest: Event | None = None
    _stamps: tuple[int, int, int] = (-1, -1, -1)

    def __post_init__(self) -> None:
        self.account = Account.of(self.run)

    @property
    def summary(self) -> Summary:
        """What the log adds up to, as far as it has been read."""
        return self.account.summary

    @property
    def last(self) -> Event | None:
        """The newest event."""
        return self._newest if self.behind else self.summary.last

    @property
    def problem(self) -> str:
        """Why it is shown as unreadable; empty if it is not."""
        return self.fault or self.damage

    @property
    def alive(self) -> bool:
        """Whether a worker holds the run."""
        return self.pid is not None

    def refresh(self, *, until: float | None = None) -> bool:
        """Read what is new, of a long log at most until the monotonic clock shows `until`; whether anything may have
        changed. A folder that cannot be read is `damage`, never an error."""
        stamps = (_mtime(self.run.config_file), _size(self.run.events_file), _mtime(self.run.worker_file))
        settled = self.pid is None and not self.behind and not self.problem
        if settled and stamps == self._stamps:
            return False
        if stamps[0] != self._stamps[0]:
            self._read_config()
        self._stamps = stamps
        self.revision += 1
        self.heartbeat = stamps[2] / 1e9 or None
        try:
            self._read(until)
        except (DroidError, OSError) as error:
            self.damage = str(error)
        return True

    def _read_config(self) -> None:
        self.config, self.fault = None, ""
        try:
            self.config = self.run.config()
        except DroidError as error:
            self.fault = error.message

    def _read(self, until: float | None) -> None:
        self.damage = ""
        self.pid = None
        self.pid = self.run.worker_pid()
        # The log is read after the worker was looked for: if it has ended, its last event is there.
        size = self._stamps[1] if self.pid is None else _size(self.run.events_file)
        if size < self.account.offset:  # another log is in its place
            self.account = Account(self.run)
        if size != self.account.offset:
            self.behind = not self.account.read(until=until)
            self._newest = record.event if self.behind and (record := self.run.last_record()) else None
            if not self.behind and self.pid is None:
                self.account.keep()
        self.checkpoint_steps = self.run.checkpoint_steps()
        if not self.behind and (fault := fault_of(self.account)) is not None:
            self.damage = fault.message

    def stalled(self, now: float) -> bool:
        """Whether the worker is alive but has not reported for a while."""
        return self.alive and self.heartbeat is not None and now - self.heartbeat > STALLED_SECONDS


def open_entry(path: Path, *, until: float | None = None) -> Entry:
    """The run in the folder `path`, read for the first time."""
    run = Run(path)
    entry = Entry(run, created=run.created)
    entry.refresh(until=until)
    return entry


def folders(home: Home) -> dict[str, Path]:
    """The folder of each run, by its id."""
    return {run.id: run.path for path in home.runs.iterdir() if is_run(path) for run in [Run(path)]}


@dataclass(frozen=True)
class Known:
    """What only the server knows about a run."""

    position: int | None = None
    """In the queue."""
    stopping: bool = False
    starting: bool = False
    ending: Problem | None = None
    held: Problem | None = None
    """Why it could not be started when its turn came; it is tried again."""


def summarise(entry: Entry, known: Known) -> RunSummary:
    """The run as the list shows it."""
    config, summary = entry.config, entry.summary
    state = state_of(entry, known)
    report, best = summary.report, summary.newest_evaluation
    first = next((event for event in summary.evaluations if event.step == 0), None)
    living = state in LIVING
    return RunSummary(
        id=entry.run.id,
        state=state,
        model=config.model_path if config else "",
        model_name=_model_name(config.model_path) if config else "",
        method=config.method.value if config else "",
        fine_tune_type=config.fine_tune_type.value if config else "",
        targets=config.lora_targets.value if config else "",
        rank=config.lora_rank if config else 0,
        learning_rate=config.learning_rate if config else 0.0,
        train_data=config.train_data_path if config else "",
        adapter=(config.adapter_name or entry.run.id) if config else "",
        created=entry.created,
        started=summary.first_time,
        ended=None if living else summary.last_time,
        heard=max(summary.last_time or 0.0, entry.heartbeat or 0.0) or None,
        phase=(summary.phase or "starting") if living else None,
        step=summary.step,
        steps=summary.plan.steps if summary.plan else None,
        epoch=report.epoch if report else 0.0,
        loss=report.loss if report else None,
        first_loss=first.loss if first else None,
        last_eval_loss=best.loss if best else None,
        best_loss=best.best_loss if best else None,
        best_step=best.best_step if best else None,
        tokens_per_second=report.tokens_per_second if report else None,
        peak_memory=max(report.rss_bytes, report.peak_memory_bytes) if report else None,
        seconds=summary.seconds,
        seconds_left=report.seconds_left if report and living else None,
        trainable=summary.lora.trainable if summary.lora else None,
        total=summary.lora.total if summary.lora else None,
        checkpoint_step=entry.checkpoint_steps[-1] if entry.checkpoint_steps else None,
        can_resume=state in RESUMABLE,
        can_stop=living or state is RunState.QUEUED,
        queue_position=known.position,
        problem=_problem(entry, state, known),
        sparkline=summary.losses.values,
        reward=report.metrics.get("reward") if report else None,
        first_reward=_reward(first),
        last_eval_reward=_reward(best),
        best_reward=_reward(next((it for it in summary.evaluations if best and it.step == best.best_step), None)),
    )


def _reward(event: EvalReport | None) -> float | None:
    return event.metrics.get("reward") if event else None


def state_of(entry: Entry, known: Known) -> RunState:
    """Derived from the last event, the worker's lock and heartbeat, and the queue."""
    if entry.problem and not entry.alive:
        return RunState.UNREADABLE
    if entry.alive:
        if known.stopping:
            return RunState.STOPPING
        return RunState.STALLED if entry.stalled(time.time()) else RunState.RUNNING
    if known.starting:
        return RunState.RUNNING
    if known.position is not None:
        return RunState.QUEUED
    match entry.last:
        case Finished():
            return RunState.FINISHED
        case Stopped():
            return RunState.STOPPED
        case Failed():
            return RunState.FAILED
    began = entry.last is not None or entry.run.worker_file.exists()
    return RunState.CRASHED if began or known.ending else RunState.CREATED


def checkpoints(entry: Entry, adapter: Path) -> list[Checkpoint]:
    """Weights that can be had, newest first: those of the adapter folder and those of resumable checkpoints."""
    best = entry.summary.newest_evaluation
    evaluations = {event.step: event for event in entry.summary.evaluations}
    names = (NUMBERED.fullmatch(path.name) for path in adapter.glob("*_adapters.safetensors"))
    numbered = {int(match[1]): adapter / match[0] for match in names if match}
    steps = sorted({*entry.checkpoint_steps, *numbered}, reverse=True)
    return [
        Checkpoint(
            step=step,
            loss=evaluations[step].loss if step in evaluations else None,
            reward=_reward(evaluations.get(step)),
            best=best is not None and best.best_step == step,
            latest=step == steps[0],
            resumable=step in entry.checkpoint_steps,
            adapter=f"{adapter.name}@{step}" if step in numbered else None,
            bytes=_size(numbered[step]) if step in numbered else _folder_size(entry.run.checkpoints / f"{step:07d}"),
        )
        for step in steps
    ]


def detail(entry: Entry, view: RunSummary, home: Home) -> RunDetail:
    """Everything about one run but its reports.

    Raises:
        RunError: its folder cannot be read.
    """
    config, summary = entry.config, entry.summary
    if config is None or (entry.problem and not entry.alive):
        raise RunError(entry.problem, hint="put the file back, or delete the run")
    return RunDetail(
        summary=view,
        verdict=verdict(view, summary),
        config=config,
        changed=config.changed(),
        command=command_line(config.changed()),
        yaml=to_yaml(config.changed()),
        start=summary.start,
        data=summary.data,
        lora=summary.lora,
        plan=summary.plan,
        evaluations=summary.evaluations,
        checkpoints=checkpoints(entry, home.adapter(view.adapter)),
        warnings=summary.warnings,
        folder=str(entry.run.path),
    )


def _problem(entry: Entry, state: RunState, known: Known) -> Problem | None:
    last = entry.last
    if state is RunState.UNREADABLE:
        return Problem(code="unreadable", message=entry.problem, hint="put the file back, or delete the run")
    if state is RunState.QUEUED and known.held is not None:
        return known.held
    if state is RunState.FAILED and isinstance(last, Failed):
        return Problem(code=last.code, message=last.message, hint=last.hint)
    if state is RunState.CRASHED:
        return known.ending or explain(None, log=entry.run.log_file, memory_kills=0, asked=False)
    if state is RunState.STALLED:
        own = [it.name for it in entry.config.rewards if isinstance(it, PythonReward)] if entry.config else []
        why = "it may be suspended, or the machine may be swapping"
        if own:
            why = f"a reward of your own ({', '.join(own)}) may not return, {why}"
        return Problem(
            code="stalled",
            message=f"its worker is alive but has not reported for more than {STALLED_SECONDS:.0f} seconds",
            hint=f"{why}; stop it, and resume it from its checkpoint",
        )
    return None


def _model_name(ref: str) -> str:
    return Path(ref).name if ref.startswith(("/", "~", ".")) else ref


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _mtime(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _folder_size(path: Path) -> int:
    try:
        return sum(_size(file) for file in path.iterdir())
    except OSError:
        return 0

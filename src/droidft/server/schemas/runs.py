"""Runs, their history, the queue."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from droidft.config import TrainingConfig
from droidft.events import (
    DataPrepared,
    EvalReport,
    LoraAttached,
    Record,
    RunStarted,
    SampledCompletion,
    TrainingPlan,
    Warned,
)
from droidft.server.schemas.base import Body, Wire


class RunState(StrEnum):
    """The state of a run, as far as the server knows."""

    CREATED = "created"
    """Neither started nor waiting."""
    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    """It was asked to save a checkpoint and end."""
    STALLED = "stalled"
    """Its worker is alive but has stopped reporting."""
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"
    """Its worker ended without saying why; `problem` holds what is known."""
    UNREADABLE = "unreadable"


class Problem(Wire):
    """Why a run failed or crashed. Codes of crashes: `killed`, `out_of_memory`, `worker_exit`, `worker_gone`."""

    code: str
    message: str
    hint: str
    signal: str | None = None
    """Such as `SIGKILL`, when a signal ended the worker."""
    log_tail: list[str] = Field(default_factory=list)
    """Last lines of the worker's log."""


class RunSummary(Wire):
    """A run in the list."""

    id: str
    state: RunState
    model: str
    """As the configuration gives it: a name, a hub id or a path."""
    model_name: str
    method: str
    """One of `Method`; empty where the folder cannot be read."""
    fine_tune_type: str
    targets: str
    rank: int
    learning_rate: float
    train_data: str
    adapter: str
    created: float
    started: float | None
    ended: float | None
    heard: float | None
    """Time of its last event or heartbeat."""
    phase: str | None
    step: int
    steps: int | None
    epoch: float
    loss: float | None
    first_loss: float | None
    """Validation loss before the first step."""
    last_eval_loss: float | None
    best_loss: float | None
    best_step: int | None
    tokens_per_second: float | None
    peak_memory: int | None
    seconds: float | None
    """How long it has trained, resumptions added up."""
    seconds_left: float | None
    trainable: int | None
    total: int | None
    checkpoint_step: int | None
    """Step of the newest checkpoint: where a resumed run continues."""
    can_resume: bool
    can_stop: bool
    queue_position: int | None
    """From 0, when it waits."""
    problem: Problem | None
    sparkline: list[float]
    """At most 40 training losses, evenly spread over the run; mean rewards, of methods that have rewards."""
    reward: float | None
    """Mean reward of the newest training report; this and what follows is null for other methods."""
    first_reward: float | None
    """Of validation prompts, before the first step."""
    last_eval_reward: float | None
    best_reward: float | None
    """At `best_step`."""


class Checkpoint(Wire):
    """Weights of one step that can be had."""

    step: int
    loss: float | None
    """Validation loss at that step, if it was evaluated."""
    reward: float | None
    """Mean reward of validation prompts at that step, likewise."""
    best: bool
    latest: bool
    resumable: bool
    """Whether the optimizer's state is kept too."""
    adapter: str | None
    """How Compare and chat name these weights, such as `till@200`; None when they were dropped."""
    bytes: int


Tone = Literal["good", "neutral", "warn"]


class RunVerdict(Wire):
    """What came of a run, in words."""

    tone: Tone
    title: str
    notes: list[str]
    """Further sentences: cost, what happened after the best, how far to trust it."""


class RunDetail(Wire):
    """Everything about one run but its history of reports (`curves`, `events`)."""

    summary: RunSummary
    verdict: RunVerdict
    config: TrainingConfig
    changed: dict[str, Any]
    """Settings that differ from their defaults."""
    command: str
    """The same run as a command line."""
    yaml: str
    """The same run as a settings file."""
    start: RunStarted | None
    data: DataPrepared | None
    lora: LoraAttached | None
    plan: TrainingPlan | None
    evaluations: list[EvalReport]
    checkpoints: list[Checkpoint]
    warnings: list[Warned]
    folder: str


class RunClone(Body):
    """What to change in the copy of a run."""

    changes: dict[str, Any] = Field(default_factory=dict)
    """Settings by name; null takes one back to its default."""


class RunResume(Body):
    """What to change in a run that goes on."""

    changes: dict[str, Any] = Field(default_factory=dict)
    """Settings by name: how long it is, and how it reports, evaluates, saves and stops early. Others are refused."""


class StopRequest(Body):
    """How to stop a run."""

    force: bool = False
    """Kill the worker at once; what came after its last checkpoint is lost."""


class Events(Wire):
    """Records of a run after some sequence number."""

    records: list[Record]
    last: int
    """Sequence number to ask on from."""
    more: bool
    """Whether there are further records already."""


class TrainCurve(Wire):
    """Columns of equal length, one entry per report."""

    step: list[int]
    time: list[float]
    seconds: list[float]
    """Since the run began, without the pauses between a stop and a resume."""
    epoch: list[float]
    loss: list[float]
    learning_rate: list[float]
    grad_norm: list[float]
    tokens_per_second: list[float]
    peak_memory: list[int]
    metrics: dict[str, list[float | None]]
    """What the method measures besides, by name; null where a report has none of that name."""


class EvalCurve(Wire):
    """Columns of equal length, one entry per evaluation."""

    step: list[int]
    seconds: list[float]
    loss: list[float]
    metrics: dict[str, list[float | None]]


class Curves(Wire):
    """A run's history, thinned to the number of points asked for; extremes are kept."""

    run: str
    train: TrainCurve
    validation: EvalCurve
    best_step: int | None


class CompletionsView(Wire):
    """Completions of one step that were written to the log, and of which other steps there are some."""

    steps: list[int]
    """Ascending."""
    step: int | None
    """Whose completions these are; null where there are none at all."""
    rows: list[SampledCompletion]


class LogText(Wire):
    """What the worker printed."""

    text: str
    truncated: bool
    """Whether earlier lines were left out."""


class DiffRow(Wire):
    """One setting that differs between runs; a value per run."""

    name: str
    group: str
    values: list[Any]


class ConfigDiff(Wire):
    """Only the settings that differ."""

    runs: list[str]
    rows: list[DiffRow]


class QueueEntry(Wire):
    """A run that waits for its turn."""

    run: str
    action: Literal["start", "resume"]
    added: float


class QueueView(Wire):
    """The queue in order."""

    running: list[str]
    waiting: list[QueueEntry]
    limit: int
    """How many runs train at once."""


class QueueMove(Body):
    """Where a waiting run should stand."""

    position: Annotated[int, Field(ge=0, le=100_000)]

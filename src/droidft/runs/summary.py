"""What a run's events add up to: one pass, event by event, so that a growing log is read only once."""

from __future__ import annotations

from dataclasses import dataclass, field

from droidft.events import (
    CheckpointSaved,
    DataPrepared,
    EarlyStopped,
    EvalReport,
    Event,
    Failed,
    Finished,
    LoraAttached,
    Phase,
    Record,
    RunStarted,
    Stopped,
    TrainingPlan,
    TrainReport,
    Warned,
)
from droidft.runs.log import rewound

SPARKLINE_POINTS = 40


@dataclass
class Sparkline:
    """Evenly spread values of a series whose length is not known beforehand: between half and all of the points."""

    values: list[float] = field(default_factory=list)
    _stride: int = 1
    _seen: int = 0

    def add(self, value: float) -> None:
        """The next value of the series."""
        if self._seen % self._stride == 0:
            self.values.append(value)
        self._seen += 1
        if len(self.values) > SPARKLINE_POINTS:
            self.values = self.values[::2]
            self._stride *= 2


@dataclass
class Summary:
    """Everything but the reports themselves. Seconds count the time between the start and the last word of each
    start of the worker; steps that were done again after a crash count once."""

    start: RunStarted | None = None
    data: DataPrepared | None = None
    lora: LoraAttached | None = None
    plan: TrainingPlan | None = None
    report: TrainReport | None = None
    evaluations: list[EvalReport] = field(default_factory=list)
    checkpoints: list[CheckpointSaved] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    early_stop: EarlyStopped | None = None
    last: Event | None = None
    phase: str | None = None
    seq: int = 0
    first_time: float | None = None
    last_time: float | None = None
    losses: Sparkline = field(default_factory=Sparkline)
    """Training losses, or rewards, where there are some: their loss is about zero all the time."""
    _seconds: float = 0.0
    _started: float | None = None

    @property
    def step(self) -> int:
        """Optimizer steps that are known to be done."""
        steps = [getattr(event, "step", None) or 0 for event in (self.report, self.last)]
        return max(steps) if not isinstance(self.last, RunStarted) else steps[0]

    @property
    def newest_evaluation(self) -> EvalReport | None:
        """The newest evaluation; it names the best step and loss so far."""
        return self.evaluations[-1] if self.evaluations else None

    @property
    def seconds(self) -> float | None:
        """How long workers have worked on it."""
        if self._started is None or self.last_time is None:
            return None
        return self._seconds + self.last_time - self._started

    def add(self, record: Record) -> None:
        """The next event."""
        if self.first_time is None:
            self.first_time = record.time
        if isinstance(record.event, RunStarted):
            self._begin(record.event, record.time)
        self.seq, self.last_time, self.last = record.seq, record.time, record.event
        match record.event:
            case RunStarted() as event:
                self.start, self.phase = event, None
            case Phase(name=name):
                self.phase = name.value
            case DataPrepared() as event:
                self.data = event
            case LoraAttached() as event:
                self.lora = event
            case TrainingPlan() as event:
                self.plan = event
            case TrainReport() as event:
                self.report, self.phase = event, "training"
                self.losses.add(event.metrics.get("reward", event.loss))
            case EvalReport() as event:
                self.evaluations.append(event)
                self.phase = "training"
            case CheckpointSaved() as event:
                self.checkpoints.append(event)
            case Warned() as event:
                self.warnings.append(event)
            case EarlyStopped() as event:
                self.early_stop = event
            case Stopped() | Failed() | Finished():
                self.phase = None

    def _begin(self, start: RunStarted, time: float) -> None:
        """A worker begins; what an earlier one did after its last checkpoint is done again."""
        if self._started is not None and self.last_time is not None:
            self._seconds += self.last_time - self._started
        self._started = time
        self.evaluations = rewound(self.evaluations, start)
        self.checkpoints = rewound(self.checkpoints, start)
        if self.report is not None and not rewound([self.report], start):
            self.report = None
        self.early_stop = None

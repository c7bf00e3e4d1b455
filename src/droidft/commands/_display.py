"""A run in the terminal: lines as things happen, a live progress bar where there is a terminal to draw on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from droidft.commands._terminal import line, marked, one_line
from droidft.events import (
    CheckpointSaved,
    Completions,
    DataPrepared,
    EarlyStopped,
    EvalReport,
    Event,
    Failed,
    Finished,
    LoraAttached,
    Measured,
    Phase,
    PhaseName,
    Record,
    RunStarted,
    Stopped,
    TrainingPlan,
    TrainReport,
    Warned,
)
from droidft.runs.log import rewound
from droidft.support.words import count, duration, size

CURVE_HEIGHT = 8

COMPLETION_SHOWN = 48
SHOWN_METRICS = {
    "reward": ("reward", ".3f"),
    "tied_groups": ("tied", ".0%"),
    "kl": ("kl", ".2g"),
    "completion_length": ("length", ".0f"),
    "entropy": ("entropy", ".2f"),
    "accuracy": ("accuracy", ".0%"),
    "margin": ("margin", ".3f"),
}
"""Metrics on the line of a report: what they are called there, and their form."""
MOST_METRICS = 4
"""So many fit on a line of 80 characters."""


class RunDisplay:
    """Shows the records of one run; `last` is the most recent event, `curve` the losses so far."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last: Event | None = None
        self.train_losses: dict[int, float] = {}
        self.eval_losses: dict[int, float] = {}
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[status]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._steps = 0
        self._rewarded = False

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, records: Iterable[Record]) -> None:
        """Show each record as it comes."""
        for record in records:
            self.last = record.event
            self.collect([record])
            self._event(record.event)

    def collect(self, records: Iterable[Record]) -> None:
        """Take the losses of records for the curve."""
        for record in records:
            match record.event:
                case RunStarted() as start:
                    self.train_losses = _counting(self.train_losses, start)
                    self.eval_losses = _counting(self.eval_losses, start)
                case TrainReport() as event:
                    self.train_losses[event.step] = event.metrics.get("reward", event.loss)
                case EvalReport() as event:
                    self.eval_losses[event.step] = event.metrics.get("reward", event.loss)

    def show_curve(self) -> None:
        """The losses so far, or the rewards, drawn in text."""
        width = min(self.console.width, 100) - 12
        for each in lines_of_curve(self.train_losses, self.eval_losses, width=width):
            line(self.console, each)

    def _event(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._started(event)
            case Phase():
                self._phase(event)
            case DataPrepared():
                self._data(event)
            case LoraAttached():
                self._attached(event)
            case TrainingPlan():
                self._steps = event.steps
                length = f"{count(event.steps, 'step')}, {count(event.epochs, 'epoch')}"
                self._line(f"plan      {length}, effective batch {event.effective_batch}")
                if event.widths:
                    share = "" if event.padding is None else f"; {event.padding:.1%} is padding"
                    self._line(f"widths    {', '.join(map(str, event.widths))} tokens{share}")
            case TrainReport():
                self._report(event)
            case EvalReport():
                self._evaluated(event)
            case Completions():
                self._completion(event)
            case CheckpointSaved():
                if not self.console.is_terminal:
                    self._line(f"saved     step {event.step}  {size(event.bytes)}")
            case Warned():
                self._line(f"[yellow]warning[/]   {escape(event.message)}")
            case Measured():
                right = "" if event.questions is None else f"  {event.right} of {event.questions} right"
                self._line(f"measured  test {event.test_loss:.4f}  general {event.general_loss:.4f}{right}")
            case EarlyStopped():
                evaluations = count(event.evaluations_without_improvement, "evaluation")
                self._line(
                    f"early stop at step {event.step}: no improvement in {evaluations}; "
                    f"best {self._best(event.best_loss)} at step {event.best_step}"
                )
            case Stopped():
                self._line(f"stopped   at step {event.step}; the checkpoint is saved")
            case Failed():
                self._line(f"[red]failed[/]    {escape(event.message)}")
                if event.hint:
                    self._line(f"          hint: {escape(event.hint)}")
            case Finished():
                self._finished(event)

    def _started(self, event: RunStarted) -> None:
        if event.resumed_from_step is not None:
            self._line(f"resumed   from the checkpoint of step {event.resumed_from_step}")
        self._line(f"device    {escape(_device(event.device))}")

    def _phase(self, event: Phase) -> None:
        if event.name is PhaseName.TRAINING and self._task is None and self._steps:
            self._task = self._bar.add_task("training", total=self._steps, status="")
        if self._task is not None:
            self._bar.update(self._task, description=event.name.value)
        elif not self.console.is_terminal or event.name is not PhaseName.EVALUATING:
            self._line(f"[dim]{event.name.value} {escape(event.detail)}[/]")

    def _data(self, event: DataPrepared) -> None:
        share = event.train_supervised_tokens / max(event.train_tokens, 1)
        trained = f", {share:.0%} trained on" if share else ""  # of prompts nothing is
        self._line(
            f"data      {count(event.train_rows, 'row')}, {count(event.train_tokens, 'token')}"
            f"{trained}; longest {event.max_seq_length}"
            + (f"; [yellow]{count(event.truncated_rows, 'row')} cut[/]" if event.truncated_rows else "")
        )
        validation = f"{count(event.val_rows, 'validation row')}: " if event.val_rows else ""
        self._line(f"          {validation}{escape(event.split)}")

    def _attached(self, event: LoraAttached) -> None:
        self._line(f"lora      {escape(event.log_line)}")
        share = f"trainable [bold]{event.trainable:,}[/] of {event.total:,} ({event.trainable / event.total:.3%})"
        self._line(share + (f"; {_factor(event)}" if event.targets else ""))

    def _report(self, event: TrainReport) -> None:
        left = "" if event.seconds_left is None else f"{duration(event.seconds_left)} left"
        status = f"{_measured(event)}  {left}"
        if self._task is not None:
            self._bar.update(self._task, completed=event.step, status=status)
        if not self.console.is_terminal:
            self._line(f"train     step {event.step:<6} {status}")

    def _evaluated(self, event: EvalReport) -> None:
        self._rewarded = "reward" in event.metrics
        best = f"  best {self._best(event.best_loss)} at {event.best_step}"
        self._line(f"eval      step {event.step:<6} {_measured(event)}{'  [green]best[/]' if event.best else best}")

    def _best(self, loss: float) -> str:
        """The best loss; where rewards are what is measured, the reward, which it is the opposite of."""
        return f"{-loss if self._rewarded else loss:.4f}"

    def _completion(self, event: Completions) -> None:
        """The first of the completions, on a line."""
        if self.console.is_terminal or not event.rows:
            return
        row = event.rows[0]
        text = one_line(row.completion, most=COMPLETION_SHOWN)
        self._line(f"[dim]          {row.reward:.3f} {escape(row.place)}: {escape(text)}[/]")

    def _finished(self, event: Finished) -> None:
        best = "" if event.best_loss is None else f"; best {self._best(event.best_loss)} at step {event.best_step}"
        self._line(f"finished  {count(event.step, 'step')} in {duration(event.seconds)}{best}")

    def _line(self, text: str) -> None:
        marked(self.console, text)


def _counting(losses: dict[int, float], start: RunStarted) -> dict[int, float]:
    return {step: losses[step] for step in rewound(losses, start, step=int)}


def _measured(event: TrainReport | EvalReport) -> str:
    """What matters of a report, in few words: a bare loss, or what the method measures."""
    mark = ("[bold]", "[/]") if isinstance(event, EvalReport) else ("", "")
    shown = [
        f"{name} {event.metrics[key]:{form}}" for key, (name, form) in SHOWN_METRICS.items() if key in event.metrics
    ]
    if "reward" not in event.metrics:
        shown.insert(0, f"loss {event.loss:.4f}")
    name, _, value = shown[0].partition(" ")
    shown[0] = f"{name} {mark[0]}{value}{mark[1]}"
    if not event.metrics and isinstance(event, TrainReport):
        shown += [f"{event.tokens_per_second:.0f} tok/s", size(event.peak_memory_bytes)]
    return "  ".join(shown[:MOST_METRICS])


def _factor(event: LoraAttached) -> str:
    """How alpha and rank became the scale, as a sum that can be checked."""
    how = {"rslora": f"sqrt(rank {event.rank})", "raw": "1 (raw)"}.get(event.scaling, f"rank {event.rank}")
    return f"alpha {event.alpha:g} / {how} -> scale {event.scale:g}"


def _device(device: dict[str, Any]) -> str:
    """`cpu, AMD EPYC, 2 threads, OpenBLAS SkylakeX, fused kernels`."""
    blas = device.get("blas") or {}
    parts = [device.get("kind"), device.get("name")]
    if blas:
        parts += [f"{device.get('threads')} threads", f"{blas.get('name')} {blas.get('core')}".strip()]
        parts.append("fused kernels" if device.get("fused_kernels") else "plain kernels")
    if device.get("products"):
        parts.append(f"products in {device['products']}")
    return ", ".join(str(part) for part in parts if part)


def lines_of_curve(train: dict[int, float], evaluation: dict[int, float], *, width: int) -> list[str]:
    """Training (·) and validation (●) losses over steps, as lines of text with a scale on the left."""
    steps, values = {*train, *evaluation}, [*train.values(), *evaluation.values()]
    if len(steps) < 2:
        return []
    low, high = min(values), max(values)
    first, last = min(steps), max(steps)
    span = (high - low) or 1.0
    grid = [[" "] * width for _ in range(CURVE_HEIGHT)]
    for losses, mark in ((train, "·"), (evaluation, "●")):
        for step, loss in losses.items():
            column = round((step - first) / max(last - first, 1) * (width - 1))
            row = math.floor((high - loss) / span * (CURVE_HEIGHT - 1) + 0.5)
            grid[row][column] = mark
    lines = []
    for number, cells in enumerate(grid):
        value = high - span * number / (CURVE_HEIGHT - 1)
        lines.append(f"{value:8.3f} ┤{''.join(cells).rstrip()}")
    lines.append(f"{'':8} └{'─' * width}")
    label = f"step {last}"
    lines.append(f"{'':10}{first}{label:>{width - len(str(first))}}")
    lines.append(f"{'':10}· training" + "   ● validation" * bool(evaluation))
    return lines

"""A run in the terminal: lines as things happen, a live progress bar where there is a terminal to draw on."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from droidft.commands._format import duration, lines_of_curve, size, thousands
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
    PhaseName,
    Record,
    RunStarted,
    Stopped,
    TrainingPlan,
    TrainReport,
    Warned,
)


class RunDisplay:
    """Shows the records of one run; `last` is the most recent event, `curve` the losses so far."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last: Event | None = None
        self.train_losses: dict[int, float] = {}
        self.eval_losses: dict[int, float] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[status]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._steps = 0

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
            self._event(record.event)

    def curve(self) -> list[str]:
        """The losses so far as lines of text."""
        return lines_of_curve(self.train_losses, self.eval_losses, width=min(self.console.width, 100) - 12)

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
                self._line(
                    f"plan      {event.steps} steps, {event.epochs:.2g} epochs, "
                    f"effective batch {event.effective_batch}"
                )
            case TrainReport():
                self._report(event)
            case EvalReport():
                self.eval_losses[event.step] = event.loss
                mark = "  [green]best[/]" if event.best else f"  best {event.best_loss:.4f} at {event.best_step}"
                self._line(f"eval      step {event.step:<6} loss [bold]{event.loss:.4f}[/]{mark}")
            case CheckpointSaved():
                if not self.console.is_terminal:
                    self._line(f"saved     step {event.step}  {size(event.bytes)}")
            case Warned():
                self._line(f"[yellow]warning[/]   {escape(event.message)}")
            case EarlyStopped():
                self._line(
                    f"early stop at step {event.step}: no improvement in {event.evaluations_without_improvement} "
                    f"evaluations; best {event.best_loss:.4f} at step {event.best_step}"
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
            for losses in (self.train_losses, self.eval_losses):
                for step in [step for step in losses if step > event.resumed_from_step]:
                    del losses[step]
        device = event.device
        self._line(f"device    {escape(str(device.get('summary', device.get('name', device.get('kind', '?')))))}")

    def _phase(self, event: Phase) -> None:
        if event.name is PhaseName.TRAINING and self._task is None and self._steps:
            self._task = self._bar.add_task("training", total=self._steps, status="")
        if self._task is not None:
            self._bar.update(self._task, description=event.name.value)
        elif not self.console.is_terminal or event.name is not PhaseName.EVALUATING:
            self._line(f"[dim]{event.name.value} {escape(event.detail)}[/]")

    def _data(self, event: DataPrepared) -> None:
        share = event.train_supervised_tokens / max(event.train_tokens, 1)
        self._line(
            f"data      {thousands(event.train_rows)} rows, {thousands(event.train_tokens)} tokens, "
            f"{share:.0%} trained on; longest {event.max_seq_length}"
            + (f"; [yellow]{event.truncated_rows} rows cut[/]" if event.truncated_rows else "")
        )
        self._line(f"          {thousands(event.val_rows)} validation rows: {escape(event.split)}")

    def _attached(self, event: LoraAttached) -> None:
        self._line(f"lora      {event.log_line}")
        self._line(
            f"trainable [bold]{event.trainable:,}[/] of {event.total:,} ({event.trainable / event.total:.3%}); "
            f"alpha {event.alpha:g} / rank {event.rank} -> scale {event.scale:g}"
        )

    def _report(self, event: TrainReport) -> None:
        self.train_losses[event.step] = event.loss
        left = "" if event.seconds_left is None else f"{duration(event.seconds_left)} left"
        status = (
            f"loss {event.loss:.4f}  {event.tokens_per_second:.0f} tok/s  {size(event.peak_memory_bytes)}  {left}"
        )
        if self._task is not None:
            self._bar.update(self._task, completed=event.step, status=status)
        if not self.console.is_terminal:
            self._line(f"train     step {event.step:<6} {status}")

    def _finished(self, event: Finished) -> None:
        best = "" if event.best_loss is None else f"; best {event.best_loss:.4f} at step {event.best_step}"
        self._line(f"finished  {event.step} steps in {duration(event.seconds)}{best}")

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

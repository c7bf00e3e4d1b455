"""An experiment in the terminal: the plan with its cost, then a line for each run."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from droidft.commands._format import duration, size
from droidft.events import EvalReport, Failed, Finished, Measured, Phase, Record, Stopped, TrainReport
from droidft.experiment.drive import Began, Ended, Said
from droidft.experiment.fixed import FixedPlan, count_of_runs
from droidft.experiment.plan import percent


def show_plan(fixed: FixedPlan, console: Console) -> None:
    """What is compared, on what, and what it takes."""
    plan, sizes = fixed.plan, fixed.sizes
    console.print(f"experiment [bold]{fixed.id}[/]  {escape(plan.title)}", highlight=False, soft_wrap=True)
    rows = {
        "model": fixed.model,
        "data": f"{sizes.train_rows:,} rows to train on; {sizes.split}",
        "test": f"{sizes.test_rows:,} rows in {sizes.clusters:,} groups, {sizes.test_tokens:,} tokens"
        + (f"; {sizes.questions:,} questions" if sizes.questions else ""),
        "general": f"{sizes.general_rows:,} texts, {sizes.general_tokens:,} tokens",
        "seeds": ", ".join(map(str, plan.seeds)) + ("  (exploratory: a verdict takes 3)" if plan.exploratory else ""),
        "contrasts": ", ".join(f"{a} − {b}" for a, b in fixed.contrasts) or "the best arm with the first",
        "margin": f"{plan.equivalence_margin:g} nats per token: a smaller difference does not matter",
    }
    if plan.learning_rates:
        rows["rates"] = ", ".join(f"{rate:g}" for rate in plan.learning_rates) + ", chosen by validation loss"
    if len(plan.shares) > 1:
        rows["shares"] = ", ".join(map(percent, plan.shares)) + " of the training data"
    for name, text in rows.items():
        console.print(f"{name:9} {escape(text)}", highlight=False, soft_wrap=True)
    console.print(_arms(fixed))
    if (estimate := fixed.estimate) is not None:
        console.print(
            f"cost      {estimate.runs} runs, about {duration(estimate.seconds)} on this machine as it is now, "
            f"{size(estimate.peak_bytes)} of memory, {size(estimate.disk_bytes)} of disk",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(f"cost      {count_of_runs(fixed)} runs; not timed", highlight=False)
    for warning in fixed.warnings:
        console.print(f"[yellow]warning[/]   {escape(warning)}", highlight=False, soft_wrap=True)


def _arms(fixed: FixedPlan) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("arm", overflow="fold")
    for name in ("rank", "scale", "trainable", "of all", "steps", "a token", "a run"):
        table.add_column(name, justify="right", no_wrap=True)
    costs = {cost.arm: cost for cost in fixed.costs}
    for arm in fixed.arms:
        cost = costs.get(arm.name)
        table.add_row(
            arm.name,
            str(arm.rank),
            f"{arm.scale:g}",
            f"{arm.trainable:,}",
            f"{arm.trainable / arm.total:.2%}",
            str(arm.steps["1"]),
            f"{cost.seconds_per_token * 1e3:.2f} ms" if cost else "–",
            duration(cost.seconds_per_run) if cost else "–",
        )
    return table


class ExperimentDisplay:
    """Shows what `drive` yields."""

    def __init__(self, fixed: FixedPlan, console: Console) -> None:
        self._fixed, self._console = fixed, console
        self._status: Status = console.status("starting")
        self._began = time.monotonic()
        self._runs = count_of_runs(fixed)
        self._measured: Measured | None = None
        self._best: float | None = None
        self._outcome = ""

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def show(self, happening: Began | Said | Ended) -> None:
        """Show one thing that happened."""
        match happening:
            case Began(state, progress):
                done = sum(cell.done for cell in progress.cells)
                self._name = f"run {done + 1:>3}/{self._runs}  {state.cell.key}"
                self._began, self._measured, self._best, self._outcome = time.monotonic(), None, None, ""
                self._status.update(self._name)
            case Said(_, record):
                self._said(record)
            case Ended():
                self._ended()

    def _said(self, record: Record) -> None:
        match record.event:
            case Phase(name=name, detail=detail):
                self._status.update(f"{self._name}  {name.value} {detail}")
            case TrainReport() as event:
                left = "" if event.seconds_left is None else f", {duration(event.seconds_left)} left"
                self._status.update(f"{self._name}  step {event.step}, loss {event.loss:.4f}{left}")
            case EvalReport() as event:
                self._best = event.best_loss
            case Measured() as event:
                self._measured = event
            case Failed() as event:
                self._outcome = f"[red]failed[/]: {escape(event.message)}"
            case Stopped():
                self._outcome = "stopped"
            case Finished():
                self._outcome = "finished"

    def _ended(self) -> None:
        found = [f"{self._name:40}"]
        if self._measured is not None:
            found += [f"validation {self._best:.4f}"] if self._best is not None else [" " * 17]
            found.append(f"test {self._measured.test_loss:.4f}  general {self._measured.general_loss:.4f}")
            if self._measured.questions:
                found.append(f"right {self._measured.right}/{self._measured.questions}")
        if self._outcome != "finished":
            found.append(self._outcome or "[red]died[/] without a word; it is started again")
        found.append(duration(time.monotonic() - self._began))
        self._console.print("  ".join(found), highlight=False, soft_wrap=True)

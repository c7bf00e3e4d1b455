"""An experiment in the terminal: the plan with its cost, then a line for each run."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from droidft.commands._terminal import line, marked, spinner, turn
from droidft.errors import ExperimentError
from droidft.events import EvalReport, Failed, Finished, Measured, Phase, Record, Stopped, TrainReport
from droidft.experiments.findings.results import Analysis
from droidft.experiments.findings.results import Table as SideBySide
from droidft.experiments.plan.settled import Cell, FixedPlan, count_of_runs, share_key
from droidft.experiments.plan.written import BASE
from droidft.experiments.runs.folder import Experiment
from droidft.experiments.runs.progress import Began, Ended, Reported, seconds_left
from droidft.support.words import NOTHING, count, duration, loss, p_value, percent, size

GAP = 2
"""Blanks between two columns."""
LEAST_NAME, MOST_NAME = 18, 24
"""How wide the names of lines are at least, of figures; and at most, of arms and contrasts."""
INDENT = 10
"""Where the values of the plan begin."""
WIDEST = 1000


def show_plan(fixed: FixedPlan, console: Console) -> None:
    """What is compared, on what, and what it takes."""
    plan, sizes = fixed.plan, fixed.sizes
    marked(console, f"experiment [bold]{escape(fixed.id)}[/]  {escape(plan.title)}")
    rows = {
        "model": fixed.model,
        "data": f"{count(sizes.train_rows, 'row')} to train on; {sizes.split}",
        "test": f"{count(sizes.test_rows, 'row')} in {count(sizes.clusters, 'group')}, "
        + count(sizes.test_tokens, "token")
        + (f"; {count(sizes.questions, 'question')}" if sizes.questions else ""),
        "general": f"{count(sizes.general_rows, 'text')}, {count(sizes.general_tokens, 'token')}",
        "seeds": ", ".join(map(str, plan.seeds)) + ("  (exploratory: a verdict takes 3)" if plan.exploratory else ""),
        "contrasts": _pairs(fixed, console.width),
        "margin": f"{plan.equivalence_margin:g} nats per token: a smaller difference does not matter",
    }
    if plan.learning_rates:
        rows["rates"] = ", ".join(f"{rate:g}" for rate in plan.learning_rates) + ", chosen by validation loss"
    if len(plan.shares) > 1:
        rows["shares"] = ", ".join(map(percent, plan.shares)) + " of the training data"
    for name, text in rows.items():
        line(console, f"{name:9} {text}")
    arms = _arms(fixed, GAP)
    wide = console.measure(arms, options=console.options.update(width=WIDEST)).maximum
    console.print(arms if wide <= console.width else _arms(fixed, 1))
    if (estimate := fixed.estimate) is not None:
        time_taken = f"{count(estimate.runs, 'run')}, about {duration(estimate.seconds)}"
        memory, disk = size(estimate.peak_bytes), size(estimate.disk_bytes)
        line(console, f"cost      {time_taken} on this machine as it is now,")
        line(console, f"          {memory} of memory by MLX's account, {disk} of disk")
    else:
        line(console, f"cost      {count(count_of_runs(fixed), 'run')}; not timed")
    for warning in fixed.warnings:
        marked(console, f"[yellow]warning[/]   {escape(warning)}")


def _pairs(fixed: FixedPlan, width: int) -> str:
    """The contrasts in a line, or where that is too long, each in one of its own."""
    pairs = [f"{first} − {second}" for first, second in fixed.contrasts]
    text = ", ".join(pairs) or "the best arm with the first"
    return text if INDENT + len(text) <= width else f"\n{' ' * INDENT}".join(pairs)


def _arms(fixed: FixedPlan, gap: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
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
            f"{cost.seconds_per_token * 1e3:.2f} ms" if cost else NOTHING,
            duration(cost.seconds_per_run if cost else None),
        )
    return table


def show_table(table: SideBySide, console: Console) -> None:
    """Figures of arms, then differences: together they are wider than a terminal."""
    for names, cells in (
        (table.arms, [row.values for row in table.rows]),
        (table.contrasts, [row.differences for row in table.rows]),
    ):
        rows = zip([row.name for row in table.rows], cells, strict=True)
        lines = [[name, *values] for name, values in rows if any(value != NOTHING for value in values)]
        for columns in _fitted([["", *names], *lines], console.width) if lines else ():
            console.print()
            console.print(_grid(columns, console.width))


def _fitted(lines: Sequence[Sequence[str]], width: int) -> Iterator[list[Sequence[str]]]:
    """Columns that fit into the width: of the lines as they are, else of the lines turned, in parts if need be."""
    across = list(zip(*([name, *map(_stacked, cells)] for name, *cells in lines), strict=True))
    if LEAST_NAME + sum(GAP + _width(column) for column in across[1:]) <= width:
        yield [*across]
        return
    names, *figures = lines
    part, left = [names], 0
    for column in figures:
        needed = GAP + _width(column)
        if len(part) > 1 and needed > left:
            yield part
            part = [names]
        if len(part) == 1:
            left = width - min(MOST_NAME, max(map(len, names)))
        part, left = [*part, column], left - needed
    yield part


def _grid(columns: Sequence[Sequence[str]], width: int) -> Table:
    names, *figures = columns
    left = width - sum(GAP + _width(column) for column in figures)
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    grid.add_column(names[0], width=min(max(map(len, names)), max(left, LEAST_NAME)))
    for column in figures:
        grid.add_column(column[0], justify="right", width=_width(column), vertical="bottom")
    for cells in zip(*(column[1:] for column in columns), strict=True):
        grid.add_row(*cells)
    return grid


def _width(column: Sequence[str]) -> int:
    """What a column of figures needs; its heading is broken between words."""
    head, *cells = column
    return max(map(len, [*head.split(), *(part for cell in cells for part in cell.split("\n"))]))


def _stacked(text: str) -> str:
    """A figure, and below it what stands in brackets."""
    return re.sub(r" (?=[\[(])", "\n", text, count=1)


def show_findings(analysis: Analysis, console: Console) -> None:
    """The table, then what it says."""
    if analysis.table is not None:
        show_table(analysis.table, console)
    if (floor := analysis.noise_floor) is not None:
        noise = f"two means of one arm differ by up to {loss(floor.difference)} nats per token"
        line(console, f"noise     {noise} through their seeds alone (95 %)")
    for each in analysis.contrasts:
        for score in each.scores:
            right = f"only {each.first} right {score.only_first}, only {each.second} {score.only_second}"
            p = f"McNemar's exact p {p_value(score.mcnemar_p)}, corrected {p_value(score.adjusted_p)}"
            line(console, f"{score.name}: {right} of {score.questions}; {p}")
        if each.reaches is not None:
            line(console, each.reaches.sentence)
    for row in analysis.sweep:
        settings = ", ".join(f"{name} {value}" for name, value in row.settings.items())
        validation = "diverged" if row.validation_loss is None else f"validation {loss(row.validation_loss.mean)}"
        line(console, f"{row.arm}  {settings}: {validation}, best so far {loss(row.best_so_far)}")
    line(console, f"\n{analysis.verdict}", style="bold")


def analysed(experiment: Experiment) -> Analysis:
    """All that an experiment has shown so far."""
    from droidft.experiments.findings.analysis import analyse  # with scipy, which is slow to import

    return analyse(experiment)


def rendered(experiment: Experiment, form: str) -> str:
    """The report of an experiment as text.

    Raises:
        ExperimentError: its plan is not fixed yet.
    """
    from droidft.experiments.findings.analysis import measurements
    from droidft.experiments.report.page import render

    if experiment.fixed() is None:
        raise ExperimentError(f"experiment {experiment.id} has no report yet", hint="wait until its plan is fixed")
    return render(analysed(experiment), form, measured=measurements(experiment))


class ExperimentDisplay:
    """Shows what `drive` yields."""

    def __init__(self, fixed: FixedPlan, console: Console) -> None:
        self._fixed, self._console = fixed, console
        self._status: Status = spinner(console, "starting")
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

    def show(self, happening: Began | Reported | Ended) -> None:
        """Show one thing that happened."""
        match happening:
            case Began(state, progress):
                done = sum(cell.done for cell in progress.cells)
                self._name = f"run {done + 1:>3}/{self._runs}  {state.cell.key}"
                left = seconds_left(self._fixed, progress)
                self._heading = self._name if left is None else f"{self._name}  about {duration(left)} left in all"
                self._steps = self._steps_of(state.cell)
                self._began, self._measured, self._best, self._outcome = time.monotonic(), None, None, ""
                turn(self._status, self._heading)
            case Reported(_, record):
                self._report(record)
            case Ended():
                self._ended()

    def _report(self, record: Record) -> None:
        match record.event:
            case Phase(name=name, detail=detail):
                turn(self._status, f"{self._heading}  {name.value} {detail}")
            case TrainReport() as event:
                left = "" if event.seconds_left is None else f", {duration(event.seconds_left)} left"
                step = f"step {event.step}/{self._steps}, loss {event.loss:.4f}{left}"
                turn(self._status, f"{self._heading}  {step}")
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

    def _steps_of(self, cell: Cell) -> int:
        return 0 if cell.arm == BASE else self._fixed.arm(cell.arm).steps[share_key(cell.share)]

    def _ended(self) -> None:
        parts = [escape(f"{self._name:40}")]
        if self._measured is not None:
            parts += [f"validation {self._best:.4f}"] if self._best is not None else [" " * 17]
            parts.append(f"test {self._measured.test_loss:.4f}  general {self._measured.general_loss:.4f}")
            if self._measured.questions:
                parts.append(f"right {self._measured.right}/{self._measured.questions}")
        if self._outcome != "finished":
            parts.append(self._outcome or "[red]died[/] without saying why; it is started again")
        parts.append(duration(time.monotonic() - self._began))
        marked(self._console, "  ".join(parts))

"""`droidft experiments [list | show | stop | report | delete]`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from droidft.experiments.runs.folder import Experiment

FORMS = ("html", "md", "json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft experiments`."""
    parser.set_defaults(action="list", json=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    listing = actions.add_parser("list", help="all experiments, newest first (the default)")
    listing.add_argument("--json", action="store_true", help="print JSON")
    for name, what in (
        ("show", "one experiment: its plan, its runs, what it has found"),
        ("stop", "pause it: the run under way saves a checkpoint"),
        ("report", "write its report"),
        ("delete", "remove it with all its runs and their adapters"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("experiment", metavar="EXPERIMENT", help="its id, the beginning of one, or `last`")
        if name == "delete":
            action.add_argument("--yes", action="store_true", help="without asking")
        if name == "report":
            action.add_argument("--form", choices=FORMS, default="html", help="what to write [html]")
            action.add_argument(
                "--out", type=Path, metavar="FILE", help="where to; - for standard output [ID.html and so on]"
            )


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    from rich.console import Console

    from droidft.experiments.runs import folder
    from droidft.home import Home

    home, console = Home.find(), Console()
    action = args.action or "list"
    if action == "list":
        _list(folder.all_experiments(home), console, as_json=args.json)
        return 0
    found = folder.find(home, args.experiment)
    match action:
        case "show":
            _show(found, console)
        case "stop":
            _stop(found, console)
        case "report":
            _report(found, args.form, args.out, console)
        case "delete":
            if args.yes or _sure(found, console):
                found.delete()
                console.print(f"deleted {found.id}", highlight=False)
            else:
                console.print(f"kept {found.id}; --yes deletes without asking", highlight=False)
    return 0


def _sure(experiment: Experiment, console: Console) -> bool:
    from droidft.commands._display import agreed

    done = sum(1 for run in experiment.runs() if run.measured_file.exists())
    return agreed(console, f"Delete {experiment.id}, with {done} finished runs and their adapters?", otherwise=False)


def _report(experiment: Experiment, form: str, out: Path | None, console: Console) -> None:
    from droidft.support.durable import storage_errors

    text = rendered(experiment, form)
    if out == Path("-"):
        print(text.removesuffix("\n"))
        return
    out = out or Path(f"{experiment.id}.{form}")
    with storage_errors(out):
        out.write_text(text, encoding="utf-8")
    console.print(f"wrote {out}", markup=False, highlight=False, soft_wrap=True)


def rendered(experiment: Experiment, form: str) -> str:
    """The report of an experiment as text.

    Raises:
        ExperimentError: its plan is not fixed yet.
    """
    from droidft.errors import ExperimentError
    from droidft.experiments.findings.analysis import analyse, measurements
    from droidft.experiments.report.page import render

    if experiment.fixed() is None:
        raise ExperimentError(f"experiment {experiment.id} has no report yet", hint="wait until its plan is fixed")
    return render(analyse(experiment), form, measured=measurements(experiment))


def show_findings(experiment: Experiment, console: Console) -> None:
    """The table, then what it says."""
    from droidft.commands._experiment_display import show_table
    from droidft.experiments.findings.analysis import analyse
    from droidft.experiments.findings.numerals import loss

    found = analyse(experiment)
    if found.table is not None:
        show_table(found.table, console)
    if found.noise_floor is not None:
        console.print(
            f"noise     two means of one arm differ by up to {found.noise_floor.difference:.4f} nats per token "
            "through their seeds alone (95 %)",
            highlight=False,
            soft_wrap=True,
        )
    for each in found.contrasts:
        for score in each.scores:
            console.print(
                f"{score.name}: only {each.first} right {score.only_first}, only {each.second} {score.only_second} "
                f"of {score.questions}; McNemar's exact p {score.mcnemar_p:.3g}, corrected {score.adjusted_p:.3g}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        if each.reaches is not None:
            console.print(each.reaches.sentence, markup=False, highlight=False, soft_wrap=True)
    for row in found.sweep:
        settings = ", ".join(f"{name} {value}" for name, value in row.settings.items())
        validation = "diverged" if row.validation_loss is None else f"validation {loss(row.validation_loss.mean)}"
        console.print(
            f"{row.arm}  {settings}: {validation}, best so far {loss(row.best_so_far)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"\n{found.verdict}", style="bold", markup=False, highlight=False, soft_wrap=True)


def _summary(experiment: Experiment) -> dict[str, Any]:
    from droidft.errors import ExperimentError
    from droidft.experiments.plan.settled import count_of_runs
    from droidft.experiments.runs.progress import look, seconds_left, state_of

    try:
        plan, fixed = experiment.plan(), experiment.fixed()
    except ExperimentError as error:
        nothing = {"id": experiment.id, "title": "", "state": "unreadable", "arms": [], "seeds": [], "done": 0}
        return nothing | {"runs": None, "seconds_left": None, "problem": error.message}
    progress = look(experiment, fixed) if fixed is not None else None
    return {
        "id": experiment.id,
        "title": plan.title,
        "state": state_of(experiment, progress).value,
        "arms": list(plan.all_arms()),
        "seeds": plan.seeds,
        "done": sum(cell.done for cell in progress.cells) if progress else 0,
        "runs": count_of_runs(fixed) if fixed else None,
        "seconds_left": seconds_left(fixed, progress) if fixed and progress else None,
        "problem": problem.message
        if (problem := (progress.obstacle if progress else experiment.problem()))
        else None,
    }


def _list(experiments: list[Experiment], console: Console, *, as_json: bool) -> None:
    import json

    from rich.markup import escape
    from rich.table import Table as Grid

    found = [_summary(experiment) for experiment in experiments]
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    if not found:
        console.print("no experiments yet; `droidft experiment PLAN.yaml` makes one (docs/experiments.md)")
        return
    grid = Grid(box=None, pad_edge=False)
    for name in ("id", "state", "runs", "arms", "title"):
        grid.add_column(name)
    for each in found:
        runs = f"{each['done']}/{each['runs'] or '?'}"
        grid.add_row(each["id"], each["state"], runs, str(len(each["arms"])), escape(each["title"]))
    console.print(grid)


def _show(experiment: Experiment, console: Console) -> None:
    from droidft.commands._experiment_display import show_plan
    from droidft.commands._format import duration

    if (problem := experiment.problem()) is not None:
        text = f"refused   {problem.message}\n          hint: {problem.hint}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if (fixed := experiment.fixed()) is None:
        console.print(f"experiment {experiment.id}: its plan is not fixed yet", highlight=False)
        return
    show_plan(fixed, console)
    summary = _summary(experiment)
    left = f", about {duration(summary['seconds_left'])} left" if summary["seconds_left"] else ""
    console.print(
        f"state     {summary['state']}, {summary['done']} of {summary['runs']} runs done{left}", highlight=False
    )
    if summary["problem"]:
        console.print(f"          {summary['problem']}", markup=False, highlight=False, soft_wrap=True)
    show_findings(experiment, console)


def _stop(experiment: Experiment, console: Console) -> None:
    from contextlib import suppress

    from droidft.errors import RunError
    from droidft.experiments.runs.progress import look

    fixed = experiment.fixed()
    if fixed is not None and look(experiment, fixed).complete:
        console.print(f"{experiment.id} is finished: there is nothing to stop", highlight=False)
        return
    experiment.want(running=False)
    for found in experiment.runs():
        if found.worker_pid() is not None:
            with suppress(RunError):  # it ended in this very moment
                found.stop()
    console.print(f"asked {experiment.id} to stop; go on with: droidft experiment {experiment.id}", highlight=False)

"""`droidft experiments [list | show | stop | report | delete]`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from droidft.commands._experiment_display import analysed, rendered, show_findings, show_plan
from droidft.commands._terminal import actions_of, add_json, agreed, line, none_yet, print_json, show_table, terminal
from droidft.errors import DroidError
from droidft.experiments.plan.settled import count_of_runs
from droidft.experiments.runs import folder
from droidft.experiments.runs.folder import Experiment
from droidft.experiments.runs.progress import look, seconds_left, state_of
from droidft.home import Home
from droidft.support.durable import storage_errors
from droidft.support.words import count, duration

FORMS = ("html", "md", "json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft experiments`."""
    actions = actions_of(parser, listing="all experiments, newest first")
    for name, what in (
        ("show", "one experiment: its plan, its runs, what it has shown"),
        ("stop", "pause it: the run under way saves a checkpoint"),
        ("report", "write its report"),
        ("delete", "remove it with all its runs and their adapters"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("experiment", metavar="EXPERIMENT", help="its id, the beginning of one, or `last`")
        if name == "delete":
            action.add_argument("--yes", action="store_true", help="without asking")
        add_json(action)
        if name == "report":
            action.add_argument("--form", choices=FORMS, default="html", help="what to write [html]")
            action.add_argument(
                "--out", type=Path, metavar="FILE", help="where to; - for standard output [ID.html and so on]"
            )


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    home, console = Home.find(), terminal()
    if args.action in (None, "list"):
        _list(folder.all_experiments(home), console, as_json=args.json)
        return 0
    experiment = folder.find(home, args.experiment)
    match args.action:
        case "show":
            _show(experiment, console, as_json=args.json)
        case "stop":
            _stop(experiment, console, as_json=args.json)
        case "report":
            _report(experiment, args.form, args.out, console, as_json=args.json)
        case "delete":
            return _delete(experiment, console, asked=not args.yes, as_json=args.json)
    return 0


def _delete(experiment: Experiment, console: Console, *, asked: bool, as_json: bool) -> int:
    asking = terminal(errors=as_json)
    if asked and not _sure(experiment, asking):
        line(asking, f"kept {experiment.id}; --yes deletes without asking")
        return 1
    experiment.delete()
    if as_json:
        print_json({"deleted": [experiment.id]})
    else:
        line(console, f"deleted {experiment.id}")
    return 0


def _sure(experiment: Experiment, console: Console) -> bool:
    done = sum(1 for run in experiment.runs() if run.measured_file.exists())
    runs = count(done, "finished run")
    return agreed(console, f"Delete {experiment.id}, with {runs} and their adapters?", otherwise=False)


def _report(experiment: Experiment, form: str, out: Path | None, console: Console, *, as_json: bool) -> None:
    text = rendered(experiment, form)
    if out == Path("-"):
        print(text.removesuffix("\n"))
        return
    out = out or Path(f"{experiment.id}.{form}")
    with storage_errors(out):
        out.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"report": str(out)})
    else:
        line(console, f"wrote {out}")


def _summary_or_fault(experiment: Experiment) -> dict[str, Any]:
    """The summary; of one that another version wrote, or that is damaged, why there is none."""
    try:
        return _summary(experiment)
    except (DroidError, OSError) as error:
        nothing = {"id": experiment.id, "title": "", "state": "unreadable", "arms": [], "seeds": [], "done": 0}
        return nothing | {"runs": None, "seconds_left": None, "problem": str(error)}


def _summary(experiment: Experiment) -> dict[str, Any]:
    plan, fixed = experiment.plan(), experiment.fixed()
    progress = look(experiment, fixed) if fixed is not None else None
    problem = progress.obstacle if progress else experiment.problem()
    return {
        "id": experiment.id,
        "title": plan.title,
        "state": state_of(experiment, progress).value,
        "arms": list(plan.all_arms()),
        "seeds": plan.seeds,
        "done": sum(cell.done for cell in progress.cells) if progress else 0,
        "runs": count_of_runs(fixed) if fixed else None,
        "seconds_left": seconds_left(fixed, progress) if fixed and progress else None,
        "problem": problem.message if problem else None,
    }


def _list(experiments: list[Experiment], console: Console, *, as_json: bool) -> None:
    rows = [_summary_or_fault(experiment) for experiment in experiments]
    if as_json:
        print_json(rows)
        return
    if not rows:
        none_yet(console, "no experiments yet; `droidft experiment PLAN.yaml` makes one (docs/experiments.md)")
        return
    names = ("id", "state", "runs", "arms", "title")
    cells = [
        (row["id"], row["state"], f"{row['done']}/{row['runs'] or '?'}", str(len(row["arms"])), row["title"])
        for row in rows
    ]
    show_table(console, names, cells, flowing=("title",))


def _show(experiment: Experiment, console: Console, *, as_json: bool) -> None:
    if as_json:
        fixed = experiment.fixed()
        report = json.loads(rendered(experiment, "json")) if fixed is not None else None
        plan = (fixed or experiment.plan()).model_dump(mode="json")
        print_json({**_summary(experiment), "plan": plan, "report": report})
        return
    if (problem := experiment.problem()) is not None:
        line(console, f"refused   {problem.message}\n          hint: {problem.hint}")
    if (fixed := experiment.fixed()) is None:
        line(console, f"experiment {experiment.id}: its plan is not fixed yet")
        return
    show_plan(fixed, console)
    summary = _summary(experiment)
    left = f", about {duration(summary['seconds_left'])} left" if summary["seconds_left"] else ""
    line(console, f"state     {summary['state']}, {summary['done']} of {count(summary['runs'], 'run')} done{left}")
    if summary["problem"]:
        line(console, f"          {summary['problem']}")
    show_findings(analysed(experiment), console)


def _stop(experiment: Experiment, console: Console, *, as_json: bool) -> None:
    fixed = experiment.fixed()
    complete = fixed is not None and look(experiment, fixed).complete
    if not complete:
        experiment.stop()
    if as_json:
        print_json({"experiment": experiment.id, "asked_to_stop": not complete})
    elif complete:
        line(console, f"{experiment.id} is finished: there is nothing to stop")
    else:
        line(console, f"asked {experiment.id} to stop; continue with: droidft experiment {experiment.id}")

"""`droidft runs [list | show | watch | stop | delete]`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from droidft.runs.folder import Run


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft runs`."""
    parser.set_defaults(action="list", json=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    listing = actions.add_parser("list", help="all runs, newest first (the default)")
    listing.add_argument("--json", action="store_true", help="print JSON")
    for name, what in (
        ("show", "one run: settings, data, losses, checkpoints"),
        ("watch", "follow a running run"),
        ("stop", "save a checkpoint and end"),
        ("delete", "remove a run folder"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("run_id", metavar="RUN", help="id of the run, the beginning of one, or `last`")
        if name == "show":
            action.add_argument("--json", action="store_true", help="print JSON")
        if name == "delete":
            action.add_argument("--files", action="store_true", help="remove its adapter folder too")


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    from rich.console import Console

    from droidft.home import Home
    from droidft.runs import folder as runs

    home, console = Home.find(), Console()
    action = args.action or "list"
    if action == "list":
        _list(runs.all_runs(home), console, as_json=args.json)
        return 0
    found = runs.find(home, args.run_id)
    match action:
        case "show":
            _show(found, console, as_json=args.json)
        case "watch":
            from droidft.commands._watch import watch

            return watch(found, console)
        case "stop":
            found.stop()
            console.print(f"asked {found.id} to stop", highlight=False)
        case "delete":
            found.delete(home, files=args.files)
            console.print(f"deleted {found.id}", highlight=False)
    return 0


def summary(run: Run) -> dict[str, Any]:
    """What the list shows of one run."""
    from droidft.events import Failed
    from droidft.runs.summary import Summary

    config, found = run.config(), Summary()
    for record in run.records()[0]:
        found.add(record)
    return {
        "id": run.id,
        "status": run.status().value,
        "model": config.model_path,
        "method": config.method.value,
        "targets": config.lora_targets.value,
        "step": found.report.step if found.report else 0,
        "steps": found.plan.steps if found.plan else None,
        "loss": found.report.loss if found.report else None,
        "reward": found.report.metrics.get("reward") if found.report else None,
        "best_loss": found.best.best_loss if found.best else None,
        "trainable": found.lora.trainable if found.lora else None,
        "error": found.last.message if isinstance(found.last, Failed) else None,
        "adapter": run.adapter_name(),
    }


def _summary_or_fault(run: Run) -> dict[str, Any]:
    """The summary, or, for a run that a newer version made or a crash tore, why there is none."""
    from droidft.errors import DroidError

    try:
        return summary(run)
    except DroidError as error:
        unknown = dict.fromkeys(
            ("model", "method", "targets", "step", "steps", "loss", "best_loss", "trainable", "adapter")
        )
        return {"id": run.id, "status": "unreadable", **unknown, "error": error.message}


def _list(found: list[Run], console: Any, *, as_json: bool) -> None:
    from rich.table import Table

    rows = [_summary_or_fault(run) for run in found]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        console.print("no runs yet; start one with `droidft train` or `droidft demo`")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "status", "method", "step", "loss", "best val"):
        table.add_column(name, justify="right" if name in ("step", "loss", "best val") else "left", overflow="fold")
    for row in rows:
        step = f"{row['step']}/{row['steps']}" if row["steps"] else "-"
        table.add_row(
            row["id"], row["status"], row["method"] or "-", step, _score(row, "loss"), _score(row, "best_loss")
        )
    console.print(table)


def _show(run: Run, console: Any, *, as_json: bool) -> None:
    from droidft.commands._display import RunDisplay

    records, _ = run.records()
    if as_json:
        events = [record.model_dump(mode="json") for record in records]
        values = {**summary(run), "config": run.config().model_dump(mode="json"), "events": events}
        print(json.dumps(values, indent=1))
        return
    console.print(f"run       [bold]{run.id}[/]  {run.status()}", highlight=False)
    for name, value in run.config().changed().items():
        console.print(f"  {name}: {value}", highlight=False, markup=False)
    display = RunDisplay(console)
    display.show(records)
    for line in display.curve():
        console.print(line, highlight=False)


def _score(row: dict[str, Any], name: str) -> str:
    """A loss, or the reward of methods that have rewards."""
    value = row[name]
    if value is None:
        return "-"
    if row.get("reward") is None:
        return f"{value:.4f}"
    return f"reward {row['reward'] if name == 'loss' else -value:.3f}"

"""`droidft runs [list | show | watch | stop | delete]`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape

from droidft.commands._display import RunDisplay
from droidft.commands._terminal import (
    RUN_HELP,
    actions_of,
    add_json,
    line,
    marked,
    none_yet,
    print_json,
    show_table,
    terminal,
)
from droidft.commands._watch import watch
from droidft.errors import DroidError
from droidft.events import Failed, Record
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.runs import log
from droidft.runs.folder import Run
from droidft.runs.kept import summary_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft runs`."""
    actions = actions_of(parser, listing="all runs, newest first")
    for name, what in (
        ("show", "one run: settings, data, losses, checkpoints"),
        ("watch", "follow a running run"),
        ("stop", "save a checkpoint and end"),
        ("delete", "remove run folders"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("run_ids", nargs="+" if name == "delete" else 1, metavar="RUN", help=RUN_HELP)
        add_json(action, "print its events, a JSON object each in a line" if name == "watch" else "print JSON")
        if name == "delete":
            action.add_argument("--files", action="store_true", help="remove their adapter folders too")


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    home, console = Home.find(), terminal()
    if args.action in (None, "list"):
        _list(runs.all_runs(home), console, as_json=args.json)
        return 0
    chosen = [runs.find(home, run_id) for run_id in dict.fromkeys(args.run_ids)]
    run = chosen[0]
    match args.action:
        case "show":
            _show(run, console, as_json=args.json)
        case "watch":
            return watch(run, console, as_json=args.json)
        case "stop":
            run.stop()
            if args.json:
                print_json({"run": run.id, "asked_to_stop": True})
            else:
                line(console, f"asked {run.id} to stop")
        case "delete":
            _delete(list(dict.fromkeys(chosen)), home, console, files=args.files, as_json=args.json)
    return 0


def _delete(chosen: list[Run], home: Home, console: Console, *, files: bool, as_json: bool) -> None:
    """Delete all of them, or none: what refuses one is reported before the first goes."""
    for run in chosen:
        run.refuse_to_delete()
    for run in chosen:
        run.delete(home, files=files)
        if not as_json:
            line(console, f"deleted {run.id}")
    if as_json:
        print_json({"deleted": [run.id for run in chosen]})


def summary(run: Run) -> dict[str, Any]:
    """What the list shows of one run."""
    config, so_far = run.config(), summary_of(run)
    return {
        "id": run.id,
        "status": run.status().value,
        "model": config.model_path,
        "method": config.method.value,
        "targets": config.lora_targets.value,
        "step": so_far.report.step if so_far.report else 0,
        "steps": so_far.plan.steps if so_far.plan else None,
        "loss": so_far.report.loss if so_far.report else None,
        "reward": so_far.report.metrics.get("reward") if so_far.report else None,
        "best_loss": so_far.newest_evaluation.best_loss if so_far.newest_evaluation else None,
        "trainable": so_far.lora.trainable if so_far.lora else None,
        "error": so_far.last.message if isinstance(so_far.last, Failed) else None,
        "adapter": run.adapter_name(),
    }


def _summary_or_fault(run: Run) -> dict[str, Any]:
    """The summary; of a run that a newer version wrote, or that a crash damaged, why there is none."""
    try:
        return summary(run)
    except (DroidError, OSError) as error:
        names = ("model", "method", "targets", "step", "steps", "loss", "best_loss", "trainable", "adapter")
        unknown = dict.fromkeys(names)
        return {"id": run.id, "status": "unreadable", **unknown, "error": str(error)}


def _list(listed: list[Run], console: Console, *, as_json: bool) -> None:
    rows = [_summary_or_fault(run) for run in listed]
    if as_json:
        print_json(rows)
        return
    if not rows:
        none_yet(console, "no runs yet; start one with `droidft train` or `droidft demo`")
        return
    numbers = ("step", "loss", "best val")
    cells = []
    for row in rows:
        step = f"{row['step']}/{row['steps']}" if row["steps"] else "-"
        scores = (_score(row, "loss"), _score(row, "best_loss"))
        cells.append((row["id"], row["status"], row["method"] or "-", step, *scores))
    show_table(console, ("run", "status", "method", *numbers), cells, right=numbers)


def _show(run: Run, console: Console, *, as_json: bool) -> None:
    if as_json:
        _print_all(run)
        return
    config = run.config()
    marked(console, f"run       [bold]{escape(run.id)}[/]  {run.status()}")
    for name, value in config.changed().items():
        line(console, f"  {name}: {value}")
    display = RunDisplay(console)
    display.show(run.stream() if console.is_terminal else _with_completions(run))
    display.show_curve()


def _with_completions(run: Run) -> Iterator[Record]:
    return (record for each, _ in log.stream(run.events_file) if (record := log.parse_record(each)) is not None)


def _print_all(run: Run) -> None:
    """The run as one JSON object, its events one after another: a log can have any length."""
    head = json.dumps({**summary(run), "config": run.config().model_dump(mode="json")}, ensure_ascii=False, indent=1)
    print(head.removesuffix("\n}") + ',\n "events": [', end="")
    comma = ""
    for record in _with_completions(run):
        print(f"{comma}\n  {record.model_dump_json()}", end="")
        comma = ","
    print("\n ]\n}")


def _score(row: dict[str, Any], name: str) -> str:
    """A loss, or the reward of methods that have rewards."""
    value = row[name]
    if value is None:
        return "-"
    if row.get("reward") is None:
        return f"{value:.4f}"
    return f"reward {row['reward'] if name == 'loss' else -value:.3f}"

"""`droidft experiment PLAN`: plan a comparison, show what it will cost, run it, report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from droidft.commands._experiment_display import ExperimentDisplay, analysed, rendered, show_findings, show_plan
from droidft.commands._terminal import add_json, agreed, line, print_json, progress_bar, terminal
from droidft.commands._watch import Presses
from droidft.config import load_config_file
from droidft.errors import ConfigError
from droidft.experiments.plan.settled import FixedPlan
from droidft.experiments.plan.written import parse_plan
from droidft.experiments.runs import folder
from droidft.experiments.runs.folder import Experiment
from droidft.experiments.runs.progress import drive, look
from droidft.home import Home


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft experiment`."""
    parser.add_argument("plan", metavar="PLAN", help="a YAML or JSON file with a plan, or the id of an experiment")
    parser.add_argument("--plan-only", action="store_true", help="settle the plan and show its cost; start nothing")
    parser.add_argument("--yes", action="store_true", help="start without asking")
    add_json(parser, "print the plan, or at the end the report, as JSON; with --plan-only or --yes")
    parser.add_argument("--no-timing", action="store_true", help="do not time steps beforehand")


def run(args: argparse.Namespace) -> int:
    """A new experiment for a plan file, or the continuation of one."""
    if args.json and not (args.plan_only or args.yes):
        raise ConfigError("--json asks no question", hint="give --plan-only, or --yes to start at once")
    home, console, errors = Home.find(), terminal(quiet=args.json), terminal(errors=True, quiet=args.json)
    made = _is_file(args.plan)
    experiment = _made(Path(args.plan), home) if made else folder.find(home, args.plan)
    fixed = experiment.fixed() or _settled(experiment, errors, timed=not args.no_timing, made=made)
    show_plan(fixed, console)
    if args.plan_only:
        if args.json:
            print_json({"experiment": experiment.id, "plan": fixed.model_dump(mode="json")})
        line(console, f"\nstart it with: droidft experiment {experiment.id}")
        return 0
    if not args.yes and not agreed(console, "\nStart?", otherwise=True):
        line(console, f"not started; later: droidft experiment {experiment.id} [--yes]")
        return 0
    status = _drive(experiment, fixed, console)
    if args.json:
        print_json({"experiment": experiment.id, "report": json.loads(rendered(experiment, "json"))})
    return status


def _is_file(text: str) -> bool:
    return "/" in text or text.endswith((".yaml", ".yml", ".json")) or Path(text).is_file()


def _made(path: Path, home: Home) -> Experiment:
    return folder.create(home, parse_plan(load_config_file(path), source=str(path)))


def _settled(experiment: Experiment, console: Console, *, timed: bool, made: bool) -> FixedPlan:
    """Settle the plan; what refuses it leaves no experiment behind that was `made` for it."""
    from droidft.api.comparing import settle_locked  # slow to import

    with progress_bar(console) as progress:
        progress("planning", 0, 0)

        def report(what: str, done: int, total: int) -> None:
            if what:
                progress(what, done, total)

        return settle_locked(experiment, report, timed=timed, is_new=made)


def _drive(experiment: Experiment, fixed: FixedPlan, console: Console) -> int:
    presses = Presses()
    with presses, ExperimentDisplay(fixed, console) as display:
        for happening in drive(experiment, fixed, should_stop=lambda: presses.count > 0):
            display.show(happening)
            if presses.new():
                line(console, "stopping: the run saves a checkpoint")
    if presses.count or not look(experiment, fixed).complete:
        who = "stopped" if presses.count else "stopped from elsewhere, in another terminal or the browser"
        line(console, f"{who}; continue with: droidft experiment {experiment.id}")
        return 0
    show_findings(analysed(experiment), console)
    report = experiment.path / "report.html"
    report.write_text(rendered(experiment, "html"), encoding="utf-8")
    line(console, f"report    {report}")
    return 0

"""`droidft resume RUN [--setting value …]`: continue a run from its last checkpoint, bit for bit, or longer."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from droidft.commands._settings import add_setting_flags, settings_from
from droidft.commands._terminal import RUN_HELP, add_json
from droidft.commands._watch import DETACH_HELP, EVENTS_HELP, start_and_watch
from droidft.config.continuation import CHANGEABLE
from droidft.home import Home
from droidft.runs import continuation
from droidft.runs import folder as runs


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft resume`."""
    parser.add_argument("run_id", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--detach", action="store_true", help=DETACH_HELP)
    add_json(parser, EVENTS_HELP)
    add_setting_flags(parser, shown=CHANGEABLE)
    parser.usage = "%(prog)s RUN [--detach] [--SETTING VALUE ...]"


def run(args: argparse.Namespace) -> int:
    """Start a worker on the old run folder."""
    return resume(args.run_id, detach=args.detach, as_json=args.json, changes=settings_from(args))


def resume(run_id: str, *, detach: bool, as_json: bool, changes: Mapping[str, Any]) -> int:
    """Continue the run `run_id` with `changes` in its settings; refused where it is running or has nothing to do."""
    run = runs.find(Home.find(), run_id)
    continuation.prepare(run, changes)
    return start_and_watch(run, detach=detach, as_json=as_json)

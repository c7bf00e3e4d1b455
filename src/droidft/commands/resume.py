"""`droidft resume RUN`: continue a run from its last checkpoint, bit for bit."""

from __future__ import annotations

import argparse

from droidft.commands._terminal import RUN_HELP, add_json
from droidft.commands._watch import DETACH_HELP, EVENTS_HELP, start_and_watch
from droidft.home import Home
from droidft.runs import folder as runs


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft resume`."""
    parser.add_argument("run_id", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--detach", action="store_true", help=DETACH_HELP)
    add_json(parser, EVENTS_HELP)


def run(args: argparse.Namespace) -> int:
    """Start a worker on the old run folder."""
    return resume(args.run_id, detach=args.detach, as_json=args.json)


def resume(run_id: str, *, detach: bool, as_json: bool) -> int:
    """Continue the run `run_id`; refused where it is running or has finished."""
    run = runs.find(Home.find(), run_id)
    run.refuse_to_resume()
    return start_and_watch(run, detach=detach, as_json=as_json)

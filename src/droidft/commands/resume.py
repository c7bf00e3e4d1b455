"""`droidft resume RUN`: continue a run from its last checkpoint, bit for bit."""

from __future__ import annotations

import argparse

from droidft.commands._watch import start_and_watch
from droidft.home import Home
from droidft.runs import folder as runs


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft resume`."""
    parser.add_argument("run_id", metavar="RUN", help="id of the run, the beginning of one, or `last`")
    parser.add_argument("--detach", action="store_true", help="start the run and return")


def run(args: argparse.Namespace) -> int:
    """Start a worker on the old run folder."""
    return resume(args.run_id, detach=args.detach)


def resume(run_id: str, *, detach: bool) -> int:
    """Continue the run `run_id`; refused where it is running or has finished."""
    run = runs.find(Home.find(), run_id)
    run.refuse_to_resume()
    return start_and_watch(run, detach=detach)

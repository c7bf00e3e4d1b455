"""`droidft experiments [list | show | stop | report | delete]`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from droidft.experiment.folder import Experiment


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft experiments`."""
    parser.set_defaults(action="list", json=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    listing = actions.add_parser("list", help="all experiments, newest first (the default)")
    listing.add_argument("--json", action="store_true", help="print JSON")


def report(experiment: Experiment, console: Console) -> int:
    """Placeholder of the thin path."""
    console.print(experiment.id)
    return 0

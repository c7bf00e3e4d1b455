"""`droidft train [FILE] [--setting value …]`: train, and watch it."""

from __future__ import annotations

import argparse
from pathlib import Path

from droidft.commands._settings import add_setting_flags, config_from, settings_from
from droidft.commands._terminal import add_json
from droidft.commands._watch import DETACH_HELP, EVENTS_HELP, start_and_watch
from droidft.commands.resume import resume
from droidft.config import load_config_file
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.workers.accept import refuse_unacceptable


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft train`."""
    parser.add_argument("file", nargs="?", type=Path, help="YAML or JSON file with settings; flags override it")
    parser.add_argument("--detach", action="store_true", help=DETACH_HELP)
    add_json(parser, EVENTS_HELP)
    add_setting_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Create the run, start its worker and show it until it ends."""
    given = (load_config_file(args.file) if args.file else {}) | settings_from(args)
    if given.get("resume") is not None:
        changes = {name: value for name, value in given.items() if name != "resume"}
        return resume(str(given["resume"]), detach=args.detach, as_json=args.json, changes=changes)
    home, config = Home.find(), config_from(args, file=args.file)
    refuse_unacceptable(config, home)
    created = runs.create(home, config)
    return start_and_watch(created, detach=args.detach, as_json=args.json)

"""`droidft train [FILE] [--setting value …]`: train, and watch it."""

from __future__ import annotations

import argparse
from pathlib import Path

from droidft.commands._settings import add_setting_flags, config_from


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft train`."""
    parser.add_argument("file", nargs="?", type=Path, help="YAML or JSON file with settings; flags go over it")
    parser.add_argument("--detach", action="store_true", help="start the run and return; watch it with `runs watch`")
    add_setting_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Create the run, start its worker and show it until it ends."""
    from droidft import runs
    from droidft.commands._watch import start_and_watch
    from droidft.home import Home

    config = config_from(args, file=args.file)
    home = Home.find()
    if config.resume is not None:
        return start_and_watch(runs.find(home, config.resume), detach=args.detach)
    return start_and_watch(runs.create(home, config), detach=args.detach)

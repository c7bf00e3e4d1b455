"""`--push org/name` of commands that leave an export: looked at before the work, asked about after it, then sent."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from droidft.adapters.exports import pushing
from droidft.adapters.exports.pushing import PushRequest
from droidft.commands._terminal import agreed, line, progress_bar, terminal, warn
from droidft.errors import ConfigError
from droidft.home import Home
from droidft.models.upload import Pushed, Repository
from droidft.support.words import size
from droidft.workers.push import destination, reach


def add_push(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    group = parser.add_argument_group("the hub")
    group.add_argument("--push", metavar="ORG/NAME", help="push the export to this repository, after a question")
    group.add_argument("--public", action="store_true", help="make a new repository public, or push to a public one")
    group.add_argument("--revision", metavar="BRANCH", help="push to this branch (default: main)")
    group.add_argument("--overwrite", action="store_true", help="push to a repository that holds something else, too")
    group.add_argument("--yes", action="store_true", help="push without asking")


def reached(args: argparse.Namespace) -> Repository | None:
    """The repository to push to, found before any work is done; None where nothing is to be pushed.

    Raises:
        ConfigError: flags that say nothing without `--push`; or nobody could answer the question.
        UploadError: as `upload.reach`.
    """
    if args.push is None:
        if given := [name for name in ("public", "revision", "overwrite") if getattr(args, name)]:
            raise ConfigError(f"--{given[0]} says nothing without --push", hint="add --push ORG/NAME")
        return None
    if not args.yes and not sys.stdin.isatty():
        hint = "--yes pushes without asking"
        raise ConfigError("nobody can be asked whether to push: there is no terminal", hint=hint, field="push")
    return reach(
        PushRequest(repo_id=args.push, private=not args.public, revision=args.revision, overwrite=args.overwrite)
    )


def push(folder: Path, repository: Repository, home: Home, *, yes: bool, as_json: bool) -> Pushed | None:
    """Ask, and send the export in `folder` if the answer is yes; None if it is no. Raises as `pushing`."""
    console = terminal(errors=as_json)
    found = destination(folder, repository, home)
    if yes and found.caution:
        warn(terminal(errors=True), found.caution)
    if not yes and not agreed(console, found.question(), otherwise=False):
        line(console, "not pushed")
        return None
    with progress_bar(terminal(errors=True, quiet=as_json)) as progress:
        pushed = pushing.push(found, progress)
    line(console, f"pushed {size(pushed.bytes)} to {pushed.url}")
    return pushed

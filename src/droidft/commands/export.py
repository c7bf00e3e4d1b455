"""`droidft export`: an adapter as files for other programs, with a certificate."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console

from droidft.adapters.exports.forms import ExportRequest, Form, default_name, facts, parse_request
from droidft.adapters.exports.pushing import standing
from droidft.adapters.folder import find_adapter, read_adapter
from droidft.commands._certificates import show_certificate, show_usage
from droidft.commands._push import add_push, push, reached
from droidft.commands._terminal import add_json, consoles, line, print_json, progress_bar, warn
from droidft.home import Home
from droidft.models.upload import Repository
from droidft.support.words import duration, size

if TYPE_CHECKING:
    from droidft.workers.export import Exported


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft export`."""
    parser.add_argument(
        "adapter", metavar="ADAPTER", help="folder or name; its best weights unless @latest or @200 chooses others"
    )
    kinds = "; ".join(f"{each.form.value}: {each.loads_in}" for each in facts())
    parser.add_argument("--to", required=True, choices=[form.value for form in Form], help=kinds)
    types = "; ".join(f"{each.form.value}: {', '.join(each.types)}" for each in facts() if each.types)
    parser.add_argument("--type", metavar="TYPE", help=f"type of the weights; {types}")
    parser.add_argument("--model", metavar="MODEL", help="the base model (default: the one that the adapter names)")
    parser.add_argument(
        "--into",
        metavar="MODEL",
        help="another copy of the base to add the adapter to or use it on, such as the original of a quantised one",
    )
    parser.add_argument("--name", metavar="NAME", help="name of the export (default: adapter, weights, form, type)")
    parser.add_argument(
        "--rows",
        metavar="FILE",
        help="rows for the certificate, as the run was trained on (default: its validation rows)",
    )
    parser.add_argument("--row-count", type=int, metavar="N", help="rows that the certificate compares (32)")
    parser.add_argument("--replace", action="store_true", help="take the place of an export of the same name")
    add_json(parser)
    add_push(parser)


def run(args: argparse.Namespace) -> int:
    """Export, and push; status 1 where the certificate failed, or the answer was not to push."""
    home = Home.find()
    request, repository = _request(args), reached(args)
    if repository is not None and not args.replace:
        info = read_adapter(*find_adapter(request.adapter, adapters_dir=home.adapters))
        folder = home.export(request.name or default_name(request, info.name))
        if standing(folder, request, info):
            pushed = push(folder, repository, home, yes=args.yes, as_json=args.json)
            if args.json:
                print_json({"path": str(folder), "pushed": pushed and asdict(pushed)})
            return 0 if pushed else 1
    return _export(args, request, repository, home)


def _export(args: argparse.Namespace, request: ExportRequest, repository: Repository | None, home: Home) -> int:
    from droidft.engine.machine.device import computing
    from droidft.workers.export import export, plan_export

    console, errors = consoles(as_json=args.json)
    with computing(home.cache) as device:
        for warning in device.warnings:
            warn(errors, warning)
        plan = plan_export(request, home)
        for warning in plan.warnings:
            warn(errors, warning)
        with progress_bar(errors) as progress:
            done = export(plan, home, progress)
    if not args.json:
        _show(done, console, errors)
    wanted, pushed = repository is not None and not done.certificate.failed, None
    if wanted and repository is not None:
        pushed = push(done.path, repository, home, yes=args.yes, as_json=args.json)
    elif repository is not None:
        warn(errors, "nothing was pushed: the export is not what was trained")
    if args.json:
        values = asdict(done) | {"path": str(done.path), "certificate": done.certificate.model_dump(mode="json")}
        print_json(values | ({"pushed": pushed and asdict(pushed)} if repository is not None else {}))
    return 0 if not done.certificate.failed and (pushed is not None) is wanted else 1


def _request(args: argparse.Namespace) -> ExportRequest:
    names = ("adapter", "type", "model", "into", "name", "rows", "row_count", "replace")
    values = {"form": args.to, **{name: getattr(args, name) for name in names}}
    return parse_request(values, called=lambda name: f"--{name.replace('_', '-')}")


def _show(done: Exported, console: Console, errors: Console) -> None:
    made = done.certificate
    if made.failed:
        line(console, f"{done.name} is not what was trained", style="bold red")
    show_certificate(console, made)
    for note in (*done.warnings, *made.notes):
        warn(errors, note)
    kept = "is kept, to be looked at" if made.failed else "is done"
    line(console, f"{done.name} {kept}: {size(done.bytes)} in {duration(done.seconds)}, {done.path}")
    if not made.failed:
        show_usage(console, done.usage)

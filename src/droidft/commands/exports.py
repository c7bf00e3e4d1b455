"""`droidft exports [list | show | delete]`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from droidft.adapters.exports.catalog import ExportEntry, delete_export, find_export, list_exports
from droidft.commands._certificates import COLOURS, show_certificate, show_usage
from droidft.commands._terminal import actions_of, add_json, agreed, line, none_yet, print_json, show_table, terminal
from droidft.home import Home
from droidft.support.plain import safe
from droidft.support.words import loss, moment, size


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft exports`."""
    actions = actions_of(parser, listing="all exports, newest first")
    for name, what in (
        ("show", "one export: its certificate, and how to use it elsewhere"),
        ("delete", "remove an export's folder"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("export", metavar="EXPORT", help="its name")
        if name == "delete":
            action.add_argument("--yes", action="store_true", help="without asking")
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Do the chosen action; status 1 where an export is kept, or is not what was trained."""
    home, console = Home.find(), terminal()
    if args.action in (None, "list"):
        _list(list_exports(home.exports), console, as_json=args.json)
        return 0
    entry = find_export(home.exports, args.export)
    if args.action == "delete":
        return _delete(entry, home, console, asked=not args.yes, as_json=args.json)
    _show(entry, console, as_json=args.json)
    return 0 if entry.usable else 1


def _state(entry: ExportEntry) -> Text:
    """The verdict, or that there is none which could be relied on."""
    made = entry.certificate
    if made is None or (entry.problem and not made.failed):
        return Text("cannot be used", style="red")
    return Text(made.verdict, style=COLOURS[made.verdict])


def _list(entries: Sequence[ExportEntry], console: Console, *, as_json: bool) -> None:
    if as_json:
        print_json(entries)
        return
    if not entries:
        none_yet(console, "no exports yet; `droidft export ADAPTER --to gguf` makes one")
        return
    rows: list[Sequence[str | Text]] = []
    for entry in entries:
        made = entry.certificate
        form = "" if made is None else " ".join(filter(None, (made.form, made.quantisation)))
        what = safe(entry.problem) if entry.problem else f"loss {loss(made.loss.exported)}" if made else ""
        rows.append((entry.name, form, _state(entry), size(entry.bytes), moment(entry.made), what))
    show_table(console, ("export", "form", "certificate", "size", "made", ""), rows, right=("size",), flowing=("",))


def _show(entry: ExportEntry, console: Console, *, as_json: bool) -> None:
    if as_json:
        print_json(entry)
        return
    if entry.problem:
        line(console, safe(entry.problem), style="red")
    if entry.certificate is not None:
        show_certificate(console, entry.certificate)
    line(console, f"{size(entry.bytes)}, {moment(entry.made)}, {entry.path}")
    show_usage(console, entry.usage)


def _delete(entry: ExportEntry, home: Home, console: Console, *, asked: bool, as_json: bool) -> int:
    asking = terminal(errors=as_json)
    if asked and not agreed(asking, f"Delete {entry.name} ({size(entry.bytes)})?", otherwise=False):
        line(asking, f"kept {entry.name}; --yes deletes without asking")
        return 1
    delete_export(home.exports, entry.name)
    if as_json:
        print_json({"deleted": [entry.name]})
    else:
        line(console, f"deleted {entry.name}")
    return 0

"""`droidft adapters [list | show | delete]`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from droidft.adapters.diagnostics import Diagnostic
    from droidft.adapters.folder import AdapterInfo
    from droidft.home import Home


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft adapters`."""
    parser.set_defaults(action="list", json=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    listing = actions.add_parser("list", help="all adapters (the default)")
    listing.add_argument("--json", action="store_true", help="print JSON")
    show = actions.add_parser("show", help="one adapter: settings, weights, and everything doubtful about it")
    show.add_argument("adapter", metavar="ADAPTER", help="folder or name; add @best or @200 to choose weights")
    show.add_argument("--model", metavar="MODEL", help="judge it against this model, without loading its weights")
    show.add_argument("--json", action="store_true", help="print JSON")
    delete = actions.add_parser("delete", help="remove an adapter's folder")
    delete.add_argument("name", metavar="NAME", help="name from `droidft adapters list`")


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    from droidft.commands._answers import consoles
    from droidft.home import Home

    console, _ = consoles(as_json=args.json)
    home = Home.find()
    match args.action or "list":
        case "list":
            _list(home, console, as_json=args.json)
        case "show":
            _show(args, home, console)
        case "delete":
            _delete(home, args.name, console)
    return 0


def _list(home: Home, console: Console, *, as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from droidft.adapters.folder import list_adapters

    found = list_adapters(home.adapters)
    if as_json:
        rows = [
            {"name": entry.name, "problem": entry.problem or None, **(_facts(entry.info) if entry.info else {})}
            for entry in found
        ]
        print(json.dumps(rows, indent=1))
        return
    if not found:
        console.print("no adapters yet; `droidft train` makes one", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("adapter", "type", "rank", "scale", "modules", "blocks", "base"):
        table.add_column(name, justify="right" if name in ("rank", "scale", "modules", "blocks") else "left")
    for entry in found:
        info = entry.info
        if info is None:
            table.add_row(Text(entry.name), "", "", "", "", "", Text(entry.problem, style="red"))
            continue
        factor = ("-", "-") if info.rank is None else (str(info.rank), f"{info.scale:g}")
        base = Text((info.base or "not recorded").rstrip("/").rpartition("/")[2])
        counts = (str(len(info.modules)), str(len(info.layers)))
        table.add_row(Text(entry.name), info.fine_tune_type, *factor, *counts, base)
    console.print(table)


def _show(args: argparse.Namespace, home: Home, console: Console) -> None:
    from droidft.adapters.folder import find_adapter, read_adapter

    info = read_adapter(*find_adapter(args.adapter, adapters_dir=home.adapters))
    warnings = _judge(info, args.model, home)
    if args.json:
        print(json.dumps({**_facts(info), "warnings": [vars(warning) for warning in warnings]}, indent=1))
        return
    for name, value in _facts(info).items():
        text = _text(value)
        console.print(f"{name:<15}{text}", highlight=False, markup=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"warning: {warning.message}", style="yellow", highlight=False, markup=False)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _judge(info: AdapterInfo, model: str | None, home: Home) -> list[Diagnostic]:
    """All warnings; with a model also those that compare the two."""
    if model is None:
        from droidft.adapters.diagnostics import diagnose

        return diagnose(info)
    from droidft.engine.model.adapter_weights import judge

    return judge(info, model, models_dir=home.models, cache_dir=home.cache)


def _delete(home: Home, name: str, console: Console) -> None:
    from droidft.runs import folder as runs

    runs.delete_adapter(home, name)
    console.print(f"deleted {name}", highlight=False, markup=False)


def _facts(info: AdapterInfo) -> dict[str, Any]:
    return {
        "adapter": info.name,
        "path": str(info.path),
        "weights": info.file.name,
        "type": info.fine_tune_type,
        "rank": info.rank,
        "alpha": info.alpha,
        "scale": info.scale,
        "dropout": info.dropout,
        "modules": list(info.modules),
        "blocks": len(info.layers),
        "parameters": info.parameters,
        "base": info.base,
        "method": info.record.get("method"),
        "run": info.record.get("run"),
        "saved": sorted(path.name for path in info.path.glob("*adapters.safetensors")),
    }

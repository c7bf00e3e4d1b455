"""`droidft adapters [list | show | pack | import | delete]`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from droidft.adapters.diagnostics import AdapterWarning, diagnose
from droidft.adapters.folder import AdapterInfo, find_adapter, list_adapters, read_adapter, usual
from droidft.adapters.imports.foreign import Foreign
from droidft.adapters.record import recorded, without_place
from droidft.commands._terminal import (
    actions_of,
    add_json,
    line,
    none_yet,
    print_json,
    progress_bar,
    show_table,
    terminal,
    warn,
)
from droidft.errors import AdapterError, DownloadError, NotFound
from droidft.home import Home
from droidft.models.hub import repo_id_of
from droidft.runs import folder as runs
from droidft.runs.record import record_of
from droidft.support.durable import sha256
from droidft.support.plain import safe
from droidft.support.words import size


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft adapters`."""
    actions = actions_of(parser, listing="all adapters")
    show = actions.add_parser("show", help="one adapter: settings, weights and warnings")
    show.add_argument(
        "adapter", metavar="ADAPTER", help="folder or name; its best weights unless @latest or @200 chooses others"
    )
    show.add_argument("--model", metavar="MODEL", help="check it against this model, without loading its weights")
    add_json(show)
    packing = actions.add_parser("pack", help="write an adapter and what it needs into one file for somebody else")
    packing.add_argument(
        "adapter", metavar="ADAPTER", help="folder or name; its best weights unless @latest or @200 chooses others"
    )
    packing.add_argument(
        "-o", "--output", metavar="FILE", help="file or folder to write to (default NAME.adapter.zip, here)"
    )
    add_json(packing)
    taking = actions.add_parser("import", help="add an adapter of another machine or program under a name")
    taking.add_argument(
        "source",
        metavar="PATH",
        help="file from `droidft adapters pack`, folder in mlx-lm's or PEFT's format, or GGUF LoRA file",
    )
    taking.add_argument("--name", help="name of the adapter here; default: the one it has there")
    taking.add_argument(
        "--base",
        "--model",
        dest="model",
        metavar="MODEL",
        help="the model that it is for, against which it is checked (default: the one it names, if that is here)",
    )
    add_json(taking)
    delete = actions.add_parser("delete", help="remove adapters; of a linked folder, the link alone")
    delete.add_argument("names", nargs="+", metavar="NAME", help="name from `droidft adapters list`")
    add_json(delete)


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    console, home = terminal(), Home.find()
    match args.action or "list":
        case "list":
            _list(home, console, as_json=args.json)
        case "show":
            _show(args, home, console)
        case "pack":
            _pack(args, home, console)
        case "import":
            _import(args, home, console)
        case "delete":
            names = list(dict.fromkeys(args.names))
            for name in names:
                runs.check_adapter_deletion(home, name)
            for name in names:
                runs.delete_adapter(home, name)
                if not args.json:
                    line(console, f"deleted {name}")
            if args.json:
                print_json({"deleted": names})
    return 0


def _list(home: Home, console: Console, *, as_json: bool) -> None:
    entries = list_adapters(home.adapters)
    if as_json:
        facts = {entry.name: _facts(entry.info) if entry.info else {} for entry in entries}
        print_json([{"name": each.name, "problem": each.problem or None, **facts[each.name]} for each in entries])
        return
    if not entries:
        none_yet(console, "no adapters yet; `droidft train` makes one")
        return
    numbers = ("rank", "scale", "modules", "blocks")
    rows: list[Sequence[str | Text]] = []
    for entry in entries:
        info = entry.info
        if info is None:
            rows.append((entry.name, "", "", "", "", "", Text(safe(entry.problem), style="red")))
            continue
        factor = ("-", "-") if info.rank is None else (str(info.rank), f"{info.scale:g}")
        base = (info.base or "not recorded").rstrip("/").rpartition("/")[2]
        counts = (str(len(info.modules)), str(len(info.layers)))
        rows.append((entry.name, info.fine_tune_type, *factor, *counts, base))
    show_table(console, ("adapter", "type", *numbers, "base"), rows, right=numbers, flowing=("base",))


def _show(args: argparse.Namespace, home: Home, console: Console) -> None:
    info = read_adapter(*find_adapter(args.adapter, adapters_dir=home.adapters))
    warnings = _judge(info, args.model, home)
    if args.json:
        print_json({**_facts(info), "warnings": [vars(warning) for warning in warnings]})
        return
    for name, value in _facts(info).items():
        line(console, f"{name:<15}{_text(value)}")
    for warning in warnings:
        warn(console, warning.message)


def _pack(args: argparse.Namespace, home: Home, console: Console) -> None:
    from droidft.adapters.exports.pushing import certificate_for
    from droidft.adapters.imports.pack import SUFFIX, pack

    info = read_adapter(*find_adapter(args.adapter, adapters_dir=home.adapters))
    target = Path(args.output or ".").expanduser()
    if target.is_dir():
        target /= f"{info.name}{SUFFIX}"
    certificate = certificate_for(home.exports, sha256(info.file))
    with progress_bar(terminal(errors=True, quiet=args.json)) as progress:
        manifest = pack(info, record_of(home, info), target, certificate=certificate, progress=progress)
    bytes_ = target.stat().st_size
    if args.json:
        print_json({"adapter": info.name, "path": str(target), "bytes": bytes_, **manifest.model_dump(mode="json")})
        return
    line(
        console,
        f"{target} ({size(bytes_)}) holds {info.name}@{info.which}; `droidft adapters import {target.name}` adds it",
    )
    line(console, f"it needs {_needed(info)}")


def _import(args: argparse.Namespace, home: Home, console: Console) -> None:
    from droidft.adapters.imports import landing
    from droidft.adapters.imports.sources import open_source
    from droidft.engine.model.adapter_weights import judge  # slow to import

    errors = terminal(errors=True, quiet=args.json)
    source = open_source(Path(args.source).expanduser())
    if isinstance(source, Foreign):
        args.model = _stand_on_base(source, args.model, home)
    target = home.adapter(args.name or landing.free_name(source.name))
    with landing.landing(target) as folder, progress_bar(errors) as progress:
        source.write(folder, progress)
        recorded(folder)
        info = read_adapter(folder, usual(folder))
        base = landing.base_here(info, models_dir=home.models, cache_dir=home.cache)
        ref = args.model or (_reference(base, home) if base else None)
        warnings = judge(info, ref, models_dir=home.models, cache_dir=home.cache) if ref else diagnose(info)
        landing.settle(folder, base)
    if args.json:
        facts = {"adapter": target.name, "path": str(target), "checked_against": ref, "needs": _needed(info)}
        print_json({**facts, "warnings": [vars(warning) for warning in warnings]})
        return
    for warning in warnings:
        warn(errors, warning.message)
    line(console, f"{target.name} is imported; it fits {ref}" if ref else f"{target.name} is imported")
    if ref is None:
        warn(errors, f"its base is not on this machine, so it was not checked against one: it needs {_needed(info)}")


def _reference(base: Path, home: Home) -> str:
    """How a user would name the model in a folder."""
    return repo_id_of(base) or (base.name if base.parent == home.models else str(base))


def _stand_on_base(source: Foreign, model: str | None, home: Home) -> str:
    """Give an adapter of another program the model that it is for; returns how that is called here."""
    from droidft.engine.model.foundation import foundation
    from droidft.models import catalog

    ref = model or source.base_name
    if ref is None:
        raise AdapterError(
            f"{source.name} does not name the model that it was trained on", hint="name it: --base MODEL"
        )
    try:
        path = catalog.find_model(ref, models_dir=home.models, offline=model is None)
    except (NotFound, DownloadError) as error:
        if model is not None:
            raise
        raise AdapterError(
            f"{source.name} was trained on {ref}, which is not on this machine: {error.message}",
            hint="name the model: --base MODEL",
        ) from error
    source.on(foundation(path), catalog.fingerprint(path, cache=home.cache / "fingerprints.json"))
    return ref


def _needed(info: AdapterInfo) -> str:
    """The base model that an adapter was trained on, as far as it is recorded."""
    base = info.record.get("base")
    weights = base.get("weights_sha256") if isinstance(base, dict) else None
    name = without_place(info.base) if info.base else "a model that it does not name"
    return f"{name}, whose weights have the SHA-256 {weights}" if isinstance(weights, str) else name


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _judge(info: AdapterInfo, model: str | None, home: Home) -> list[AdapterWarning]:
    """All warnings; with a model also those that compare the two."""
    if model is None:
        return diagnose(info)
    from droidft.engine.model.adapter_weights import judge

    return judge(info, model, models_dir=home.models, cache_dir=home.cache)


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

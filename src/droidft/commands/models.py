"""`droidft models [list | pull | import | inspect]`."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from droidft.engine.model.describe import ModelDescription
    from droidft.home import Home


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft models`."""
    parser.set_defaults(action="list", json=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    listing = actions.add_parser("list", help="models in the home folder and the Hugging Face cache (the default)")
    pull = actions.add_parser("pull", help="download a model from the Hugging Face Hub")
    pull.add_argument("repo_id", metavar="ORG/NAME", help="hub id, or smollm2-135m-instruct")
    pull.add_argument("--offline", action="store_true", help="fail rather than use the network")
    taking = actions.add_parser("import", help="make a model folder or a GGUF file known under a name")
    taking.add_argument("source", metavar="PATH", help="a model folder, or a GGUF file")
    taking.add_argument("--name", help="name of the model here; default: that of the folder or file")
    taking.add_argument("--copy", action="store_true", help="copy a folder instead of linking to it")
    taking.add_argument(
        "--dtype", choices=("float16", "float32"), help="type of weights from a GGUF file (default float16)"
    )
    inspect = actions.add_parser("inspect", help="architecture, what each preset would train, and peak memory")
    inspect.add_argument("model", metavar="MODEL", help="folder, name or hub id; weights are not loaded")
    inspect.add_argument("--rank", type=int, default=32, help="LoRA rank to count for (default 32)")
    inspect.add_argument("--batch-size", type=int, default=1, metavar="N", help="rows at once (default 1)")
    inspect.add_argument("--seq-length", type=int, default=512, metavar="N", help="tokens in a row (default 512)")
    inspect.add_argument("--offline", action="store_true", help="never reach for the network")
    for action in (listing, pull, taking, inspect):
        action.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    from droidft.commands._answers import consoles
    from droidft.home import Home

    console, errors = consoles(as_json=args.json)
    home = Home.find()
    match args.action or "list":
        case "list":
            _list(home, console, as_json=args.json)
        case "pull":
            _pull(args, console, errors)
        case "import":
            _import(args, home, console, errors)
        case "inspect":
            _inspect(args, home, console)
    return 0


def _list(home: Home, console: Console, *, as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from droidft.commands._format import size
    from droidft.models.catalog import list_models

    found = list_models(home.models)
    if as_json:
        print(json.dumps([{**asdict(model), "path": str(model.path)} for model in found], indent=1))
        return
    if not found:
        console.print("no models yet; `droidft models pull org/name` fetches one", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("model", "type", "size", "quantised", "where"):
        table.add_column(name, justify="right" if name == "size" else "left", overflow="fold")
    for model in found:
        last = Text(model.problem, style="red") if model.problem else Text(model.source)
        table.add_row(Text(model.name), model.model_type or "-", size(model.bytes), model.quantization or "-", last)
    console.print(table)


def _pull(args: argparse.Namespace, console: Console, errors: Console) -> None:
    from droidft.commands._answers import progress_bar
    from droidft.home import Home
    from droidft.models import catalog, embedded

    with progress_bar(errors) as progress:
        if args.repo_id == embedded.NAME:
            home = Home.find()
            path = embedded.install(
                home.model(args.repo_id), cache_dir=home.cache, offline=args.offline, progress=progress
            )
        else:
            path = catalog.pull(args.repo_id, offline=args.offline, progress=progress)
    if args.json:
        print(json.dumps({"model": args.repo_id, "path": str(path), "code": catalog.code_files(path)}))
        return
    console.print(f"{args.repo_id} is in {path}", highlight=False, markup=False, soft_wrap=True)


def _import(args: argparse.Namespace, home: Home, console: Console, errors: Console) -> None:
    from droidft.commands._answers import progress_bar
    from droidft.errors import ConfigError, NotFound
    from droidft.models import catalog
    from droidft.models.gguf.convert import import_gguf

    source = Path(args.source).expanduser()
    if not source.exists():
        raise NotFound(f"there is no {args.source}", hint="give a model folder or a GGUF file")
    target = home.model(
        args.name or re.sub(r"[^A-Za-z0-9._-]", "-", source.stem if source.is_file() else source.name)
    )
    result: dict[str, Any]
    if source.is_file():
        if args.copy:
            raise ConfigError("--copy is for model folders; a GGUF file is always converted")
        with progress_bar(errors) as progress:
            done = import_gguf(source, target, dtype=args.dtype or "float16", progress=progress)
        result = {"parameters": done.parameters, "quants": done.quants, "warnings": done.warnings}
    else:
        if args.dtype:
            raise ConfigError("--dtype is for GGUF files; a model folder is taken as it is")
        catalog.import_folder(source, target, copy=args.copy)
        result = {"warnings": []}
    if args.json:
        print(json.dumps({"model": target.name, "path": str(target), **result}))
        return
    for warning in result["warnings"]:
        errors.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)
    known = f"{target.name} is imported; `droidft models inspect {target.name}` describes it"
    console.print(known, highlight=False, markup=False, soft_wrap=True)


def _inspect(args: argparse.Namespace, home: Home, console: Console) -> None:
    from droidft.engine.model.describe import open_shape
    from droidft.errors import ConfigError
    from droidft.models import catalog

    for name in ("rank", "batch_size", "seq_length"):
        if getattr(args, name) < 1:
            raise ConfigError(f"{name} is {getattr(args, name)}", hint="use 1 or more", field=name)
    path = catalog.find_config(args.model, models_dir=home.models, offline=args.offline)
    shape = open_shape(path)
    described = shape.describe(rank=args.rank, batch_size=args.batch_size, seq_length=args.seq_length)
    facts = {
        "model": args.model,
        "path": str(path),
        "context_length": catalog.context_length(shape.config),
        "code": catalog.code_files(path),
    }
    if args.json:
        print(json.dumps({**facts, **_as_dict(described)}, indent=1))
        return
    _show(facts, described, console)


def _show(facts: dict[str, Any], described: ModelDescription, console: Console) -> None:
    from droidft.commands._format import thousands

    def line(name: str, value: str) -> None:
        console.print(f"{name:<13}{value}", highlight=False, markup=False, soft_wrap=True)

    line("model", facts["model"])
    line("folder", facts["path"])
    line("architecture", f"{described.model_type}, {described.blocks} blocks")
    line("parameters", thousands(described.parameters))
    if described.quantization:
        line("quantised", described.quantization)
    line("context", f"{thousands(facts['context_length'])} tokens" if facts["context_length"] else "not stated")
    if facts["code"]:
        line("code", f"{', '.join(facts['code'])} (is not run)")
    console.print()
    _show_modules(described, console)
    console.print()
    _show_presets(described, console)
    for note in dict.fromkeys(note for preset in described.presets for note in preset.notes):
        console.print(f"note: {note}", style="dim", highlight=False, markup=False)


def _show_modules(described: ModelDescription, console: Console) -> None:
    """Every module that some preset adapts, once, with a mark for each preset that does."""
    from rich.table import Table

    from droidft.commands._format import thousands

    presets = [preset for preset in described.presets if preset.problem is None]
    table = Table(box=None, pad_edge=False)
    table.add_column("module", overflow="fold")
    table.add_column("in -> out", overflow="fold")
    table.add_column(f"at rank {described.rank}", justify="right")
    for preset in presets:
        table.add_column(_short(preset.preset.value), justify="center")
    for key in {summary.key: summary for preset in presets for summary in preset.keys}.values():
        marks = ["●" if key.key in {summary.key for summary in preset.keys} else "" for preset in presets]
        shapes = ", ".join(_shape(count, *shape) for shape, count in key.shapes)
        table.add_row(key.key, shapes, thousands(key.trainable), *marks)
    console.print(table)


def _show_presets(described: ModelDescription, console: Console) -> None:
    from rich.table import Table

    from droidft.commands._format import size, thousands

    table = Table(box=None, pad_edge=False)
    table.add_column("preset")
    table.add_column("trainable", justify="right")
    table.add_column("share", justify="right")
    table.add_column(f"peak memory, {described.batch_size} x {described.seq_length} tokens", justify="right")
    for preset in described.presets:
        if preset.problem is not None:
            table.add_row(preset.preset.value, "-", "-", preset.problem)
            continue
        memory = f"about {size(preset.memory.total)}" if preset.memory else "-"
        table.add_row(preset.preset.value, thousands(preset.trainable), f"{preset.share:.3%}", memory)
    console.print(table)


def _shape(count: int, experts: int, inputs: int, outputs: int) -> str:
    matrix = f"{inputs} -> {outputs}" if experts == 1 else f"{experts} experts of {inputs} -> {outputs}"
    return f"{count} x {matrix}"


def _short(preset: str) -> str:
    return {"full-layer": "full", "attention-qv": "qv", "attention": "attn", "all-linear": "all"}.get(preset, preset)


def _as_dict(described: ModelDescription) -> dict[str, Any]:
    values = asdict(described)
    for preset, source in zip(values["presets"], described.presets, strict=True):
        preset["preset"] = source.preset.value
        if source.memory is not None:
            preset["memory"]["total"] = source.memory.total
        for key, summary in zip(preset["keys"], source.keys, strict=True):
            key["kind"] = str(summary.kind.value)
            key["shapes"] = [
                {"experts": experts, "in": inputs, "out": outputs, "modules": count}
                for (experts, inputs, outputs), count in summary.shapes
            ]
    return values

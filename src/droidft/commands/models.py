"""`droidft models [list | pull | import | inspect | delete]`."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from droidft.commands._terminal import (
    actions_of,
    add_json,
    agreed,
    consoles,
    line,
    none_yet,
    print_json,
    progress_bar,
    show_table,
    terminal,
    warn,
)
from droidft.errors import ConfigError, NotFound
from droidft.home import Home
from droidft.models import catalog, embedded
from droidft.models.folder import gguf_file
from droidft.models.generation import describe_generation
from droidft.runs import removal
from droidft.runs.removal import ModelRemoval
from droidft.support.plain import safe
from droidft.support.words import size

if TYPE_CHECKING:
    from droidft.engine.model.describe import ModelDescription


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft models`."""
    actions = actions_of(parser, listing="models in the home folder and the Hugging Face cache")
    pull = actions.add_parser("pull", help="download a model from the Hugging Face Hub")
    pull.add_argument("repo_id", metavar="ORG/NAME", help="hub id, or smollm2-135m-instruct")
    pull.add_argument("--offline", action="store_true", help="fail rather than use the network")
    taking = actions.add_parser("import", help="add a model folder or a GGUF file under a name")
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
    inspect.add_argument("--offline", action="store_true", help="never use the network")
    delete = actions.add_parser("delete", help="remove models; of a linked folder, the link alone")
    delete.add_argument("names", nargs="+", metavar="NAME", help="name or hub id from `droidft models list`")
    delete.add_argument("--yes", action="store_true", help="without asking")
    for action in (pull, taking, inspect, delete):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    console, errors = consoles(as_json=args.json)
    home = Home.find()
    match args.action or "list":
        case "list":
            _list(home, console, as_json=args.json)
        case "pull":
            _pull(args, home, console, errors)
        case "import":
            _import(args, home, console, errors)
        case "inspect":
            _inspect(args, home, console, errors)
        case "delete":
            return _delete(args, home, console)
    return 0


def _list(home: Home, console: Console, *, as_json: bool) -> None:
    models = catalog.list_models(home.models)
    if as_json:
        print_json([{**asdict(model), "path": str(model.path)} for model in models])
        return
    if not models:
        none_yet(console, "no models yet; `droidft models pull org/name` fetches one")
        return
    rows: list[Sequence[str | Text]] = []
    for model in models:
        last = Text(safe(model.problem), style="red") if model.problem else model.source
        rows.append((model.name, model.model_type or "-", size(model.bytes), model.quantization or "-", last))
    names = ("model", "type", "size", "quantised", "where")
    show_table(console, names, rows, right=("size",), flowing=("where",))


def _pull(args: argparse.Namespace, home: Home, console: Console, errors: Console) -> None:
    with progress_bar(errors) as progress:
        if args.repo_id == embedded.NAME:
            path = embedded.install(home.models, cache_dir=home.cache, offline=args.offline, progress=progress)
        else:
            path = catalog.pull(args.repo_id, offline=args.offline, progress=progress)
    from droidft.engine.model.loading import examine  # slow to import

    warnings = examine(path)
    if args.json:
        facts = {"model": args.repo_id, "path": str(path), "code": catalog.code_files(path)}
        print_json({**facts, "warnings": list(warnings)})
        return
    for warning in warnings:
        warn(errors, warning)
    line(console, f"{args.repo_id} is in {path}")


def _import(args: argparse.Namespace, home: Home, console: Console, errors: Console) -> None:
    from droidft.models.gguf.convert import import_gguf  # slow to import

    source = Path(os.path.abspath(os.path.expanduser(args.source)))
    if not os.path.lexists(source):
        raise NotFound(f"there is no {args.source}", hint="give a model folder or a GGUF file")
    target = home.model(args.name or _name_of(source))
    result: dict[str, Any]
    if gguf_file(source):
        if args.copy:
            raise ConfigError("--copy is for model folders; a GGUF file is always converted")
        with progress_bar(errors) as progress:
            imported = import_gguf(source, target, dtype=args.dtype or "float16", progress=progress)
        result = {"parameters": imported.parameters, "quants": imported.quants, "warnings": imported.warnings}
    else:
        if args.dtype:
            raise ConfigError("--dtype is for GGUF files; a model folder is taken as it is")
        from droidft.engine.model.loading import examine

        warnings = examine(catalog.usable(source))
        catalog.import_folder(source, target, copy=args.copy)
        result = {"warnings": list(warnings)}
    if args.json:
        print_json({"model": target.name, "path": str(target), **result})
        return
    for warning in result["warnings"]:
        warn(errors, warning)
    line(console, f"{target.name} is imported; `droidft models inspect {target.name}` describes it")


def _name_of(source: Path) -> str:
    """A name for the model in a folder or GGUF file, after that of the folder or file."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", source.stem if source.is_file() else source.name)
    name = plain.lstrip("._-")[:64]
    if not name:
        raise ConfigError(f"{source.name!r} gives the model no name", hint="give one: --name NAME")
    return name


def _inspect(args: argparse.Namespace, home: Home, console: Console, errors: Console) -> None:
    from droidft.engine.model.describe import open_shape

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
        "chat_template": catalog.chat_templates(path).describe(),
        "generation": describe_generation(path),
        "warnings": list(shape.warnings),
    }
    if args.json:
        print_json({**facts, **_as_dict(described)})
        return
    for warning in shape.warnings:
        warn(errors, warning)
    _show(facts, described, console)


def _delete(args: argparse.Namespace, home: Home, console: Console) -> int:
    """Delete all that are named, or none: what refuses one is reported before the first goes."""
    removals = [removal.model_removal(home, name) for name in dict.fromkeys(args.names)]
    asking = terminal(errors=args.json)
    deleted = []
    for each in removals:
        if not args.yes and not agreed(asking, _question(each), otherwise=False):
            line(asking, f"kept {each.name}; --yes deletes without asking")
            continue
        each.do()
        deleted.append(each)
        if not args.json:
            freed = "the link; its folder stays" if each.target else size(each.bytes)
            line(console, f"deleted {each.name} ({freed})")
    if args.json:
        print_json([{"model": each.name, "path": str(each.path), "bytes": each.bytes} for each in deleted])
    return 0 if len(deleted) == len(removals) else 1


def _question(each: ModelRemoval) -> str:
    if each.target is not None:
        return f"Delete the link {each.name}? The folder {each.target} stays."
    where = ", from the Hugging Face cache, which other programs use too" if each.shared else ""
    return f"Delete {each.name} ({size(each.bytes)}){where}?"


def _show(facts: dict[str, Any], described: ModelDescription, console: Console) -> None:
    rows = {
        "model": facts["model"],
        "folder": facts["path"],
        "architecture": f"{described.model_type}, {described.blocks} blocks",
        "parameters": f"{described.parameters:,}",
        "quantised": described.quantization,
        "context": f"{facts['context_length']:,} tokens" if facts["context_length"] else "not stated",
        "code": f"{', '.join(facts['code'])} (is not run)" if facts["code"] else None,
        "template": facts["chat_template"],
        "generation": facts["generation"],
    }
    for name, value in rows.items():
        if value:
            line(console, f"{name:<13}{value}")
    console.print()
    _show_modules(described, console)
    console.print()
    _show_presets(described, console)
    for note in dict.fromkeys(note for preset in described.presets for note in preset.notes):
        line(console, f"note: {note}", style="dim")


def _show_modules(described: ModelDescription, console: Console) -> None:
    """Every module that some preset adapts, once, with a mark for each preset that does."""
    presets = [preset for preset in described.presets if preset.problem is None]
    rank = f"at rank {described.rank}"
    mark = "●" if console.is_terminal else "yes"
    rows: list[Sequence[str]] = []
    for key in {summary.key: summary for preset in presets for summary in preset.keys}.values():
        marks = [mark if key.key in {summary.key for summary in preset.keys} else "" for preset in presets]
        shapes = ", ".join(_shape(count, *shape) for shape, count in key.shapes)
        rows.append((key.key, shapes, f"{key.trainable:,}", *marks))
    names = ("module", "in -> out", rank, *(_short(preset.preset.value) for preset in presets))
    show_table(console, names, rows, right=(rank,), flowing=("in -> out",))


def _show_presets(described: ModelDescription, console: Console) -> None:
    peak = f"peak memory, {described.batch_size} x {described.seq_length} tokens"
    rows: list[Sequence[str]] = []
    for preset in described.presets:
        if preset.problem is not None:
            rows.append((preset.preset.value, "-", "-", preset.problem))
            continue
        memory = f"about {size(preset.memory.total)}" if preset.memory else "-"
        rows.append((preset.preset.value, f"{preset.trainable:,}", f"{preset.share:.3%}", memory))
    names = ("preset", "trainable", "share", peak)
    show_table(console, names, rows, right=names[1:], flowing=(peak,))


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

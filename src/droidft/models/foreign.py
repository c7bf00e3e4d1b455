"""Folders that hold something else than a language model for transformers: what it is, and what to give instead."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from droidft.errors import DroidError
from droidft.models.files import Fault, again
from droidft.support import stored

_ANOTHER = "choose a text model with config.json, model.safetensors and tokenizer.json"
_SAFETENSORS = "use a version of the model in safetensors"
_RUNTIMES = {
    "*.onnx": "ONNX",
    "onnx/*.onnx": "ONNX",
    "*.mlpackage": "Core ML",
    "*.mlmodelc": "Core ML",
    "*.mlmodel": "Core ML",
    "openvino_model.xml": "OpenVINO",
    "*.tflite": "TensorFlow Lite",
    "*.litertlm": "LiteRT",
    "*.task": "MediaPipe",
    "*.engine": "TensorRT",
    "*.nemo": "NeMo",
    "flax_model*.msgpack": "Flax",
    "tf_model*.h5": "TensorFlow",
    "saved_model.pb": "TensorFlow",
}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_NOT_WEIGHTS = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"})
_DEEPEST = 2
_MOST_NAMES = 5000


def without_config(path: Path) -> Fault:
    """What a folder without a `config.json` is."""
    names = _names(path)
    if fault := _adapter(path) or _cache(path, names) or _layout(names) or _gguf(path, names) or _runtime(names):
        return fault
    if inside := _with_config(path, names):
        return Fault(f"it has no config.json; its folder {inside[0].name} has", f"give {inside[0]}")
    if (pickled := _pickles(names)) is not None:
        return pickled
    kinds = "a model folder holds config.json, model.safetensors and tokenizer.json"
    return Fault("it has no config.json", kinds, absent=True)


def without_weights(path: Path, names: Collection[str] | None = None) -> Fault:
    """What a folder with a `config.json` and no weights holds in their place.

    `names` are those of all its files, where they are not all in the folder: of a repository on the hub.
    """
    names = _names(path) if names is None else sorted(names)
    if fault := _adapter(path) or _layout(names) or _gguf(path, names) or _pickles(names) or _runtime(names):
        return fault
    if half := _matching(names, "*.incomplete", ".cache/*.incomplete"):
        return Fault(f"its download was broken off, and left {os.path.basename(half[0])}", again(path), absent=True)
    if others := [name for name in _matching(names, "*.safetensors") if not name.startswith("adapter")]:
        fix = "if these are the weights that config.json describes, call the file model.safetensors"
        return Fault(f"it has no model*.safetensors, but {', '.join(others[:3])}", fix)
    return Fault("it has no model*.safetensors", again(path), absent=True)


def _names(path: Path) -> list[str]:
    """Files and folders below `path`, two levels deep, relative to it, sorted."""

    def below(folder: str, depth: int) -> Iterator[str]:
        with suppress(OSError), os.scandir(os.path.join(path, folder)) as entries:
            for entry in entries:
                name = os.path.join(folder, entry.name)
                yield name
                if depth < _DEEPEST and entry.is_dir():
                    yield from below(name, depth + 1)

    names = [name for name, _ in zip(below("", 1), range(_MOST_NAMES), strict=False)]
    names += [os.path.join(".cache", each.name) for each in path.glob(".cache/huggingface/download/*.incomplete")]
    return sorted(names)


def _matching(names: Collection[str], *patterns: str) -> list[str]:
    """Those of `names` that match a pattern, in whose folder alone `*` looks."""
    return [
        name
        for pattern in patterns
        for name in names
        if fnmatch(name, pattern) and name.count("/") == pattern.count("/")
    ]


def _adapter(path: Path) -> Fault | None:
    if not (path / "adapter_config.json").is_file():
        return None
    settings = _settings(path / "adapter_config.json")
    named = settings.get("base_model_name_or_path") or settings.get("model")
    base = named if isinstance(named, str) else ""
    what = f"{'a PEFT' if 'peft_type' in settings else 'an'} adapter{f' for {base}' if base else ''}"
    if "peft_type" in settings:
        fix = f"give its base model, {base or 'without it'}; or merge it first with PEFT's `merge_and_unload`"
    else:
        fix = f"give the base model and the adapter: `--model {base or 'BASE'} --adapter {path}`"
    return Fault(f"it holds {what}, not a model", fix)


def _cache(path: Path, names: Collection[str]) -> Fault | None:
    """The folder of a repository in the Hugging Face cache, that of its snapshots, and the cache itself."""
    path = path.resolve()  # it may be linked to under another name
    if path.name == "snapshots":
        path = path.parent
    if path.name.startswith("models--") and (path / "snapshots").is_dir():
        repo_id = path.name.removeprefix("models--").replace("--", "/", 1)
        snapshots = sorted((path / "snapshots").iterdir())
        more = f", or the snapshot {_newest(path, snapshots)}" if snapshots else ""
        return Fault(f"it is the cache's folder of {repo_id}, not a model", f"give {repo_id}{more}")
    if cached := _matching(names, "models--*", "hub/models--*"):
        repo_id = os.path.basename(cached[0]).removeprefix("models--").replace("--", "/", 1)
        return Fault(
            "it is a Hugging Face cache, not a model", f"give the id of one of its models, such as {repo_id}"
        )
    return None


def _newest(path: Path, snapshots: list[Path]) -> Path:
    try:
        main = path / "snapshots" / stored.content(path / "refs" / "main").decode().strip()
    except (DroidError, ValueError):
        return snapshots[-1]
    return main if main in snapshots else snapshots[-1]


def _layout(names: Collection[str]) -> Fault | None:
    if "model_index.json" in names:
        return Fault("it holds a diffusion pipeline (model_index.json), which makes images, not text", _ANOTHER)
    if "open_clip_config.json" in names:
        return Fault("it holds an OpenCLIP model, which makes no text", _ANOTHER)
    if consolidated := _matching(names, "consolidated*"):
        return Fault(
            f"its weights are in their makers' own layout ({consolidated[0]}), not in that of transformers",
            "use the version with config.json and model*.safetensors; the same repository often holds it too",
        )
    return None


def _gguf(path: Path, names: Collection[str]) -> Fault | None:
    files = _matching(names, "*.gguf")
    if not files:
        return None
    rest = f" and {len(files) - 1} more" if len(files) > 1 else ""
    here = path / files[0]
    fix = f"import the file: `droidft models import {here}`"
    if not here.exists():
        fix = f"get it, such as with `hf download ORG/NAME {files[0]}`, and import it: `droidft models import FILE`"
    return Fault(f"it holds a GGUF file ({files[0]}{rest})", fix)


def _pickles(names: Collection[str]) -> Fault | None:
    files = [name for name in _matching(names, *_PICKLES) if name not in _NOT_WEIGHTS]
    if not files:
        return None
    fix = f"pickled weights (.bin, .pt, .pth) are not read, since they can run code; {_SAFETENSORS}"
    return Fault(f"its weights are pickled ({files[0]})", fix)


def _runtime(names: Collection[str]) -> Fault | None:
    for pattern, format in _RUNTIMES.items():
        if files := _matching(names, pattern):
            return Fault(f"its weights are in the format of {format} ({files[0]})", _SAFETENSORS)
    return None


def _with_config(path: Path, names: Collection[str]) -> list[Path]:
    """Folders inside that hold a `config.json`."""
    return [path / os.path.dirname(name) for name in _matching(names, "*/config.json") if not name.startswith(".")]


def _settings(file: Path) -> dict[str, Any]:
    try:
        return stored.mapping(file)
    except DroidError:
        return {}

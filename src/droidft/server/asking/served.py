"""The models that `/v1` names: every base here, and every adapter on the base that it was trained on.

Reads names and headers only, and asks no worker, so the list comes at once whatever is being computed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from droidft.adapters.folder import AdapterInfo, list_adapters
from droidft.home import Home
from droidft.server.schemas.openai import ServedModel


@dataclass(frozen=True)
class _Base:
    ref: str
    path: Path
    owner: str


def served_models(home: Home) -> list[ServedModel]:
    """By base, the base first; an adapter stands for its best weights, and again for each kind that it has."""
    adapters = [found.info for found in list_adapters(home.adapters) if found.info is not None]
    return [model for base in _bases(home) for model in _models(base, adapters)]


def _models(base: _Base, adapters: list[AdapterInfo]) -> Iterator[ServedModel]:
    yield ServedModel(id=base.ref, created=_made(base.path), owned_by=base.owner)
    for info in adapters:
        if not _trained_on(info, base):
            continue
        created = _made(info.file)
        kinds = ("", "@best", "@latest") if info.has_best else ("", "@latest")
        for kind in kinds:
            yield ServedModel(id=f"{base.ref}:{info.name}{kind}", created=created, owned_by="droidft")


def _trained_on(info: AdapterInfo, base: _Base) -> bool:
    if info.base is None:
        return False
    return info.base == base.ref or Path(info.base).expanduser().resolve() == base.path.resolve()


def _bases(home: Home) -> Iterator[_Base]:
    for folder in sorted(home.models.iterdir()):
        if not folder.name.startswith(".") and _is_model(folder):
            yield _Base(folder.name, folder, "home")
    for folder in sorted(_hub_cache().glob("models--*--*")):
        main = folder / "refs" / "main"
        if main.is_file() and _is_model(snapshot := folder / "snapshots" / main.read_text().strip()):
            yield _Base(folder.name.removeprefix("models--").replace("--", "/", 1), snapshot, "hub cache")


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("model*.safetensors"))


def _hub_cache() -> Path:
    """Where Hugging Face tools keep what they fetched."""
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    chosen = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(chosen).expanduser() / "hub"


def _made(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:
        return 0

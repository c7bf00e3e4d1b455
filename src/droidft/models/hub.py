"""The Hugging Face Hub: what its cache on this machine holds, and downloads into it.

Only weights, settings and tokenizer files are ever fetched: no Python, no pickles.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from droidft.errors import ConfigError, DownloadError
from droidft.models import snapshot, transfer
from droidft.support.progress import Progress

REPO_ID = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
WANTED = ("*.json", "model*.safetensors", "tokenizer.model", "*.tiktoken", "*.jinja", "*.txt", "*.jsonl")
CARD = "README.md"
"""Comes with every download, for the licence in it; a model is whole without."""
WITHOUT_WEIGHTS = tuple(pattern for pattern in WANTED if not pattern.endswith(".safetensors"))

_TRUE = {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True)
class CachedModel:
    """A model repository in the cache, at its newest revision there."""

    repo_id: str
    path: Path


def cache_dir() -> Path:
    """The cache that every Hugging Face tool of this user shares (`HF_HUB_CACHE`, `HF_HOME`).

    Raises:
        ConfigError: none is named, and the user has no home folder.
    """
    from huggingface_hub import constants

    if chosen := os.environ.get("HF_HUB_CACHE"):
        folder = os.path.expanduser(chosen)
    elif chosen := os.environ.get("HF_HOME"):
        folder = os.path.join(os.path.expanduser(chosen), "hub")
    else:
        folder = constants.HF_HUB_CACHE
    if folder.startswith("~"):  # there is no home folder to put in its place
        hint = "set HF_HOME to a folder for downloads, and DROIDFT_HOME to one for everything else"
        raise ConfigError("the Hugging Face cache cannot be found: HOME is not set", hint=hint)
    return Path(folder)


def endpoint() -> str | None:
    """The hub that `HF_ENDPOINT` names; None for the usual one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def why_offline(*, offline: bool) -> str | None:
    """Why the network may not be used, or None when it may."""
    if offline:
        return "offline is set"
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in _TRUE:
            return f"the environment says {name}={os.environ[name]}"
    return None


def cached(repo_id: str) -> Path | None:
    """The folder of `repo_id` in the cache, or None if it is not there or not whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(repo_id, cache_dir=cache_dir(), allow_patterns=list(WANTED), local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return Path(folder)


def settings(repo_id: str) -> Path | None:
    """The folder in the cache with the `config.json` of `repo_id`, or None; weights may be missing there."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo_id, "config.json", cache_dir=cache_dir())
    return Path(config).parent if isinstance(config, str) else None


def cached_models() -> list[CachedModel]:
    """Every model repository in the cache, by name; none where there is no cache."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(cache_dir()).repos
    except (CacheNotFound, ConfigError):
        return []
    return [
        CachedModel(repository.repo_id, max(repository.revisions, key=lambda it: it.last_modified).snapshot_path)
        for repository in sorted(repositories, key=lambda it: it.repo_id)
        if repository.repo_type == "model" and repository.revisions
    ]


def forget(repo_id: str) -> None:
    """Remove what the cache holds of the model `repo_id`."""
    if REPO_ID.fullmatch(repo_id):
        shutil.rmtree(folder_of(repo_id), ignore_errors=True)


def is_known(repo_id: str) -> bool:
    """Whether the cache holds anything of the model `repo_id`, whole or not."""
    return folder_of(repo_id).is_dir()


def folder_of(repo_id: str) -> Path:
    """Where the cache keeps the model `repo_id`, whether or not it does."""
    return cache_dir() / f"models--{repo_id.replace('/', '--')}"


def repo_id_of(path: Path) -> str | None:
    """`org/name`, if `path` is (a link to) a snapshot in a Hugging Face cache."""
    for part in path.resolve().parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/", 1)
    return None


def download(
    repo_id: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    wanted: Sequence[str] = WANTED,
    progress: Progress | None = None,
    lacking: str = "",
) -> Path:
    """Fetch the files `wanted` of the model `repo_id` into the cache, going on where an earlier attempt stopped.

    `lacking` says what is missing of it, where a part is here.

    Raises:
        DownloadError: offline, unreachable, unknown, gated, or cut off; the message says which.
    """
    from huggingface_hub import HfApi

    if not REPO_ID.fullmatch(repo_id):
        raise DownloadError(f"{repo_id!r} is not a hub id", hint="a hub id looks like org/name")
    if reason := why_offline(offline=offline):
        here = f"is here only in part ({lacking})" if lacking else "is not on this machine"
        raise DownloadError(
            f"{repo_id} {here}, and the network may not be used: {reason}",
            hint="allow the network for one `droidft models pull`, or copy the folder here and import it",
        )
    cache = cache_dir()

    api = HfApi(endpoint=endpoint())
    fetch = partial(
        snapshot.fetch, api, repo_id, cache=cache, wanted=(*wanted, CARD), revision=revision, progress=progress
    )
    with transfer.worded(repo_id, kept_in=cache):
        return transfer.patiently(repo_id, fetch, progress)


def card_metadata(repo_id: str) -> dict[str, Any]:
    """The metadata of a model's card, asked of the hub; empty where it cannot be had."""
    from huggingface_hub import HfApi

    try:
        with transfer.worded(repo_id, kept_in="nothing"):
            card = HfApi(endpoint=endpoint()).model_info(repo_id).card_data
    except DownloadError:
        return {}
    return dict(card.to_dict()) if card is not None else {}  # type: ignore[no-untyped-call]


def file_names(repo_id: str) -> list[str]:
    """Names of all files that the model `repo_id` has on the hub, as its last download listed them."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return [file.path for file in get_cached_repo_tree(repo_id, cache_dir=cache_dir())]
    except CachedRepoTreeNotFoundError:
        return []

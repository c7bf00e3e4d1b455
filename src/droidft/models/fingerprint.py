"""What a model is, whatever its folder is called: hashes of its config and its weights."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from droidft.errors import DamagedFile, StorageError
from droidft.models.folder import weight_files
from droidft.support import stored
from droidft.support.durable import sha256, write_atomically
from droidft.support.stamps import stamps

BOOKKEEPING = frozenset({"transformers_version", "_name_or_path"})
"""Entries of `config.json` that change nothing in the model."""


class Fingerprint(TypedDict):
    """SHA-256 in hexadecimal; that of a single weight file is the one `sha256sum` prints."""

    config_sha256: str
    weights_sha256: str


def fingerprint(path: Path, *, cache: Path | None = None, verify: bool = False) -> Fingerprint:
    """Hash the model at `path`.

    `cache` is a JSON file that remembers hashes of weight files by path, inode, size and times of change; with
    `verify` it is not believed. Nothing is ever written into the model's folder.
    """
    known = _read(cache)
    hashes = [_hash_of(file, known, verify=verify) for file in weight_files(path)]
    if cache is not None and known.get("changed"):
        _write(cache, known)
    weights = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    config = hashlib.sha256((path / "config.json").read_bytes()).hexdigest()
    return {"config_sha256": config, "weights_sha256": weights}


def meaning(path: Path) -> str:
    """SHA-256 of what `config.json` says of the model at `path`: not of its layout, nor of who wrote it."""
    values = json.loads((path / "config.json").read_bytes())
    said = {name: value for name, value in values.items() if name not in BOOKKEEPING}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _hash_of(file: Path, known: dict[str, Any], *, verify: bool) -> str:
    [stamp] = stamps(file)
    seen = {"size": stamp.size, "mtime_ns": stamp.changed, "ctime_ns": stamp.noticed, "inode": stamp.inode}
    entry = known["files"].get(stamp.path)
    if not verify and isinstance(entry, dict) and "sha256" in entry and seen.items() <= entry.items():
        return str(entry["sha256"])
    digest = sha256(file)
    known["files"][stamp.path] = seen | {"sha256": digest}
    known["changed"] = True
    return digest


def _read(cache: Path | None) -> dict[str, Any]:
    files: dict[str, Any] = {}
    if cache is not None:
        with suppress(DamagedFile):  # it can be made again
            files = stored.mapping(cache)
    return {"files": files}


def _write(cache: Path, known: dict[str, Any]) -> None:
    with suppress(StorageError):  # the hashes are made again next time
        write_atomically(cache, json.dumps(known["files"]).encode())

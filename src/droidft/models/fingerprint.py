"""What a model is, whatever its folder is called: hashes of its config and its weights."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from droidft.errors import DamagedFile, StorageError
from droidft.support import stored
from droidft.support.durable import write_atomically
from droidft.support.stamps import stamps


class Fingerprint(TypedDict):
    """SHA-256 in hexadecimal; that of a single weight file is the one `sha256sum` prints."""

    config_sha256: str
    weights_sha256: str


def fingerprint(path: Path, *, cache: Path | None = None) -> Fingerprint:
    """Hash the model at `path`.

    `cache` is a JSON file that remembers hashes of weight files by path, size and time of change; nothing is
    ever written into the model's folder.
    """
    known = _read(cache)
    hashes = [_hash_of(file, known) for file in weight_files(path)]
    if cache is not None and known.get("changed"):
        _write(cache, known)
    weights = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    config = hashlib.sha256((path / "config.json").read_bytes()).hexdigest()
    return {"config_sha256": config, "weights_sha256": weights}


def weight_files(path: Path) -> list[Path]:
    """The safetensors files that hold the weights of the model at `path`, in order."""
    return sorted(path.glob("model*.safetensors"))


def _hash_of(file: Path, known: dict[str, Any]) -> str:
    [stamp] = stamps(file)
    entry = known["files"].get(stamp.path)
    entry = entry if isinstance(entry, dict) else {}
    digest = entry.get("sha256")
    if (entry.get("size"), entry.get("mtime_ns")) == (stamp.size, stamp.changed) and isinstance(digest, str):
        return digest
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    known["files"][stamp.path] = {"size": stamp.size, "mtime_ns": stamp.changed, "sha256": digest}
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

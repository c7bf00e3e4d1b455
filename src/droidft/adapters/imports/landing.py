"""Where an adapter that comes in is written, and how it lands: under its name, whole, or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from droidft.adapters.folder import CONFIG, AdapterInfo
from droidft.errors import AdapterError, DroidError
from droidft.models import catalog, fingerprint
from droidft.support import stored
from droidft.support.durable import sha256, storage_errors, sync_file, sync_folder, write_atomically


@contextmanager
def landing(target: Path) -> Iterator[Path]:
    """An empty folder to write an adapter into. When the block ends without an error, it becomes `target`.

    Raises:
        AdapterError: there is something at `target`, before or after.
        StorageError: the folder cannot be made or moved.
    """
    _refuse_taken(target)
    with storage_errors(target):
        around = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        folder = around / target.name  # so that what reads it names it as it will be called
        folder.mkdir(mode=0o700)
    try:
        yield folder
        with storage_errors(target):
            for path in sorted(folder.iterdir()):
                sync_file(path)
            sync_folder(folder)
            _refuse_taken(target)
            os.rename(folder, target)
            sync_folder(target.parent)
    finally:
        shutil.rmtree(around, ignore_errors=True)


def free_name(given: str) -> str:
    """A name that an adapter can have here, after the one it has elsewhere.

    Raises:
        AdapterError: nothing of it can be a name.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "-", given).lstrip("._-")[:64]
    if not name:
        raise AdapterError(f"{given[:100]!r} gives the adapter no name", hint="give one: --name NAME")
    return name


def base_here(info: AdapterInfo, *, models_dir: Path, cache_dir: Path) -> Path | None:
    """The folder of the base that an adapter was trained on, if it is on this machine; nothing is downloaded.

    Hashes decide, where the adapter has them; else the name that it records. The first time, weight files whose
    config fits are hashed, which takes a while.
    """
    recorded = info.record.get("base")
    hashes = recorded if isinstance(recorded, dict) else {}
    config, weights = hashes.get("config_sha256"), hashes.get("weights_sha256")
    if not isinstance(weights, str):
        with suppress(DroidError):
            return catalog.find_config(info.base, models_dir=models_dir, offline=True) if info.base else None
        return None
    for model in catalog.list_models(models_dir):
        if model.problem:
            continue
        with suppress(DroidError, OSError):
            if config in (None, sha256(model.path / "config.json")):
                found = fingerprint.fingerprint(model.path, cache=cache_dir / "fingerprints.json")
                if found["weights_sha256"] == weights:
                    return model.path
    return None


def settle(folder: Path, base: Path | None) -> None:
    """Write into an adapter's config that it came in: its base, where that is here, and that no run here made it."""
    config = stored.mapping(folder / CONFIG, kind=AdapterError)
    record = config.get("droidft")
    if isinstance(record, dict) and "run" in record:
        config["droidft"] = {
            **{name: value for name, value in record.items() if name != "run"},
            "from": record["run"],
        }
    if base is not None:
        config["model"] = str(base)
    write_atomically(folder / CONFIG, json.dumps(config, indent=2).encode())


def _refuse_taken(target: Path) -> None:
    if os.path.lexists(target):
        hint = f"give another name: --name NAME, or `droidft adapters delete {target.name}`"
        raise AdapterError(f"there is an adapter {target.name!r} already", hint=hint)

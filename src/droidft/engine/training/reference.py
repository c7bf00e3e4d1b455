"""The adapter that a run's loss compares with: a copy of its own, so that the run can go on without the original.

checkpoints/reference/
  adapter_config.json, adapters.safetensors
"""

from __future__ import annotations

import shutil
from pathlib import Path

from droidft.adapters.folder import CONFIG, LATEST, AdapterInfo, read_adapter
from droidft.support.durable import commit_folder, sha256, storage_errors

FOLDER = "reference"


def keep(checkpoints: Path, adapter: AdapterInfo | None) -> None:
    """Copy the adapter beside the run's checkpoints, in place of what an attempt before left there; None keeps none.

    Raises:
        StorageError: the disk is full or failing.
    """
    final, temporary = checkpoints / FOLDER, checkpoints / f".{FOLDER}.tmp"
    with storage_errors(final):
        shutil.rmtree(temporary, ignore_errors=True)
        if adapter is None:
            shutil.rmtree(final, ignore_errors=True)
            return
        temporary.mkdir(parents=True)
        shutil.copyfile(adapter.path / CONFIG, temporary / CONFIG)
        shutil.copyfile(adapter.file, temporary / LATEST)
    commit_folder(temporary, final)


def kept(checkpoints: Path) -> tuple[AdapterInfo, str] | None:
    """The copy, and a hash of its files; None where the run compares with the base model.

    Raises:
        AdapterError: it is damaged.
    """
    folder = checkpoints / FOLDER
    if not folder.is_dir():
        return None
    return read_adapter(folder), f"{sha256(folder / CONFIG)} {sha256(folder / LATEST)}"

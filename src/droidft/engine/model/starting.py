"""The adapter that a run starts from or compares with: one of ours, or one of another format, converted for its base.

What is converted lies in the cache, by the hashes of both, so that it is done once; the run keeps no link to it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from droidft.adapters.folder import AdapterInfo, find_adapter, read_adapter, usual
from droidft.adapters.formats import is_peft
from droidft.adapters.imports.foreign import Foreign
from droidft.adapters.imports.landing import free_name, landing
from droidft.adapters.imports.sources import Source, open_source
from droidft.engine.model.foundation import foundation
from droidft.errors import AdapterError
from droidft.models.fingerprint import fingerprint
from droidft.support.durable import sha256, storage_errors
from droidft.support.places import Places

FOLDER = "adapters"
"""Below the cache."""
_FORMAT = 1
"""Of what a conversion makes; another one is converted again."""


def starting_adapter(ref: str, base: Path | None, places: Places, *, check_values: bool = True) -> AdapterInfo | None:
    """The adapter that `ref` means for the model in `base`: one of ours, or what `droidft adapters import` takes.

    None: one that has to be converted, while the model is not here yet; what can be known of it has been checked.

    Raises:
        NotFound: there is none.
        AdapterError: it is damaged, of a format that is not read, or does not fit the model.
        StorageError: it cannot be written into the cache.
    """
    if (path := _other_format(ref, places.adapters)) is None:
        return read_adapter(*find_adapter(ref, adapters_dir=places.adapters), check_values=check_values)
    source = open_source(path)
    if isinstance(source, Foreign):
        if base is None:
            return None
        identity = fingerprint(base, cache=places.cache / "fingerprints.json")
        source.on(foundation(base), identity)
        return _converted(source, places, [*_hashes(path), *sorted(map(str, identity.values())), str(base)])
    return _converted(source, places, _hashes(path))


def _other_format(ref: str, adapters: Path) -> Path | None:
    """Where an adapter lies that is not in mlx-lm's format; None where it is, or where nothing is."""
    file = Path(ref).expanduser()
    if not (adapters / ref.partition("@")[0]).is_dir() and file.is_file():
        return file
    folder, _ = find_adapter(ref, adapters_dir=adapters)
    return folder if is_peft(folder) else None


def _hashes(path: Path) -> list[str]:
    files = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())
    return [f"{each.name} {sha256(each)}" for each in files]


def _converted(source: Source, places: Places, identity: list[str]) -> AdapterInfo:
    """It in mlx-lm's format, from the cache, where it is put first if it is not there."""
    key = hashlib.sha256("\n".join([str(_FORMAT), *identity]).encode()).hexdigest()[:32]
    target = places.cache / FOLDER / key / free_name(source.name)
    if not target.is_dir():
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with landing(target) as folder:
                source.write(folder)
                read_adapter(folder, usual(folder))
        except AdapterError:
            if not os.path.lexists(target):  # else another process was faster
                raise
    return read_adapter(target, usual(target))

"""Room on the disk, checked before large files are written; where it runs out later, see `durable.storage_errors`."""

from __future__ import annotations

import shutil
from pathlib import Path

from droidft.errors import StorageError
from droidft.support.words import size


def check_room(needed: int, target: Path, *, what: str, hint: str) -> None:
    """Refuse to write `needed` bytes as or into `target` where fewer are free; `what` needs them.

    Raises:
        StorageError: names what is needed and what is free.
    """
    whole = target.absolute()
    place = next(folder for folder in (whole, *whole.parents) if folder.is_dir())
    if (free := shutil.disk_usage(place).free) < needed:
        raise StorageError(f"{what} needs {size(needed)} in {place}, and {size(free)} is free", hint=hint)

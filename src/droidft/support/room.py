"""Room on the disk, for work that writes large files: checked before, and told plainly when it runs out."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from droidft.errors import StorageError
from droidft.support.words import size


def check_room(needed: int, target: Path, *, what: str, hint: str) -> None:
    """Refuse to write `needed` bytes as `target` where fewer are free; `what` needs them, `hint` is the way out.

    Raises:
        StorageError: names what is needed and what is free.
    """
    place = next(parent for parent in target.absolute().parents if parent.is_dir())
    if (free := shutil.disk_usage(place).free) < needed:
        raise StorageError(f"{what} needs {size(needed)} in {place}, and {size(free)} is free", hint=hint)


@contextmanager
def room_errors(target: Path, *, again: str) -> Iterator[None]:
    """Turn the system's refusals to write `target` into a `StorageError`; `again`: what to do then."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"no room left in {target.parent}", hint=f"free some space and {again}") from error
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from error

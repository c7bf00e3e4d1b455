"""Which folders the processes of a server may read data from, checked on the file that is open.

A path that was checked when a client gave it may lead elsewhere when it is opened: whoever may write to a folder on
the way can put a link there in between. The server leaves its folders in the environment of its processes, and what
reads a client's data asks here about the open file.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterable
from pathlib import Path

ALLOWED, DENIED = "DROIDFT_READ_BELOW", "DROIDFT_READ_NOT_BELOW"
_F_GETPATH = 50
"""macOS: the path of an open file."""


def confine(allowed: Iterable[Path], denied: Iterable[Path]) -> None:
    """From now on this process and those that it starts read data below `allowed` only, and not below `denied`."""
    for name, folders in ((ALLOWED, allowed), (DENIED, denied)):
        os.environ[name] = os.pathsep.join(dict.fromkeys(os.path.realpath(folder) for folder in folders))


def leads_outside(descriptor: int) -> Path | None:
    """Where an open file lies, if that is outside the folders of `confine`; None where it may be read."""
    allowed = os.environ.get(ALLOWED)
    if not allowed:
        return None
    place = _place(descriptor)
    inside = any(place.is_relative_to(folder) for folder in allowed.split(os.pathsep))
    forbidden = any(place.is_relative_to(folder) for folder in os.environ.get(DENIED, "").split(os.pathsep) if folder)
    return None if inside and not forbidden else place


def _place(descriptor: int) -> Path:
    if sys.platform == "darwin":
        return Path(os.fsdecode(fcntl.fcntl(descriptor, _F_GETPATH, bytes(1024)).rstrip(b"\0")))
    return Path(os.readlink(f"/proc/self/fd/{descriptor}"))

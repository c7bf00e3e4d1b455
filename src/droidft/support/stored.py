"""Files that hold state, read so that damage is a sentence: cut, emptied, edited, replaced by a folder, not ours.

Every file that the program keeps (settings of runs, plans, configurations of models and adapters) may have changed in
any way since it was written. What reads one of them goes through here, and gets what it should hold or an error that
names the file. Whoever makes a list catches that error for each entry, so that one bad folder never takes the others
along.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from droidft.errors import DamagedFile, DroidError
from droidft.support import strict_json

MOST_BYTES = 1 << 30
"""Of a file that is read whole. The largest that we write, the measurements of a run, have some tens of millions."""

M = TypeVar("M", bound=BaseModel)


def content(path: Path, *, kind: type[DroidError] = DamagedFile, hint: str = "", most: int = MOST_BYTES) -> bytes:
    """The bytes of a file. Pipes and devices, which could keep a reader waiting for ever, are refused.

    Raises:
        DroidError: of this `kind`: it is missing, no file, too large, or cannot be read.
    """
    with reading(path, kind=kind, hint=hint), opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise _damaged(path, f"has {size:,} bytes, and {most:,} is the most", kind, hint)
        return file.read(most)


def opened(path: Path, flags: int = os.O_RDONLY, *, buffering: int = -1) -> IO[bytes]:
    """A regular file. Opening never waits, as it would for a pipe that nobody writes to.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.ESPIPE, "not a file", os.fspath(path))
        return os.fdopen(descriptor, "rb" if flags == os.O_RDONLY else "r+b", buffering=buffering)
    except BaseException:
        os.close(descriptor)
        raise


def value(path: Path, *, kind: type[DroidError] = DamagedFile, hint: str = "") -> Any:
    """The JSON value in a file: UTF-8, of limited depth, without half characters. NaN and infinities pass, since
    others' files hold some. Raises as `content`."""
    raw = content(path, kind=kind, hint=hint)
    try:
        text = raw.decode("utf-8-sig")
        read = json.loads(text)
        strict_json.check_value(text, read)
    except UnicodeDecodeError as error:
        raise _damaged(path, f"is damaged: it is not UTF-8 at byte {error.start + 1}", kind, hint) from None
    except json.JSONDecodeError as error:
        reason = strict_json.diagnose(error.doc, error, last=True).reason if error.doc.strip() else "is empty"
        raise _damaged(path, f"is damaged: it {reason}", kind, hint) from None
    except strict_json.Refused as why:
        raise _damaged(path, f"is damaged: it {why.reason}", kind, hint) from None
    except RecursionError:
        raise _damaged(path, f"is damaged: it {strict_json.too_deep().reason}", kind, hint) from None
    except ValueError as error:  # a number with more digits than Python converts
        raise _damaged(path, f"is damaged: {error}", kind, hint) from None
    return read


def mapping(path: Path, *, kind: type[DroidError] = DamagedFile, hint: str = "") -> dict[str, Any]:
    """The JSON object in a file. Raises as `content`."""
    read = value(path, kind=kind, hint=hint)
    if not isinstance(read, dict):
        raise _damaged(path, f"is damaged: it holds {strict_json.json_type(read)}, not an object", kind, hint)
    return read


def model(path: Path, of: type[M], *, kind: type[DroidError] = DamagedFile, hint: str = "") -> M:
    """What a file holds as an `of`. Raises as `content`."""
    raw = content(path, kind=kind, hint=hint)
    try:
        return of.model_validate_json(raw)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"{part}: " for part in [".".join(map(str, fault["loc"]))] if part)
        raise _damaged(path, f"is damaged, or another version wrote it: {where}{fault['msg']}", kind, hint) from None


@contextmanager
def reading(path: Path, *, kind: type[DroidError] = DamagedFile, hint: str = "") -> Iterator[None]:
    """Turn the operating system's refusals to read `path` into an error that names it."""
    try:
        yield
    except OSError as error:
        known = {errno.ENOENT: "is missing", errno.EISDIR: "is a folder, not a file", errno.ENOTDIR: "is missing"}
        known[errno.ESPIPE] = "is a pipe or a device, not a file"
        reason = known.get(error.errno or 0) or f"cannot be read: {os.strerror(error.errno or errno.EIO)}"
        raise _damaged(path, reason, kind, hint) from None


def _damaged(path: Path, reason: str, kind: type[DroidError], hint: str) -> DroidError:
    shown = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return kind(f"{shown} {reason}", hint=hint or "put the file back, or delete what it belongs to")

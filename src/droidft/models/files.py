"""One file of a model folder: what it is when it is not what its name promises.

Copies of model folders go wrong in a few ways: a clone without Git LFS leaves pointers, a browser or `wget` saves the
page about a file, a broken download leaves half of it, a link outlives its target.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from droidft.errors import ModelError
from droidft.models.hub import repo_id_of
from droidft.support.stored import mapping, opened

_FIRST = 512
_POINTERS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head)\b", re.IGNORECASE | re.DOTALL)
_PACKED = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "a gzip archive", b"GGUF": "a GGUF file"}


@dataclass(frozen=True)
class Fault:
    """Why a model folder cannot be used, and what to do about it."""

    problem: str
    fix: str
    absent: bool = False
    """Whether files are not here, so that fetching them is enough."""


def fault_of(file: Path) -> Fault | None:
    """What is wrong with a file as a whole, judged by its first bytes; None for one that may be good.

    The problem begins with the file's name. A file that does not exist has none here; a link to nothing has.
    """
    name = file.name
    try:
        found = os.stat(file)
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            return Fault(f"{name} is {what}", "put the file itself there")
        with file.open("rb") as stream:
            first = stream.read(_FIRST)
    except FileNotFoundError:
        if not file.is_symlink():
            return None
        return Fault(
            f"{name} is a link to {os.readlink(file)}, which is not there", _again(file, damaged=False), absent=True
        )
    except PermissionError:
        return Fault(f"{name} may not be read by this user", f"allow it: `chmod u+r {_quoted(file)}`, as its owner")
    except OSError as error:
        return Fault(f"{name} cannot be read: {error.strerror or error}", _again(file))
    if first.startswith(_POINTERS):
        fix = f"run `git lfs install`, then `git lfs pull` in {_quoted(file.parent)}; or {_again(file)}"
        return Fault(f"{name} is a Git LFS pointer, not the file itself", fix)
    if _PAGE.match(first):
        return Fault(f"{name} is a web page, not the file itself", _again(file))
    if not first:
        return Fault(f"{name} is empty", _again(file))
    if packed := next((what for start, what in _PACKED.items() if first.startswith(start)), None):
        return Fault(f"{name} is {packed}", _again(file))
    return None


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file of a model.

    Raises:
        ModelError: the file is absent, not itself, not JSON, or no object.
    """
    if fault := fault_of(file):
        raise ModelError(f"{file.parent}: {fault.problem}", hint=fault.fix)
    with suppress(OSError), opened(file) as stream:
        if stream.read(3).startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            # transformers, which reads the same file, stumbles over it too.
            hint = "save it as UTF-8 without a byte order mark"
            raise ModelError(f"{file} begins with a byte order mark, which JSON must not have", hint=hint)
    return mapping(file, kind=ModelError, hint=_again(file))


def again(folder: Path, *, only: str = "", damaged: bool = False) -> str:
    """How to get a model's files once more: all, or `only` one, which is `damaged` if it is here all the same."""
    what = f"{only} again" if only else "the model again"
    if (repo_id := repo_id_of(folder)) is not None:
        # A file that the cache holds is not fetched a second time.
        first = f"`droidft models delete {repo_id}`, then " if damaged else ""
        return f"get {what}: {first}`droidft models pull {repo_id}`"
    return (
        f"get {what}, such as with `hf download ORG/NAME{' ' + only if only else ''} --local-dir {_quoted(folder)}`"
    )


def _again(file: Path, *, damaged: bool = True) -> str:
    return again(file.parent, only=file.name, damaged=damaged)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))

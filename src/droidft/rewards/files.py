"""The user's own reward files: which there are, and what is in them. Nothing of them is run here.

Only plain files directly in the home folder's `rewards/` count; a link may point to another file in there, not out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from droidft.config.rewards import FILE, FUNCTION
from droidft.errors import RewardError

LARGEST = 1 << 20
PASSED = ("prompts", "completions")
"""Parameters that every function is given by name."""


@dataclass(frozen=True)
class Function:
    """A function that could be a reward, as its definition says."""

    name: str
    line: int
    help: str
    """First line of its docstring."""
    parameters: tuple[str, ...]
    """All that can be given by name."""
    required: tuple[str, ...]
    """Those without a default, `prompts` and `completions` left out: columns that a row has to have."""
    takes_all: bool
    """Whether it has `**columns`."""


@dataclass(frozen=True)
class RewardFile:
    """A file in `rewards/`; `problem` says why it cannot be used, and is empty if it can."""

    file: str
    functions: tuple[Function, ...] = ()
    problem: str = ""


def listed(folder: Path) -> list[RewardFile]:
    """Every Python file in `folder`, by name, with the functions that it defines."""
    found = []
    for path in sorted(folder.glob("*.py")):
        try:
            found.append(RewardFile(path.name, tuple(functions(source(folder, path.name), path))))
        except RewardError as error:
            found.append(RewardFile(path.name, problem=error.message))
    return found


def locate(folder: Path, file: str) -> Path:
    """The file named `file` in `folder`.

    Raises:
        RewardError: it has no plain name, is not there, or is a link out of the folder.
    """
    if not re.fullmatch(FILE, file):
        raise RewardError(f"{file!r} is not the name of a reward file", hint="give a plain name such as mine.py")
    path = folder / file
    if not path.exists():
        there = ", ".join(each.name for each in sorted(folder.glob("*.py"))[:10]) or "no file yet"
        raise RewardError(f"{path} does not exist", hint=f"put it there; the folder has {there}")
    if path.resolve().parent != folder.resolve():
        raise RewardError(f"{path} is a link out of its folder", hint="put the file itself there")
    if not path.is_file():
        raise RewardError(f"{path} is not a file", hint="put a Python file there")
    return path


def source(folder: Path, file: str) -> str:
    """The text of the file named `file` in `folder`.

    Raises:
        RewardError: as `locate`; it is too large, or no UTF-8.
    """
    path = locate(folder, file)
    try:
        with path.open("rb") as opened:
            raw = opened.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise RewardError(f"{path} is larger than {LARGEST >> 20} MiB", hint="keep data in files of its own")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise RewardError(
            f"{path} cannot be read: {error.strerror or error}", hint="check its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise RewardError(f"{path} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from None


def functions(text: str, path: Path) -> Iterator[Function]:
    """The functions that a file defines at its top, private ones left out.

    Raises:
        RewardError: it is not Python.
    """
    try:
        tree = ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise RewardError(f"{path}:{error.lineno or 1}: {error.msg}", hint="mend the file") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise RewardError(f"{path}: cannot be read as Python: {error}", hint="mend the file") from None
    found = {node.name: _function(node) for node in tree.body if isinstance(node, ast.FunctionDef)}
    yield from (each for name, each in found.items() if re.fullmatch(FUNCTION, name) and name[0] != "_")


def _function(node: ast.FunctionDef) -> Function:
    spec = node.args
    places = [*spec.posonlyargs, *spec.args]
    without = places[: len(places) - len(spec.defaults)]
    without += [arg for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if default is None]
    return Function(
        name=node.name,
        line=node.lineno,
        help=(ast.get_docstring(node) or "").partition("\n")[0],
        parameters=tuple(arg.arg for arg in [*spec.args, *spec.kwonlyargs]),
        required=tuple(arg.arg for arg in without if arg.arg not in PASSED),
        takes_all=spec.kwarg is not None,
    )

"""The user's own reward files: which there are, what they define, and running their functions.

Only plain files directly in the home folder's `rewards/` count; a link may point to another file in there, not out.
Files are run by `OwnFiles.module` alone, in worker processes only; everything else reads their text.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from droidft.config.rewards import FILE, FUNCTION, PythonReward
from droidft.errors import RewardError
from droidft.rewards import calls
from droidft.rewards.arguments import PASSED, arguments, refuse_missing
from droidft.rewards.rules import Rule, ToScore
from droidft.support.limits import TimeUp
from droidft.support.shapes import shape

LARGEST = 1 << 20
CALL = "reward(prompts, completions, **columns)"
SLOW = "let it return sooner: fewer requests, a time limit of its own; then resume the run"


@shape
class RewardFunction:
    """A function in a file of the user's own, as its definition says; nothing was run."""

    name: str
    line: int
    help: str
    """First line of its docstring."""
    parameters: tuple[str, ...]
    required: tuple[str, ...]
    """Columns that a row has to have: parameters without a default."""
    takes_all: bool
    """Whether it takes every column (`**columns`)."""


@shape
class RewardFileView:
    """A Python file in the home folder's `rewards/`; `problem` says why it cannot be used."""

    file: str
    functions: tuple[RewardFunction, ...]
    problem: str


def listed(folder: Path) -> list[RewardFileView]:
    """Every Python file in `folder`, by name, with the functions that it defines."""
    files = []
    for path in sorted(folder.glob("*.py")):
        try:
            files.append(RewardFileView(path.name, tuple(functions(source(folder, path.name), path)), ""))
        except RewardError as error:
            files.append(RewardFileView(path.name, (), error.message))
    return files


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


def functions(text: str, path: Path) -> Iterator[RewardFunction]:
    """The functions that a file defines at its top, private ones left out.

    Raises:
        RewardError: it is not Python.
    """
    try:
        tree = ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise RewardError(f"{path}:{error.lineno or 1}: {error.msg}", hint="fix the file") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise RewardError(f"{path}: cannot be read as Python: {error}", hint="fix the file") from None
    defined = {node.name: _function(node) for node in tree.body if isinstance(node, ast.FunctionDef)}
    yield from (each for name, each in defined.items() if re.fullmatch(FUNCTION, name) and name[0] != "_")


def _function(node: ast.FunctionDef) -> RewardFunction:
    spec = node.args
    positional = [*spec.posonlyargs, *spec.args]
    required = positional[: len(positional) - len(spec.defaults)]
    required += [arg for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if default is None]
    return RewardFunction(
        name=node.name,
        line=node.lineno,
        help=(ast.get_docstring(node) or "").partition("\n")[0],
        parameters=tuple(arg.arg for arg in [*spec.args, *spec.kwonlyargs]),
        required=tuple(arg.arg for arg in required if arg.arg not in PASSED),
        takes_all=spec.kwarg is not None,
    )


class OwnFiles:
    """The files of one folder; each is run once, however many of its functions are used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._modules: dict[str, ModuleType] = {}

    def digest(self, file: str) -> str:
        """SHA-256 of a file's text."""
        return hashlib.sha256(source(self.folder, file).encode()).hexdigest()

    def definition(self, file: str, function: str) -> RewardFunction | None:
        """What the file says about a function; None where it is not a plain `def` at its top."""
        defined = functions(source(self.folder, file), locate(self.folder, file))
        return next((each for each in defined if each.name == function), None)

    def module(self, file: str) -> ModuleType:
        """The file as a module; runs it the first time.

        Raises:
            RewardError: with the line at which it failed.
        """
        if file not in self._modules:
            path = locate(self.folder, file)
            text = source(self.folder, file)
            module = ModuleType(f"droidft_rewards.{file.removesuffix('.py')}")
            module.__file__ = str(path)
            # Dataclasses and pickles look their module up by its name.
            sys.modules[module.__name__] = module
            try:
                with calls.limited():
                    exec(compile(text, str(path), "exec"), module.__dict__)  # noqa: S102 - what the user asked for
            except TimeUp:
                raise RewardError(
                    f"{path.name} was still not read after {calls.LONGEST_SECONDS:g} seconds", hint=SLOW
                ) from None
            except (Exception, SystemExit) as error:  # the code of others may raise anything
                raise RewardError(
                    f"{path.name} failed when it was run: {blame(error, path)}", hint="fix it"
                ) from error
            self._modules[file] = module
        return self._modules[file]


class OwnRule(Rule):
    """A function of the user's own."""

    def __init__(self, spec: PythonReward, files: OwnFiles) -> None:
        self._spec = spec
        self._files = files
        self._path = locate(files.folder, spec.file)
        self._definition = files.definition(spec.file, spec.function)
        self._function: Callable[..., Any] | None = None

    def check(self, columns: Mapping[str, Any]) -> None:
        """Refuse a row without a column that the function cannot do without; the function is not run."""
        if self._definition is not None:
            refuse_missing(self._spec.function, self._definition.required, columns)

    def function(self) -> Callable[..., Any]:
        """The function itself.

        Raises:
            RewardError: the file fails, or has none of that name.
        """
        if self._function is None:
            function = getattr(self._files.module(self._spec.file), self._spec.function, None)
            if not callable(function):
                raise RewardError(
                    f"{self._path.name} has no function {self._spec.function!r}", hint=f"define it as {CALL}"
                )
            if inspect.iscoroutinefunction(function):
                raise RewardError(f"{self._spec.name} is async", hint="make it a plain `def`")
            self._function = function
        return self._function

    def score(self, items: Sequence[ToScore]) -> list[float]:
        """What the function returns, checked; NaN where it returns None."""
        function = self.function()
        hint = f"return a list with one finite number for each of {len(items)} completions; None leaves one out"
        try:
            with calls.limited():
                returned = self._listed(function(**arguments(function, items)), hint)
        except TimeUp:
            raise RewardError(
                f"reward {self._spec.name}: it had not returned after {calls.LONGEST_SECONDS:g} seconds "
                f"({len(items)} completions, the first for row {items[0].place})",
                hint=SLOW,
            ) from None
        except RewardError:
            raise
        except (Exception, SystemExit) as error:  # the code of others may raise anything
            raise self._failed(function, items, error) from error
        return self._numbers(returned, items, hint)

    def _failed(self, function: Callable[..., Any], items: Sequence[ToScore], error: BaseException) -> RewardError:
        """The error, with the row that causes it where one alone does."""
        where = f"when {len(items)} completions were scored together, the first for {items[0].place}"
        for item in items:
            try:
                with calls.limited():
                    function(**arguments(function, [item]))
            except TimeUp:
                break
            except (Exception, SystemExit) as alone:  # noqa: BLE001 - as above
                error, where = alone, f"row {item.place}"
                break
        return RewardError(
            f"reward {self._spec.name}: {blame(error, self._path)} ({where})",
            hint=f"fix {self._path}, or score that row in another way; it is called as {CALL}",
        )

    def _listed(self, returned: Any, hint: str) -> list[Any]:
        """What was returned, as a list; iterators run the user's code."""
        if hasattr(returned, "tolist"):  # arrays of NumPy, MLX and torch
            returned = returned.tolist()
        if isinstance(returned, (str, bytes, Mapping)) or not hasattr(returned, "__iter__"):
            raise RewardError(
                f"reward {self._spec.name}: it returned {_noun(returned)}, not a list of numbers", hint=hint
            )
        return list(returned)

    def _numbers(self, values: list[Any], items: Sequence[ToScore], hint: str) -> list[float]:
        if len(values) != len(items):
            raise RewardError(
                f"reward {self._spec.name}: it returned {len(values)} numbers for {len(items)} completions", hint=hint
            )
        return [self._number(value, item, hint) for value, item in zip(values, items, strict=True)]

    def _number(self, value: Any, item: ToScore, hint: str) -> float:
        if value is None:
            return math.nan
        if hasattr(value, "item"):  # a scalar of NumPy, MLX or torch
            value = value.item()
        if not isinstance(value, (int, float)):
            raise RewardError(
                f"reward {self._spec.name}: it returned {_noun(value)} for row {item.place}, not a number", hint=hint
            )
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise RewardError(
                f"reward {self._spec.name}: it returned {number} for row {item.place}, which is not finite", hint=hint
            )
        return number


def blame(error: BaseException, path: Path) -> str:
    """`mine.py:12: ValueError: …`: the innermost line of the user's file, and what happened there."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{path.name}:{line}: {what}" if line is not None else f"{path.name}: {what}"


def _noun(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"

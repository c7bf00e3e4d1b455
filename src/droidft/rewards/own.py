"""Rewards of the user's own: Python functions from the home folder's `rewards/`, run in worker processes only."""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from droidft.config.rewards import PythonReward
from droidft.errors import RewardError
from droidft.rewards import files as reward_files
from droidft.rewards.items import Rule, ToScore
from droidft.support.strict_json import Refused

CALL = "reward(prompts, completions, **columns)"
OWN = ("prompt", "completion", *reward_files.PASSED)
"""Columns of these names are not passed on: the prompt and the completion are given as such."""


class OwnFiles:
    """The files of one folder; each is run once, whatever the number of functions that are used of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules: dict[str, ModuleType] = {}

    def path(self, file: str) -> Path:
        """Where a file is."""
        return reward_files.locate(self._folder, file)

    def digest(self, file: str) -> str:
        """SHA-256 of a file's text."""
        return hashlib.sha256(reward_files.source(self._folder, file).encode()).hexdigest()

    def definition(self, file: str, function: str) -> reward_files.Function | None:
        """What the file says about a function; None where it is not a plain `def` at its top."""
        text = reward_files.source(self._folder, file)
        found = {each.name: each for each in reward_files.functions(text, self.path(file))}
        return found.get(function)

    def module(self, file: str) -> ModuleType:
        """The file as a module; runs it the first time.

        Raises:
            RewardError: with the line at which it failed.
        """
        if file not in self._modules:
            path = self.path(file)
            text = reward_files.source(self._folder, file)
            module = ModuleType(f"droidft_rewards.{file.removesuffix('.py')}")
            module.__file__ = str(path)
            # Dataclasses and pickles look their module up by its name.
            sys.modules[module.__name__] = module
            try:
                exec(compile(text, str(path), "exec"), module.__dict__)  # noqa: S102 - what the user asked for
            except (Exception, SystemExit) as error:  # the code of others may raise anything
                raise RewardError(
                    f"{path.name} failed when it was run: {blame(error, path)}", hint="mend it"
                ) from error
            self._modules[file] = module
        return self._modules[file]


class OwnRule(Rule):
    """A function of the user's own."""

    def __init__(self, spec: PythonReward, files: OwnFiles) -> None:
        self._spec = spec
        self._files = files
        self._path = files.path(spec.file)
        self._definition = files.definition(spec.file, spec.function)
        self._function: Callable[..., Any] | None = None

    def check(self, columns: Mapping[str, Any]) -> None:
        """Refuse a row without a column that the function cannot do without; the function is not run."""
        for name in self._definition.required if self._definition is not None else ():
            if name not in columns:
                raise Refused(
                    "reward",
                    f"column {name!r} is missing, which {self._spec.function}() asks for",
                    "add it, or give the parameter a default",
                )

    def function(self) -> Callable[..., Any]:
        """The function itself.

        Raises:
            RewardError: the file fails, or has none of that name.
        """
        if self._function is None:
            found = getattr(self._files.module(self._spec.file), self._spec.function, None)
            if not callable(found):
                raise RewardError(
                    f"{self._path.name} has no function {self._spec.function!r}", hint=f"define it as {CALL}"
                )
            if inspect.iscoroutinefunction(found):
                raise RewardError(f"{self._spec.name} is async", hint="make it a plain `def`")
            self._function = found
        return self._function

    def score(self, items: Sequence[ToScore]) -> list[float]:
        """What the function returns, checked."""
        function = self.function()
        try:
            returned = function(**self._given(function, items))
        except (Exception, SystemExit) as error:  # the code of others may raise anything
            raise self._failed(function, items, error) from error
        return self._numbers(returned, items)

    def _given(self, function: Callable[..., Any], items: Sequence[ToScore]) -> dict[str, list[Any]]:
        """What the function takes of prompts, completions and the rows' columns."""
        names = dict.fromkeys(name for item in items for name in item.columns if name not in OWN)
        given: dict[str, list[Any]] = {name: [item.columns.get(name) for item in items] for name in names}
        given["prompts"] = [item.prompt for item in items]
        given["completions"] = [item.completion for item in items]
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return given
        if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return given
        return {name: values for name, values in given.items() if name in parameters}

    def _failed(self, function: Callable[..., Any], items: Sequence[ToScore], error: BaseException) -> RewardError:
        """The error, with the row that causes it where one alone does."""
        where = f"when {len(items)} completions were scored together, the first for {items[0].place}"
        for item in items:
            try:
                function(**self._given(function, [item]))
            except (Exception, SystemExit) as alone:  # noqa: BLE001 - as above
                error, where = alone, f"row {item.place}"
                break
        return RewardError(
            f"reward {self._spec.name}: {blame(error, self._path)} ({where})",
            hint=f"mend {self._path}, or score that row otherwise; it is called as {CALL}",
        )

    def _numbers(self, returned: Any, items: Sequence[ToScore]) -> list[float]:
        name, hint = self._spec.name, f"return a list with one finite number for each of {len(items)} completions"
        if hasattr(returned, "tolist"):  # arrays of NumPy, MLX and torch
            returned = returned.tolist()
        if isinstance(returned, (str, bytes, Mapping)) or not hasattr(returned, "__iter__"):
            raise RewardError(f"reward {name}: it returned {_noun(returned)}, not a list of numbers", hint=hint)
        values = list(returned)
        if len(values) != len(items):
            raise RewardError(
                f"reward {name}: it returned {len(values)} numbers for {len(items)} completions", hint=hint
            )
        return [self._number(value, item, hint) for value, item in zip(values, items, strict=True)]

    def _number(self, value: Any, item: ToScore, hint: str) -> float:
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

"""What a reward function of the user's own is called with: lists by name, as TRL calls its reward functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, SupportsIndex, overload

from droidft.rewards.rules import ToScore
from droidft.support.strict_json import Refused

PASSED = ("prompts", "completions", "completion_ids")
"""Parameters that are given by name."""
OWN = ("prompt", "completion", *PASSED)
"""Columns of these names are not passed on: the prompt and the completion are given as such."""
NOT_HERE = {
    "trainer_state": "the state of TRL's trainer",
    "log_extra": "a function of TRL's trainer",
    "log_metric": "a function of TRL's trainer",
    "environments": "TRL's environments",
}
"""Parameters of TRL's reward functions that nothing here answers to."""


class Said(str):
    """A text that also answers as the messages it stands for: `text[0]["content"]`, `text[-1]["role"]`.

    Functions written for texts and functions written for TRL's conversational data work on the same value. Only
    single places have both meanings; a loop over it gives characters.
    """

    messages: Sequence[Mapping[str, Any]]

    def __new__(cls, text: str, messages: Sequence[Mapping[str, Any]]) -> Said:
        """`text`, which is what `messages` say."""
        made = super().__new__(cls, text)
        made.messages = messages
        return made

    @overload
    def __getitem__(self, at: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> str: ...
    def __getitem__(self, at: SupportsIndex | slice) -> str:
        """A part of the text; a single place is a message too, where there is one."""
        if isinstance(at, slice):
            return super().__getitem__(at)
        place = at.__index__()
        if not -len(self.messages) <= place < len(self.messages):
            return super().__getitem__(place)
        letter = super().__getitem__(place) if -len(self) <= place < len(self) else ""
        return _Turn(letter, self.messages[place])


class _Turn(str):
    """A character of a `Said`, and the message that stands at the same place."""

    message: Mapping[str, Any]

    def __new__(cls, letter: str, message: Mapping[str, Any]) -> _Turn:
        made = super().__new__(cls, letter)
        made.message = message
        return made

    def __getitem__(self, at: Any) -> Any:
        return self.message[at] if isinstance(at, str) else super().__getitem__(at)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a message."""
        return self.message.get(name, default)


def arguments(function: Callable[..., Any], items: Sequence[ToScore]) -> dict[str, list[Any]]:
    """What `function` takes of prompts, completions, their tokens and the rows' columns."""
    names = dict.fromkeys(name for item in items for name in item.columns if name not in OWN)
    given: dict[str, list[Any]] = {name: [item.columns.get(name) for item in items] for name in names}
    given["prompts"] = [Said(item.prompt, item.messages or _turn("user", item.prompt)) for item in items]
    given["completions"] = [Said(item.completion, _turn("assistant", item.completion)) for item in items]
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return given
    if "completion_ids" in parameters:  # by name alone: `**columns` are the rows' columns
        given["completion_ids"] = [list(item.ids) for item in items]
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return given
    return {name: values for name, values in given.items() if name in parameters}


def refuse_missing(function: str, required: Iterable[str], columns: Mapping[str, Any]) -> None:
    """Raise `Refused` for a row without a column that the function cannot do without."""
    for name in required:
        if name in columns:
            continue
        if name in NOT_HERE:
            reason = f"{function}() asks for {name}, {NOT_HERE[name]}, which is not there"
            raise Refused("reward", reason, f"give the parameter a default (`{name}=None`), or leave it out")
        reason = f"column {name!r} is missing, which {function}() asks for"
        raise Refused("reward", reason, "add it, or give the parameter a default")


def _turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]

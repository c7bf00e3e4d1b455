"""What is scored, and what can score it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from droidft.support.strict_json import Refused


@dataclass(frozen=True, slots=True)
class ToScore:
    """A completion with what a reward may look at."""

    prompt: str
    completion: str
    tokens: int
    """Length of the completion, its end token included."""
    columns: Mapping[str, Any]
    """The row as it is in the data file."""
    place: str
    """`file:line` of the row."""


class Rule(Protocol):
    """One reward with its parameters."""

    def check(self, columns: Mapping[str, Any]) -> None:
        """Raise `Refused` where a row lacks what this reward needs."""

    def score(self, items: Sequence[ToScore]) -> list[float]:
        """A finite number for each item.

        Raises:
            RewardError: it failed.
        """


def texts_of(columns: Mapping[str, Any], column: str) -> list[str]:
    """The texts in a column: one, or a list of them; numbers as JSON writes them.

    Raises:
        Refused: there are none.
    """
    value = value_of(columns, column)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise Refused(
            "reward", f"column {column!r} holds an empty list", "give at least one answer, or leave the row out"
        )
    return [_text(each, column) for each in values]


def value_of(columns: Mapping[str, Any], column: str) -> Any:
    """What a row has in a column.

    Raises:
        Refused: nothing.
    """
    if columns.get(column) is None:
        known = ", ".join(name for name, value in columns.items() if value is not None) or "nothing"
        what = "is null" if column in columns else "is missing"
        raise Refused("reward", f"column {column!r} {what} (the row has {known})", "add it, or name another column")
    return columns[column]


def _text(value: Any, column: str) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
    raise Refused(
        "reward", f"column {column!r} holds {_noun(value)}", "put a text or a number there, or a list of these"
    )


def _noun(value: Any) -> str:
    return {dict: "an object", list: "a list in a list", type(None): "null in a list"}.get(
        type(value), f"a {type(value).__name__}"
    )

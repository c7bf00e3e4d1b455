"""Pydantic's errors as sentences: the rule, its limit, and the value that was given."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

from pydantic_core import ErrorDetails

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
"""A wrong value may be anything; the message has to stay readable."""

_WHOLE, _NUMBER, _SWITCH = "must be a whole number", "must be a number", "must be true or false"
_TABLE = "must hold `name: value` lines"
_RULES = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "string_type": "must be text",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "too_short": "must hold at least {min_length} items",
    "too_long": "must hold at most {max_length} items",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
}
"""By pydantic's type of error, filled in from its context."""


def worded(detail: ErrorDetails) -> str:
    """What is wrong with one value, without its name: `must be at least 1, got 0`."""
    if detail["input"] is None:
        return "needs a value"
    return f"{_rule(detail)}, got {_got(detail)}"


def sentence(detail: ErrorDetails) -> str:
    """The sentence of one of our own checks, as written; pydantic's own, in lower case."""
    return uncapitalised(detail["msg"].removeprefix("Value error, "))


def uncapitalised(text: str) -> str:
    """The text with its first letter in lower case."""
    return text[:1].lower() + text[1:]


def abbreviated(value: Any) -> str:
    """A wrong value, cut short where it is long."""
    return _SHORT.repr(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _rule(detail: ErrorDetails) -> str:
    if (rule := _RULES.get(detail["type"])) is None:
        return sentence(detail)
    if detail["type"] in ("too_short", "string_too_short") and detail["ctx"]["min_length"] == 1:
        return "must not be empty"
    if detail["type"] == "list_type" and isinstance(detail["input"], str | int | float):
        return f"{rule} such as [{detail['input']}]"
    return rule.format(**{name: _limit(value) for name, value in detail.get("ctx", {}).items()})


def _got(detail: ErrorDetails) -> str:
    if detail["type"] in ("too_long", "string_too_long"):
        return f"{len(detail['input']):,}"
    return abbreviated(detail["input"])


def _limit(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)

"""A record's fields: text, lists, tools, each with the rules that hold for it in every format."""

from __future__ import annotations

import difflib
import json
from typing import Any

from droidft.support.faults import Refused
from droidft.support.strict_json import json_type


def filled(text: Any, column: str) -> str:
    """The text in a field that must hold some.

    Raises:
        Refused: it is no text, empty, or holds NUL.
    """
    if type(text) is not str:
        raise Refused("not-text", f"has {json_type(text)} in {column!r}, not text", "put it in quotes")
    if not text or text.isspace():
        state = "holds only white space" if text else "is empty"
        raise Refused("empty-text", f"{column!r} {state}", "fill it or remove the row")
    if "\0" in text:
        raise Refused("nul", f"{column!r} holds a NUL character", "remove it")
    return text


def optional(value: dict[str, Any], column: str) -> str | None:
    """The text in a field that may be missing, null or blank: then None.

    Raises:
        Refused: it holds something else.
    """
    text = value.get(column)
    if text is not None and type(text) is not str:
        raise Refused("not-text", f"has {json_type(text)} in {column!r}, not text", "put it in quotes")
    return text if text and not text.isspace() else None


def parsed(value: Any, column: str) -> Any:
    """A list, which CSV and many Parquet files keep as JSON text.

    Raises:
        Refused: it is text, but not JSON.
    """
    if type(value) is not str:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        reason = f"has text in {column!r} that is not a JSON list"
        raise Refused("not-list", reason, 'write [{"role": "user", "content": "…"}, …]') from None


def tools_of(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The tools a record offers the model, or None.

    Raises:
        Refused: they are not a list of objects.
    """
    tools = value.get("tools")
    if not tools:
        return None
    tools = parsed(tools, "tools")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Refused("tools", "has 'tools' that are not a list of objects", "write one JSON schema for each tool")
    return tools


def listed(value: dict[str, Any]) -> str:
    """The fields of a record as a predicate: `has the fields 'a', 'b'`."""
    if not value:
        return "has no fields"
    names = ", ".join(repr(name if len(name) <= 30 else name[:27] + "…") for name in list(value)[:6])
    return f"has the fields {names}" + (" …" if len(value) > 6 else "")


def missing(value: dict[str, Any], column: str, option: str) -> Refused:
    """What to say of a record without `column`; `option` is the setting that names the column, if any does."""
    close = difflib.get_close_matches(column, value, n=1)
    did = f"; did you mean {close[0]!r}?" if close else ""
    fix = f"fill it, or name the column: {option}" if option else "fill it or remove the row"
    return Refused("missing-field", f"lacks {column!r}: it {listed(value)}{did}", fix)


def is_conversation(value: Any) -> bool:
    """Whether a field holds messages: a list, one message, or either as JSON text (CSV, Parquet)."""
    if isinstance(value, str):
        return value.startswith(("[{", "{")) and ('"role"' in value or '"from"' in value)
    return isinstance(value, list | dict)

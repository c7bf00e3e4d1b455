"""The fields of a record, by the names people use, and the rules that hold for what is in them in every format."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from droidft.data.calls import Tool, tools_in
from droidft.data.conversation import MEDIA, Message, checked_turns, media_in
from droidft.support.faults import Refused
from droidft.support.strict_json import json_type, not_finite

PROMPTS = ("prompt", "instruction", "question")
INSTRUCTIONS = ("instruction", "prompt", "question")
COMPLETIONS = ("completion", "answer", "output", "response")
INPUTS = ("input", "context")
CONVERSATIONS = ("messages", "conversations")
HISTORY = "history"
TOOLS = ("tools", "functions")
USUAL = frozenset(
    (*PROMPTS, *COMPLETIONS, *INPUTS, *CONVERSATIONS, *TOOLS, HISTORY, "text", "system", "chosen", "rejected")
)
"""Names of columns that are recognised in any case."""
BAD_ANSWER = ("label", "kto_tag", "desirable")
"""Columns of KTO's data: false marks an answer that is bad."""


def filled(text: Any, column: str) -> str:
    """The text in a field that must hold some.

    Raises:
        Refused: it is no text, empty, or holds NUL.
    """
    if type(text) is not str:
        raise _not_text(text, column)
    if not text or text.isspace():
        state = "holds only white space" if text else "is empty"
        raise Refused("empty-text", f"{column!r} {state}", "fill it or remove the row")
    if "\0" in text:
        raise Refused("nul", f"{column!r} holds a NUL character", "remove it")
    return text


def _not_text(value: Any, column: str) -> Refused:
    match value:
        case None:
            fix = "fill it or remove the row"
        case list() | dict():
            fix = "write it as one text, or name the column that holds text"
        case bytes():
            fix = "store the column as text"
        case _:
            fix = "write it as text: in JSON, in quotes"
    return Refused("not-text", f"has {json_type(value)} in {column!r}, not text", fix)


def without_nan(value: dict[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """The record, its columns that hold NaN, which is how pandas writes a missing value, being null.

    Raises:
        Refused: one of `columns` holds Infinity, or NaN inside a list or an object.
    """
    for column in columns:
        item = value.get(column)
        if item is None or isinstance(item, str) or (odd := not_finite(item)) is None:
            continue
        if type(item) is not float or odd != "NaN":
            reason = f"holds {odd} in {column!r}, which JSON does not know"
            raise Refused("nan", reason, "write null, or remove the field")
        value = value | {column: None}
    return value


def refuse_media(value: dict[str, Any]) -> None:
    """Refuse a row whose text comes with images, videos or sound: a model would learn to make them up.

    Raises:
        Refused: it has such a column, and something in it.
    """
    if (column := media_in(value)) is not None:
        reason = f"has {MEDIA[column]} in {column!r}; this program trains on text only"
        raise Refused("media", reason, "leave such rows out, or the column if the text does without")


def refuse_bad_answer(value: dict[str, Any]) -> None:
    """Refuse a row that calls its own answer bad, as KTO's data do: it would be learned like a good one.

    Raises:
        Refused: with the ways out.
    """
    for column in BAD_ANSWER:
        label = value.get(column)
        if label is False or (isinstance(label, str) and label.strip().lower() == "false"):
            reason = f"has {column!r} false: its answer is marked as bad (KTO), and training would teach it"
            fix = f"keep the rows whose {column} is true, or pair good and bad answers for method dpo"
            raise Refused("bad-answer", reason, fix)


def optional(value: dict[str, Any], column: str) -> str | None:
    """The text in a field that may be missing, null or blank: then None.

    Raises:
        Refused: it holds something else.
    """
    text = value.get(column)
    if text is not None and type(text) is not str:
        raise _not_text(text, column)
    return text if text and not text.isspace() else None


def input_column(first: dict[str, Any], prompt: str) -> str | None:
    """Where alpaca's input is, which belongs to an instruction."""
    return first_of(INPUTS, first) if prompt == "instruction" else None


def with_input(text: str, value: dict[str, Any], column: str | None) -> str:
    """An instruction with its input after an empty line, if it has one."""
    extra = optional(value, column) if column else None
    return f"{text}\n\n{extra}" if extra else text


def parsed(value: Any, column: str) -> Any:
    """A list, which CSV and many Parquet files keep as JSON text, and pandas as Python writes it.

    Raises:
        Refused: it is text, but neither.
    """
    if type(value) is not str:
        return value
    with suppress(ValueError, RecursionError):
        return json.loads(value)
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        return ast.literal_eval(value.strip())
    reason = f"has text in {column!r} that is not a JSON list"
    fix = 'write [{"role": "user", "content": "…"}, …]'
    if value.lstrip().startswith("[") and "'" in value:
        fix = f"NumPy printed it, which cannot be read back: write the column {column} with json.dumps"
    raise Refused("not-list", reason, fix)


def tools_of(value: dict[str, Any]) -> list[Tool] | None:
    """The tools a record offers the model, or None.

    Raises:
        Refused: they are not tools.
    """
    column = next((name for name in TOOLS if value.get(name)), None)
    return tools_in(value[column], column) if column else None


def messages_in(value: Any, column: str) -> list[Message]:
    """Messages of either form, or JSON text of them; a single one may stand without its list.

    Raises:
        Refused: they break a rule; the reason names the column.
    """
    turns = parsed(value, column)
    if isinstance(turns, dict):
        turns = [turns]
    try:
        return checked_turns(turns, column, by_from=is_sharegpt(turns))
    except Refused as why:
        where = "" if repr(column) in why.reason else f" (in {column!r})"
        raise Refused(why.kind, why.reason + where, why.fix) from None


def prompt_in(value: Any, column: str) -> list[Message]:
    """Messages that ask something: they end with the user's turn, or with what a tool has given.

    Raises:
        Refused: as `messages_in`; or they do not.
    """
    messages = messages_in(value, column)
    if (role := messages[-1]["role"]) not in ("user", "tool"):
        reason = f"has a prompt that ends with the {role}'s turn (in {column!r})"
        raise Refused("last-turn", reason, "end it with what the user asks")
    return messages


def answer_in(value: Any, column: str) -> list[Message]:
    """Messages that end with the assistant's turn.

    Raises:
        Refused: as `messages_in`; or they do not.
    """
    messages = messages_in(value, column)
    if (role := messages[-1]["role"]) != "assistant":
        reason = f"has no answer at the end of {column!r}: the last turn is the {role}'s"
        raise Refused("last-turn", reason, "add it or remove the row")
    return messages


def history_of(value: dict[str, Any]) -> list[Message]:
    """Alpaca's earlier turns: a list of pairs of what was asked and answered, or JSON text of it.

    Raises:
        Refused: it is something else.
    """
    given = value.get(HISTORY)
    if given is None or given == "" or given == []:
        return []
    pairs = parsed(given, HISTORY)
    if not isinstance(pairs, list):
        raise Refused("history", f"has {json_type(pairs)} in 'history', not a list", _HISTORY_FIX)
    if all(isinstance(pair, dict) for pair in pairs):
        return messages_in(pairs, HISTORY)
    messages: list[Message] = []
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Refused(
                "history", f"has {json_type(pair)} as pair {number} of 'history', not two texts", _HISTORY_FIX
            )
        for role, text in zip(("user", "assistant"), pair, strict=True):
            messages.append({"role": role, "content": filled(text, f"history[{number}]")})
    return messages


_HISTORY_FIX = 'write [["question", "answer"], …]'


def first_of(names: Iterable[str], value: dict[str, Any]) -> str | None:
    """The first of these columns that a record has."""
    return next((name for name in names if name in value), None)


def listed(value: dict[str, Any]) -> str:
    """The fields of a record as a predicate: `has the fields 'a', 'b'`."""
    if not value:
        return "has no fields"
    names = ", ".join(repr(name if len(name) <= 30 else name[:27] + "…") for name in list(value)[:6])
    return f"has the fields {names}" + (" …" if len(value) > 6 else "")


def missing(value: dict[str, Any], column: str, option: str) -> Refused:
    """Why a record without `column` is refused; `option` is the setting that names the column, if any does."""
    close = difflib.get_close_matches(column, value, n=1)
    did = f"; did you mean {close[0]!r}?" if close else ""
    fix = f"fill it, or name the column: {option}" if option else "fill it or remove the row"
    return Refused("missing-field", f"lacks {column!r}: it {listed(value)}{did}", fix)


def near(value: dict[str, Any], names: Iterable[str]) -> str:
    """A question after a field whose name is nearly one of `names`; empty if there is none."""
    for known in names:
        if close := difflib.get_close_matches(known, value, n=1, cutoff=0.75):
            return f"; did you mean {known!r} for {close[0]!r}?"
    return ""


def is_conversation(value: Any) -> bool:
    """Whether a field holds messages: a list, one message, or either as JSON text (CSV, Parquet)."""
    if isinstance(value, str):
        return value.startswith(("[{", "{")) and _names_speakers(value, "role", "from")
    return isinstance(value, list | dict)


def _names_speakers(text: str, *fields: str) -> bool:
    """Whether a list of messages that is written as JSON or Python has one of these fields."""
    return any(f"{quote}{name}{quote}" in text for name in fields for quote in "\"'")


def is_sharegpt(turns: Any) -> bool:
    """Whether turns have ShareGPT's `from` and `value` where all other formats have `role` and `content`."""
    if isinstance(turns, str):
        return _names_speakers(turns, "from") and not _names_speakers(turns, "role")
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, dict) and "from" in first

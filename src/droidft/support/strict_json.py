"""JSON as the standard has it: what is wrong with a text that is not, and where.

Python's parser is lenient (it accepts NaN, 1e999, duplicate keys and lone surrogates); this one is not. Data files
and requests are both read with it; a data file may hold NaN, as pandas writes it, in columns that nobody reads.
Standard library only.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from json.scanner import make_scanner
from typing import Any, NoReturn

MAX_DEPTH = 100
MAX_ROW_BYTES = 8 * 1024 * 1024
"""Longest row of a data file: some two million tokens. A longer one is nearly always a missing line break."""
INTEGERS = range(-(2**63), 2**63)
"""Integers that a request may hold: what a database can."""
MOST_VALUES = 20_000
"""Values in a request, all levels taken together: telling what is wrong with each of a million takes seconds."""


class Refused(Exception):
    """A text or row that cannot be used. `at` is the fault's byte position inside it, where it is known."""

    def __init__(self, kind: str, reason: str, fix: str, *, at: int | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.fix = fix
        self.at = at


def parse(raw: bytes) -> Any:
    """The value of a request's body; besides, integers have 64 bits, no string holds NUL, and it is not too large.

    Raises:
        Refused: with the kind, the reason and the byte position.
    """
    if raw.startswith(b"\xef\xbb\xbf"):
        raise Refused("bom", "begins with a byte order mark", "leave it out", at=0)
    try:
        text = raw.decode()
        value = _BODY_DECODER.decode(text)
    except UnicodeDecodeError as error:
        where = f"is not UTF-8 at byte {error.start + 1}"
        raise Refused("utf-8", where, "encode it as UTF-8", at=error.start) from None
    except json.JSONDecodeError as error:
        raise _of_body(diagnose(text, error, last=True)) from None
    except RecursionError:
        raise too_deep() from None
    if text.count("{") + text.count("[") > MAX_DEPTH or "\\u" in text:
        check_value(text, value)
    if text.count(",") >= MOST_VALUES and sum(1 for _ in _values(value)) > MOST_VALUES:
        raise Refused("many", f"holds more than {MOST_VALUES:,} values", "send less at once")
    if "\\u0000" in text and any("\0" in string for string in _strings(value)):
        raise Refused("nul", "holds a NUL character", "leave it out")
    return value


def decode(text: str) -> Any:
    """Decode one value of a data file, NaN and Infinity included; `check_value` finds the rest.

    The scanner alone is twice as fast as the decoder's `decode`, which explains what it does not like.

    Raises:
        Refused: the text breaks a rule that Python's parser does not know.
        ValueError: it is not JSON (`JSONDecodeError`), or a number has too many digits.
        RecursionError: it is nested too deeply.
    """
    try:
        value, end = _SCAN(text, 0)
    except StopIteration:
        return _DECODER.decode(text)
    return value if end == len(text) else _DECODER.decode(text)


def decoder() -> json.JSONDecoder:
    """The strict decoder, for readers that decode more than lines."""
    return _DECODER


def check_value(text: str, value: Any) -> None:
    """Refuse what a JSON parser lets pass: nesting beyond `MAX_DEPTH` and lone surrogates."""
    if _depth(value) > MAX_DEPTH:
        raise too_deep()
    if _SURROGATE.search(text):
        for string in _strings(value):
            try:
                string.encode()
            except UnicodeEncodeError as error:
                escape = f"\\u{ord(string[error.start]):04x}"
                raise Refused(
                    "surrogate",
                    f"holds half of a character pair ({escape})",
                    "write the character whole; something cut the text in the middle of an emoji",
                ) from None


def json_type(value: Any) -> str:
    """What JSON calls `value`, with its article."""
    if value is None:
        return "null"
    if type(value) is float and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity"
    names: dict[type, str] = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
        bytes: "binary data",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def diagnose(text: str, error: json.JSONDecodeError, *, last: bool = False) -> Refused:
    """Why `text` is not JSON, in words that name the usual cause."""
    position = min(error.pos, len(text))
    at = len(text[:position].encode())
    before, rest = text[:position].rstrip(), text[position:].lstrip()
    column = f"at column {position + 1}"

    def refused(kind: str, reason: str, fix: str) -> Refused:
        return Refused(kind, reason, fix, at=at)

    if error.msg.startswith("Invalid control character"):
        name = {"\t": "tab", "\0": "NUL"}.get(text[position], f"U+{ord(text[position]):04X}")
        escape = {"\t": "\\t", "\r": "\\r"}.get(text[position], f"\\u{ord(text[position]):04x}")
        fix = "remove it" if name == "NUL" else f"write it as {escape}"
        return refused("control", f"holds a raw control character ({name}) inside a string {column}", fix)
    if "\0" in text:
        at = len(text[: text.index("\0")].encode())
        return refused("nul", "holds a NUL byte", "the file is damaged or binary: write it again as text")
    if error.msg == "Extra data":
        if rest.startswith(("{", "[")):
            return refused("two-values", f"holds a second value {column}", "put each object on a line of its own")
        return refused("extra", f"goes on after the object {column}", "remove what follows the closing brace")
    if rest.startswith("'") or (before.endswith("{") and "'" in rest[:2]):
        return refused("single-quotes", f"uses single quotes {column}", 'JSON wants double quotes: {"text": "…"}')
    comma = _TRAILING_COMMA.match(text, len(before) - 1 if before.endswith(",") else position)
    if comma:
        # Python up to 3.12 points at the bracket, later ones at the comma.
        at = len(text[: comma.start()].encode())
        reason = f"has a comma before a closing bracket at column {comma.start() + 1}"
        return refused("trailing-comma", reason, "remove the comma")
    if not rest or error.msg.startswith("Unterminated string"):
        if last:
            return refused("cut-off", "is cut off in the middle (the file ends here)", "copy or write the file again")
        return refused(
            "unclosed", f"is not closed on its line ({column})", "write each row on one line, line breaks as \\n"
        )
    return refused("json", f"is not JSON: {error.msg[0].lower()}{error.msg[1:]} {column}", "correct it there")


def too_deep() -> Refused:
    """The refusal of a value that is nested too deeply."""
    return Refused("depth", f"is nested more than {MAX_DEPTH} levels deep", "flatten it")


def _of_body(why: Refused) -> Refused:
    """The same refusal in words that fit a request."""
    reason, fix = _BODY_WORDS.get(why.kind, (why.reason, why.fix))
    return Refused(why.kind, reason, fix, at=why.at)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise Refused("duplicate-key", f"has the field {twice!r} twice", "keep one of the two")
    return value


def _constant(name: str) -> NoReturn:
    raise Refused("nan", f"holds {name}, which JSON does not know", "write null, or remove the field")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Refused("overflow", f"holds {digits[:20]}, which is too large for a number", "write a smaller number")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 20 or (value := int(digits)) not in INTEGERS:
        raise Refused("number", f"holds the integer {digits[:20]}…, beyond 64 bits", "write a smaller one")
    return value


def _depth(value: Any) -> int:
    level, deepest = [value], 0
    while level:
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
        deepest += bool(containers)
        if deepest > MAX_DEPTH:
            break
    return deepest


def not_finite(value: Any) -> str | None:
    """`NaN` or `Infinity`, where a value or anything in it is that; else None."""
    return next((json_type(item) for item in _values(value) if type(item) is float and not math.isfinite(item)), None)


def _strings(value: Any) -> Iterator[str]:
    """Every string in a value, names of fields included."""
    for item in _values(value):
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item


def _values(value: Any) -> Iterator[Any]:
    """A value and all that is in it."""
    stack = [value]
    while stack:
        item = stack.pop()
        yield item
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float)
_BODY_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
)
_SCAN = make_scanner(_DECODER)  # type: ignore[arg-type]  # typeshed names the wrong argument type
_TRAILING_COMMA = re.compile(r",\s*[}\]]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BODY_WORDS = {
    "cut-off": ("is cut off in the middle", "send all of it"),
    "two-values": ("goes on after its first value", "send one value"),
    "nul": ("holds a NUL byte", "leave it out"),
}

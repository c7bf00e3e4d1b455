"""One line of JSONL: strict parsing, and the exact reason when it fails.

Python's parser is lenient (it accepts NaN, 1e999, duplicate keys and lone surrogates); this one is not.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from json.scanner import make_scanner
from typing import Any, NoReturn

from droidft.engine.data.faults import FileRefused, Refused

MAX_ROW_BYTES = 8 * 1024 * 1024
"""Longest row accepted: some two million tokens. A longer one is nearly always a missing line break."""

MAX_DEPTH = 100


def parse_line(raw: bytes, *, last: bool = False) -> dict[str, Any]:
    """The object on one line (`raw` without its line end).

    `last` says that the file ended without a line break after it, so that a cut-off row is recognised.

    Raises:
        Refused: with the kind, the reason and the byte position inside the line.
    """
    try:
        text = raw.decode()
        value = _decode(text)
    except UnicodeDecodeError as error:
        raise _not_utf8(raw, error) from None
    except json.JSONDecodeError as error:
        raise diagnose(text, error, last=last) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise Refused("number", f"holds a number that is too long: {error}", "shorten it or quote it") from None
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH or b"\\u" in raw:
        check_value(text, value)
    if type(value) is not dict:
        name = json_type(value)
        raise Refused("not-object", f"holds {name}, not an object", 'write one {"…": …} object on each line')
    return value


def check_value(text: str, value: Any) -> None:
    """Refuse what a JSON parser lets pass: nesting beyond `MAX_DEPTH` and lone surrogates."""
    if _depth(value) > MAX_DEPTH:
        raise _too_deep()
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
    names: dict[type, str] = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
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


def wrong_kind(head: bytes) -> FileRefused | None:
    """What a file that should be text really is, judged by its first bytes."""
    for magic, name, fix in _MAGIC:
        if head.startswith(magic):
            return FileRefused(name.split()[0].lower(), f"is {_article(name)} file under a text file's name", fix)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or head[:4].count(0) >= 2 or head[1:2] == b"\0":
        return FileRefused("utf-16", "is UTF-16 or UTF-32 text", "save it as UTF-8")
    return None


def whole_file_reason(line: bytes, why: Refused, *, more: bool) -> FileRefused | None:
    """Whether the fault of the first line is really one of the whole file.

    `more` says that further lines follow.
    """
    stripped = line.strip()
    reason: tuple[str, str, str] | None = None
    if b"\r" in line.rstrip(b"\r\n") and not more:
        reason = "cr-only", "has lines that end in CR only", "save it with LF (Unix) line ends"
    elif stripped.startswith(b"[") and (more or why.kind == "not-object"):
        reason = "array", "is one JSON array, not a row on each line", "name it .json"
    elif more and why.kind == "unclosed" and stripped.startswith(b"{"):
        reason = "pretty-printed", "is JSON spread over several lines", "write each row on one line"
    elif why.kind == "json" and b"," in stripped and not set(stripped) & set(b"{}[]:"):
        reason = "csv", "looks like CSV", "name it .csv"
    return FileRefused(*reason, line=1, at=0) if reason else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused("duplicate-key", f"has the field {twice!r} twice", "keep one of the two")
    return value


def _constant(name: str) -> NoReturn:
    raise Refused("nan", f"holds {name}, which JSON does not know", "write null, or remove the field")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Refused("overflow", f"holds {digits[:20]}, which is too large for a number", "write a smaller number")
    return value


def _decode(text: str) -> Any:
    """Decode one value. The scanner alone is twice as fast as `decode`, which explains what it does not like."""
    try:
        value, end = _SCAN(text, 0)
    except StopIteration:
        return _DECODER.decode(text)
    return value if end == len(text) else _DECODER.decode(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
_SCAN = make_scanner(_DECODER)  # type: ignore[arg-type]  # typeshed names the wrong argument type
_TRAILING_COMMA = re.compile(r",\s*[}\]]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_MAGIC = [
    (b"\x1f\x8b", "gzip", "unpack it first: gunzip FILE"),
    (b"PK\x03\x04", "ZIP (or spreadsheet)", "unpack it, or save the sheet as CSV"),
    (b"PAR1", "Parquet", "name it .parquet"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "unpack it first: unzstd FILE"),
    (b"BZh", "bzip2", "unpack it first: bunzip2 FILE"),
    (b"\xfd7zXZ\0", "xz", "unpack it first: unxz FILE"),
]


def _article(name: str) -> str:
    return f"an {name}" if name.startswith("xz") else f"a {name}"


def decoder() -> json.JSONDecoder:
    """The strict decoder, for readers that decode more than lines."""
    return _DECODER


def _too_deep() -> Refused:
    return Refused("depth", f"is nested more than {MAX_DEPTH} levels deep", "flatten it")


def _not_utf8(raw: bytes, error: UnicodeDecodeError) -> Refused:
    return Refused(
        "utf-8",
        f"is not UTF-8: byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line",
        "save the file as UTF-8 (iconv -f LATIN1 -t UTF-8)",
        at=error.start,
    )


def _depth(value: Any) -> int:
    level, deepest = [value], 0
    while level:
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
        deepest += bool(containers)
        if deepest > MAX_DEPTH:
            break
    return deepest


def _strings(value: Any) -> Iterator[str]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)

"""One line of JSONL: parsed strictly (`droidft.support.strict_json`), with the exact reason when that fails."""

from __future__ import annotations

import json
from typing import Any

from droidft.support.faults import FileRefused, Refused
from droidft.support.strict_json import MAX_DEPTH, check_value, decode, diagnose, json_type, too_deep

MAX_ROW_BYTES = 8 * 1024 * 1024
"""Longest row accepted: some two million tokens. A longer one is nearly always a missing line break."""


def parse_line(raw: bytes, *, last: bool = False) -> dict[str, Any]:
    """The object on one line (`raw` without its line end).

    `last` says that the file ended without a line break after it, so that a cut-off row is recognised.

    Raises:
        Refused: with the kind, the reason and the byte position inside the line.
    """
    try:
        text = raw.decode()
        value = decode(text)
    except UnicodeDecodeError as error:
        raise _not_utf8(raw, error) from None
    except json.JSONDecodeError as error:
        raise diagnose(text, error, last=last) from None
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise Refused("number", f"holds a number that is too long: {error}", "shorten it or quote it") from None
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH or b"\\u" in raw:
        check_value(text, value)
    if type(value) is not dict:
        name = json_type(value)
        raise Refused("not-object", f"holds {name}, not an object", 'write one {"…": …} object on each line')
    return value


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


def _not_utf8(raw: bytes, error: UnicodeDecodeError) -> Refused:
    return Refused(
        "utf-8",
        f"is not UTF-8: byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line",
        "save the file as UTF-8 (iconv -f LATIN1 -t UTF-8)",
        at=error.start,
    )

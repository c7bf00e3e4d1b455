"""Files -> records, streamed: JSONL, JSON arrays, CSV and Parquet, in UTF-8 or what can be told for certain.

A reader never holds more than a few rows; its memory does not grow with the file. Faults go to the log with line
and byte offset, and reading goes on; only a file of the wrong kind ends it.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from droidft.data.array import read_array
from droidft.data.delimited import read_csv
from droidft.data.encodings import BOM, Encoding, as_utf8, by_mark, is_windows_1252
from droidft.data.lines import Blanks, Reading, numbered_lines, too_long
from droidft.support.confined import leads_outside
from droidft.support.faults import FileRefused, Refused
from droidft.support.stored import opened
from droidft.support.strict_json import (
    MAX_DEPTH,
    MAX_ROW_BYTES,
    check_value,
    decode,
    diagnose,
    json_type,
    too_deep,
)

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
_HEAD = 1 << 16


class Record(NamedTuple):
    """One row as read: `line` counts from 1 (row number in Parquet), `offset` is its first byte (None there).

    `may_hold_nan` is False where no number in it can be NaN or infinite.
    """

    value: dict[str, Any]
    line: int
    offset: int | None
    may_hold_nan: bool = True


def read_records(path: Path, reading: Reading) -> Iterator[Record]:
    """The rows of a file, in order.

    Whatever is wrong is added to `reading.log`; nothing is raised but for our own mistakes.
    """
    try:
        file = _open(path)
    except FileRefused as why:
        reading.log.add_file(path, why)
        return
    with file:
        before = os.fstat(file.fileno())
        try:
            yield from _read_open(path, file, reading)
        except FileRefused as why:
            reading.log.add_file(path, why)
        reading.bytes_read += before.st_size
        if _changed(path, before):
            reading.log.add_file(path, _CHANGED)


def _read_open(path: Path, file: BufferedReader, reading: Reading) -> Iterator[Record]:
    head = file.read(_HEAD)
    file.seek(0)
    if not head:
        raise FileRefused("empty", "is empty", "put at least two rows into it")
    form = SUFFIXES[path.suffix.lower()]
    if form == "parquet":
        yield from _parquet(path, file, head, reading)
        return
    if wrong := wrong_kind(head):
        raise wrong
    if head.startswith(BOM):
        reading.notes.append(f"{path.name}: the byte order mark at its start was skipped")
        file.seek(len(BOM))
        head = head[len(BOM) :]
    encoding = by_mark(head)
    if encoding is None and form == "csv" and is_windows_1252(file):
        encoding = Encoding("cp1252")
    if encoding is None:
        yield from _text(path, file, head, form, reading)
        return
    reading.notes.append(f"{path.name}: read as {encoding.name}; UTF-8 is what other programs expect")
    yield from _recoded(path, file, encoding, form, reading)


def _text(path: Path, file: BufferedReader, head: bytes, form: str, reading: Reading) -> Iterator[Record]:
    """The rows of a UTF-8 file that begins with `head` where `file` stands."""
    if form == "csv":
        for row in read_csv(path, file, head, reading):
            yield Record(*row, may_hold_nan=False)
    elif form == "json" and head.lstrip()[:1] != b"{":
        for value, line, offset in read_array(path, file, reading.log, reading.progress):
            yield Record(value, line, offset)
    else:
        if form == "json":
            reading.notes.append(f"{path.name}: read as JSONL, one object on each line")
        yield from _jsonl(path, file, reading)


def _recoded(path: Path, file: BufferedReader, encoding: Encoding, form: str, reading: Reading) -> Iterator[Record]:
    """The rows of a file in another encoding. Their places are lines only: the bytes are not those of the file."""
    before = len(reading.log.faults)
    try:
        with as_utf8(file, encoding) as text:
            head = text.peek(_HEAD)[:_HEAD]
            for record in _text(path, text, head, form, reading):
                yield record._replace(offset=None)
    except FileRefused as why:
        raise FileRefused(why.kind, why.reason, why.fix, line=why.line) from None
    except UnicodeDecodeError as error:
        reason = f"is not whole {encoding.name} text: {error.reason}"
        raise FileRefused("encoding", reason, "save it as UTF-8") from None
    finally:
        faults = reading.log.faults
        faults[before:] = [replace(fault, offset=None) for fault in faults[before:]]


def _open(path: Path) -> BufferedReader:
    """Open a regular file for reading. A FIFO or device is refused before it could block."""
    if path.suffix.lower() not in SUFFIXES:
        known = " ".join(SUFFIXES)
        raise FileRefused("suffix", f"has the unknown suffix {path.suffix!r}", f"name it by its form: {known}")
    try:
        file = opened(path)
    except FileNotFoundError:
        if path.is_symlink():
            reason = f"is a link to {os.readlink(path)}, which does not exist"
            raise FileRefused("missing", reason, "fix the link") from None
        raise FileRefused("missing", "does not exist", "check the path") from None
    except OSError as error:
        if error.errno == errno.EISDIR:
            raise FileRefused("directory", "is a folder", "name the file inside it") from None
        if error.errno == errno.ESPIPE:
            fix = "write its content to a file first"
            raise FileRefused("not-regular", "is a pipe or a device, not a file", fix) from None
        reason = f"cannot be read: {error.strerror or error}"
        raise FileRefused("unreadable", reason, "check the path and its permissions") from None
    assert isinstance(file, BufferedReader)
    # What is checked is the file that is open: the path may lead elsewhere a moment later.
    if leads_outside(file.fileno()) is not None:
        file.close()
        raise FileRefused("outside", "leads outside the folders that the server may read", "start it with --allow")
    return file


_CHANGED = FileRefused(
    "changed", "changed while it was read", "let the program that writes it finish, then try again"
)


def _changed(path: Path, before: os.stat_result) -> bool:
    try:
        now = path.stat()
    except OSError:
        return True
    return (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns)


def _jsonl(path: Path, file: BufferedReader, reading: Reading) -> Iterator[Record]:
    blanks = Blanks(path, reading.log)
    rows = 0
    last = b"\n"
    for number, offset, raw in numbered_lines(file, reading):
        last = raw
        if raw.isspace() and b"\r" not in raw.rstrip(b"\r\n"):
            blanks.add(number, offset)
            continue
        if blanks.count:
            blanks.flush()
        rows += 1
        try:
            if len(raw) > MAX_ROW_BYTES:
                raise too_long()
            value = parse_line(raw.rstrip(b"\r\n"), last=not raw.endswith(b"\n"))
        except Refused as why:
            if rows == 1 and (whole := whole_file_reason(raw, why, more=bool(file.peek(1)))):
                raise whole from None
            reading.log.add(path, number, offset, why)
            continue
        yield Record(value, number, offset, may_hold_nan=b"NaN" in raw or b"Infinity" in raw)
    if not rows:
        raise FileRefused("blank", "holds only blank lines", "put at least two rows into it")
    blanks.note(reading)
    if not blanks.count and not last.endswith(b"\n"):
        reading.notes.append(f"{path.name}: the last line has no line break")


def parse_line(raw: bytes, *, last: bool = False) -> dict[str, Any]:
    """The object on one line (`raw` without its line end).

    With `last` the file ended without a line break after it, so that a cut-off row is recognised.

    Raises:
        Refused: with the kind, the reason and the byte position inside the line.
    """
    try:
        text = raw.decode()
        value = decode(text)
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8: byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line"
        fix = "save the file as UTF-8 (iconv -f LATIN1 -t UTF-8)"
        raise Refused("utf-8", reason, fix, at=error.start) from None
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
    """What a file that should be text is instead, judged by its first bytes."""
    for magic, name, fix in _MAGIC:
        if head.startswith(magic):
            article = "an" if name == "xz" else "a"
            return FileRefused(name.split()[0].lower(), f"is {article} {name} file under a text file's name", fix)
    return None


def whole_file_reason(line: bytes, why: Refused, *, more: bool) -> FileRefused | None:
    """Why the whole file is refused, where the fault of its first line shows that; `more` lines may follow."""
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


def _parquet(path: Path, file: BufferedReader, head: bytes, reading: Reading) -> Iterator[Record]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise FileRefused(
            "pyarrow", "needs the package pyarrow to be read", "install it: pip install 'droidft[parquet]'"
        ) from None
    if not head.startswith(b"PAR1"):
        raise FileRefused("parquet", "is not a Parquet file", "name it by what it is, or write it again")
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            if not table.metadata.num_rows:
                raise FileRefused("blank", "has no rows", "put at least two rows into it")
            size, rows, number = os.fstat(file.fileno()).st_size, table.metadata.num_rows, 0
            for batch in table.iter_batches(batch_size=256):
                for value in batch.to_pylist():
                    number += 1
                    yield Record(value, number, None)
                if reading.progress:
                    reading.progress(size * number // rows)
    except (pyarrow.ArrowException, OSError) as error:
        reason = f"is a damaged Parquet file: {str(error).splitlines()[0]}"
        raise FileRefused("parquet", reason, "write it again") from None

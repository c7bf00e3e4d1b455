"""Files -> records, streamed: JSONL, JSON arrays, CSV and Parquet.

A reader never holds more than a few rows; its memory does not grow with the file. Faults go to the log with line
and byte offset, and reading goes on; only a file of the wrong kind ends it.
"""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from droidft.data.array import read_array
from droidft.support.faults import FaultLog, FileRefused, Refused
from droidft.support.strict_json import (
    MAX_DEPTH,
    MAX_ROW_BYTES,
    check_value,
    decode,
    diagnose,
    json_type,
    too_deep,
)
from droidft.support.words import count

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
BOM = b"\xef\xbb\xbf"
_REPORT_EVERY = 1 << 20


class Record(NamedTuple):
    """One row as read: `line` counts from 1 (row number in Parquet), `offset` is its first byte (None there)."""

    value: dict[str, Any]
    line: int
    offset: int | None


@dataclass
class Reading:
    """What one pass over files gives besides records: faults and notes."""

    log: FaultLog = field(default_factory=FaultLog)
    notes: list[str] = field(default_factory=list)
    """Things tolerated, as sentences: a skipped byte order mark, blank lines at the end."""
    progress: Callable[[int], None] | None = None
    """Called with the bytes of the current file that are done, at least once a megabyte."""
    bytes_read: int = 0


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


def _read_open(path: Path, file: BinaryIO, reading: Reading) -> Iterator[Record]:
    head = file.read(4096)
    file.seek(0)
    if not head:
        raise FileRefused("empty", "is empty", "put at least two rows into it")
    form = SUFFIXES[path.suffix.lower()]
    if form == "parquet":
        yield from _parquet(path, head, reading)
        return
    if wrong := wrong_kind(head):
        raise wrong
    if head.startswith(BOM):
        reading.notes.append(f"{path.name}: the byte order mark at its start was skipped")
        file.seek(len(BOM))
        head = head[len(BOM) :]
    if form == "csv":
        yield from _csv(path, file, reading)
    elif form == "json" and head.lstrip()[:1] != b"{":
        for value, line, offset in read_array(path, file, reading.log, reading.progress):
            yield Record(value, line, offset)
    else:
        if form == "json":
            reading.notes.append(f"{path.name}: read as JSONL, one object on each line")
        yield from _jsonl(path, file, reading)


def _open(path: Path) -> BinaryIO:
    """Open a regular file for reading. A FIFO or device is refused before it could block."""
    if path.suffix.lower() not in SUFFIXES:
        known = " ".join(SUFFIXES)
        raise FileRefused("suffix", f"has the unknown suffix {path.suffix!r}", f"name it by its form: {known}")
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise FileRefused("directory", "is a folder", "name the file inside it")
        if not stat.S_ISREG(mode):
            raise FileRefused("not-regular", "is a pipe or a device, not a file", "write its content to a file first")
        return path.open("rb")
    except FileNotFoundError:
        if path.is_symlink():
            reason = f"is a link to {os.readlink(path)}, which does not exist"
            raise FileRefused("missing", reason, "fix the link") from None
        raise FileRefused("missing", "does not exist", "check the path") from None
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise FileRefused("unreadable", reason, "check the path and its permissions") from None


_CHANGED = FileRefused(
    "changed", "changed while it was read", "let the program that writes it finish, then try again"
)


def _changed(path: Path, before: os.stat_result) -> bool:
    try:
        now = path.stat()
    except OSError:
        return True
    return (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns)


def _lines(file: BinaryIO, reading: Reading) -> Iterator[tuple[int, int, bytes]]:
    """(line number, byte offset, bytes with the line end). A line beyond the limit comes cut, one byte too long."""
    offset = file.tell()
    reported = 0
    for number, raw in enumerate(iter(partial(file.readline, MAX_ROW_BYTES + 1), b""), start=1):
        length = len(raw)
        yield number, offset, raw
        if length > MAX_ROW_BYTES and not raw.endswith(b"\n"):
            while (rest := file.readline(MAX_ROW_BYTES)) and not rest.endswith(b"\n"):
                length += len(rest)
            length += len(rest)
        offset += length
        if reading.progress and offset - reported >= _REPORT_EVERY:
            reported = offset
            reading.progress(offset)


def too_long() -> Refused:
    """A row beyond `MAX_ROW_BYTES`."""
    limit = MAX_ROW_BYTES // (1024 * 1024)
    return Refused(
        "too-long", f"is longer than {limit} MiB, the limit for a row", "split it; is a line break missing?"
    )


@dataclass
class _Blanks:
    """Blank lines are tolerated at the end of a file and refused before it."""

    path: Path
    log: FaultLog
    waiting: list[tuple[int, int]] = field(default_factory=list)
    count: int = 0

    def add(self, number: int, offset: int) -> None:
        self.count += 1
        if len(self.waiting) <= 100:
            self.waiting.append((number, offset))

    def flush(self) -> None:
        """A row follows: the blank lines before it are faults."""
        for number, offset in self.waiting:
            self.log.add(self.path, number, offset, Refused("blank-line", "is blank", "remove the line"))
        self.log.count += self.count - len(self.waiting)
        self.waiting, self.count = [], 0


def _jsonl(path: Path, file: BinaryIO, reading: Reading) -> Iterator[Record]:
    size = os.fstat(file.fileno()).st_size
    blanks = _Blanks(path, reading.log)
    rows = 0
    last = b"\n"
    for number, offset, raw in _lines(file, reading):
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
            if rows == 1 and (whole := whole_file_reason(raw, why, more=offset + len(raw) < size)):
                raise whole from None
            reading.log.add(path, number, offset, why)
            continue
        yield Record(value, number, offset)
    if not rows:
        raise FileRefused("blank", "holds only blank lines", "put at least two rows into it")
    if blanks.count:
        noun = "line" if blanks.count == 1 else "lines"
        reading.notes.append(f"{path.name}: {blanks.count} blank {noun} at the end skipped")
    elif not last.endswith(b"\n"):
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
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or head[:4].count(0) >= 2 or head[1:2] == b"\0":
        return FileRefused("utf-16", "is UTF-16 or UTF-32 text", "save it as UTF-8")
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


def _csv(path: Path, file: BinaryIO, reading: Reading) -> Iterator[Record]:
    csv.field_size_limit(MAX_ROW_BYTES)
    starts: list[int] = []
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.reader(_csv_lines(file, reading, starts), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    blanks = _Blanks(path, reading.log)
    count = 0
    while True:
        first = rows.line_num + 1
        starts.clear()
        try:
            fields = next(rows, None)
            if fields is None:
                break
            if not fields:
                blanks.add(first, starts[0])
                continue
            blanks.flush()
            if header is None:
                header = _header(fields)
                continue
            count += 1
            yield Record(_csv_row(header, fields), first, starts[0])
        except csv.Error as error:
            # The reader cannot find its place again after such a fault.
            raise FileRefused("csv", f"is not CSV: {error}", _CSV_FIX, line=first, at=_first(starts)) from None
        except UnicodeDecodeError as error:
            reason = f"is not UTF-8: byte 0x{error.object[error.start]:02x}"
            at = starts[-1] + error.start
            raise FileRefused(
                "utf-8", reason, "save the file as UTF-8", line=first + len(starts) - 1, at=at
            ) from None
        except FileRefused:
            raise
        except Refused as why:
            reading.log.add(path, first, _first(starts), why)
    if header is None or (not count and not reading.log.count):
        raise FileRefused("blank", "has no rows under its header", "put at least two rows into it")
    if blanks.count:
        reading.notes.append(f"{path.name}: {blanks.count} blank lines at the end skipped")


_CSV_FIX = 'put quotes around fields with commas or line breaks, and write a quote inside as ""'


def _first(starts: list[int]) -> int | None:
    return starts[0] if starts else None


def _csv_lines(file: BinaryIO, reading: Reading, starts: list[int]) -> Iterator[str]:
    for number, offset, raw in _lines(file, reading):
        starts.append(offset)
        if len(raw) > MAX_ROW_BYTES:
            raise FileRefused("too-long", too_long().reason, too_long().fix, line=number, at=offset)
        if b"\0" in raw:
            fix = "the file is damaged or binary: write it again"
            raise FileRefused("nul", "holds a NUL byte", fix, line=number, at=offset + raw.index(b"\0"))
        yield raw.decode()


def _header(fields: list[str]) -> list[str]:
    for name in fields:
        if not name.strip():
            raise FileRefused("header", "has a column without a name", "name every column in the header", line=1)
        if fields.count(name) > 1:
            raise FileRefused("header", line=1, reason=f"has two columns named {name!r}", fix="rename one of them")
    return fields


def _csv_row(header: list[str], fields: list[str]) -> dict[str, Any]:
    if len(fields) != len(header):
        have = count(len(fields), "field")
        raise Refused("fields", f"has {have} where the header has {len(header)}", _CSV_FIX)
    return dict(zip(header, fields, strict=True))


def _parquet(path: Path, head: bytes, reading: Reading) -> Iterator[Record]:
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
        with pyarrow.parquet.ParquetFile(path) as file:
            if not file.metadata.num_rows:
                raise FileRefused("blank", "has no rows", "put at least two rows into it")
            size, rows, number = path.stat().st_size, file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=256):
                for value in batch.to_pylist():
                    number += 1
                    yield Record(value, number, None)
                if reading.progress:
                    reading.progress(size * number // rows)
    except (pyarrow.ArrowException, OSError) as error:
        reason = f"is a damaged Parquet file: {str(error).splitlines()[0]}"
        raise FileRefused("parquet", reason, "write it again") from None

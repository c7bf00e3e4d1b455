"""CSV as people have it: separated by commas, semicolons, tabs or bars, as Excel, pandas and databases write it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from droidft.data.lines import Blanks, Reading, numbered_lines, too_long
from droidft.support.faults import FileRefused, Refused
from droidft.support.strict_json import MAX_ROW_BYTES
from droidft.support.words import count

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAMPLE = 1 << 16
_SAMPLE_ROWS = 50
_DECLARATION = "sep="
"""Excel's own first line, such as `sep=;`."""


@dataclass(frozen=True)
class Dialect:
    """What separates the fields, and whether the file's first line says so and holds nothing else."""

    delimiter: str
    declared: bool = False


def read_csv(
    path: Path, file: BinaryIO, sample: bytes, reading: Reading
) -> Iterator[tuple[dict[str, Any], int, int]]:
    """(fields by column, line, byte offset) of each row under the header. `sample` is how the text begins.

    Raises:
        FileRefused: the file is not CSV, or not UTF-8.
    """
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    dialect = recognise(sample[:_SAMPLE].decode(errors="replace"), usual)
    if dialect.delimiter != usual:
        reading.notes.append(f"{path.name}: its fields are separated by {DELIMITERS[dialect.delimiter]}")
    csv.field_size_limit(MAX_ROW_BYTES)
    starts: list[int] = []
    rows = csv.reader(_texts(file, reading, starts), delimiter=dialect.delimiter, strict=True)
    header: list[str] | None = None
    blanks = Blanks(path, reading.log)
    found = 0
    while True:
        first = rows.line_num + 1
        starts.clear()
        try:
            fields = next(rows, None)
            if fields is None:
                break
            if dialect.declared and first == 1:
                continue
            if not any(fields):  # Excel writes separators alone for a row that was emptied.
                blanks.add(first, starts[0])
                continue
            blanks.flush()
            if header is None:
                header = _header(fields, first)
                continue
            found += 1
            yield _row(header, fields, dialect), first, starts[0]
        except csv.Error as error:
            # The reader cannot find its place again after such a fault.
            fix = _fix(dialect)
            raise FileRefused("csv", f"is not CSV: {error}", fix, line=first, at=_first(starts)) from None
        except UnicodeDecodeError as error:
            at = starts[-1] + error.start
            reason = f"is not UTF-8: byte 0x{error.object[error.start]:02x}, and its encoding cannot be told"
            fix = "save it as UTF-8 (in Excel: CSV UTF-8)"
            raise FileRefused("utf-8", reason, fix, line=first + len(starts) - 1, at=at) from None
        except FileRefused:
            raise
        except Refused as why:
            reading.log.add(path, first, _first(starts), why)
    if header is None or (not found and not reading.log.count):
        raise FileRefused("blank", "has no rows under its header", "put at least two rows into it")
    blanks.note(reading)


def recognise(sample: str, usual: str) -> Dialect:
    """What separates the fields of a file that begins with `sample`: `usual`, unless something else fits better.

    A delimiter fits if the header has two columns or more, and better if the rows after it have as many.
    """
    first = sample.split("\n", 1)[0].rstrip("\r").lower()
    if first.startswith(_DECLARATION) and first[len(_DECLARATION) :] in DELIMITERS:
        return Dialect(first[len(_DECLARATION) :], declared=True)
    order = [usual, *(delimiter for delimiter in DELIMITERS if delimiter != usual)]
    return Dialect(max(order, key=lambda delimiter: _fit(sample, delimiter)))


def _fit(sample: str, delimiter: str) -> tuple[bool, bool]:
    """(the header has columns, the rows of the sample have as many). `max` takes the first of equals."""
    lengths = []
    try:
        for fields in csv.reader(sample.splitlines(keepends=True), delimiter=delimiter):
            if fields:
                lengths.append(len(fields))
            if len(lengths) == _SAMPLE_ROWS:
                break
    except csv.Error:
        return False, False
    if len(lengths) > 2:
        lengths.pop()  # It may be cut.
    columns = bool(lengths) and lengths[0] > 1
    return columns, columns and set(lengths) == {lengths[0]}


def _fix(dialect: Dialect) -> str:
    what = DELIMITERS[dialect.delimiter]
    return f'put quotes around fields with {what} or line breaks, and write a quote inside as ""'


def _first(starts: list[int]) -> int | None:
    return starts[0] if starts else None


def _texts(file: BinaryIO, reading: Reading, starts: list[int]) -> Iterator[str]:
    for number, offset, raw in numbered_lines(file, reading):
        starts.append(offset)
        if len(raw) > MAX_ROW_BYTES:
            raise FileRefused("too-long", too_long().reason, too_long().fix, line=number, at=offset)
        if b"\0" in raw:
            fix = "the file is damaged or binary: write it again"
            raise FileRefused("nul", "holds a NUL byte", fix, line=number, at=offset + raw.index(b"\0"))
        yield raw.decode()


def _header(fields: list[str], line: int) -> list[str]:
    """The columns' names. One without a name, such as the index that pandas writes, is called by its number."""
    names = [name if name.strip() else f"column {number}" for number, name in enumerate(fields, start=1)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise FileRefused("header", f"has two columns named {twice[0]!r}", "rename one of them", line=line)
    return names


def _row(header: list[str], fields: list[str], dialect: Dialect) -> dict[str, Any]:
    if len(fields) != len(header):
        have = count(len(fields), "field")
        raise Refused("fields", f"has {have} where the header has {len(header)}", _fix(dialect))
    return dict(zip(header, fields, strict=True))

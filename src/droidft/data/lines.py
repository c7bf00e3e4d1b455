"""A text file line by line, with the number and the byte offset of each, in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from droidft.support.faults import FaultLog, Refused
from droidft.support.strict_json import MAX_ROW_BYTES

_REPORT_EVERY = 1 << 20


@dataclass
class Reading:
    """What one pass over files gives besides records: faults and notes."""

    log: FaultLog = field(default_factory=FaultLog)
    notes: list[str] = field(default_factory=list)
    """Things tolerated, as sentences: a skipped byte order mark, blank lines at the end."""
    progress: Callable[[int], None] | None = None
    """Called with the bytes of the current file that are done, at least once a megabyte."""
    bytes_read: int = 0


def numbered_lines(file: BinaryIO, reading: Reading) -> Iterator[tuple[int, int, bytes]]:
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
class Blanks:
    """Blank lines are tolerated at the end of a file and refused before it."""

    path: Path
    log: FaultLog
    waiting: list[tuple[int, int]] = field(default_factory=list)
    count: int = 0

    def add(self, number: int, offset: int) -> None:
        """One more, on line `number`, which begins at byte `offset`."""
        self.count += 1
        if len(self.waiting) <= 100:
            self.waiting.append((number, offset))

    def flush(self) -> None:
        """A row follows: the blank lines before it are faults."""
        for number, offset in self.waiting:
            self.log.add(self.path, number, offset, Refused("blank-line", "is blank", "remove the line"))
        self.log.count += self.count - len(self.waiting)
        self.waiting, self.count = [], 0

    def note(self, reading: Reading) -> None:
        """The file is at its end: its blank lines are a note."""
        if self.count:
            noun = "line" if self.count == 1 else "lines"
            reading.notes.append(f"{self.path.name}: {self.count} blank {noun} at the end skipped")

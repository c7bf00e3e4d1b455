"""A run's log, read while it grows: whole lines by byte offset, never half a line; and what a resume leaves of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from droidft.errors import RunError
from droidft.events import Completions, Record, RunStarted
from droidft.support import stored

CHUNK_BYTES = 1 << 20
POLL_SECONDS = 0.1
_TAIL_BYTES = 16384
_SEQ = re.compile(rb'\{"seq":(\d+),')
_HEAD = re.compile(rb'\{"seq":(\d{1,18}),"time":([^,]{1,40}),"event":\{"type":"(\w+)"(?:,"step":(\d{1,18})\b)?')
_HEAD_BYTES = 160
T = TypeVar("T")


class Head(NamedTuple):
    """The beginning of a line: enough to know whether the rest is wanted."""

    seq: int
    time: float
    type: bytes
    step: int | None


@dataclass(frozen=True)
class Lines:
    """Consecutive records as JSON text. `end` is the byte offset after them, `last` the newest one's number."""

    records: list[bytes]
    last: int
    end: int
    more: bool
    """Whether the file goes on after them, be it with half a line."""


def rewound(done: Iterable[T], start: RunStarted, *, step: Callable[[T], int] = attrgetter("step")) -> list[T]:
    """What of `done` still counts when a worker begins with `start`: later steps than its checkpoint's come again.

    Without a checkpoint nothing counts, not even the evaluation before the first step.
    """
    last = _kept(start.resumed_from_step)
    return [each for each in done if step(each) <= last]


def _kept(resumed_from: int | None) -> int:
    """The last step that still counts when a worker resumes from a checkpoint; -1 where it has none."""
    return -1 if resumed_from is None else resumed_from


def starts(path: Path) -> Iterator[RunStarted]:
    """Every start of a worker in a log, oldest first; the log is read a line at a time."""
    for line, _ in stream(path):
        if b'"type":"run_started"' in line[:_HEAD_BYTES] and (begun := started(line)) is not None:
            yield begun[1]


def rewinds(records: Iterable[bytes]) -> dict[int, int]:
    """Where in these lines of a log a worker begins: number of the record -> last step that still counts then."""
    kept = {}
    for line in records:
        if (start := head(line)) is not None and start.type == b"run_started":
            with suppress(ValueError, KeyError, TypeError):  # `numbered` has seen to it that it is JSON, not more
                kept[start.seq] = _kept(from_json(line)["event"].get("resumed_from_step"))
    return kept


def started(line: bytes) -> tuple[Record, RunStarted] | None:
    """The record with which a worker begins; None for another one."""
    record = parse_record(line)
    return (record, record.event) if record is not None and isinstance(record.event, RunStarted) else None


def read(path: Path, offset: int, *, after: int, most: int = CHUNK_BYTES) -> Lines:
    """Complete lines from byte `offset` on with numbers above `after`, about `most` bytes of them."""
    content, size = _content(path, offset, most)
    return numbered(content, offset, after, size)


def numbered(content: bytes, offset: int, after: int, size: int) -> Lines:
    """The records in `content`, which was read from byte `offset` of a log of `size` bytes."""
    lines, end = _whole(content, offset)
    records, last = [], after
    for line in lines:
        match = _SEQ.match(line)
        if match is None or (number := int(match[1])) <= last or not _is_json(line):
            continue  # damaged, or known to the reader
        records.append(line)
        last = number
    return Lines(records, last, end, more=offset < end < size)


def stream(path: Path, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """Each whole line from byte `offset` on, without its end, and the offset after it; a line at a time is in memory.

    Raises:
        RunError: the log cannot be read.
    """
    with opened(path) as file:
        if file is None:
            return
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield line[:-1], offset


def head(line: bytes) -> Head | None:
    """What stands at the beginning of a line that we wrote; None for a line of another form."""
    match = _HEAD.match(line)
    if match is None:
        return None
    try:
        return Head(int(match[1]), float(match[2]), match[3], None if match[4] is None else int(match[4]))
    except ValueError:
        return None


def brief(line: bytes) -> Record | None:
    """The record on a line, but of completions only their step: they are nearly all of a long log, and hardly anybody
    looks at them. None as `parse_record`."""
    if b'"type":"completions"' in line[:_HEAD_BYTES] and (start := head(line)) is not None and start.step is not None:
        return Record(seq=start.seq, time=start.time, event=Completions(step=start.step, rows=[]))
    return parse_record(line)


def end(path: Path) -> int:
    """The offset after the last whole line. Raises as `stream`."""
    with opened(path) as file:
        if file is None:
            return 0
        position = file.seek(0, os.SEEK_END)
        while position > 0:
            start = max(0, position - _TAIL_BYTES)
            file.seek(start)
            if (line_end := file.read(position - start).rfind(b"\n")) >= 0:
                return start + line_end + 1
            position = start
        return 0


def all_lines(path: Path, *, after: int = 0) -> Iterator[bytes]:
    """Every record with a number above `after` as JSON text; the log is read a line at a time."""
    offset, more = 0, True
    while more:
        lines = read(path, offset, after=after)
        yield from lines.records
        offset, after, more = lines.end, lines.last, lines.more


def records(path: Path, offset: int = 0) -> tuple[list[Record], int]:
    """The records from byte `offset` on, and the offset after them."""
    lines, end = _whole(_content(path, offset, -1)[0], offset)
    return [record for line in lines if (record := parse_record(line)) is not None], end


def last_record(path: Path) -> Record | None:
    """The newest record, looked for from the end of the log; None if there is none. Raises as `stream`."""
    with opened(path) as file:
        if file is None:
            return None
        size, limit = file.seek(0, os.SEEK_END), _TAIL_BYTES
        while True:
            start = file.seek(max(0, size - limit))
            lines = file.read(size - start).split(b"\n")[:-1]
            for line in reversed(lines if start == 0 else lines[1:]):
                if (record := parse_record(line)) is not None:
                    return record
            if start == 0:
                return None
            limit *= 4


def first_record(path: Path) -> Record | None:
    """The first line's record; None if there is none, or it is damaged."""
    try:
        with opened(path) as file:
            return parse_record(file.readline(CHUNK_BYTES)) if file is not None else None
    except RunError:
        return None


def parse_record(line: bytes) -> Record | None:
    """The record on a line of the log; None for one that a newer version wrote, or that is damaged."""
    try:
        return Record.model_validate_json(line)
    except ValidationError:
        return None


def _content(path: Path, offset: int, most: int) -> tuple[bytes, int]:
    """About `most` bytes (all of them, if negative) from `offset` on, and the size of the file."""
    with opened(path) as file:
        if file is None:
            return b"", 0
        size = file.seek(0, os.SEEK_END)
        file.seek(offset)
        content = file.read(most)
        if b"\n" not in content and len(content) == most:  # a line longer than that
            content += file.readline()
        return content, size


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes] | None]:
    """The log; None where there is none yet."""
    with stored.reading(path, kind=RunError, hint="delete the run, or put its log back"):
        try:
            opening = stored.opened(path, buffering=CHUNK_BYTES)
        except FileNotFoundError:
            yield None
            return
        with opening as file:
            yield file


def _whole(content: bytes, offset: int) -> tuple[list[bytes], int]:
    """The complete lines of `content`, which begins at byte `offset`, and the offset after them."""
    end = content.rfind(b"\n") + 1
    return content[:end].splitlines(), offset + end


def _is_json(line: bytes) -> bool:
    try:
        from_json(line)
    except ValueError:
        return False
    return True

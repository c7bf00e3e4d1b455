"""A JSON array of objects, decoded one element at a time so that memory stays flat."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from droidft.support.faults import FaultLog, FileRefused, Refused
from droidft.support.strict_json import MAX_ROW_BYTES, check_value, decoder, diagnose, json_type, too_deep

_CHUNK = 1 << 18
_SPACE = " \t\r\n"


class _Text:
    """A window on the file's text that knows the line and byte of its start."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.decode = codecs.getincrementaldecoder("utf-8")().decode
        self.text = ""
        self.line = 1
        self.offset = file.tell()
        self.ended = False

    def more(self, size: int = _CHUNK) -> None:
        raw = self.file.read(size)
        self.ended = not raw
        try:
            self.text += self.decode(raw, final=self.ended)
        except UnicodeDecodeError as error:
            at = self.file.tell() - len(error.object) + error.start
            line = self.line + self.text.count("\n") + error.object[: error.start].count(b"\n")
            raise FileRefused("utf-8", "is not UTF-8", "save the file as UTF-8", line=line, at=at) from None

    def drop(self, count: int) -> None:
        gone, self.text = self.text[:count], self.text[count:]
        self.line += gone.count("\n")
        self.offset += len(gone.encode())

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            rest = self.text.lstrip(_SPACE)
            if rest or self.ended:
                self.drop(len(self.text) - len(rest))
                return rest[:1]
            self.drop(len(self.text))
            self.more()

    def value(self) -> Any:
        """Decode the value that starts here, reading on until it is whole."""
        while True:
            try:
                value, end = decoder().raw_decode(self.text)
                check_value(self.text[:end], value)
            except json.JSONDecodeError as error:
                if self.ended:
                    raise diagnose(self.text, error, last=True) from None
                if len(self.text) > MAX_ROW_BYTES:
                    raise diagnose(self.text[: error.pos + 80], error) from None
                self.more(max(_CHUNK, len(self.text)))
            except RecursionError:
                raise too_deep() from None
            else:
                self.drop(end)
                return value


def read_array(
    path: Path, file: BinaryIO, log: FaultLog, progress: Callable[[int], None] | None
) -> Iterator[tuple[dict[str, Any], int, int]]:
    """(object, line of its first character, byte of its first character) for each element.

    Raises:
        FileRefused: the file is not an array of values; what is wrong with one element alone goes to `log`.
    """
    window = _Text(file)
    if window.peek() != "[":
        raise FileRefused("json", "is not a JSON array of objects", "write [ {…}, {…} ], or JSONL: one object a line")
    window.drop(1)
    if window.peek() == "]":
        raise FileRefused("blank", "is an empty array", "put at least two rows into it")
    while True:
        window.peek()
        line, offset = window.line, window.offset
        yield from _element(path, window, log)
        if progress:
            progress(offset)
        after = window.peek()
        at = window.offset
        window.drop(1)
        if after == "]":
            break
        if after != "," or window.peek() == "]":
            raise _between(after, line, at)
    if window.peek():
        raise FileRefused(
            "extra", "goes on after the array", "remove what follows", line=window.line, at=window.offset
        )


def _element(path: Path, window: _Text, log: FaultLog) -> Iterator[tuple[dict[str, Any], int, int]]:
    line, offset = window.line, window.offset
    try:
        value = window.value()
    except FileRefused:
        raise
    except Refused as why:
        # After a syntax fault there is no telling where the next element starts.
        at = offset + (why.at or 0)
        raise FileRefused(why.kind, why.reason, why.fix, line=line, at=at) from None
    if type(value) is dict:
        yield value, line, offset
    else:
        name = json_type(value)
        log.add(path, line, offset, Refused("not-object", f"holds {name}, not an object", "write { } rows"))


def _between(after: str, line: int, at: int) -> FileRefused:
    if not after:
        kind, reason, fix = "cut-off", "is cut off: the array is not closed", "copy or write the file again"
    elif after == ",":
        kind, reason, fix = "trailing-comma", "has a comma after the last element", "remove the comma"
    else:
        kind, reason, fix = "json", "lacks a comma after this element", "put a comma between the elements"
    return FileRefused(kind, reason, fix, line=line, at=at)

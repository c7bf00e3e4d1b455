"""What is wrong with a data file: where, why, and how to fix it.

Readers and the rules for rows raise `Refused`; the caller that knows the line adds a `Fault` to a `FaultLog`, and
reading goes on, so that one pass over a file reports everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from droidft.errors import DataError
from droidft.support.shapes import shape
from droidft.support.strict_json import Refused as Refused

KEPT_FAULTS = 100
"""Faults listed one by one; the rest are counted."""

_IN_MESSAGE = 10


class FileRefused(Refused):
    """The whole file is of the wrong kind: one fault, and reading stops. `at` counts from the file's start."""

    def __init__(self, kind: str, reason: str, fix: str, *, line: int | None = None, at: int | None = None) -> None:
        super().__init__(kind, reason, fix, at=at)
        self.line = line


@shape
class Fault:
    """One fault: `line` counts from 1 (rows in Parquet), `offset` is a byte position in the file."""

    file: str
    line: int | None
    offset: int | None
    kind: str
    reason: str
    fix: str

    def __str__(self) -> str:
        place = f":{self.line}" if self.line is not None else ""
        byte = f" (byte {self.offset})" if self.offset is not None else ""
        return f"{self.file}{place}{byte}: {self.reason}; {self.fix}"


class InvalidData(DataError):
    """Data with faults; `faults` holds the first `KEPT_FAULTS` of `count`."""

    def __init__(self, faults: list[Fault], count: int, where: str) -> None:
        shown = [f"  {fault}" for fault in faults[:_IN_MESSAGE]]
        if count > len(shown):
            shown.append(f"  … and {count - len(shown):,} more")
        noun = "fault" if count == 1 else "faults"
        super().__init__(
            "\n".join([f"{count:,} {noun} in {where}:", *shown]),
            hint="`droidft data check FILE` lists them; fix the file and start again",
        )
        self.faults = faults
        self.count = count


@dataclass
class FaultLog:
    """Collects faults: the first `KEPT_FAULTS` whole, all of them counted."""

    faults: list[Fault] = field(default_factory=list)
    count: int = 0

    def add(self, file: Path | str, line: int | None, offset: int | None, why: Refused) -> None:
        """Note that the row at `line`, whose first byte is `offset`, was refused."""
        self.count += 1
        if len(self.faults) < KEPT_FAULTS:
            where = offset + (why.at or 0) if offset is not None else None
            self.faults.append(Fault(str(file), line, where, why.kind, why.reason, why.fix))

    def add_file(self, file: Path | str, why: FileRefused) -> None:
        """Note that the file was refused as a whole."""
        self.count += 1
        if len(self.faults) < KEPT_FAULTS:
            self.faults.append(Fault(str(file), why.line, why.at, why.kind, why.reason, why.fix))

    def raise_if_any(self, where: str = "the training data") -> None:
        """Raise `InvalidData` when anything was refused; `where` is for its message."""
        if self.count:
            raise InvalidData(self.faults, self.count, where)

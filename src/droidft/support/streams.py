"""Standard streams that are closed, full, or in an encoding without our characters: never a reason to fail."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any


class OutputError(OSError):
    """Standard output takes nothing more: the disk behind it is full, or it was closed."""


class _Output(FileIO):
    """Standard output, whose errors are told from those of files."""

    def write(self, data: Any, /) -> int:
        """Write, or raise `OutputError`."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error


def prepare() -> None:
    """Make the three standard streams usable, whatever the program was started with.

    A closed one leads nowhere, so that no file opened later takes its number and what is printed with it. Characters
    that the encoding has not are replaced.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    if sys.stdout is sys.__stdout__ and isinstance(old := sys.stdout, TextIOWrapper):
        sys.stdout = TextIOWrapper(
            BufferedWriter(_Output(old.fileno(), "w", closefd=False)),
            encoding=old.encoding,
            line_buffering=old.line_buffering,
            write_through=old.write_through,
        )
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)


def abandon_output() -> None:
    """Send what is left for standard output nowhere: Python would complain again when it closes the stream."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

"""Files as one zip, made while it is sent: nothing is held in memory or written to the disk."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from io import RawIOBase
from pathlib import Path
from typing import IO

CHUNK = 1 << 20


def zipped(files: Mapping[str, Path]) -> Iterator[bytes]:
    """The bytes of a zip with `files` under these names, uncompressed, since weights do not shrink.

    The files are open when this returns, so that one that is deleted during the download is still sent whole.

    Raises:
        OSError: one cannot be read.
    """
    stack = ExitStack()
    try:
        opened = {name: stack.enter_context(path.open("rb")) for name, path in files.items()}
    except OSError:
        stack.close()
        raise
    return _stream(stack, opened)


class _Outgoing(RawIOBase):
    """Keeps what the archive writes until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(memoryview(data))  # type: ignore[arg-type]
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def _stream(stack: ExitStack, opened: Mapping[str, IO[bytes]]) -> Iterator[bytes]:
    outgoing = _Outgoing()
    with stack, zipfile.ZipFile(outgoing, "w") as archive:
        for name, source in opened.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry:
                while chunk := source.read(CHUNK):
                    entry.write(chunk)
                    yield outgoing.take()
    yield outgoing.take()

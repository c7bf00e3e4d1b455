"""Which encoding a text file is in, told from its bytes alone, and the file as UTF-8 whatever it is.

UTF-8 is the rule. UTF-16 and UTF-32 are recognised by their byte order mark or their zero bytes. Windows-1252, which
Excel writes in western languages, has no mark: a file is read as that only where nothing speaks against it.
"""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass
from typing import BinaryIO

BOM = codecs.BOM_UTF8
NAMES = {
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "utf-32-le": "UTF-32",
    "utf-32-be": "UTF-32",
    "cp1252": "Windows-1252",
}
_MARKS = [
    # UTF-32's mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
_CHUNK = 1 << 20
_UTF8_LETTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]+")
_NOT_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_LONGEST_RUN = 3
"""Letters beyond ASCII side by side: with more of them, the text is Russian, Greek or Chinese."""
_LARGEST_SHARE = 0.2
"""Share of letters beyond ASCII that no western language reaches."""


@dataclass(frozen=True)
class Encoding:
    """A codec's name and the length of the byte order mark before the text."""

    codec: str
    mark: int = 0

    @property
    def name(self) -> str:
        """What people call it."""
        return NAMES.get(self.codec, self.codec)


def by_mark(head: bytes) -> Encoding | None:
    """The encoding that a file's first bytes give away by a mark, or by a zero byte beside each of its letters."""
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return Encoding(codec, len(mark))
    even, odd = head[:64:2], head[1:64:2]
    if len(head) >= 4 and 0 not in even and not any(odd):
        return Encoding("utf-16-le")
    if len(head) >= 4 and 0 not in odd and not any(even):
        return Encoding("utf-16-be")
    return None


def is_windows_1252(file: BinaryIO) -> bool:
    """Whether a file that starts here is Windows-1252 and not UTF-8. It is read once; its position stays.

    Not UTF-8 means that none of its letters beyond ASCII is well-formed UTF-8: a UTF-8 file with a damaged byte has
    others. Those letters are few and stand alone, as in western languages.
    """
    start = file.tell()
    try:
        size = high = 0
        before = b""
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            # A letter of UTF-8 has at most four bytes, which may lie in two chunks.
            seam, before = before[-3:] + chunk[:3], chunk
            if chunk.isascii():
                continue
            if _UTF8_LETTER.search(chunk) or _UTF8_LETTER.search(seam) or _NOT_1252.search(chunk):
                return False
            runs = [len(run) for run in _HIGH.findall(chunk)]
            high += sum(runs)
            if max(runs) > _LONGEST_RUN:
                return False
        return 0 < high <= _LARGEST_SHARE * size
    finally:
        file.seek(start)


class AsUtf8(io.RawIOBase):
    """A file in another encoding, as the UTF-8 bytes of the same text."""

    def __init__(self, file: BinaryIO, encoding: Encoding) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding.codec)()
        self._waiting = b""
        self._given = 0
        file.seek(encoding.mark)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer
        """Fill `buffer`; 0 at the end.

        Raises:
            UnicodeDecodeError: the text is damaged.
        """
        while not self._waiting and (raw := self._file.read(_CHUNK)):
            self._waiting = self._decoder.decode(raw).encode()
        if not self._waiting:
            self._waiting = self._decoder.decode(b"", final=True).encode()
        part, self._waiting = self._waiting[: len(buffer)], self._waiting[len(buffer) :]
        buffer[: len(part)] = part
        self._given += len(part)
        return len(part)

    def tell(self) -> int:
        """How many bytes were read."""
        return self._given


def as_utf8(file: BinaryIO, encoding: Encoding) -> io.BufferedReader:
    """The text of `file`, which is in `encoding`, as a file of UTF-8. It cannot be sought in."""
    return io.BufferedReader(AsUtf8(file, encoding), _CHUNK)

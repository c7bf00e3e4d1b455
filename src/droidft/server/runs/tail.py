"""A run's event log as it grows, for any number of readers: raw lines by byte offset, never half a line.

One watcher per run looks at the file as long as somebody reads; new bytes are read once and shared. Readers that
are further behind read the file themselves, a chunk at a time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic_core import from_json

from droidft.runs.folder import Run

POLL_SECONDS = 0.1
CHUNK_BYTES = 1 << 20
_SEQ = re.compile(rb'\{"seq":(\d+),')


@dataclass(frozen=True)
class Lines:
    """Consecutive records as JSON text. `end` is the byte offset after them, `last` the newest one's number."""

    records: list[bytes]
    last: int
    end: int
    more: bool
    """Whether the file holds further complete lines."""


def read(path: Path, offset: int, *, after: int, most: int = CHUNK_BYTES) -> Lines:
    """Complete lines from byte `offset` on with numbers above `after`, about `most` bytes of them."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(offset)
            content = file.read(most)
            if b"\n" not in content and len(content) == most:  # a line longer than the chunk
                content += file.readline()
    except FileNotFoundError:
        return Lines([], after, offset, more=False)
    return _parse(content, offset, after, size)


def _parse(content: bytes, offset: int, after: int, size: int) -> Lines:
    whole = content.rfind(b"\n") + 1
    records, last = [], after
    for line in content[:whole].splitlines():
        found = _SEQ.match(line)
        if found is None or (number := int(found[1])) <= last or not _is_json(line):
            continue  # damaged, or known to the reader
        records.append(line)
        last = number
    end = offset + whole
    return Lines(records, last, end, more=whole > 0 and end < size)


def _is_json(line: bytes) -> bool:
    try:
        from_json(line)
    except ValueError:
        return False
    return True


@dataclass(eq=False)
class _Watcher:
    path: Path
    readers: set[asyncio.Event] = field(default_factory=set)
    task: asyncio.Task[None] | None = None
    start: int = 0
    recent: bytes = b""

    async def watch(self) -> None:
        self.start = self._size()
        while self.readers:
            await asyncio.sleep(POLL_SECONDS)
            size = self._size()
            end = self.start + len(self.recent)
            if size < end:  # a crash left half a line, and the next worker cut it off
                self.start, self.recent = size, b""
            elif size > end:
                self._take(end)
            else:
                continue
            for reader in self.readers:
                reader.set()

    def _size(self) -> int:
        with suppress(FileNotFoundError):
            return self.path.stat().st_size
        return 0

    def _take(self, end: int) -> None:
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(end)
            self.recent += file.read(CHUNK_BYTES)
        if (excess := len(self.recent) - CHUNK_BYTES) > 0:
            self.start, self.recent = self.start + excess, self.recent[excess:]


class Tails:
    """The watchers of all runs that somebody reads."""

    def __init__(self) -> None:
        self._watchers: dict[Path, _Watcher] = {}

    async def follow(self, run: Run, *, after: int) -> AsyncGenerator[Lines]:
        """Records after number `after`: those that are there at once (perhaps none), then new ones as they come."""
        path = run.events_file
        changed = asyncio.Event()
        watcher = self._watcher(path)
        watcher.readers.add(changed)
        try:
            offset, first = 0, True
            while True:
                changed.clear()
                found = self._from_memory(watcher, offset, after)
                if found is None:
                    found = await asyncio.to_thread(read, path, offset, after=after)
                offset, after = found.end, found.last
                if found.records or (first and not found.more):
                    yield found
                    first = False
                if not found.more:
                    await changed.wait()
        finally:
            watcher.readers.discard(changed)

    def _from_memory(self, watcher: _Watcher, offset: int, after: int) -> Lines | None:
        """What the watcher has read from `offset` on; None if that is not in its memory."""
        end = watcher.start + len(watcher.recent)
        if not watcher.start <= offset < end:
            return None
        return _parse(watcher.recent[offset - watcher.start :], offset, after, end)

    def _watcher(self, path: Path) -> _Watcher:
        watcher = self._watchers.get(path)
        if watcher is None or watcher.task is None or watcher.task.done():
            watcher = self._watchers[path] = _Watcher(path)
            watcher.task = asyncio.create_task(self._watch(watcher))
        return watcher

    async def _watch(self, watcher: _Watcher) -> None:
        await asyncio.sleep(0)  # the reader that asked for it registers first
        try:
            await watcher.watch()
        finally:
            if self._watchers.get(watcher.path) is watcher:
                del self._watchers[watcher.path]

    async def close(self) -> None:
        """End all watchers."""
        for watcher in list(self._watchers.values()):
            if watcher.task is not None:
                watcher.task.cancel()

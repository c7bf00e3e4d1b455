"""A run's event log as it grows, for any number of readers.

One watcher per run looks at the file as long as somebody reads; new bytes are read once and shared. Readers that
are further behind read the file themselves, a chunk at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from droidft.runs.folder import Run
from droidft.runs.log import CHUNK_BYTES, POLL_SECONDS, Lines, numbered, read


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
                lines = self._from_memory(watcher, offset, after)
                if lines is None:
                    lines = await asyncio.to_thread(read, path, offset, after=after)
                offset, after = lines.end, lines.last
                if lines.records or (first and not lines.more):
                    yield lines
                    first = False
                if not lines.more:
                    await changed.wait()
        finally:
            watcher.readers.discard(changed)

    def _from_memory(self, watcher: _Watcher, offset: int, after: int) -> Lines | None:
        """What the watcher has read from `offset` on; None if that is not in its memory."""
        end = watcher.start + len(watcher.recent)
        if not watcher.start <= offset < end:
            return None
        return numbered(watcher.recent[offset - watcher.start :], offset, after, end)

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

"""The outer half of a child process that answers requests; `channel.inner` is the inner half, and the protocol."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

from droidft.errors import DroidError

CANCEL_SECONDS = 5.0
LONGEST_LINE = 64 << 20

logger = logging.getLogger(__name__)


class ChildError(DroidError):
    """What a child answered instead of a result, under the child's own code."""

    def __init__(self, code: str, message: str, *, hint: str = "", field: str | None = None) -> None:
        super().__init__(message, hint=hint, field=field)
        self._code = code

    @property
    def code(self) -> str:  # type: ignore[override]
        """The code of the error that the child met."""
        return self._code


class Child:
    """A process that answers one request at a time; it is started when first needed, and again when it died.

    `module` is run as `python -m`; its niceness is raised by `niceness`, so that it never slows the server down.
    """

    def __init__(self, module: str, *, niceness: int = 0) -> None:
        self.module = module
        self.waiting = 0
        self._niceness = niceness
        self._ids = itertools.count(1)
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the living process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def busy(self) -> bool:
        """Whether a request is being done."""
        return self._turn.locked()

    async def call(self, name: str, params: dict[str, Any]) -> Any:
        """The result of one request; its events are dropped. Raises as `stream`."""
        async with aclosing(self.stream(name, params)) as steps:
            async for kind, value in steps:
                if kind == "result":
                    return value
        raise AssertionError("a stream ends with a result or an error")

    async def stream(self, name: str, params: dict[str, Any]) -> AsyncGenerator[tuple[str, Any]]:
        """`("event", …)` as they come, then `("result", …)`. Closing the iterator calls the request off.

        Raises:
            ChildError: the child's error; code `worker_died` when it ended without an answer.
        """
        self.waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self.waiting -= 1
        try:
            process = await self._running()
            number = next(self._ids)
            await self._send(process, {"id": number, "call": name, "with": params})
            answered = False
            try:
                async for message in self._answers(process, number):
                    if "error" in message:
                        answered = True
                        raise ChildError(**message["error"])
                    if "result" in message:
                        answered = True
                        yield "result", message["result"]
                        return
                    yield "event", message["event"]
            finally:
                if not answered:
                    await asyncio.shield(self._call_off(process, number))
        finally:
            self._turn.release()

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            await self._kill(process)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,
        )
        if self._niceness:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, self._niceness)
        return self._process

    async def _send(self, process: asyncio.subprocess.Process, message: dict[str, Any]) -> None:
        assert process.stdin is not None
        with suppress(ConnectionError):  # a dead child is noticed when its answer is read
            process.stdin.write(json.dumps(message, allow_nan=False).encode() + b"\n")
            await process.stdin.drain()

    async def _answers(self, process: asyncio.subprocess.Process, number: int) -> AsyncIterator[dict[str, Any]]:
        assert process.stdout is not None
        while (line := await process.stdout.readline()).endswith(b"\n"):  # not so: the child was killed as it wrote
            message = json.loads(line)
            if message["id"] == number:
                yield message
        raise self._death(await process.wait())

    def _death(self, status: int) -> ChildError:
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        if self._process is not None:  # it was not ended by `close`
            logger.warning("%s died: %s", self.module, how)
        hint = "try again; if it was killed for memory, use a smaller model or stop other work"
        return ChildError("worker_died", f"the worker process ended in the middle of its work ({how})", hint=hint)

    async def _call_off(self, process: asyncio.subprocess.Process, number: int) -> None:
        """Ask the child to drop the request; kill it when it does not."""
        if process.returncode is not None:
            return
        await self._send(process, {"cancel": number})
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                async for message in self._answers(process, number):
                    if "event" not in message:
                        return
        except TimeoutError:
            await self._kill(process)
        except ChildError:
            return

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

"""The protocol between the application and a child process that answers requests: one JSON object a line.

    parent -> child   {"id": 1, "call": "describe", "with": {…}}   or   {"cancel": 1}
    child -> parent   {"id": 1, "event": …} …, then {"id": 1, "result": …} or {"id": 1, "error": {…}}

The child's half is `serve` and `Call`, the parent's is `Child`. Requests are done one after another, over pipes of
their own: what libraries print goes to standard error, so it cannot be mistaken for an answer. The child ends with
its parent.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import IO, Any

from pydantic_core import to_jsonable_python

from droidft.errors import DroidError, InternalError
from droidft.support import processes
from droidft.support.memory import is_out_of_memory

REPORT_SECONDS = 0.1
"""A parent hears of progress at most this often, unless something else is being done."""
CANCEL_SECONDS = 5.0
LONGEST_LINE = 64 << 20

logger = logging.getLogger(__name__)


class Cancelled(Exception):
    """The parent no longer wants the answer."""


@dataclass(eq=False)
class Call:
    """One request, as a handler sees it."""

    id: int
    name: str
    params: dict[str, Any]
    _answers: IO[str]
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _reported: tuple[str, float] = ("", 0.0)

    def emit(self, event: Any) -> None:
        """Send the parent an event before the result.

        Raises:
            Cancelled: it no longer wants the answer.
        """
        self.check()
        self._send({"id": self.id, "event": event})

    def report(self, phase: str, done: int, total: int) -> None:
        """Send the parent how far the work is; without a `phase` nothing is sent. Raises as `emit`."""
        self.check()
        before, last = self._reported
        now = time.monotonic()
        if phase and (phase != before or done == total or now - last >= REPORT_SECONDS):
            self._reported = (phase, now)
            self.emit({"phase": phase, "done": done, "total": total or None})

    def check(self) -> None:
        """Raise `Cancelled` if the parent has called this request off."""
        if self._cancelled.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """Make the next `emit` or `check` raise."""
        self._cancelled.set()

    def _send(self, line: dict[str, Any]) -> None:
        text = json.dumps(line, default=to_jsonable_python, ensure_ascii=False, allow_nan=False)
        self._answers.write(text + "\n")
        self._answers.flush()

    def answer(self, handler: Callable[[Call], Any]) -> None:
        """Run the handler and send its result or its error."""
        try:
            self.check()
            self._send({"id": self.id, "result": handler(self)})
        except Cancelled:
            self._fail("cancelled", "cancelled")
        except DroidError as error:
            self._send({"id": self.id, "error": error.as_dict()})
        except Exception as error:  # noqa: BLE001 - the parent must get an answer
            if is_out_of_memory(error):
                hint = "close other programs, or use a smaller model or shorter texts"
                self._fail("out_of_memory", "there is not enough memory for this", hint)
                return
            traceback.print_exc()
            hint = "a defect of droidft; the server's log has the traceback"
            self._fail(InternalError.code, f"{type(error).__name__}: {error}", hint)

    def _fail(self, code: str, message: str, hint: str = "") -> None:
        self._send({"id": self.id, "error": {"code": code, "message": message, "hint": hint, "field": None}})


Handler = Callable[[Call], Any]
"""Does one request: may `emit` events, returns JSON values, dataclasses or models, raises `DroidError`."""


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answer requests from standard input until it ends."""
    # Names of files may hold halves of characters, which no answer can carry.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    waiting: queue.Queue[Call] = queue.Queue()
    threading.Thread(target=_read, args=(waiting, answers), daemon=True).start()
    while True:
        call = waiting.get()
        call.answer(handlers[call.name])


def _read(waiting: queue.Queue[Call], answers: IO[str]) -> None:
    calls: dict[int, Call] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" in message:
            if (call := calls.get(message["cancel"])) is not None:
                call.cancel()
            continue
        call = Call(message["id"], message["call"], message["with"], answers)
        # Only the newest can still be cancelled with effect: the parent sends one after another.
        calls = {call.id: call}
        waiting.put(call)
    os._exit(0)  # the parent has ended, and a computation may hold the main thread


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
    A request that is called off has `patience` seconds to end; then the process is killed.
    """

    def __init__(self, module: str, *, niceness: int = 0, patience: float = CANCEL_SECONDS) -> None:
        self.module = module
        self.waiting = 0
        self._niceness, self._patience = niceness, patience
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

    async def call(self, name: str, params: dict[str, Any], on_event: Callable[[Any], None] | None = None) -> Any:
        """The result of one request; `on_event` is called with each of its events. Raises as `stream`."""
        async with aclosing(self.stream(name, params)) as steps:
            async for kind, value in steps:
                if kind == "result":
                    return value
                if on_event is not None:
                    on_event(value)
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
        calling_off: asyncio.Task[None] | None = None
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
                    # The turn lasts until the child has dropped the request, however often this task is cancelled.
                    calling_off = asyncio.create_task(self._call_off(process, number))
                    calling_off.add_done_callback(lambda _: self._turn.release())
                    await asyncio.shield(calling_off)
        finally:
            if calling_off is None:
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
            *processes.python(self.module),
            env=processes.environment(),
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
            async with asyncio.timeout(self._patience):
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

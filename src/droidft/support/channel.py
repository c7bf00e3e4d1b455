"""The protocol between the application and a child process that answers requests: one JSON object a line.

    parent -> child   {"id": 1, "call": "describe", "with": {…}}   or   {"cancel": 1}
    child -> parent   {"id": 1, "event": …} …, then {"id": 1, "result": …} or {"id": 1, "error": {…}}

The child's half is `serve` and `Call`, the parent's is `Child`. Requests are done one after another, or with
`serve_together` side by side, over pipes of their own: what libraries print goes to standard error, so it cannot be
mistaken for an answer. The child ends with its parent.
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
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
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

        def run() -> bool:
            self.check()
            self._send({"id": self.id, "result": handler(self)})
            return True

        self._guarded(run)

    def advance(self, steps: Steps) -> bool:
        """Do the next step of a handler; whether it was the last, after which its result or its error was sent."""

        def step() -> bool:
            self.check()
            try:
                next(steps)
            except StopIteration as end:
                self._send({"id": self.id, "result": end.value})
                return True
            return False

        ended = self._guarded(step)
        if ended:
            steps.close()
        return ended

    def fail(self, error: Exception) -> None:
        """Send an error that was met outside of the handler."""

        def reraise() -> bool:
            raise error

        self._guarded(reraise)

    def _guarded(self, work: Callable[[], bool]) -> bool:
        """What `work` returns; True after an error, which was sent."""
        try:
            return work()
        except Cancelled:
            self._fail("cancelled", "cancelled")
        except DroidError as error:
            self._send({"id": self.id, "error": error.as_dict()})
        except Exception as error:  # noqa: BLE001 - the parent must get an answer
            if is_out_of_memory(error):
                hint = "close other programs, or use a smaller model or shorter texts"
                self._fail("out_of_memory", "there is not enough memory for this", hint)
                return True
            traceback.print_exc()
            hint = "a defect of droidft; the server's log has the traceback"
            self._fail(InternalError.code, f"{type(error).__name__}: {error}", hint)
        return True

    def _fail(self, code: str, message: str, hint: str = "") -> None:
        self._send({"id": self.id, "error": {"code": code, "message": message, "hint": hint, "field": None}})


Handler = Callable[[Call], Any]
"""Does one request: may `emit` events, returns JSON values, dataclasses or models, raises `DroidError`."""


Steps = Generator[None, None, Any]
"""A request that is done in steps, between which others have theirs; its return value is the result."""


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answer requests from standard input until it ends, one after another."""
    waiting = _requests()
    while True:
        call = waiting.get()
        call.answer(handlers[call.name])


def serve_together(handlers: Mapping[str, Callable[[Call], Steps]], turn: Callable[[], None]) -> None:
    """Answer requests from standard input until it ends, side by side.

    `turn` does what they share, again and again while there are any; then each of them does a step. An error in
    `turn` ends them all.
    """
    waiting = _requests()
    doing: list[tuple[Call, Steps]] = []
    while True:
        while not doing or not waiting.empty():
            call = waiting.get()
            doing.append((call, handlers[call.name](call)))
        try:
            turn()
        except Exception as error:  # noqa: BLE001 - it is sent to whoever waits
            for call, steps in doing:
                steps.close()
                call.fail(error)
            doing = []
        doing = [(call, steps) for call, steps in doing if not call.advance(steps)]


def _requests() -> queue.Queue[Call]:
    """Requests as they come."""
    # Names of files may hold halves of characters, which no answer can carry.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    waiting: queue.Queue[Call] = queue.Queue()
    threading.Thread(target=_read, args=(waiting, answers), daemon=True).start()
    return waiting


def _read(waiting: queue.Queue[Call], answers: IO[str]) -> None:
    calls: weakref.WeakValueDictionary[int, Call] = weakref.WeakValueDictionary()
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" in message:
            if (call := calls.get(message["cancel"])) is not None:
                call.cancel()
            continue
        call = calls[message["id"]] = Call(message["id"], message["call"], message["with"], answers)
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


class _Process:
    """A living child, and who waits for which of its answers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.mourned = False
        """Whether its death was logged."""
        self._listeners: dict[int, asyncio.Queue[dict[str, Any] | None]] = {}
        self._reading = asyncio.create_task(self._read())

    @property
    def listeners(self) -> int:
        """How many requests are being done."""
        return len(self._listeners)

    def listen(self, number: int) -> None:
        """Keep the answers to a request for `answers`."""
        self._listeners[number] = asyncio.Queue()

    def forget(self, number: int) -> None:
        """Drop whatever else is answered to a request."""
        self._listeners.pop(number, None)

    async def answers(self, number: int) -> AsyncIterator[dict[str, Any]]:
        """As they come, until the process has ended."""
        listener = self._listeners[number]
        while not (self._reading.done() and listener.empty()):
            if (message := await listener.get()) is None:
                return
            yield message

    async def send(self, line: bytes) -> None:
        """A line to its standard input."""
        assert self.process.stdin is not None
        with suppress(ConnectionError):  # a dead child is noticed when its answer is read
            self.process.stdin.write(line)
            await self.process.stdin.drain()

    async def kill(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            # A line without its end: the child was killed as it wrote.
            while (line := await self.process.stdout.readline()).endswith(b"\n"):
                message = json.loads(line)
                if (listener := self._listeners.get(message["id"])) is not None:
                    listener.put_nowait(message)
        finally:
            for listener in self._listeners.values():
                listener.put_nowait(None)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, allow_nan=False).encode() + b"\n"


class Child:
    """A process that answers requests, `at_once` at a time; it is started when first needed, and again when it died.

    `module` is run as `python -m`; its niceness is raised by `niceness`, so that it never slows the server down.
    A request that is called off has `patience` seconds to end; then the process is killed, if no other is being done.
    """

    def __init__(self, module: str, *, niceness: int = 0, patience: float = CANCEL_SECONDS, at_once: int = 1) -> None:
        self.module = module
        self.waiting = 0
        self._niceness, self._patience = niceness, patience
        self._ids = itertools.count(1)
        self._doing = 0
        self._turns = asyncio.Semaphore(at_once)
        self._starting = asyncio.Lock()
        self._child: _Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the living process."""
        child = self._child
        return child.process.pid if child is not None and child.process.returncode is None else None

    @property
    def busy(self) -> bool:
        """Whether a request is being done."""
        return self._doing > 0

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
        await self._take_turn()
        calling_off: asyncio.Task[None] | None = None
        try:
            child = await self._running()
            number = next(self._ids)
            request = _line({"id": number, "call": name, "with": params})
            child.listen(number)
            answered = False
            try:
                await child.send(request)
                async for message in child.answers(number):
                    if "error" in message:
                        answered = True
                        raise ChildError(**message["error"])
                    if "result" in message:
                        answered = True
                        yield "result", message["result"]
                        return
                    yield "event", message["event"]
                answered = True
                raise self._death(child, await child.process.wait())
            finally:
                if answered:
                    child.forget(number)
                else:
                    # The turn lasts until the child has dropped the request, however often this task is cancelled.
                    calling_off = asyncio.create_task(self._call_off(child, number))
                    calling_off.add_done_callback(lambda _: self._end_turn())
                    await asyncio.shield(calling_off)
        finally:
            if calling_off is None:
                self._end_turn()

    async def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            await child.kill()

    async def _take_turn(self) -> None:
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        self._doing += 1

    def _end_turn(self) -> None:
        self._doing -= 1
        self._turns.release()

    async def _running(self) -> _Process:
        async with self._starting:
            if self._child is None or self._child.process.returncode is not None:
                self._child = _Process(await self._start())
            return self._child

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *processes.python(self.module),
            env=processes.environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,
        )
        if self._niceness:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, self._niceness)
        return process

    def _death(self, child: _Process, status: int) -> ChildError:
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        if self._child is child and not child.mourned:  # it was not ended by `close`
            child.mourned = True
            logger.warning("%s died: %s", self.module, how)
        hint = "try again; if it was killed for memory, use a smaller model or stop other work"
        return ChildError("worker_died", f"the worker process ended in the middle of its work ({how})", hint=hint)

    async def _call_off(self, child: _Process, number: int) -> None:
        """Ask the child to drop the request; kill it when it does not, unless others wait for it."""
        try:
            if child.process.returncode is not None:
                return
            async with asyncio.timeout(self._patience):
                await child.send(_line({"cancel": number}))
                async for message in child.answers(number):
                    if "event" not in message:
                        return
        except TimeoutError:
            if child.listeners == 1:
                await child.kill()
        finally:
            child.forget(number)

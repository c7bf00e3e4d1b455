"""The inner half of a child process that answers requests: one JSON object a line, over pipes of its own.

    parent -> child   {"id": 1, "call": "describe", "with": {…}}   or   {"cancel": 1}
    child -> parent   {"id": 1, "event": …} …, then {"id": 1, "result": …} or {"id": 1, "error": {…}}

Requests are done one after another. What libraries print goes to standard error, so nothing that a model or a file
says can be mistaken for an answer. When the parent is gone, so is the child. `channel/outer.py` is the outer half.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from pydantic_core import to_jsonable_python

from droidft.errors import DroidError, InternalError
from droidft.support.memory import is_out_of_memory

REPORT_SECONDS = 0.1
"""A parent hears of progress at most this often, unless something else is being done."""


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
        except Exception as error:  # noqa: BLE001 - the parent must get an answer, whatever it is
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
    os._exit(0)  # the parent is gone, and a computation may hold the main thread

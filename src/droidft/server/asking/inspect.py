"""Questions about models, data, adapters and the machine, put to processes of their own.

One process is kept warm for instant answers, one takes questions that may last seconds, and each long job has one to
itself, at a lower priority than the server. One that died is started again for the next question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from droidft.home import Home
from droidft.support.channel import CANCEL_SECONDS, Child, ChildError

MODULE = "droidft.workers.inspect"
NICENESS = 10
LOOKS_AT_ONCE = 2
ANSWER_SECONDS = 300.0
"""How long an answer may take; what a model's own files steer has closer limits in the process itself."""
AGAIN_SECONDS = 1.0
PATIENCE = 0.5
"""How long a process that looks at something may go on after the question was called off."""
IDLE_SECONDS = 300.0
"""How long a process that has done a job waits for the next one."""


class Inspector:
    """Asks the inspecting processes; each is started when it is first needed."""

    def __init__(self, home: Home) -> None:
        self._home = str(home.root)
        self._children: set[Child] = set()
        self._closed = False
        self._quick = self._child(niceness=0, patience=PATIENCE)
        self._slow = self._child(patience=PATIENCE)
        self._idle: list[Child] = []
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._warming = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._examined: dict[str, Any] | None = None
        self._examining = asyncio.Lock()

    async def ask(self, question: str, **params: Any) -> Any:
        """The answer of the warm process, for what takes milliseconds. A process that dies is asked once more.

        Raises:
            ChildError: what went wrong there.
        """
        return await self._ask(self._quick, question, params)

    async def ask_patiently(self, question: str, **params: Any) -> Any:
        """As `ask`, for what may take seconds: downloads of settings, hashes, rows deep in a file."""
        return await self._ask(self._slow, question, params)

    async def ask_worker(self, question: str, **params: Any) -> Any:
        """As `ask`, of a process that has done jobs: it may still hold the tokenizer of the last one."""
        async with self._looks, self.worker() as child:
            return await self._ask(child, question, params)

    def warm(self) -> None:
        """Let the warm process import what answers about models need."""
        self._later(self._warmed(self.ask))

    def warm_worker(self) -> None:
        """Have a process ready for a job that is likely to come."""
        if not self._idle and not self._warming:
            self._warming = True
            self._later(self._warmed_worker())

    async def system(self) -> dict[str, Any]:
        """The report of `droidft doctor`. Speed is measured once, so that training is not disturbed."""
        async with self._examining:
            if self._examined is None:
                self._examined = await self.ask_patiently("system")
        report = dict(self._examined)
        now = await self.ask("storage")
        fresh = {finding["name"]: finding for finding in now.pop("findings")}
        report["findings"] = [fresh.get(finding["name"], finding) for finding in report["findings"]]
        report["ok"] = not any(finding["fix"] for finding in report["findings"])
        return {**report, **now}

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Child]:
        """A process for one job; it is kept for a while after it, then ended."""
        self._refuse_when_closed()
        child = self._idle.pop() if self._idle else self._child()
        try:
            yield child
        finally:
            if not self._closed:
                self._idle.append(child)
                self._later(self._retire(child))

    def params(self, **params: Any) -> dict[str, Any]:
        """The parameters of a request."""
        return {"home": self._home, **params}

    async def close(self) -> None:
        """End every process, even in the middle of its work."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(child.close() for child in self._children), return_exceptions=True)

    async def _ask(self, child: Child, question: str, params: dict[str, Any]) -> Any:
        self._refuse_when_closed()
        began = time.monotonic()
        try:
            return await self._answered(child, question, params)
        except ChildError as error:
            # One that died in the middle of the question would do so again; it may have died before that.
            if error.code != "worker_died" or time.monotonic() - began > AGAIN_SECONDS:
                raise
        self._refuse_when_closed()
        return await self._answered(child, question, params)

    async def _answered(self, child: Child, question: str, params: dict[str, Any]) -> Any:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await child.call(question, self.params(**params))
        except TimeoutError:
            hint = "see what it is about: a damaged model or a file on a slow disk"
            raise ChildError(
                "timeout", f"the answer took longer than {ANSWER_SECONDS:g} s and was called off", hint=hint
            ) from None

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ChildError("worker_died", "the server is ending", hint="start it again")

    def _child(self, *, niceness: int = NICENESS, patience: float = CANCEL_SECONDS) -> Child:
        child = Child(MODULE, niceness=niceness, patience=patience)
        self._children.add(child)
        return child

    async def _warmed(self, ask: Callable[[str], Coroutine[Any, Any, Any]]) -> None:
        with suppress(ChildError):
            await ask("warm")

    async def _warmed_worker(self) -> None:
        try:
            await self._warmed(self.ask_worker)
        finally:
            self._warming = False

    async def _retire(self, child: Child) -> None:
        await asyncio.sleep(IDLE_SECONDS)
        if child in self._idle:
            self._idle.remove(child)
            self._children.discard(child)
            await child.close()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

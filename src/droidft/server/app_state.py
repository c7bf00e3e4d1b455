"""What the routes work on: one object for the whole server, handed to each route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from droidft.adapters.exports.catalog import sweep_exports
from droidft.server.access import Access
from droidft.server.asking.answers import Answers
from droidft.server.asking.inspect import Inspector
from droidft.server.asking.jobs import Jobs
from droidft.server.options import Options
from droidft.server.runs.experiments import Experiments
from droidft.server.runs.store import Store
from droidft.server.runs.supervisor import Supervisor
from droidft.server.runs.tail import Tails
from droidft.server.schemas.jobs import Job

JOBS_SECONDS = 0.3


class AppState:
    """The server's parts. Nothing is opened or started before `running`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.home = options.home
        self.access = Access(options.home.root / "server", options.port)
        self.tails = Tails()
        self.answers = Answers(options)
        self.inspector = Inspector(options.home)
        self.jobs = Jobs(self.inspector, self.home)
        self.supervisor: Supervisor
        self.experiments: Experiments

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the parts, and end them in reverse order."""
        async with AsyncExitStack() as stack:
            store = stack.enter_context(closing(Store(self.home.server / "server.sqlite")))
            self.supervisor = Supervisor(self.home, store, parallel=self.options.parallel)
            self.supervisor.load_endings()
            await self.supervisor.look()
            await asyncio.to_thread(sweep_exports, self.home.root / "exports")
            stack.push_async_callback(self.tails.close)
            await stack.enter_async_context(_background(self.supervisor.watch()))
            self.experiments = Experiments(self.home, self.supervisor, self.inspector)
            await stack.enter_async_context(_background(self._announce_jobs()))
            await stack.enter_async_context(self.answers.running())
            stack.push_async_callback(self.jobs.close)
            stack.push_async_callback(self.inspector.close)
            stack.push_async_callback(self.experiments.close)
            await stack.enter_async_context(_background(self.experiments.watch()))
            yield

    async def _announce_jobs(self) -> None:
        """Wake the readers of updates when a job has changed."""
        before: list[Job] = []
        while True:
            await asyncio.sleep(JOBS_SECONDS)
            if (now := self.jobs.all()) != before:
                before = now
                self.supervisor.wake()


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do `work` while the block lasts."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _state(connection: HTTPConnection) -> AppState:
    return cast("AppState", connection.app.state.droidft)


State = Annotated[AppState, Depends(_state)]

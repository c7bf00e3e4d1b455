"""Answers that end early when their client goes: streamed, or whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")


class Cancellable(Protocol):
    """Work that goes on by itself until it is called off."""

    def cancel(self) -> None:
        """Call it off."""


class Live(StreamingResponse):
    """Text as it is made by `work`, which is called off when the client goes."""

    def __init__(self, work: Cancellable, text: AsyncIterator[str], *, media_type: str) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(text, media_type=media_type, headers=headers)
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._work.cancel()


async def unless_gone(request: Request, work: Cancellable, result: Coroutine[None, None, T]) -> T:
    """What `result` gives; when the client goes before, `work` is called off.

    Raises:
        ClientDisconnect: it has gone.
    """
    waiting = asyncio.create_task(result)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientDisconnect
        return await waiting
    except BaseException:
        work.cancel()
        raise
    finally:
        for task in (waiting, gone):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _gone(request: Request) -> None:
    """Return when the client has closed the connection. The body has been read by then."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

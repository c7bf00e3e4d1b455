"""Connections that ask nothing: each takes a file descriptor, and without any left no other is answered."""

from __future__ import annotations

import asyncio
import resource
from contextlib import suppress

from uvicorn.protocols.http.h11_impl import H11Protocol

FIRST_SECONDS = 30.0
"""How long a connection may take until its first request has arrived, without its body."""
WANTED_DESCRIPTORS = 65_536


class ImpatientProtocol(H11Protocol):
    """As uvicorn's, but a connection that sends no request is closed; between requests uvicorn sees to that."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._waiting = self.loop.call_later(FIRST_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._waiting.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None:
            self.transport.close()


def raise_descriptor_limit() -> None:
    """Let this process have as many open connections and files as the system allows, up to a reasonable number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # some systems have a lower bound of their own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

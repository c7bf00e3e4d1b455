"""What the routes work on: one object for the whole server, handed to each route."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from droidft.home import Home


@dataclass(frozen=True)
class Options:
    """How the server was started."""

    home: Home = field(default_factory=Home.find)
    host: str = "127.0.0.1"
    port: int = 8323
    hosts: tuple[str, ...] = ()
    """Further names under which a browser may reach the server."""
    roots: tuple[Path, ...] = ()
    """Folders below which clients may name data files and models, besides the home folder."""
    parallel: int = 1
    """How many runs train at once."""
    upload_limit: int = 20 << 30
    """Largest data file that is taken, in bytes."""


class AppState:
    """The server's parts. Nothing is opened or started before `running`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.home = options.home

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the parts, and end them in reverse order."""
        async with AsyncExitStack() as _stack:
            yield


def _state(connection: HTTPConnection) -> AppState:
    return cast("AppState", connection.app.state.droidft)


State = Annotated[AppState, Depends(_state)]

"""What the routes work on: one object for the whole server, handed to each route."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from droidft.home import Home


@dataclass
class AppState:
    """The server's parts."""

    home: Home
    roots: tuple[Path, ...]
    """Folders below which clients may name data files and models."""


def _state(connection: HTTPConnection) -> AppState:
    return cast("AppState", connection.app.state.droidft)


State = Annotated[AppState, Depends(_state)]

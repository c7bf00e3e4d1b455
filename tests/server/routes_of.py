"""The routes of an application, flat, and addresses that reach them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def flat(app: Starlette) -> list[Any]:
    """Every route and mount; routers that were included are opened."""
    found = list(_open(app.routes))
    assert all(isinstance(route, Route | WebSocketRoute | Mount) or hasattr(route, "path") for route in found)
    return found


def address(path: str) -> str:
    """An address below `path` with something in the place of each parameter."""
    return re.sub(r"\{[^}]*\}", "x1", path)


def is_socket(route: Any) -> bool:
    """Whether a route takes WebSockets."""
    return isinstance(route, WebSocketRoute)


def methods(route: Any) -> set[str]:
    """The methods that a route takes."""
    return set(getattr(route, "methods", None) or ())


def _open(routes: list[Any]) -> Iterator[Any]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from _open(inner.routes)

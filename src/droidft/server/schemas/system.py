"""The machine, the server, signing in."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from droidft.server.schemas.base import Body, Wire


class Health(Wire):
    """The server answers."""

    status: Literal["ok"] = "ok"
    version: str


class Finding(Wire):
    """One line of `droidft doctor`."""

    name: str
    value: str
    fix: str
    """How to fix it; empty when nothing is wrong."""


class SystemReport(Wire):
    """What this machine has and what is missing."""

    ok: bool
    findings: list[Finding]
    versions: dict[str, str]
    device: dict[str, Any]
    gflops: float
    home: str
    memory_total: int
    memory_available: int
    disk_free: int
    roots: list[str]
    """Folders from which data files and models may be taken."""


class Login(Body):
    """The token that stands in the home folder's `server/token`, or a launch code."""

    token: Annotated[str, Field(min_length=1, max_length=200)]


class Launch(Wire):
    """A link that signs a browser in, once."""

    url: str

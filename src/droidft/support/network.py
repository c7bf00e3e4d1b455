"""Requests that stay on this machine: no proxy sees them.

Environment variables such as `http_proxy` and `ALL_PROXY` send every request to a proxy, those to this very machine
too, and with them the server's token.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.request import Request

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def keep_loopback_direct() -> None:
    """Let no request of this process, or of one it starts, reach this machine through a proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host.strip() for host in os.environ.get(name, "").split(",") if host.strip()]
        if "*" not in hosts:
            os.environ[name] = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))


def ask_own_server(request: Request, *, seconds: float) -> Any:
    """The answer of a droidft server of this user, asked without a proxy wherever it listens.

    Raises:
        OSError: it cannot be reached, or answered with an error.
    """
    from urllib.request import ProxyHandler, build_opener  # slow to import

    return build_opener(ProxyHandler({})).open(request, timeout=seconds)

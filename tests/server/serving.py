"""The server in this process, and raw bytes to a real one."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from droidft.home import Home
from droidft.server.main import create_app
from droidft.server.options import Options

ORIGIN = "http://127.0.0.1:8323"


@contextmanager
def serving(home: Path, *, token: bool = True, **options: Any) -> Iterator[TestClient]:
    """A client of a server in this process; `token` says whether it sends the token."""
    app = create_app(Options(home=Home(home), **options))
    headers = {"Authorization": f"Bearer {app.state.droidft.access.token}"} if token else {}
    with TestClient(app, base_url=ORIGIN, headers=headers, follow_redirects=False) as client:
        yield client


def raw(port: int, request: bytes, *, seconds: float = 5.0) -> bytes:
    """What the server answers to these bytes, until the answer is whole or nothing comes for a while."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while not _is_whole(answer) and (chunk := connection.recv(65536)):
                answer += chunk
        except (TimeoutError, ConnectionError):
            pass
        return answer


def status(answer: bytes) -> int:
    """The status of a raw answer; 0 for none."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found[1]) if found else 0


def _is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(found) and (length is None or len(body) >= int(length[1]))

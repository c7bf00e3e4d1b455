"""The server in this process, listening at a real port: for clients that must really connect, and really go."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from droidft.commands.serve import _listen
from droidft.home import Home
from droidft.server.asking.answers import Answers
from droidft.server.main import create_app
from droidft.server.options import Options


@dataclass
class Listening:
    """A running server and a client that sends its token."""

    url: str
    token: str
    answers: Answers
    client: httpx2.Client

    def post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        """Send JSON."""
        return self.client.post(path, json=body)

    def wait_until_idle(self, *, seconds: float = 20) -> float:
        """Wait for the worker to have nothing to do; how long that took."""
        begun = time.monotonic()
        while self.client.get("/api/inference").json()["busy"]:
            assert time.monotonic() - begun < seconds
            time.sleep(0.01)
        return time.monotonic() - begun


@contextmanager
def listening(home: Path, **options: Any) -> Iterator[Listening]:
    """A server on `home` at a free port."""
    listener = _listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    app = create_app(Options(home=Home(home), port=port, **options))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        url = f"http://127.0.0.1:{port}"
        state = app.state.droidft
        headers = {"Authorization": f"Bearer {state.access.token}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=120) as client:
            yield Listening(url, state.access.token, state.answers, client)
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()

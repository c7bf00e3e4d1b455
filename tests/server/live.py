"""The real server as a process of its own, as `droidft serve` starts it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STARTS = re.compile(r"open\s+http://127\.0\.0\.1:(\d+)\S*?/launch\?code=(\S+)")


@dataclass
class LiveServer:
    """A running server: `request` talks to it with the token."""

    process: subprocess.Popen[str]
    port: int
    code: str
    home: Path
    output: list[str] = field(default_factory=list)

    @property
    def token(self) -> str:
        """The secret that programs send."""
        return (self.home / "server" / "token").read_text().strip()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def launch_url(self) -> str:
        """The link that signs a browser in, once."""
        return f"{self.url}/launch?code={self.code}"

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        timeout: float = 60,
    ) -> tuple[int, Any]:
        """Status and JSON (or bytes) of an answer; `body` is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        sent = {"Authorization": f"Bearer {self.token}"} | (headers or {})
        if body is not None:
            content = json.dumps(body).encode()
            sent |= {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body=content, headers=sent)
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        is_json = (answer.getheader("Content-Type") or "").startswith("application/json")
        return answer.status, json.loads(raw) if raw and is_json else raw

    def get(self, path: str, **options: Any) -> Any:
        """The JSON of a GET that succeeds."""
        status, value = self.request("GET", path, **options)
        assert status == 200, (path, status, value)
        return value

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """The JSON of a POST that succeeds."""
        status, value = self.request("POST", path, {} if body is None else body, **options)
        assert status in (200, 201, 202, 204), (path, status, value)
        return value

    def until(self, path: str, wanted: Any, *, seconds: float = 120) -> Any:
        """GET `path` again and again until `wanted(answer)` holds."""
        end = time.monotonic() + seconds
        while True:
            found = self.get(path)
            if wanted(found):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.1)

    def stop(self) -> float:
        """End it as the system would; returns the seconds that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        return time.monotonic() - began

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait(timeout=30)


def start(home: Path, *options: str) -> LiveServer:
    """Start `droidft serve` on a free port and wait until it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "droidft.cli", "serve", "--port", "0", "--no-browser", *options],
        env=os.environ | {"DROIDFT_HOME": str(home), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := STARTS.search(line):
            server = LiveServer(process, int(found[1]), found[2], home, lines)
            _wait(server)
            return server
    raise AssertionError("the server did not start:\n" + "".join(lines))


@contextmanager
def running(home: Path, *options: str) -> Iterator[LiveServer]:
    """A server while the block lasts; its training workers are ended with it."""
    from droidft.home import Home
    from droidft.runs import folder as runs

    server = start(home, *options)
    try:
        yield server
    finally:
        server.kill()
        if server.process.stdout is not None:
            server.output.append(server.process.stdout.read())
            server.process.stdout.close()
        for run in runs.all_runs(Home(home)):
            run.kill()


def _wait(server: LiveServer) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            if server.request("GET", "/api/health")[0] == 200:
                return
        except (ConnectionError, FileNotFoundError):
            pass
        assert time.monotonic() < end, "the server does not answer"
        time.sleep(0.05)

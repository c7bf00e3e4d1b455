"""A second `droidft serve`: it asks the server that is there, and gives its token to nobody else."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from droidft.commands import serve
from droidft.errors import RunError
from droidft.home import Home
from droidft.support import locks
from tests.server import live


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers everything, and keeps what it was sent."""

    seen: list[tuple[str, str | None]]

    def _answer(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization")))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"url": "http://127.0.0.1:1/launch?code=x"}).encode())

    do_GET = do_POST = _answer

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a program that is no server of ours."""
    Stranger.seen = []
    listening = http.server.HTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize("pid", [os.getpid(), 1], ids=["own", "init"])
def test_the_token_goes_to_no_other_program(
    pid: int, stranger: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "ANSWER_SECONDS", 0.3)
    folder = Home.find().server
    (folder / "server.json").write_text(json.dumps({"url": stranger, "pid": pid}))
    (folder / "token").write_text("t" * 43)
    held = locks.hold(folder / "lock")
    assert held is not None
    reason = "another program answers" if pid == os.getpid() else "not written its address yet"
    with held, pytest.raises(RunError, match=reason):
        serve._new_link(Home.find())
    assert all(secret is None and path.startswith("/proof?") for path, secret in Stranger.seen)
    assert bool(Stranger.seen) == (pid == os.getpid())


@pytest.mark.parametrize("text", ["", "null", "{", "[]", '{"url": 1}', '{"url": "http://127.0.0.1:x", "pid": 0}'])
def test_a_damaged_address_is_a_sentence(text: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "ANSWER_SECONDS", 0.1)
    folder = Home.find().server
    (folder / "server.json").write_text(text)
    with pytest.raises(RunError, match="does not answer"):
        serve._new_link(Home.find())


def test_the_server_that_is_there_gives_a_new_link(home: Path) -> None:
    with live.running(home) as server:
        url, link = serve._new_link(Home.find())
        assert url == server.url
        assert link.startswith(f"{url}/launch?code=")
        assert server.request("GET", link.removeprefix(url))[0] == 303


def test_a_browser_is_given_a_page_and_not_the_code(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", opened.append)
    page = Home.find().server / "open.html"
    serve._open(page, "http://127.0.0.1:1/launch?code=a&b")
    assert opened == [page.as_uri()]
    assert "url=http://127.0.0.1:1/launch?code=a&amp;b" in page.read_text()
    assert page.stat().st_mode & 0o077 == 0

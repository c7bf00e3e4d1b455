"""The application below a path, behind a proxy that passes the prefix on or leaves it out; and unknown names."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from websockets.sync.client import connect

from droidft.errors import ConfigError
from droidft.server.main import STATIC
from droidft.server.prefix import checked_root_path
from tests.server import live
from tests.server.live import LiveServer

ROOT = "/droid/app"


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose application a proxy shows below `ROOT`, as `tunnel.example`."""
    with live.running(
        tmp_path_factory.mktemp("home"), "--root-path", f"{ROOT}/", "--name", "tunnel.example"
    ) as server:
        yield server


def ask(server: LiveServer, path: str, **headers: str) -> tuple[http.client.HTTPResponse, str]:
    """A GET as a browser makes it."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        connection.request("GET", path, headers={"Accept": "text/html", **headers})
        answer = connection.getresponse()
        return answer, answer.read().decode()


def test_links_redirects_and_cookies_name_the_prefix(below: LiveServer) -> None:
    link = next(re.search(r"http://\S+/launch\?code=\S+", line) for line in below.output if "/launch?" in line)
    assert link is not None
    assert link[0] == f"{below.url}{ROOT}/launch?code={below.code}"
    answer, _ = ask(below, f"{ROOT}/launch?code={below.code}")
    assert (answer.status, answer.getheader("Location")) == (303, f"{ROOT}/")
    cookie = answer.getheader("Set-Cookie") or ""
    assert f"Path={ROOT};" in f"{cookie};"
    again, _ = ask(below, f"{ROOT}/launch?code={below.code}")
    assert again.getheader("Location") == f"{ROOT}/?launch=expired"
    for path in (f"{ROOT}/api/health", "/api/health"):
        status = ask(below, path, Cookie=cookie.partition(";")[0])[0].status
        assert status == 200, path
    url = below.post(f"{ROOT}/api/launch")["url"]
    assert url.startswith(f"{below.url}{ROOT}/launch?code=")
    assert ask(below, f"{ROOT}/api/health")[0].status == 401


@pytest.mark.parametrize("prefix", [ROOT, ""])
def test_a_socket_is_reached_with_and_without_the_prefix(below: LiveServer, prefix: str) -> None:
    headers = {"Authorization": f"Bearer {below.token}"}
    with connect(f"ws://127.0.0.1:{below.port}{prefix}/api/updates", additional_headers=headers) as socket:
        assert json.loads(socket.recv(timeout=10))


@pytest.mark.skipif(not (STATIC / "index.html").is_file(), reason="the front end is not built (make builds it)")
@pytest.mark.parametrize("prefix", [ROOT, ""])
def test_the_page_and_its_files_lie_below_the_prefix(below: LiveServer, prefix: str) -> None:
    for path in ("/", "/results/20260101-000000-x", "/experiments/new"):
        answer, page = ask(below, prefix + path)
        assert answer.status == 200
        assert f'<base href="{ROOT}/" />' in page
        assert answer.getheader("ETag") is None
        assert int(answer.getheader("Content-Length") or 0) == len(page.encode())
        for file in re.findall(r'(?:src|href)="\./([^"]+)"', page):
            assert ask(below, f"{prefix}/{file}", Accept="*/*")[0].status == 200
        assert not re.search(r'<(?:script|link)[^>]*(?:src|href)="/', page)
    stamp = ask(below, prefix + "/")[0].getheader("Last-Modified")
    assert stamp is None


def test_a_path_that_is_none_is_refused() -> None:
    assert [checked_root_path(text) for text in ("", "/", "/a", "/a/b-c/")] == ["", "", "/a", "/a/b-c"]
    for text in ("droid", "/a b", "/a/../b", "//a", "/a?b", "https://x/y", '/"><script>'):
        with pytest.raises(ConfigError, match="is not a path"):
            checked_root_path(text)


def test_an_unknown_name_is_told_to_a_person_with_the_command_that_allows_it(below: LiveServer) -> None:
    answer, page = ask(below, "/", Host="my-tunnel.example:9000")
    assert answer.status == 403
    assert (answer.getheader("Content-Type") or "").startswith("text/html")
    assert "droidft serve --name my-tunnel.example:9000" in page
    answer, page = ask(below, "/", Host='<script>"')
    assert answer.status == 403
    assert "<script>" not in page
    answer, text = ask(below, "/api/health", Host="my-tunnel.example", Accept="application/json")
    assert json.loads(text)["error"]["hint"].endswith("`droidft serve --name my-tunnel.example`")
    assert ask(below, "/", Host="tunnel.example")[0].status == 200 or not (STATIC / "index.html").is_file()


def test_without_a_prefix_nothing_is_changed(home: Path) -> None:
    with live.running(home) as server:
        answer, _ = ask(server, f"/launch?code={server.code}")
        assert answer.getheader("Location") == "/"
        assert "Path=/;" in f"{answer.getheader('Set-Cookie')};"

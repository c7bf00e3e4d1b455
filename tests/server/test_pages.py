"""The front end as the server gives it out, and signing a browser in."""

from __future__ import annotations

import http.client
import re
from contextlib import closing

import pytest

from droidft.server.main import STATIC
from tests.server.live import LiveServer

pytestmark = pytest.mark.skipif(
    not (STATIC / "index.html").is_file(), reason="the front end is not built (make builds it)"
)


def get(server: LiveServer, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        connection.request("GET", path, headers={"Accept": "text/html", **headers})
        answer = connection.getresponse()
        return answer, answer.read()


def test_every_page_is_the_application_and_its_files_are_there(server: LiveServer) -> None:
    answer, page = get(server, "/")
    assert answer.status == 200
    assert b'<div id="root"' in page
    assert b'<base href="/" />' in page
    for path in re.findall(rb'(?:src|href)="\.(/[^"]+)"', page):
        found, content = get(server, path.decode())
        assert (found.status, bool(content)) == (200, True), path
    for path in ("/training", "/training/20261124-010101-x", "/results/overlay?run=a", "/compare"):
        assert get(server, path)[1] == page
    assert get(server, "/assets/missing.js", Accept="*/*")[0].status == 404
    assert not re.search(rb"<script(?![^>]*\bsrc=)", page), "the content security policy forbids inline scripts"


def test_an_unknown_route_of_the_interface_is_a_json_404(server: LiveServer) -> None:
    for path in ("/api/nothing", "/v1/nothing", "/api/runs/x/y/z"):
        assert get(server, path)[0].status == 401
        status, body = server.request("GET", path)
        code = "unknown_url" if path.startswith("/v1") else "not_found"
        assert (status, body["error"]["code"]) == (404, code)


def test_a_launch_link_signs_in_once(server: LiveServer) -> None:
    path = server.launch_url.removeprefix(server.url)
    answer, _ = get(server, path)
    assert (answer.status, answer.getheader("Location")) == (303, "/")
    cookie = (answer.getheader("Set-Cookie") or "").split(";")[0]
    assert get(server, "/api/health", Cookie=cookie)[0].status == 200
    again, _ = get(server, path)
    assert again.getheader("Location") == "/?launch=expired"
    assert again.getheader("Set-Cookie") is None
    assert get(server, "/api/health")[0].status == 401

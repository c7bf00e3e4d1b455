"""The server at a real socket: hosts, odd requests, limits, and what it leaves in its logs."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.server import live
from tests.server.live import LiveServer
from tests.server.serving import raw, status

HOSTS = [
    "evil.example", "evil.example:{port}", "localhost.evil.example:{port}", "127.0.0.1.nip.io:{port}",
    "localhost.:{port}", "127.0.0.1.:{port}", "", " ", "127.0.0.1", "localhost", "[::1]", "127.0.0.1:{other}",
    "localhost:{other}", "127.0.0.1:", "127.0.0.1:0{port}", "127.0.0.1:{port}:{port}", "user@127.0.0.1:{port}",
    "127.0.0.1:{port}@evil.example", "2130706433:{port}", "0177.0.0.1:{port}", "0x7f.0.0.1:{port}", "127.1:{port}",
    "0.0.0.0:{port}", "127.0.0.2:{port}", "[::1%25lo]:{port}", "[::ffff:127.0.0.1]:{port}", "machine.local:{port}",
    "127.0.0.1:{port}/", "127.0.0.1:{port}#", "127.0.0.1:{port}, evil.example", "http://127.0.0.1:{port}",
    "127.0.0.1\\:{port}", "１２７.0.0.1:{port}", "localhoſt:{port}",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live.running(tmp_path_factory.mktemp("home")) as running:
        yield running


def get(path: str, *lines: str, version: str = "1.1", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""]).encode()


@pytest.mark.parametrize("host", HOSTS)
def test_only_our_own_names_are_served(server: LiveServer, host: str) -> None:
    name = host.format(port=server.port, other=server.port + 1)
    for path in ("/api/health", "/", "/launch"):
        got = status(raw(server.port, get(path, f"Host: {name}", f"Authorization: Bearer {server.token}")))
        assert got in (400, 403), path


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
def test_our_own_names_are_served(server: LiveServer, host: str) -> None:
    lines = f"Host: {host}:{server.port}", f"Authorization: Bearer {server.token}"
    assert status(raw(server.port, get("/api/health", *lines))) == 200


def test_answers_are_not_held_back(server: LiveServer) -> None:
    """With Nagle's algorithm each one on a connection that is kept waits 40 ms for the client's acknowledgement."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    seconds = []
    for _ in range(40):
        began = time.perf_counter()
        connection.request("GET", "/api/health", headers={"Authorization": f"Bearer {server.token}"})
        assert connection.getresponse().read()
        seconds.append(time.perf_counter() - began)
    connection.close()
    assert min(seconds[20:]) < 0.03


def test_a_host_is_named_exactly_once(server: LiveServer) -> None:
    ours, secret = f"Host: 127.0.0.1:{server.port}", f"Authorization: Bearer {server.token}"
    assert status(raw(server.port, get("/api/health", ours, ours, secret))) == 400
    assert status(raw(server.port, get("/api/health", ours, "Host: evil.example", secret))) == 400
    assert status(raw(server.port, get("/api/health", secret))) == 400
    assert status(raw(server.port, get("/api/health", secret, version="1.0"))) == 403
    forwarded = "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "Forwarded: host=evil.example"
    assert status(raw(server.port, get("/api/health", ours, secret, *forwarded))) == 200  # they mean nothing


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/api/health", "http://evil.example/", "*", "evil.example:80", "x"]
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT"])
def test_the_server_is_no_proxy(server: LiveServer, target: str, method: str) -> None:
    lines = f"Host: 127.0.0.1:{server.port}", f"Authorization: Bearer {server.token}"
    assert status(raw(server.port, get(target.format(port=server.port), *lines, method=method))) in (400, 403)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_name_that_was_rebound_to_this_machine_reaches_nothing(server: LiveServer) -> None:
    for path in ("/", "/launch", "/api/health", "/api/login", "/api/runs", "/v1/models", "/api/unknown"):
        command = [
            "curl", "--silent", "--output", "-", "--write-out", "\n%{http_code}", "--noproxy", "*",
            "--resolve", f"evil.example:{server.port}:127.0.0.1", "--header", f"Authorization: Bearer {server.token}",
            f"http://evil.example:{server.port}{path}",
        ]  # fmt: skip
        answer, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition(
            "\n"
        )
        assert status == "403", path
        assert json.loads(answer)["error"]["code"] == "forbidden"


def test_sockets_need_a_secret_and_our_own_page(server: LiveServer) -> None:
    place = f"ws://127.0.0.1:{server.port}/api/updates"
    cookie = {"Cookie": _cookie(server)}
    ours = f"http://127.0.0.1:{server.port}"
    for headers, origin, wanted in [
        ({}, None, 401),
        ({}, ours, 401),
        (cookie, None, 403),
        (cookie, "http://evil.example", 403),
        ({**cookie, "Sec-Fetch-Site": "cross-site"}, ours, 403),
        ({"Authorization": "Bearer x"}, None, 401),
    ]:
        with pytest.raises(InvalidStatus) as refused:
            connect(place, additional_headers=headers, origin=origin, proxy=None)  # type: ignore[arg-type]
        assert refused.value.response.status_code == wanted, (headers, origin)
        assert json.loads(refused.value.response.body)["error"]["code"] in ("unauthorized", "forbidden")
    for headers, origin in [(cookie, ours), ({"Authorization": f"Bearer {server.token}"}, None)]:
        with connect(place, additional_headers=headers, origin=origin, proxy=None) as opened:  # type: ignore[arg-type]
            assert json.loads(opened.recv(timeout=5))["type"] == "update"


def test_too_many_and_too_long_headers_are_refused(server: LiveServer) -> None:
    ours, secret = f"Host: 127.0.0.1:{server.port}", f"Authorization: Bearer {server.token}"
    place = "/api/health"
    assert status(raw(server.port, get(place, ours, secret, *[f"X-{n}: y" for n in range(50)]))) == 200
    # Depending on how the bytes arrive, the parser refuses them (400) or the guard does (431).
    for lines in ([f"X-{n}: y" for n in range(101)], [f"X-{n}: y" for n in range(10_000)], ["X: " + "x" * 40_000]):
        assert status(raw(server.port, get(place, ours, secret, *lines))) in (400, 431)
    for length in (40_000, 2_000_000):
        assert status(raw(server.port, get(place + "?" + "x" * length, ours, secret))) in (400, 431, 0)


@pytest.mark.parametrize(
    "bad",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_no_answer_or_400(server: LiveServer, bad: bytes) -> None:
    assert raw(server.port, bad, seconds=0.5)[9:12] in (b"", b"400", b"403")


def test_request_smuggling_is_refused(server: LiveServer) -> None:
    lines = [
        f"Host: 127.0.0.1:{server.port}",
        f"Authorization: Bearer {server.token}",
        "Content-Type: application/json",
    ]
    for bad in (
        ["Content-Length: 2", "Content-Length: 3"],
        ["Content-Length: -1"],
        ["Content-Length: 1e3"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: x"],
    ):
        answer = status(raw(server.port, get("/api/settings/parse", *lines, *bad, method="POST") + b"{}\r\n"))
        assert answer in (400, 501), bad


def test_slow_clients_do_not_slow_down_others(server: LiveServer) -> None:
    lines = f"Host: 127.0.0.1:{server.port}", f"Authorization: Bearer {server.token}"
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    try:
        for number, connection in enumerate(slow):
            head = get(
                "/api/settings/parse", *lines, "Content-Type: application/json", "Content-Length: 9", method="POST"
            )
            connection.sendall(head[:-4] if number % 2 else head + b"{")
        times = []
        for _ in range(100):
            start = time.perf_counter()
            assert status(raw(server.port, get("/api/health", *lines))) == 200
            times.append(time.perf_counter() - start)
        assert sorted(times)[98] < 0.5
    finally:
        for connection in slow:
            connection.close()


def test_no_secret_is_in_a_log_or_a_file_but_the_tokens_own(home: Path) -> None:
    with live.running(home) as server:
        cookie = _cookie(server).partition("=")[2]
        secrets = [server.token, server.code, cookie]
        lines = f"Host: 127.0.0.1:{server.port}", f"Authorization: Bearer {server.token}"
        assert status(raw(server.port, get(f"/launch?code={server.code}", *lines))) == 303
        assert status(raw(server.port, get(f"/api/x?token={server.token}", *lines))) == 404
        assert status(raw(server.port, get(f"/api/health?{cookie}\r\n", *lines))) == 400
        secrets.append(server.post("/api/launch")["url"].partition("code=")[2])
        body = json.dumps({"token": server.token, "x": 1}).encode()
        login = get(
            "/api/login", *lines, "Content-Type: application/json", f"Content-Length: {len(body)}", method="POST"
        )
        assert server.token.encode() not in raw(server.port, login + body)
        arguments = Path(f"/proc/{server.process.pid}/cmdline")
        assert not arguments.exists() or server.token.encode() not in arguments.read_bytes()
    left = [path for path in home.rglob("*") if path.is_file() and path.relative_to(home).parts[0] != "cache"]
    assert home / "server" / "log.txt" in left
    texts = {str(path): path.read_bytes() for path in left if path != home / "server" / "token"}
    # The link is printed for the user, once; after it the server has nothing to say of it.
    printed = "".join(server.output)
    assert printed.count(server.code) == 1
    texts["output"] = printed.replace(server.code, "").encode()
    for place, text in texts.items():
        assert not [secret for secret in secrets if secret.encode() in text], place


def test_what_the_server_keeps_is_private(server: LiveServer) -> None:
    kept = server.home / "server"
    assert kept.stat().st_mode & 0o077 == 0
    assert (kept / "token").stat().st_mode & 0o777 == 0o600


def _cookie(server: LiveServer) -> str:
    """The cookie of a browser that signed in with the token."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/api/login",
        data=json.dumps({"token": server.token}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        return str(answer.headers["Set-Cookie"].partition(";")[0])


def test_other_machines_are_let_in_only_on_purpose(home: Path) -> None:
    command = [sys.executable, "-m", "droidft.cli", "serve", "--host", "0.0.0.0", "--port", "0", "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--allow-remote" in done.stderr

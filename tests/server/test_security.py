"""What gets past the guard, and what does not: token, Host, Origin, body; headers of every answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message, Receive, Scope, Send

from droidft.errors import ConfigError
from droidft.home import Home
from droidft.server import security
from droidft.server.access import Access
from droidft.server.main import create_app
from droidft.server.options import Options
from droidft.server.security import Guard, check_bind
from tests.server.routes_of import METHODS, address, flat, is_socket, methods
from tests.server.serving import ORIGIN, serving

PUBLIC = {
    "/api/login": {"POST"},
    "/launch": {"GET"},
    "/proof": {"GET"},
    "": {"GET", "HEAD"},
    "/{path:path}": {"GET", "HEAD"},
}
"""Everything that may be reached without a secret: signing in, and the pages. A new entry needs a reason."""

SOCKETS = ORIGIN.replace("http", "ws")
ROUTES = flat(create_app(Options(home=Home(Path("nowhere")))))
MUTATIONS = sorted(
    {(method, address(route.path)) for route in ROUTES for method in methods(route) - {"GET", "HEAD"}}
    | {("WS", address(route.path)) for route in ROUTES if is_socket(route)}
)


@pytest.fixture
def stranger(home: Path) -> Iterator[TestClient]:
    with serving(home, token=False) as client:
        yield client


@pytest.fixture
def owner(home: Path) -> Iterator[TestClient]:
    with serving(home) as client:
        yield client


@pytest.fixture
def browser(home: Path) -> Iterator[TestClient]:
    """A client as a browser that opened the launch link."""
    with serving(home, token=False) as client:
        client.get(client.app.state.droidft.access.launch_url(ORIGIN))
        client.headers["Sec-Fetch-Site"] = "same-origin"
        yield client


# Token


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_nothing_is_reached_without_a_secret(stranger: TestClient, route: Any) -> None:
    public = PUBLIC.get(route.path, set())
    place = address(route.path)
    if is_socket(route):
        with pytest.raises(WebSocketDenialResponse) as refused, stranger.websocket_connect(SOCKETS + place):
            pass
        assert refused.value.status_code == 401
        return
    for method in METHODS:
        status = stranger.request(method, place or "/").status_code
        if method in public:
            assert status not in (401, 403), method
        elif public and method in ("GET", "HEAD"):
            assert status in (401, 404, 405), method
        else:
            assert status == 401, (method, status)


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/unknown", "/API/health", "//api/health", "/v1", "/v1/models", "/V1/x"]
)
def test_addresses_that_do_not_exist_are_not_told_apart_without_a_secret(stranger: TestClient, path: str) -> None:
    assert {stranger.request(method, ORIGIN + path).status_code for method in METHODS} == {401}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic {token}",
        "{token}",
        "Bearer {token}x",
        "Bearer {TOKEN}",
        "bearer\xa0{token}",
    ],
)
def test_a_wrong_header_is_refused(stranger: TestClient, header: str) -> None:
    token = stranger.app.state.droidft.access.token
    value = header.format(token=token, TOKEN=token.swapcase()).encode("latin-1")
    answer = stranger.get("/api/health", headers={"Authorization": value})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_opens_the_interface_in_any_case_of_bearer(owner: TestClient) -> None:
    assert owner.get("/api/health").json()["status"] == "ok"
    token = owner.app.state.droidft.access.token
    assert owner.get("/api/health", headers={"Authorization": f"bearer {token}"}).status_code == 200


def test_a_launch_link_signs_a_browser_in_once(stranger: TestClient) -> None:
    link = stranger.app.state.droidft.access.launch_url(ORIGIN)
    assert stranger.head(link).status_code in (404, 405)  # a preview does not use it up
    first = stranger.get(link, headers={"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"})
    assert (first.status_code, first.headers["Location"]) == (303, "/")
    cookie = first.headers["Set-Cookie"]
    assert cookie.startswith("droidft_8323=")
    for part in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert part in cookie
    assert stranger.app.state.droidft.access.token not in cookie
    assert stranger.get("/api/health").status_code == 200
    assert stranger.get(link).headers["Location"] == "/"  # signed in already: nothing to complain of
    stranger.cookies.clear()
    second = stranger.get(link)
    assert second.headers["Location"] == "/?launch=expired"
    assert "Set-Cookie" not in second.headers
    assert stranger.get("/api/health").status_code == 401


def test_signing_in_with_the_token_and_out_again(stranger: TestClient) -> None:
    token = stranger.app.state.droidft.access.token
    assert stranger.post("/api/login", json={"token": "x"}).status_code == 401
    assert stranger.post("/api/login", json={"token": token}).status_code == 204
    value = stranger.cookies["droidft_8323"]
    assert stranger.get("/api/health").status_code == 200
    headers = {"Origin": ORIGIN}
    assert stranger.post("/api/launch", headers=headers).json()["url"].startswith(f"{ORIGIN}/launch?code=")
    assert stranger.post("/api/logout", headers=headers).status_code == 204
    assert "droidft_8323" not in stranger.cookies
    stolen = {"Cookie": f"droidft_8323={value}"}
    assert stranger.get("/api/health", headers=stolen).status_code == 401


def test_a_cookie_of_another_port_or_name_is_none(browser: TestClient) -> None:
    value = browser.cookies["droidft_8323"]
    browser.cookies.clear()
    for cookie in (f"droidft_8324={value}", f"droidft={value}", f"x={value}", f"droidft_8323={value}x", value):
        assert browser.get("/api/health", headers={"Cookie": cookie}).status_code == 401
    both = f"a=b; droidft_8323=old; droidft_8323={value}; c"
    assert browser.get("/api/health", headers={"Cookie": both}).status_code == 200


def test_guessing_tokens_ends_in_429(stranger: TestClient) -> None:
    statuses = [stranger.post("/api/login", json={"token": f"x{n}"}).status_code for n in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert "Retry-After" in stranger.post("/api/login", json={"token": "x"}).headers


# Origin and Sec-Fetch-Site

ORIGINS = [
    None, ORIGIN, "http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8323",
    "http://127.0.0.1:8323.evil.example", "file://",
]  # fmt: skip
SITES = [None, "same-origin", "same-site", "cross-site", "none"]
TYPES = [
    None, "application/json", "application/json; charset=utf-8", "application/octet-stream", "text/plain",
    "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
]  # fmt: skip


class Probe:
    """The guard alone, before an application that lets everything pass."""

    def __init__(self, folder: Path) -> None:
        access = Access(folder, 8323)
        self.cookie = f"droidft_8323={access.sign_in(access.token)}"
        self.bearer = f"Bearer {access.token}"
        self.guard = Guard(self._inner, access=access, options=Options(home=Home(folder)))

    async def _inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    async def status(self, method: str, path: str, headers: dict[str, str | None], body: bytes = b"") -> int:
        """The status of the answer; 200 for an accepted socket."""
        pairs = [(k.encode(), v.encode()) for k, v in {"host": "127.0.0.1:8323", **headers}.items() if v is not None]
        scope: Scope = {"path": path, "raw_path": path.encode(), "query_string": b"", "headers": pairs}
        scope |= {"type": "websocket", "subprotocols": []} if method == "WS" else {"type": "http", "method": method}
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self.guard(scope, receive, send)
        if method == "WS":
            return 200 if sent[0]["type"] == "websocket.accept" else 403
        return int(sent[0]["status"])


@pytest.mark.parametrize(("method", "path"), MUTATIONS)
def test_only_our_own_pages_can_change_something_with_a_cookie(tmp_path: Path, method: str, path: str) -> None:
    async def check() -> None:
        probe = Probe(tmp_path)
        for origin, site, kind, secret in product(ORIGINS, SITES, TYPES, ("cookie", "bearer")):
            headers = {"origin": origin, "sec-fetch-site": site, "content-type": kind}
            headers["cookie" if secret == "cookie" else "authorization"] = getattr(probe, secret)
            ours = origin in (None, ORIGIN) and site in (None, "same-origin")
            if secret == "cookie":
                ours = ours and (origin is not None or site is not None)
            upload = method == "PUT" and path.startswith("/api/data/files/")
            wanted = "application/octet-stream" if upload else "application/json"
            fits = kind is not None and kind.partition(";")[0] == wanted
            for body in (b"", b"{}"):
                status = await probe.status(method, path, headers, body)
                needed = method != "WS" and (upload or body)
                assert status == (403 if not ours else 415 if needed and not fits else 200), (headers, body)

    asyncio.run(check())


@pytest.mark.parametrize("path", ["/api/health", "/v1/models", "/api/runs/x/report.html", "/", "/assets/x.js"])
def test_other_sites_cannot_read_and_only_pages_can_be_linked_to(tmp_path: Path, path: str) -> None:
    async def check() -> None:
        probe = Probe(tmp_path)
        for site, mode in product(SITES, (None, "navigate", "cors", "no-cors")):
            headers = {"cookie": probe.cookie, "sec-fetch-site": site, "sec-fetch-mode": mode}
            fine = site in (None, "none", "same-origin") or (path in ("/", "/assets/x.js") and mode == "navigate")
            assert await probe.status("GET", path, headers) == (200 if fine else 403), headers
        for origin in ORIGINS[2:]:
            assert await probe.status("GET", path, {"cookie": probe.cookie, "origin": origin}) == 403, origin

    asyncio.run(check())


def test_the_real_application_is_behind_that_guard(browser: TestClient) -> None:
    assert create_app().user_middleware[0].cls is Guard  # the outermost
    evil = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert browser.post("/api/logout", headers=evil).status_code == 403
    assert browser.get("/api/health", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    updates = f"{SOCKETS}/api/updates"
    with pytest.raises(WebSocketDenialResponse) as refused, browser.websocket_connect(updates, headers=evil):
        pass
    assert refused.value.status_code == 403


def test_names_that_the_user_gives_are_served_with_and_without_tls(tmp_path: Path) -> None:
    options = Options(home=Home(tmp_path), host="192.168.1.9", hosts=("lab.example", "Gate.example:443"))
    guard = Guard(Probe(tmp_path)._inner, access=Access(tmp_path, 8323), options=options)
    assert {"192.168.1.9:8323", "lab.example", "lab.example:8323", "gate.example:443"} <= guard.hosts
    assert "192.168.1.9" not in guard.hosts
    assert "https://lab.example" in guard.origins
    assert "https://192.168.1.9:8323" not in guard.origins
    assert set(security.allowed_hosts(Options(home=Home(tmp_path), port=80))) >= {"localhost", "localhost:80"}


# Headers


def test_every_kind_of_answer_has_the_headers_and_none_invites_other_sites(home: Path) -> None:
    with serving(home) as client:
        answers = [
            client.get("/api/health"),
            client.get("/api/openapi.json"),
            client.get("/api/none"),
            client.get("/none/of/these"),
            client.put("/api/health"),
            client.options("/api/runs"),
            client.get("/launch?code=x"),
            client.post("/api/settings/parse", json={"text": 1}),
            client.post("/api/settings/parse", content=b"{", headers={"Content-Type": "application/json"}),
            client.get("/api/health", headers={"Authorization": "x"}),
            client.get("/api/health", headers={"Host": "evil.example"}),
            client.get("/api/health", headers={"Origin": "http://evil.example"}),
            client.options(
                "/api/runs", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
            ),
        ]
    assert {answer.status_code for answer in answers} >= {200, 303, 400, 401, 403, 404, 405}
    for answer in answers:
        for name, value in security.HEADERS.items():
            assert answer.headers[name] == value
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
        if answer.url.path.startswith("/api"):
            assert answer.headers["Cache-Control"] == "no-store"


def test_the_policy_for_content_is_strict() -> None:
    policy = security.HEADERS["Content-Security-Policy"]
    for part in ("default-src 'self'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'self'"):
        assert part in policy.split("; ")
    assert "unsafe" not in policy
    assert "*" not in policy


# Bodies


def test_a_body_beyond_the_limit_is_refused_by_its_length_or_on_the_way(owner: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    long = b'"' + b"x" * security.BODY_LIMIT + b'"'

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(long), 1 << 20):
            yield long[start : start + (1 << 20)]

    for content in (long, pieces()):
        answer = owner.post("/api/settings/parse", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_long_body_within_the_limit_reaches_its_route(owner: TestClient) -> None:
    answer = owner.post("/api/settings/parse", json={"text": "x" * 2_000_000})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "text")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"text": NaN}', "NaN"),
        (b'{"text": -Infinity}', "Infinity"),
        (b'{"text": 1e999}', "1e999"),
        (b'{"text": "a", "text": "b"}', "twice"),
        (b'{"text": "\\ud800"}', "half of a character pair"),
        (b'{"text": "\\u0000"}', "NUL"),
        (b'{"text": "\x00"}', "NUL"),
        (b'{"text": "\t"}', "control character"),
        (b"[" * 101 + b"]" * 101, "100 levels"),
        (b"[" * 100_000, "100 levels"),
        (b'{"text": 9223372036854775808}', "64 bits"),
        (b'{"text": ' + b"9" * 5000 + b"}", "64 bits"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"text": "\xff"}', "not UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"text": "a"', "cut off"),
        (b'{"text": "a",}', "comma"),
        (b"{'text': 1}", "single quotes"),
        (b"{} {}", "after its first value"),
        (b"  ", "cut off"),
        (b"[" + b"0," * 20_000 + b"0]", "20,000 values"),
        (b"text=a", "not JSON"),
    ],
)
def test_json_is_read_strictly(owner: TestClient, body: bytes, says: str) -> None:
    answer = owner.post("/api/settings/parse", content=body, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "json")
    assert says in error["message"]
    assert error["hint"]


def test_a_compressed_body_is_refused(owner: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert owner.post("/api/settings/parse", content=b"{}", headers=headers).status_code == 415


@pytest.mark.parametrize("path", ["/api/health%00", "/api/runs/a%0d%0ab", "/api/runs/%7f", "/api/diff?run=%00&run=a"])
def test_control_characters_in_addresses_are_refused(owner: TestClient, path: str) -> None:
    assert owner.get(path).json()["error"]["code"] == "bad_request"


def test_a_body_that_never_comes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "BODY_SECONDS", 0.05)
    probe = Probe(tmp_path)
    headers = [(b"host", b"127.0.0.1:8323"), (b"authorization", probe.bearer.encode())]
    scope = {"type": "http", "method": "POST", "path": "/api/runs", "query_string": b"", "headers": headers}
    sent: list[Message] = []

    async def never() -> Message:
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(probe.guard(scope, never, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"]["code"] == "timeout"


# Where to listen


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_needs_no_leave(host: str) -> None:
    assert check_bind(host, allow_remote=False) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.9", "lab.example", "", "localhost.evil.example"])
def test_other_addresses_need_leave_and_a_warning(host: str) -> None:
    with pytest.raises(ConfigError, match="other machines"):
        check_bind(host, allow_remote=False)
    assert "nothing on the way is encrypted" in str(check_bind(host, allow_remote=True))

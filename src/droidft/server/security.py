"""Checks of every request and socket before a route sees it: Host, then Origin, then token, then body.

A page of another site can make a browser send requests to this machine, and with a name of its own that leads here
(DNS rebinding) even read the answers. So only our own names are served; a request that another site may have caused
is refused even with a valid cookie; and everything but the pages themselves needs the cookie or the token.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from droidft.errors import ConfigError, DroidError
from droidft.server.errors import (
    BadJson,
    BadRequest,
    Forbidden,
    HeadersTooLarge,
    SlowBody,
    TooLarge,
    Unauthorized,
    UnknownHost,
    UnsupportedMediaType,
    refuse,
)
from droidft.support import strict_json

if TYPE_CHECKING:
    from droidft.server.access import Access
    from droidft.server.options import Options

HEADER_LIMIT, HEADER_BYTES = 100, 32 << 10
"""How many headers a request may have, and how many bytes they and the address."""
BODY_LIMIT = 10 << 20
BODY_SECONDS = 60.0
"""How long a JSON body may take to arrive."""
LONG_BODY = 1 << 18
"""Longer ones are parsed in a thread, so that other requests do not wait."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer, unless a route has set its own."""

API = re.compile(r"/+(api|v1)(/|$)", re.IGNORECASE)
PUBLIC_API = ("/api/login",)
"""What needs no token below `/api`; outside of `/api` and `/v1`, reading needs none."""
UPLOADS = re.compile(r"/api/data/files/[^/]+")
"""Where a body is a file and not JSON; the route limits it."""


class Guard:
    """ASGI: refuses what must not reach the routes, and sets the headers of every answer."""

    def __init__(self, app: ASGIApp, *, access: Access, options: Options) -> None:
        self.app = app
        self.access = access
        self.hosts = frozenset(allowed_hosts(options))
        # A name that the user gave may belong to a proxy that speaks TLS.
        self.origins = {f"http://{host}" for host in self.hosts} | {
            f"https://{host.lower()}" for host in options.hosts
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def dressed(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                _dress(message, private=is_api(scope["path"]))
            await send(message)

        try:
            self._check_target(scope)
            self._check_host(headers)
            self._check_site(scope, headers)
            self._check_secret(scope, headers)
            inward = await _checked_body(scope, headers, receive) if scope["type"] == "http" else receive
        except UnknownHost as error:
            page = scope["type"] == "http" and "text/html" in headers.get("accept", "")
            await (error.page()(scope, receive, dressed) if page else refuse(error, scope, receive, dressed))
            return
        except DroidError as error:
            await refuse(error, scope, receive, dressed)
            return
        await self.app(scope, inward, dressed)

    def _check_target(self, scope: Scope) -> None:
        path, query, headers = scope["path"], scope["query_string"], scope["headers"]
        size = sum(len(name) + len(value) for name, value in headers) + len(path) + len(query)
        if len(headers) > HEADER_LIMIT or size > HEADER_BYTES:
            hint = f"send at most {HEADER_LIMIT}, and {HEADER_BYTES >> 10} KB with the address"
            raise HeadersTooLarge(f"the request has {len(headers)} headers, {size:,} bytes", hint=hint)
        if not path.startswith("/") or not scope.get("raw_path", b"/").startswith(b"/"):
            raise BadRequest("the request names a whole address, not a path", hint="this server is no proxy")
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in path) or b"%00" in query:
            raise BadRequest("the address holds a control character", hint="leave it out")

    def _check_host(self, headers: Headers) -> None:
        given = headers.getlist("host")
        if len(given) != 1 or given[0].lower() not in self.hosts:
            raise UnknownHost([name[:100] for name in given], here=min(self.origins))

    def _check_site(self, scope: Scope, headers: Headers) -> None:
        """Refuse what a page of another site may have caused."""
        origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
        if len(origins) > 1 or len(sites) > 1 or any(origin not in self.origins for origin in origins):
            raise _foreign(origins)
        site = sites[0] if sites else None
        if is_mutation(scope):
            by_cookie = "authorization" not in headers and "cookie" in headers
            if site not in (None, "same-origin") or (by_cookie and not origins and site is None):
                raise _foreign(origins)
        elif site in ("same-origin", "none", None):
            return
        elif is_api(scope["path"]) or headers.get("sec-fetch-mode") != "navigate":
            raise _foreign(origins)

    def _check_secret(self, scope: Scope, headers: Headers) -> None:
        if is_public(scope):
            return
        given = headers.getlist("authorization")
        if given:
            scheme, _, token = given[0].partition(" ")
            if len(given) == 1 and scheme.lower() == "bearer" and self.access.is_token(token.strip()):
                return
            raise Unauthorized("the token is wrong", hint=f"it is in {self.access.folder / 'token'}")
        if not any(self.access.is_session(value) for value in cookies(headers, self.access.cookie)):
            hint = "open the link that `droidft serve` printed, or send the token as `Authorization: Bearer …`"
            raise Unauthorized("this requires signing in", hint=hint)


def allowed_hosts(options: Options) -> Iterable[str]:
    """Every Host that is served, in lower case: loopback, the address bound to, and names the user gave."""
    names = ["127.0.0.1", "localhost", "[::1]"]
    if options.host not in ("", "0.0.0.0", "::"):
        names.append(f"[{options.host}]" if ":" in options.host else options.host)
    for name in names:
        yield f"{name}:{options.port}".lower()
        if options.port in (80, 443):
            yield name.lower()
    for name in options.hosts:
        yield name.lower()
        if not re.search(r":[0-9]+$", name):
            yield f"{name}:{options.port}".lower()


def check_bind(host: str, *, allow_remote: bool) -> str | None:
    """What to warn of before listening at `host`, where other machines can reach it; None at loopback addresses.

    Raises:
        ConfigError: they can, and that was not allowed explicitly.
    """
    with suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return None
    if not allow_remote:
        raise ConfigError(
            f"--host {host} lets other machines reach this server",
            hint="add --allow-remote if you mean it; safer: `ssh -L 8323:127.0.0.1:8323` from the other machine",
            field="host",
        )
    return (
        f"other machines can reach this server at {host}. Whoever has the token or a launch link can read its data "
        "and start runs, and nothing on the way is encrypted. Name the address that browsers use with --name."
    )


def is_api(path: str) -> bool:
    """Whether a path belongs to the interface for programs, however it is spelt."""
    return API.match(path) is not None


def is_mutation(scope: Scope) -> bool:
    """Whether a request can change something. A socket counts: it is readable across sites."""
    return scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")


def is_public(scope: Scope) -> bool:
    """Whether a request needs no secret: signing in, and reading the pages, which hold nothing of the user."""
    if is_api(scope["path"]):
        return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in PUBLIC_API
    return not is_mutation(scope)


def cookies(headers: Headers, name: str) -> list[str]:
    """Every value that a request's cookies give to `name`."""
    pairs = (pair.strip().partition("=") for header in headers.getlist("cookie") for pair in header.split(";"))
    return [value for key, _, value in pairs if key == name]


def _foreign(origins: list[str]) -> Forbidden:
    by = f" by {origins[0][:100]!a}" if origins else ""
    return Forbidden(
        f"the request was caused{by} outside this application",
        hint="open the application itself; a program sends its token as `Authorization: Bearer …`",
    )


def _dress(start: Message, *, private: bool) -> None:
    headers = MutableHeaders(scope=start)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if private:
        headers.setdefault("Cache-Control", "no-store")


async def _checked_body(scope: Scope, headers: Headers, receive: Receive) -> Receive:
    """A `receive` that passes the body on; unless it is an upload, it is limited in size and strict JSON."""
    if not is_mutation(scope):
        return receive
    upload = scope["method"] == "PUT" and UPLOADS.fullmatch(scope["path"]) is not None
    if upload:
        _check_type(headers, "application/octet-stream")
        return receive
    limit = BODY_LIMIT
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limit:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read(receive, limit)
    except TimeoutError:
        raise SlowBody(f"the body did not arrive within {BODY_SECONDS:g} s", hint="send it again") from None
    if body:
        _check_type(headers, "application/json")
        await _check_json(body)
    return _replayed(body, receive)


def _check_type(headers: Headers, wanted: str) -> None:
    given = headers.getlist("content-type")
    kind, _, rest = (given[0] if given else "").partition(";")
    charset = rest.strip().lower().replace('"', "")
    if len(given) != 1 or kind.strip().lower() != wanted or charset not in ("", "charset=utf-8"):
        shown = ascii(given[0][:100]) if given else "nothing"
        raise UnsupportedMediaType(f"the body's Content-Type is {shown}", hint=f"send Content-Type: {wanted}")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("the body is compressed", hint="send it as it is")


async def _read(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise SlowBody("the client went away")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large()
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large() -> TooLarge:
    return TooLarge(f"the body has more than {BODY_LIMIT >> 20} MB", hint="send less, or upload a file")


async def _check_json(body: bytes) -> None:
    try:
        if len(body) > LONG_BODY:
            await asyncio.to_thread(strict_json.parse, body)
        else:
            strict_json.parse(body)
    except strict_json.Refused as why:
        raise BadJson(f"the body {why.reason}", hint=why.fix) from None


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()  # the next thing that can happen is that the client goes
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again

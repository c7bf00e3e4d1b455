"""The application below a path, as a reverse proxy shows it: `droidft serve --root-path /droid`.

A proxy may pass the whole path on or leave the prefix out; both are taken. What an answer says of its own addresses
(redirects, the path of the cookie, the page's base) names the prefix.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from droidft.errors import ConfigError

ROOT_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
BASE = b'<base href="/" />'
"""Stands in the built page; every address in it is relative to that."""
_STAMPS = ("if-none-match", "if-modified-since")


def checked_root_path(given: str) -> str:
    """A prefix in its normal form: empty, or `/a/b` without a slash at the end.

    Raises:
        ConfigError: it is no path.
    """
    root = given.rstrip("/")
    if root and not ROOT_PATH.fullmatch(root):
        raise ConfigError(f"--root-path {given!r} is not a path", hint="write it like /droid, as the proxy shows it")
    return root


class Prefix:
    """ASGI: takes the prefix off requests, and puts it into answers."""

    def __init__(self, app: ASGIApp, *, root: str) -> None:
        self.app = app
        self.root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without its prefix."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        inner = self._inner(scope)
        await self.app(inner, receive, _Answer(self.root, Headers(scope=scope), send))

    def _inner(self, scope: Scope) -> Scope:
        # The page is made for each prefix, so a stamp of the file says nothing of it.
        headers = [(name, value) for name, value in scope["headers"] if name.decode("latin-1") not in _STAMPS]
        inner: Scope = {**scope, "headers": headers}
        if f"{scope['path']}/".startswith(f"{self.root}/"):
            inner["path"] = scope["path"][len(self.root) :] or "/"
            if "raw_path" in scope:
                inner["raw_path"] = scope["raw_path"][len(self.root) :] or b"/"
        return inner


class _Answer:
    """Sends an answer with the prefix in it."""

    def __init__(self, root: str, request: Headers, send: Send) -> None:
        self._root = root
        self._host = request.get("host", "")
        self._send = send
        self._start: Message | None = None
        self._page = b""

    async def __call__(self, message: Message) -> None:
        """One message of the answer; a page is held back until it is whole."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=[*message["headers"]])
            self._address(headers)
            message = {**message, "headers": headers.raw}
            if headers.get("content-type", "").startswith("text/html") and message["status"] == 200:
                self._start = message
                return
        elif message["type"] == "http.response.body" and self._start is not None:
            self._page += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_page(self._start)
            return
        await self._send(message)

    def _address(self, headers: MutableHeaders) -> None:
        target = re.sub(rf"^https?://{re.escape(self._host)}(?=/)", "", headers.get("location", ""))
        if target.startswith("/") and not target.startswith("//") and not target.startswith(f"{self._root}/"):
            headers["location"] = self._root + target
        cookies = [re.sub(r"(?i)(;\s*path=)/(?=;|$)", rf"\1{self._root}", it) for it in headers.getlist("set-cookie")]
        if cookies:
            del headers["set-cookie"]
            for cookie in cookies:
                headers.append("set-cookie", cookie)

    async def _send_page(self, start: Message) -> None:
        page = self._page.replace(BASE, f'<base href="{self._root}/" />'.encode())
        headers = MutableHeaders(raw=start["headers"])
        for name in ("etag", "last-modified"):
            if name in headers:
                del headers[name]
        if "content-length" in headers and self._page:  # an answer to HEAD has a length, and no body
            headers["content-length"] = str(len(page))
        headers["cache-control"] = "no-cache"
        self._start = None
        await self._send({**start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": page})

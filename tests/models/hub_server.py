"""A stand-in for the Hugging Face Hub on this machine: the few endpoints that downloading a model needs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TypeVar

import yaml

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubServer:
    """Repositories by id, each a mapping of file name to content; what was asked for is kept."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut_after: int | None = None
    """Break off the next file that is longer, once, after so many bytes."""
    cut_always: int | None = None
    """Break off every file that is longer, after so many bytes."""
    gone_after: int | None = None
    """Send so many bytes of files in all, then break off every connection that asks for one."""
    whole_only: bool = False
    """Give no parts of files: a `Range` is answered with the whole, and status 200."""
    hashes: bool = False
    """Name files by their SHA-256, as the hub does for those in large storage."""
    sent: int = 0
    """Bytes of files that were sent."""
    xet: dict[str, str] = field(default_factory=dict)
    """Hashes of the files that lie in Xet storage, by name."""
    xet_storage: str = ""
    """Address of that storage."""
    silent: Event = field(default_factory=Event)
    """What lies below `/silent` is answered once this is set."""
    busy: tuple[int, str, int] = (0, "", 0)
    """A status, its `Retry-After`, and how many requests are still answered with it."""
    pace: int | None = None
    """Bytes a second, for downloads that take a while."""
    broken: bool = False
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def head(self, repository: str) -> str:
        """The newest commit."""
        return COMMIT

    def is_private(self, repository: str) -> bool:
        """Whether a repository is shown to its owners alone."""
        return False

    @property
    def fetched(self) -> set[str]:
        """Names of the files whose bytes were sent."""
        return {line.rpartition("/")[2] for line in self.requests if line.startswith("GET") and "/resolve/" in line}


S = TypeVar("S", bound=HubServer)


def serve(**repositories: dict[str, bytes]) -> AbstractContextManager[HubServer]:
    """A hub to download from; `org__name` stands for `org/name`."""
    return running(HubServer(named(repositories)), Handler)


def named(repositories: dict[str, dict[str, bytes]]) -> dict[str, dict[str, bytes]]:
    """Repositories by their ids."""
    return {name.replace("__", "/"): files for name, files in repositories.items()}


@contextmanager
def running(state: S, handling: type[Handler]) -> Iterator[S]:
    """A server on a free port of the loopback interface."""
    handler = type("Handler", (handling,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    state: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.state.requests.append(f"{self.command} {path}")
        status, after, times = self.state.busy
        if times > 0:
            self.state.busy = (status, after, times - 1)
            self._send(status, b"{}", body=body, headers={"Retry-After": after} if after else {})
        elif self.state.broken:
            self._send(500, b"{}", body=body)
        elif path.startswith("/silent/"):
            self.state.silent.wait(60)
            self._send(500, b"", body=body)
        elif path == "/xet-access":
            access = {"accessToken": "secret", "exp": int(time.time()) + 3600, "casUrl": self.state.xet_storage}
            self._send(200, json.dumps(access).encode(), body=body)
        elif path.startswith(("/api/models/", "/api/datasets/")):
            self._api("/".join(path.split("/")[3:]), body=body)
        else:
            self._file(path, body=body)

    def _api(self, path: str, *, body: bool) -> None:
        repository = "/".join(path.split("/")[:2])
        if repository not in self.state.repositories:
            # The real hub does not say whether a repository is private or missing.
            self._send(401, b'{"error":"not found"}', body=body, headers={"X-Error-Code": "RepoNotFound"})
            return
        files = self.state.repositories[repository]
        if "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": _etag(content)}
                for name, content in files.items()
            ]
            self._send(200, json.dumps(entries).encode(), body=body)
            return
        listed = [{"rfilename": name} for name in files]
        info = {"id": repository, "sha": self.state.head(repository), "siblings": listed, "tags": []}
        info["private"] = self.state.is_private(repository)
        if (card := files.get("README.md", b"").decode()).startswith("---"):
            info["cardData"] = yaml.safe_load(card.split("---")[1])
        self._send(200, json.dumps(info).encode(), body=body)

    def _file(self, path: str, *, body: bool) -> None:
        repository, _, rest = path.removeprefix("/").removeprefix("datasets/").partition("/resolve/")
        name = rest.partition("/")[2]
        content = self.state.repositories.get(repository, {}).get(name)
        if content is None:
            self._send(404, b"", body=body, headers={"X-Error-Code": "EntryNotFound"})
        elif repository in self.state.gated:
            self._send(403, b"{}", body=body, headers={"X-Error-Code": "GatedRepo"})
        else:
            self._content(name, content, body=body)

    def _content(self, name: str, content: bytes, *, body: bool) -> None:
        start = 0
        if (given := self.headers.get("Range")) and not self.state.whole_only:
            start = int(given.removeprefix("bytes=").partition("-")[0])
        part = content[start:]
        etag = hashlib.sha256(content).hexdigest() if self.state.hashes else _etag(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if name in self.state.xet:
            headers |= {"X-Xet-Hash": self.state.xet[name], "X-Xet-Refresh-Route": f"{self.state.url}/xet-access"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        only = self._limit(len(part)) if body else None
        self._send(206 if start else 200, part, body=body, headers=headers, only=only)
        if body:
            self.state.sent += len(part[:only])
        self.close_connection |= only is not None

    def _limit(self, size: int) -> int | None:
        """After how many bytes a file of this size breaks off; None if it does not."""
        state = self.state
        if state.gone_after is not None and size > state.gone_after - state.sent:
            return max(state.gone_after - state.sent, 0)
        if state.cut_after is not None and size > state.cut_after:
            cut, state.cut_after = state.cut_after, None
            return cut
        return state.cut_always if state.cut_always is not None and size > state.cut_always else None

    def _send(
        self,
        status: int,
        content: bytes,
        *,
        body: bool,
        headers: dict[str, str] | None = None,
        only: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body and self.state.pace is None:
            self.wfile.write(content[:only])
        elif body and self.state.pace is not None:
            step = max(1, self.state.pace // 20)
            with suppress(ConnectionError):
                for start in range(0, len(content[:only]), step):
                    self.wfile.write(content[:only][start : start + step])
                    time.sleep(0.05)


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()

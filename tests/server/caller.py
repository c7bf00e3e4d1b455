"""Requests without a client in between: bytes go to the application as the server would hand them on, in a fraction
of a millisecond and with nothing tidied up.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.types import Message

from droidft.home import Home
from droidft.server.main import create_app
from droidft.server.options import Options

HOST = b"127.0.0.1:8323"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error, in the one shape of ours or, below /v1, OpenAI's."""
        value: dict[str, Any] = json.loads(self.body, parse_constant=_no_constant)["error"]
        openai = {"message", "type", "param", "code"}
        assert set(value) in ({"code", "message", "hint", "field"}, openai), value
        assert isinstance(value["code"], str)
        assert isinstance(value["message"], str)
        return value


@dataclass(frozen=True)
class Caller:
    """An application whose parts run in this event loop."""

    app: FastAPI
    token: str

    async def call(
        self, method: str, target: str | bytes, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """One request; `target` is what stands in the request line, already escaped."""
        raw, _, query = (target if isinstance(target, bytes) else target.encode("ascii")).partition(b"?")
        pairs = {"host": HOST, "authorization": f"Bearer {self.token}".encode()}
        if body:
            pairs |= {"content-type": b"application/json", "content-length": str(len(body)).encode()}
        pairs |= {name.lower(): value.encode("latin-1") for name, value in (headers or {}).items()}
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": method,
            "path": unquote(raw.decode("ascii")), "raw_path": raw, "query_string": query, "root_path": "",
            "headers": [(name.encode(), value) for name, value in pairs.items()],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8323), "state": {},
        }  # fmt: skip
        sent: list[Message] = []
        asked = 0

        async def receive() -> Message:
            nonlocal asked
            asked += 1
            if asked == 1:
                return {"type": "http.request", "body": body, "more_body": False}
            await asyncio.Event().wait()  # the client stays
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = sent[0]
        fields = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], fields, b"".join(message.get("body", b"") for message in sent[1:]))


@asynccontextmanager
async def calling(home: Path, **options: Any) -> AsyncIterator[Caller]:
    """A caller of an application on `home`; no training starts."""
    app = create_app(Options(home=Home(home), parallel=0, **options))
    async with app.router.lifespan_context(app):
        yield Caller(app, app.state.droidft.access.token)


def _no_constant(name: str) -> Any:
    raise AssertionError(f"an answer holds {name}")

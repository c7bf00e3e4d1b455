"""Every failure as an answer of one shape: `{"error": {"code", "message", "hint", "field"}}`; below `/v1`, that
of OpenAI's interface.

`add_handlers` gives an application its handlers; `Boundary` catches what nobody foresaw. No route forms an error
answer itself: it raises a `DroidError`.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import re
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, ValidationException, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from droidft.errors import DroidError, InternalError, NotFound

logger = logging.getLogger(__name__)

STATUS = {
    "not_found": 404,
    "unauthorized": 401,
    "forbidden": 403,
    "forbidden_path": 403,
    "run": 409,
    "experiment": 409,
    "checkpoint": 409,
    "damaged": 409,
    "conflict": 409,
    "timeout": 408,
    "too_large": 413,
    "unsupported_media_type": 415,
    "busy": 429,
    "headers_too_large": 431,
    "internal": 500,
    "download": 424,
    "upload": 424,
    "ending": 503,
    "worker_died": 503,
    "out_of_memory": 503,
    "storage": 507,
}
"""HTTP status of an error's code; every other code is about what the client sent, hence 400.

A hub that was named and cannot be reached is 424 (the request depends on it), not a failure of this server.
"""

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""OpenAI's types of errors, by status."""
OPENAI_CODES = {"not_found": "model_not_found", "unauthorized": "invalid_api_key", "busy": "rate_limit_exceeded"}
"""OpenAI's codes where ours differ."""

OF_STATUS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}
"""Codes of the errors that the framework raises by status."""

OPENAI = re.compile(r"/+v1(/|$)", re.IGNORECASE)
"""Where OpenAI's interface lies, however it is spelt."""

_HOST = re.compile(r"[A-Za-z0-9._\[\]:-]+")
LONGEST_ECHO = 80
MOST_FAULTS = 10


class Unauthorized(DroidError):
    """No token, or a wrong one."""

    code = "unauthorized"


class Forbidden(DroidError):
    """A request that another site may have caused, or one for another host."""

    code = "forbidden"


class UnknownHost(Forbidden):
    """A request for a name that is not the server's: of a tunnel or proxy, or of somebody who wants to trick it."""

    def __init__(self, names: Sequence[str], *, here: str) -> None:
        named = " and ".join(map(ascii, names)) or "no name"
        self.name = names[0] if len(names) == 1 and _HOST.fullmatch(names[0]) else "NAME"
        hint = f"open {here}, or start the server with `droidft serve --name {self.name}`"
        super().__init__(f"this server does not answer to {named}", hint=hint)

    def page(self) -> Response:
        """The same for a person with a browser, who came through a tunnel or a proxy."""
        reason = html.escape(self.message[:1].upper() + self.message[1:])
        command = f"<code>droidft serve --name {html.escape(self.name)}</code>"
        text = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Droid FineTuning</title>'
            f"<h1>Droid FineTuning</h1><p>{reason}.</p><p>If this is the name of a tunnel or proxy of yours, end the "
            f"server with Ctrl-C and start it again with {command}. Runs go on meanwhile.</p></html>"
        )
        return HTMLResponse(text, status_code=403)


class Conflict(DroidError):
    """A request that conflicts with the present state."""

    code = "conflict"


class TooLarge(DroidError):
    """A body beyond its limit."""

    code = "too_large"


class HeadersTooLarge(DroidError):
    """More headers, or a longer address, than any client needs."""

    code = "headers_too_large"


class UnsupportedMediaType(DroidError):
    """A body of a kind that the route does not take."""

    code = "unsupported_media_type"


class Busy(DroidError):
    """Too many requests of one kind."""

    code = "busy"


class SlowBody(DroidError):
    """A body that stopped coming."""

    code = "timeout"


class BadRequest(DroidError):
    """A malformed request."""

    code = "bad_request"


class Ending(DroidError):
    """A request that was cut short because the server is shutting down."""

    code = "ending"


class Invalid(DroidError):
    """A request of the wrong form: what is missing, unknown, of the wrong type or out of range."""

    code = "invalid"


class Plain(DroidError):
    """An error that the framework raised by status."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self._code = code

    @property
    def code(self) -> str:  # type: ignore[override]
        """One of `OF_STATUS`."""
        return self._code


class NoRoute(NotFound):
    """There is nothing under an address."""


class BadJson(DroidError):
    """A body that is not strict JSON."""

    code = "json"


def status_of(error: DroidError) -> int:
    """The HTTP status that goes with an error."""
    return STATUS.get(error.code, 400)


def answer(error: DroidError, path: str) -> Response:
    """The answer to a request for `path` that ended in `error`. Defects are logged; clients get no details."""
    if error.code == "internal":
        logger.error("internal error: %s", error.message)
        return _defect(path)
    headers = {"Retry-After": "60"} if error.code == "busy" else {}
    if error.code == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    return _response(status_of(error), error, path, headers)


def openai_shape(error: DroidError) -> dict[str, Any]:
    """An error as OpenAI's clients know it: they show the message alone, so the hint is part of it."""
    status = status_of(error)
    kind = "server_error" if status >= 500 else TYPES.get(status, "invalid_request_error")
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    code = "unknown_url" if isinstance(error, NoRoute) else OPENAI_CODES.get(error.code, error.code)
    return {"message": message, "type": kind, "param": error.field, "code": code}


def add_handlers(app: FastAPI) -> None:
    """Let every exception of a route end as an answer of the one shape."""
    handlers: dict[type[Exception], Any] = {  # one for requests and sockets, which the framework's types keep apart
        DroidError: _on_droid_error,
        RequestValidationError: _on_invalid,
        WebSocketRequestValidationError: _on_invalid,
        HTTPException: _on_http,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


class Boundary:
    """ASGI: an error without a handler becomes a 500 without details; the log has the traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except (ClientDisconnect, WebSocketDisconnect):
            return
        except asyncio.CancelledError:  # the server is ending, and nobody else would answer
            if started or scope["type"] == "websocket":
                raise
            error = Ending("the server is ending", hint="try again when it is back")
            await answer(error, scope["path"])(scope, receive, send)
        except Exception:  # the client must get an answer, whatever it is
            logger.error("%s %s failed:\n%s", scope.get("method", "socket"), scope["path"], traceback.format_exc())
            if scope["type"] == "websocket":
                with suppress(RuntimeError):  # it is closed already
                    await send({"type": "websocket.close", "code": 1011})
            elif started:
                raise  # half an answer is out: only a broken connection can show the client that
            else:
                await _defect(scope["path"])(scope, receive, send)


async def refuse(error: DroidError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a socket that is not accepted yet, with `error`."""
    if scope["type"] == "websocket":
        await _deliver(WebSocket(scope, receive, send), answer(error, scope["path"]))
    else:
        await answer(error, scope["path"])(scope, receive, send)


async def _on_droid_error(connection: HTTPConnection, error: Exception) -> Response | None:
    assert isinstance(error, DroidError)
    return await _deliver(connection, answer(error, connection.url.path))


async def _on_invalid(connection: HTTPConnection, error: Exception) -> Response | None:
    assert isinstance(error, ValidationException)
    details = error.errors()
    sentences = [_sentence(detail) for detail in details[:MOST_FAULTS]]
    if len(details) > MOST_FAULTS:
        sentences.append(f"… and {len(details) - MOST_FAULTS:,} more")
    fields = [field for field in (_field(detail) for detail in details) if field]
    invalid = Invalid(
        "; ".join(sentences),
        hint="correct what is named; the OpenAPI document describes every request",
        field=fields[0] if fields else None,
    )
    return await _deliver(connection, answer(invalid, connection.url.path))


async def _on_http(connection: HTTPConnection, error: Exception) -> Response | None:
    assert isinstance(error, HTTPException)
    code = OF_STATUS.get(error.status_code, f"http_{error.status_code}")
    plain = Plain(code, _PLAIN.get(error.status_code, str(error.detail)))
    return await _deliver(connection, _response(error.status_code, plain, connection.url.path, error.headers or {}))


_PLAIN = {404: "there is nothing under this address", 405: "this address does not take that method"}


async def _deliver(connection: HTTPConnection, response: Response) -> Response | None:
    """The response to a request; for a socket it is sent here, or stands in the reason it is closed with."""
    if not isinstance(connection, WebSocket):
        return response
    if connection.application_state is WebSocketState.CONNECTING:
        if "websocket.http.response" in connection.scope.get("extensions", {}):
            await connection.send_denial_response(response)
        else:
            await connection.close(1008)
    elif connection.application_state is WebSocketState.CONNECTED:
        await connection.close(1011 if response.status_code >= 500 else 1008)
    return None


def _response(status: int, error: DroidError, path: str, headers: Mapping[str, str] | None = None) -> Response:
    body = openai_shape(error) if OPENAI.match(path) else error.as_dict()
    return _AsciiJson({"error": body}, status_code=status, headers=dict(headers or {}))


def _defect(path: str) -> Response:
    hint = "a defect of droidft: the server's log has the traceback"
    return _response(500, InternalError("the server made a mistake", hint=hint), path)


class _AsciiJson(JSONResponse):
    """Pure ASCII, so that no text can break it: a lone surrogate, as in odd file names, is written as its escape."""

    def render(self, content: Any) -> bytes:
        content = {"error": {name: _whole(value) for name, value in content["error"].items()}}
        return json.dumps(content, ensure_ascii=True, allow_nan=False).encode("ascii")


def _whole(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _field(detail: Mapping[str, Any]) -> str | None:
    """The parameter's name without `body`, `query`, `path` or `header` before it."""
    return ".".join(str(part) for part in detail["loc"][1:]) or None


def _sentence(detail: Mapping[str, Any]) -> str:
    where = _field(detail) or "the body"
    if detail["type"] == "extra_forbidden":
        return f"{where} is not known here"
    if detail["type"] == "missing":
        return f"{where} is required"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}{_got(detail, where)}"


def _got(detail: Mapping[str, Any], where: str) -> str:
    """What was sent, where that helps: short and plain, and never a secret."""
    value = detail.get("input")
    if where == "token" or not isinstance(value, str | int | float | bool):
        return ""
    if isinstance(value, int) and abs(value) >= 2**63:
        return ""
    shown = repr(value)
    return f", got {shown}" if len(shown) <= LONGEST_ECHO else f", got {len(shown)} characters"

"""One shape for every failure, the right status, and nothing leaked."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Query, WebSocket
from pydantic import BaseModel, TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

import droidft
from droidft import errors as tree
from droidft.server.errors import STATUS, Boundary, add_handlers
from droidft.server.schemas.base import ErrorAnswer
from droidft.server.schemas.openai import OpenAiErrorAnswer
from droidft.support.channel import ChildError
from tests.server.routes_of import METHODS, address
from tests.server.serving import serving

SOURCE = Path(droidft.__file__).parent
SHAPE = TypeAdapter(ErrorAnswer)
OPENAI_SHAPE = TypeAdapter(OpenAiErrorAnswer)


def body_of(answer: Any) -> dict[str, Any]:
    """The error of an answer, which has the one shape, or below `/v1` that of OpenAI."""
    assert answer.headers["Content-Type"].startswith("application/json")
    error: dict[str, Any] = answer.json()["error"]
    (OPENAI_SHAPE if "type" in error else SHAPE).validate_json(answer.content)
    assert error["code"]
    assert error["message"]
    return error


class Numbers(BaseModel):
    """A body for the tests."""

    number: float
    count: int = 0
    token: str = "x"
    rows: list[int] = []


@pytest.fixture
def client() -> Iterator[TestClient]:
    """An application in which everything goes wrong."""
    app = FastAPI()
    add_handlers(app)
    app.add_middleware(Boundary)

    @app.get("/code/{code}")
    async def by_code(code: str) -> None:
        raise ChildError(code, "secret detail", hint="h", field="f")

    @app.get("/http/{status}")
    async def by_status(status: int) -> None:
        try:
            raise HTTPException(status, "why", headers={"X-Kept": "yes"})
        except ValueError:
            raise AssertionError from None

    @app.get("/odd")
    async def odd() -> None:
        raise tree.ConfigError("\ud800 \x1b[31m \0", hint="\udcff", field="\ud83d")

    @app.get("/defect")
    async def defect() -> None:
        raise ZeroDivisionError("secret detail")

    @app.get("/broken")
    async def broken() -> StreamingResponse:
        def half() -> Iterator[bytes]:
            yield b"half"
            raise ZeroDivisionError

        return StreamingResponse(half())

    @app.post("/numbers")
    async def numbers(numbers: Numbers, most: Annotated[int, Query(ge=0)] = 0) -> int:
        return 1

    @app.websocket("/socket/{how}")
    async def socket(socket: WebSocket, how: str) -> None:
        if "accept" in how:
            await socket.accept()
        if "defect" in how:
            raise ZeroDivisionError
        raise tree.NotFound("there is no such run")

    with TestClient(app, raise_server_exceptions=True) as client:
        yield client


def subclasses(of: type[tree.DroidError]) -> Iterator[type[tree.DroidError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from subclasses(kind)


def test_every_code_has_its_status(client: TestClient) -> None:
    wanted = {
        "not_found": 404, "config": 400, "data": 400, "model": 400, "context_length_exceeded": 400,
        "invalid": 400, "target": 400, "adapter": 400, "non_finite": 400,
        "reward": 400, "json": 400, "bad_request": 400, "unauthorized": 401, "forbidden": 403, "forbidden_path": 403,
        "run": 409, "experiment": 409, "checkpoint": 409, "damaged": 409, "conflict": 409,
        "timeout": 408, "too_large": 413,
        "unsupported_media_type": 415, "busy": 429, "headers_too_large": 431, "internal": 500, "download": 424,
        "upload": 424,
        "worker_died": 503, "out_of_memory": 503, "ending": 503, "storage": 507,
    }  # fmt: skip
    for code, status in wanted.items():
        answer = client.get(f"/code/{code}")
        assert answer.status_code == status, code
        assert body_of(answer)["code"] == code
    assert STATUS.keys() <= wanted.keys()
    known = {kind.code for kind in subclasses(tree.DroidError) if isinstance(kind.code, str)}
    assert known <= wanted.keys(), "a new code: give it a status in droidft.server.errors, and here"


def test_a_message_reaches_the_user_but_a_defect_only_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    error = body_of(client.get("/code/data"))
    assert (error["message"], error["hint"], error["field"]) == ("secret detail", "h", "f")
    for path in ("/code/internal", "/defect"):
        caplog.clear()
        answer = client.get(path)
        assert answer.status_code == 500
        assert body_of(answer)["code"] == "internal"
        assert "secret" not in answer.text
        assert "ZeroDivision" not in answer.text
        assert "secret detail" in caplog.text
        assert caplog.records[0].levelno == logging.ERROR
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 418, 503])
def test_an_http_exception_keeps_its_status_and_headers(client: TestClient, status: int) -> None:
    answer = client.get(f"/http/{status}")
    assert answer.status_code == status
    assert answer.headers["X-Kept"] == "yes"
    body_of(answer)


def test_no_text_breaks_an_answer(client: TestClient) -> None:
    error = body_of(client.get("/odd"))
    assert error["message"] == "\\ud800 \x1b[31m \0"
    assert client.get("/odd").content.isascii()


def test_an_answer_that_breaks_off_is_seen_to_be_broken(client: TestClient) -> None:
    with pytest.raises(ZeroDivisionError):
        client.get("/broken")


@pytest.mark.parametrize(
    ("content", "field", "says"),
    [
        (
            {"number": "x"},
            "number",
            "number: input should be a valid number, unable to parse string as a number, got 'x'",
        ),
        ({}, "number", "number is required"),
        ({"number": 1, "count": 1.5}, "count", "got 1.5"),
        ({"number": 1, "count": [1]}, "count", "count: input should be a valid integer"),
        ({"number": 1, "count": 2**100, "rows": ["x"]}, "rows.0", "got 'x'"),
        ({"number": "y" * 1000}, "number", "got 1002 characters"),
        ([], None, "the body: input should be a valid dictionary"),
        (None, None, "the body is required"),
    ],
)
def test_what_is_wrong_with_a_request_is_a_sentence(client: TestClient, content: Any, field: str, says: str) -> None:
    answer = client.post("/numbers", json=content)
    assert answer.status_code == 400
    error = body_of(answer)
    assert error["code"] == "invalid"
    assert error["field"] == field
    assert says in error["message"]
    assert "yyy" not in error["message"]


def test_numbers_that_are_none_are_not_echoed_as_such(client: TestClient) -> None:
    for text in ('{"number": [NaN]}', '{"number": 1, "count": NaN}', '{"number": 1, "count": -Infinity}'):
        answer = client.post("/numbers", content=text, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        json.loads(answer.content, parse_constant=pytest.fail)


def test_a_wrong_secret_is_not_echoed(client: TestClient) -> None:
    assert "12345" not in client.post("/numbers", json={"number": 1, "token": 12345}).text


def test_many_faults_are_counted(client: TestClient) -> None:
    error = body_of(client.post("/numbers", json={"number": 1, "rows": ["x"] * 1000}))
    assert "rows.0: " in error["message"]
    assert error["message"].endswith("… and 990 more")


def test_sockets_are_refused_with_the_same_shape_or_closed(client: TestClient) -> None:
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/socket/plain"):
        pass
    assert refused.value.status_code == 404
    assert body_of(refused.value)["code"] == "not_found"
    for how, code in (("accept", 1008), ("accept-defect", 1011)):
        with client.websocket_connect(f"/socket/{how}") as socket, pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == code


# The real application


def test_every_address_answers_failures_in_that_shape(home: Path) -> None:
    with serving(home, parallel=0) as client, serving(home, token=False) as stranger:
        paths = client.get("/api/openapi.json").json()["paths"]
        for path, operations in paths.items():
            place = address(path)
            taken = {name.upper() for name in operations}
            for method in set(METHODS) - taken - {"HEAD"}:
                answer = client.request(method, place)
                assert answer.status_code == 405, (method, path)
                assert body_of(answer)["code"] == "method_not_allowed"
                assert set(answer.headers["Allow"].split(", ")) & taken
            for method in taken:
                headers = {"Content-Type": "application/json"}
                bad = client.request(method, place, content=b"{,", headers=headers) if method != "GET" else None
                for answer in [stranger.request(method, place), *([bad] if bad is not None else [])]:
                    assert 400 <= answer.status_code < 500
                    body_of(answer)
        body_of(client.get("/api/nothing"))


def test_the_document_names_that_shape_for_every_failure(home: Path) -> None:
    with serving(home) as client:
        document = client.get("/api/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status in ("4XX", "5XX"):
                schema = operation["responses"][status]["content"]["application/json"]["schema"]
                wanted = "/OpenAiErrorAnswer" if path.startswith("/v1") else "/ErrorAnswer"
                assert schema["$ref"].endswith(wanted), (method, path)


def modules(folder: str = ".") -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((SOURCE / folder).rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


CATCHES_ALL = {"errors.py", "supervisor.py"}
"""The latter so that nothing that goes wrong with one run stops the queue."""


def test_no_route_forms_an_error_itself_or_catches_everything() -> None:
    found = []
    for path, module in modules("server"):
        for node in ast.walk(module):
            call = ast.unparse(node) if isinstance(node, ast.Call) else ""
            if call.startswith(("HTTPException", "JSONResponse")) and not call.startswith("HTTPException(405"):
                found.append(f"{path.name}:{node.lineno} {call}")
            if isinstance(node, ast.ExceptHandler) and path.name not in CATCHES_ALL:
                caught = ast.unparse(node.type) if node.type else "everything"
                goes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
                if caught in ("everything", "Exception", "BaseException") and not goes_on:
                    found.append(f"{path.name}:{node.lineno} catches {caught}")
    assert not found, found


FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads",
    "pickle.Unpickler", "marshal.loads", "shelve.open", "torch.load", "numpy.load", "np.load", "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load", "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
}  # fmt: skip


ASKED_FOR = {"rewards/own.py exec", "rewards/own.py compile"}
"""A user's own file of rewards, which a run names: run in worker processes only."""


def test_no_text_is_ever_run_as_code() -> None:
    found = []
    for path, module in modules():
        for node in ast.walk(module):
            where = f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call):
                call = ast.unparse(node.func)
                if call in FORBIDDEN_CALLS and f"{path.relative_to(SOURCE)} {call}" not in ASKED_FOR:
                    found.append(f"{where} {call}")
                for keyword in node.keywords:
                    if keyword.arg in ("shell", "trust_remote_code") and ast.unparse(keyword.value) != "False":
                        found.append(f"{where} {keyword.arg}={ast.unparse(keyword.value)}")
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                if names & {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}:
                    found.append(f"{where} {ast.unparse(node)}")
            if isinstance(node, ast.List | ast.Tuple):
                words = [ast.unparse(item) for item in node.elts]
                if "'-c'" in words and any("python" in word or "sys.executable" in word for word in words):
                    found.append(f"{where} {words}")
    assert not found, found


def test_a_request_that_the_end_of_the_server_overtakes_is_answered() -> None:
    sent: list[Any] = []

    async def never(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def scenario() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        task = asyncio.create_task(Boundary(never)({"type": "http", "method": "GET", "path": "/x"}, None, send))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    asyncio.run(scenario())
    assert sent[0]["status"] == 503
    assert b'"ending"' in sent[1]["body"]

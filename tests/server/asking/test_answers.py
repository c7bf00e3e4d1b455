from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from droidft.adapters.publish import publish
from droidft.home import Home
from droidft.server.asking import answers
from droidft.server.asking.answers import Answers, Question
from droidft.server.errors import Conflict
from droidft.server.options import Options
from tests.adapters.files import ATTENTION_QV, edit_config, write_adapter
from tests.conftest import CACHE
from tests.server.listening import Listening, listening
from tests.tiny import llama, write_model

ENDLESS = {"model_name": "endless", "prompt": "x", "temperature": 0, "max_tokens": 100_000}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two tiny models, one of which answers for long, and adapters."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "cache").symlink_to(CACHE, target_is_directory=True)
    write_model(folder / "models" / "tiny")
    write_model(folder / "models" / "endless", seed=3, max_position_embeddings=1_000_000, eos_token_id=[])
    adapters = folder / "adapters"
    write_adapter(adapters / "poet", llama(), config={"model": str(folder / "models" / "tiny")})
    shutil.copy(adapters / "poet" / "adapters.safetensors", adapters / "poet" / "0000200_adapters.safetensors")
    write_adapter(adapters / "poet", llama(), strength=0.6, name="best_adapters.safetensors")
    edit_config(adapters / "poet", model=str(folder / "models" / "tiny"))
    write_adapter(adapters / "narrow", llama(), keys=ATTENTION_QV, num_layers=1, strength=2.0)
    write_adapter(adapters / "wide", llama(hidden_size=64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(folder / "hub"))
        yield folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Listening]:
    with listening(home) as running:
        yield running


def asked(server: Listening, **fields: Any) -> dict[str, Any]:
    body = {"prompt": "hello", "model_name": "tiny", "temperature": 0, "max_tokens": 12, **fields}
    response = server.post("/api/models/inference", body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def streamed(server: Listening, **fields: Any) -> list[dict[str, Any]]:
    body = {"prompt": "hello", "model_name": "tiny", "temperature": 0, "max_tokens": 12, **fields}
    with server.client.stream("POST", "/api/models/inference/stream", json=body) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("application/x-ndjson")
        return [json.loads(line) for line in response.iter_lines()]


def wait(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def text_of(events: list[dict[str, Any]], side: int) -> str:
    return "".join(event["text"] for event in events if event["type"] == "text" and event["side"] == side)


def test_the_base_alone(server: Listening) -> None:
    found = asked(server)
    details = found["adapter_details"]
    assert (details["type"], details["name"], details["rank"], details["model_recorded"]) == ("none",) + (None,) * 3
    assert (details["chat_template_used"], details["expected_layers"], details["warnings"]) == (True, 2, [])
    assert (found["tokens"], found["finish_reason"]) == (12, "length")
    assert found["tokens_per_second"] > 0


def test_an_adapter_with_its_details(server: Listening, home: Path) -> None:
    base, best = asked(server), asked(server, adapter_name="poet")
    details = best["adapter_details"]
    assert best["response"] != base["response"]
    assert (details["name"], details["type"]) == ("poet", "best")
    assert (details["rank"], details["alpha"], details["scale"], details["dropout"]) == (4, 4.0, 1.0, 0.0)
    assert (details["num_layers"], details["expected_layers"], len(details["keys"])) == (2, 2, 7)
    assert details["model_recorded"] == str(home / "models" / "tiny")
    assert details["max_logit_change"] > 0
    assert details["warnings"] == []
    latest = asked(server, adapter_name="poet@latest")
    assert latest["adapter_details"]["type"] == "latest"
    assert latest["response"] != best["response"]
    step = asked(server, adapter_name="poet@200")
    assert step["adapter_details"]["type"] == "step 200"
    assert step["response"] == latest["response"]
    assert asked(server)["response"] == base["response"], "the base is as it was"


def test_without_best_weights_the_latest_answer_with_warnings(server: Listening) -> None:
    details = asked(server, adapter_name="narrow")["adapter_details"]
    assert (details["type"], details["num_layers"], details["keys"]) == ("latest", 1, ATTENTION_QV)
    codes = [warning["code"] for warning in details["warnings"]]
    assert codes == ["base_unknown", "layers", "attention_only", "no_best"]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model_name": "nobody"}, 404, "not_found"),
        ({"model_name": "org/nobody"}, 404, "not_found"),
        ({"model_name": "../tiny"}, 400, "config"),
        ({"model_name": "/etc"}, 403, "forbidden_path"),
        ({"adapter_name": "nobody"}, 404, "not_found"),
        ({"adapter_name": "narrow@best"}, 404, "not_found"),
        ({"adapter_name": "poet@7"}, 404, "not_found"),
        ({"adapter_name": "../adapters/poet"}, 400, "adapter"),
        ({"adapter_name": "poet@good"}, 400, "adapter"),
        ({"adapter_name": "wide"}, 400, "adapter"),
        ({"prompt": "x" * 600}, 400, "context_length_exceeded"),
        ({"prompt": ""}, 400, "invalid"),
        ({"prompt": " \n"}, 400, "config"),
        ({"prompt": "\t", "use_chat_template": False}, 400, "config"),
        ({"model_name": ""}, 400, "invalid"),
        ({"max_tokens": "4"}, 400, "invalid"),
        ({"use_chat_template": "no"}, 400, "invalid"),
        ({"prompt": "x", "system_prompt": "y", "use_chat_template": False}, 400, "config"),
        ({"top_p": 0}, 400, "invalid"),
        ({"temprature": 0}, 400, "invalid"),
    ],
)
def test_refusals(server: Listening, fields: dict[str, Any], status: int, code: str) -> None:
    body = {"prompt": "hello", "model_name": "tiny", **fields}
    response = server.post("/api/models/inference", body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert error["message"]
    asked(server)


def test_a_seed_repeats_an_answer_and_is_drawn_where_none_is_given(server: Listening) -> None:
    warm = {"temperature": 1.5, "top_p": 1, "min_p": 0, "top_k": 0}
    first = asked(server, **warm)
    assert asked(server, **warm, seed=first["seed"])["response"] == first["response"]
    others = [asked(server, **warm) for _ in range(3)]
    assert len({other["seed"] for other in others}) == 3
    assert len({other["response"] for other in [*others, first]}) > 1


@pytest.mark.parametrize("fields", [{}, {"temperature": 1.2, "seed": 5, "top_k": 0}], ids=["likeliest", "drawn"])
def test_sides_answer_as_each_would_alone(server: Listening, fields: dict[str, Any]) -> None:
    sides = [None, "poet@latest", "poet", "narrow"]
    events = streamed(server, adapters=sides, max_tokens=40, **fields)
    for number, adapter in enumerate(sides):
        alone = asked(server, adapter_name=adapter, max_tokens=40, **fields)
        assert text_of(events, number) == alone["response"]
        start = next(event for event in events if event["type"] == "start" and event["side"] == number)
        assert start["adapter_details"] == alone["adapter_details"]
        assert start["seed"] == fields.get("seed", start["seed"])
        end = next(event for event in events if event["type"] == "end" and event["side"] == number)
        same = ("finish_reason", "prompt_tokens", "tokens")
        assert [end[name] for name in same] == [alone[name] for name in same]
    order = [event["side"] for event in events if event["type"] == "text"]
    assert set(order[: len(order) // 2]) == set(order), "they take turns"


def test_a_side_that_cannot_answer_leaves_the_others(server: Listening) -> None:
    events = streamed(server, adapters=["nobody", None, "wide", "poet@7"])
    errors = {event["side"]: event["error"]["code"] for event in events if event["type"] == "error"}
    assert errors == {0: "not_found", 2: "adapter", 3: "not_found"}
    assert text_of(events, 1) == asked(server)["response"]
    only = streamed(server, adapters=["nobody"])
    assert [event["type"] for event in only] == ["error"]


def test_what_fails_for_all_sides_has_a_status_of_its_own(server: Listening) -> None:
    body = {"prompt": "hello", "model_name": "nobody", "adapters": [None]}
    response = server.post("/api/models/inference/stream", body)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_raw_and_system_prompts(server: Listening) -> None:
    raw = asked(server, use_chat_template=False)
    assert (raw["adapter_details"]["chat_template_used"], raw["prompt_tokens"]) == (False, 5)
    assert asked(server, system_prompt="Be brief.")["prompt_tokens"] > asked(server)["prompt_tokens"]


def test_a_model_without_a_template_says_that_none_was_used(server: Listening, home: Path) -> None:
    folder = write_model(home / "models" / "plain")
    settings = (folder / "tokenizer_config.json").read_text()
    (folder / "tokenizer_config.json").write_text(settings.replace("chat_template", "no_template"))
    (folder / "helper.py").write_text("raise SystemExit")
    details = asked(server, model_name="plain")["adapter_details"]
    assert details["chat_template_used"] is False
    assert [warning["code"] for warning in details["warnings"]] == ["model_code"]


def test_a_model_that_was_changed_is_loaded_anew(server: Listening, home: Path) -> None:
    write_model(home / "models" / "changing")
    first = asked(server, model_name="changing")
    write_model(home / "models" / "changing", seed=9)
    assert asked(server, model_name="changing")["response"] != first["response"]
    again = streamed(server, model_name="changing", adapters=[None])
    assert "phase" not in [event["type"] for event in again], "not loaded again"
    phases = [event["text"] for event in streamed(server, adapters=[None]) if event["type"] == "phase"]
    assert phases == ["loading model tiny"]


def test_weights_that_training_replaces_are_not_served_stale(server: Listening, home: Path) -> None:
    folder, made = home / "adapters" / "growing", home / "made"
    answered = []
    for step, strength in enumerate([0.3, 0.7, 1.1], start=1):
        write_adapter(made, llama(), strength=strength)
        write_adapter(folder, llama(), name="unused.safetensors")  # its config
        publish(folder, made / "adapters.safetensors", step=step, best=True, keep=1)
        (made / "adapters.safetensors").unlink()
        answered.append(asked(server, adapter_name="growing", max_tokens=30)["response"])
        assert asked(server, adapter_name="growing", max_tokens=30)["response"] == answered[-1]
    assert len(set(answered)) == 3
    # Another program writes into the very file.
    weights = (folder / "adapters.safetensors").resolve()
    write_adapter(made, llama(), strength=1.6)
    weights.write_bytes((made / "adapters.safetensors").read_bytes())
    assert asked(server, adapter_name="growing", max_tokens=30)["response"] not in answered
    edit_config(folder, lora_parameters={"rank": 4, "scale": 5.0, "dropout": 0.0, "keys": ATTENTION_QV})
    edit_config(folder, lora_parameters={"rank": 4, "scale": 0.0, "dropout": 0.0})
    silent = asked(server, adapter_name="growing", max_tokens=30)
    assert silent["adapter_details"]["scale"] == 0
    assert "no_effect" in [warning["code"] for warning in silent["adapter_details"]["warnings"]]
    assert silent["response"] == asked(server, max_tokens=30)["response"]


def test_adapters_are_never_written(server: Listening, home: Path) -> None:
    before = tree(home / "adapters")
    for adapter in (None, "poet", "poet@latest", "poet@200", "narrow", "poet@best"):
        asked(server, adapter_name=adapter)
    streamed(server, adapters=[None, "poet", "poet@latest", "narrow"])
    streamed(server, adapters=["wide", "poet@7"])
    assert tree(home / "adapters") == before
    assert len(before) > 8


def tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Every file and folder with its times and bytes."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.lstat().st_ino,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def test_an_answer_ends_when_its_reader_goes(server: Listening) -> None:
    with server.client.stream(
        "POST", "/api/models/inference/stream", json=dict(ENDLESS, adapters=[None])
    ) as response:
        lines = response.iter_lines()
        for _ in range(6):
            assert json.loads(next(lines))["type"] in ("phase", "start", "text")
    pid = server.answers.child.pid
    assert server.wait_until_idle() < 2
    assert server.answers.child.pid == pid, "called off, not killed"
    assert asked(server)["tokens"] == 12


def test_a_whole_answer_ends_when_nobody_waits_for_it(server: Listening) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        server.client.post("/api/models/inference", json=ENDLESS, timeout=1.5)
    pid = server.answers.child.pid
    assert server.wait_until_idle() < 2
    assert server.answers.child.pid == pid


def test_reading_a_long_prompt_is_told_and_called_off(server: Listening) -> None:
    body = {**ENDLESS, "prompt": "word " * 40_000, "adapters": [None]}
    with server.client.stream("POST", "/api/models/inference/stream", json=body) as response:
        for line in response.iter_lines():
            event = json.loads(line)
            if event["type"] == "phase" and event["text"].startswith("reading the prompt: 1,"):
                break
        else:
            pytest.fail("the reading was not told")
    pid = server.answers.child.pid
    assert server.wait_until_idle() < 2
    assert server.answers.child.pid == pid


def test_a_worker_that_is_killed_ends_all_and_the_next_works(server: Listening) -> None:
    asked(server)
    responses: list[httpx2.Response] = []
    other = threading.Thread(target=lambda: responses.append(server.post("/api/models/inference", ENDLESS)))
    with server.client.stream(
        "POST", "/api/models/inference/stream", json=dict(ENDLESS, adapters=[None])
    ) as response:
        lines = response.iter_lines()
        while json.loads(next(lines))["type"] != "text":
            pass
        other.start()
        wait(lambda: server.answers.asked == 2 and not server.answers.waiting)
        os.kill(server.answers.child.pid or 0, signal.SIGKILL)
        last = [json.loads(line) for line in lines][-1]
    assert (last["type"], last["side"], last["error"]["code"]) == ("error", None, "worker_died")
    other.join(20)
    assert (responses[0].status_code, responses[0].json()["error"]["code"]) == (503, "worker_died")
    assert asked(server)["tokens"] == 12


def test_questions_for_another_base_wait_and_too_many_are_refused(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_ASKED", 3)
    alone = asked(server)
    found: list[list[dict[str, Any]]] = []
    threads = [
        threading.Thread(target=lambda: found.append(streamed(server, adapters=[None], model_name="tiny")))
        for _ in range(2)
    ]
    with server.client.stream(
        "POST", "/api/models/inference/stream", json=dict(ENDLESS, adapters=[None])
    ) as response:
        lines = response.iter_lines()
        while json.loads(next(lines))["type"] != "text":
            pass
        for waiting, thread in enumerate(threads, start=1):
            thread.start()
            wait(lambda: server.answers.waiting == waiting)  # noqa: B023
        refused = server.post("/api/models/inference", {"prompt": "x", "model_name": "tiny"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "busy")
        assert server.client.request("DELETE", "/api/inference").status_code == 409
    for thread in threads:
        thread.join(20)
    assert [text_of(events, 0) for events in found] == [alone["response"]] * 2
    waits = [event["text"] for events in found for event in events if event["type"] == "phase"]
    assert {"waiting for another answer", "waiting for 2 other answers"} <= set(waits)


def test_many_ask_at_once(server: Listening) -> None:
    """Each gets the answer to its own question, in whatever order they come."""
    adapters = [None, "poet", "poet@latest", "narrow"]
    alone = {adapter: asked(server, adapter_name=adapter)["response"] for adapter in adapters}
    found: list[tuple[str | None, str]] = []

    def ask(adapter: str | None) -> None:
        found.append((adapter, asked(server, adapter_name=adapter)["response"]))

    threads = [threading.Thread(target=ask, args=(adapters[number % 4],)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 24
    assert all(alone[adapter] == response for adapter, response in found)


def test_unloading(server: Listening) -> None:
    asked(server)
    state = server.client.get("/api/inference").json()
    assert (state["model"], state["busy"], state["waiting"]) == ("tiny", False, 0)
    assert state["memory"] > 20 << 20
    pid = server.answers.child.pid
    assert server.client.request("DELETE", "/api/inference").json()["model"] is None
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert server.client.get("/api/inference").json() == {
        "model": None,
        "busy": False,
        "waiting": 0,
        "memory": None,
    }
    assert asked(server)["tokens"] == 12


def test_an_idle_model_is_unloaded(home: Path) -> None:
    async def scenario() -> None:
        parts = Answers(Options(home=Home(home)), idle_seconds=0.6)
        async with parts.running():
            question = Question("tiny", [None], {"max_tokens": 3, "temperature": 0.0, "seed": 1}, prompt="hello")
            assert (await parts.ask(question).whole())["tokens"] == 3
            assert (await parts.state()).model == "tiny"
            async with asyncio.timeout(5):
                while parts.child.pid is not None:
                    await asyncio.sleep(0.05)
            assert (await parts.state()).model is None
            assert (await parts.ask(question).whole())["tokens"] == 3

    asyncio.run(scenario())


def test_a_reader_who_does_not_read_is_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        parts = Answers(Options(home=Home(home)))
        async with parts.running():
            sampling = {"max_tokens": 100_000, "temperature": 0.0, "seed": 1}
            lazy = parts.ask(Question("endless", [None], sampling, prompt="x"))
            async with asyncio.timeout(20):
                quick = Question("tiny", [None], {**sampling, "max_tokens": 3}, prompt="hello")
                assert (await parts.ask(quick).whole())["tokens"] == 3
            with pytest.raises(Conflict, match="not read"):
                [event async for event in lazy]

    monkeypatch.setattr(answers, "MOST_UNREAD", 50)
    asyncio.run(scenario())


@pytest.mark.alone
def test_the_server_ends_while_it_answers(home: Path) -> None:
    with httpx2.Client(timeout=60) as client:
        with listening(home) as server:
            headers = {"Authorization": f"Bearer {server.token}"}
            body = dict(ENDLESS, adapters=[None])
            asking = client.build_request("POST", f"{server.url}/api/models/inference/stream", json=body)
            asking.headers.update(headers)
            response = client.send(asking, stream=True)
            lines = response.iter_lines()
            while json.loads(next(lines))["type"] != "text":
                pass
            pid = server.answers.child.pid
            begun = time.monotonic()
        assert time.monotonic() - begun < 5
        with suppress(httpx2.RemoteProtocolError):
            assert len(list(lines)) < 100_000
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_memory_of_a_process_that_is_there_or_gone() -> None:
    own = answers.resident_bytes(os.getpid())
    assert own is not None
    assert own > 2**20
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert answers.resident_bytes(gone.pid) is None

"""The inspecting process itself, spoken to over its pipes as the server does."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from droidft.config import TrainingConfig
from droidft.models import hub
from droidft.support.channel import Call, Cancelled, Child, ChildError
from droidft.workers import inspect
from tests import tiny

QUESTION = {
    "model": "tiny", "offline": True, "rank": 8, "batch_size": 1, "seq_length": 64, "num_layers": -1, "keys": None,
    "routers": "auto", "optimizer": "adamw", "grad_checkpoint": False, "dora": False,
}  # fmt: skip


def with_child(home: Path, scenario: Any) -> Any:
    """What `scenario(ask)` gives, where `ask` puts one question to a fresh process."""

    async def run() -> Any:
        child = Child("droidft.workers.inspect", niceness=10)

        def ask(name: str, **params: Any) -> Coroutine[Any, Any, Any]:
            return child.call(name, {"home": str(home), **params})

        try:
            return await scenario(ask)
        finally:
            await child.close()

    return asyncio.run(run())


def test_every_handler_is_known_by_its_name() -> None:
    assert {handler.__name__: handler for handler in inspect.HANDLERS.values()} == inspect.HANDLERS
    assert all(handler.__doc__ for handler in inspect.HANDLERS.values())


def test_questions_one_after_another(home: Path) -> None:
    tiny.write_model(home / "models" / "tiny")

    async def scenario(ask: Any) -> None:
        assert await ask("warm") is None
        assert [model["ref"] for model in await ask("models")] == ["smollm2-135m-instruct", "tiny"]
        found = await ask("targets", **QUESTION)
        assert found["presets"][0]["trainable"] == 8 * 2 * sum((32 + 32, 32 + 16, 32 + 16, 32 + 32, *[32 + 64] * 3))
        with pytest.raises(ChildError) as caught:
            await ask("targets", **QUESTION | {"model": "none"})
        assert caught.value.code == "not_found"
        with pytest.raises(ChildError) as caught:
            await ask("targets", **QUESTION | {"num_layers": 3})
        assert (caught.value.code, caught.value.field) == ("config", "lora_num_layers")
        now = await ask("storage")
        assert 0 < now["memory_available"] <= now["memory_total"]
        assert now["disk_free"] > 0

    with_child(home, scenario)


def test_the_key_of_a_check_changes_with_the_files_and_the_tokenizer(home: Path, tmp_path: Path) -> None:
    folder = tiny.write_model(home / "models" / "tiny")
    rows = tiny.write_chat(tmp_path / "rows.jsonl")

    def config(**changes: Any) -> dict[str, Any]:
        values = {"model_path": "tiny", "train_data_path": str(rows), **changes}
        return TrainingConfig.model_validate(values).model_dump(mode="json")

    async def scenario(ask: Any) -> None:
        alone = await ask("data_key", config=config(), with_model=False)
        assert [part[0] for part in alone] == [str(rows)]
        first = await ask("data_key", config=config(), with_model=True)
        assert first == await ask("data_key", config=config(), with_model=True)
        assert len(first) > len(alone)
        rows.write_bytes(rows.read_bytes() + b"\n")
        second = await ask("data_key", config=config(), with_model=True)
        assert second != first
        (folder / "tokenizer.json").touch()
        os.utime(folder / "tokenizer.json", (0, 1))
        assert await ask("data_key", config=config(), with_model=True) != second
        for unknown in ({"train_data_path": "hub:org/none"}, {"model_path": "none"}, {"model_path": "org/none"}):
            assert await ask("data_key", config=config(**unknown), with_model=True) is None

    with_child(home, scenario)


def test_the_structure_is_told_before_the_tokens(home: Path, tmp_path: Path) -> None:
    tiny.write_model(home / "models" / "tiny")
    rows = tiny.write_chat(tmp_path / "rows.jsonl")
    config = TrainingConfig(model_path="tiny", train_data_path=str(rows)).model_dump(mode="json")

    async def run() -> list[tuple[str, Any]]:
        child = Child("droidft.workers.inspect")
        try:
            params = {"home": str(home), "config": config, "with_model": True}
            return [step async for step in child.stream("check_data", params)]
        finally:
            await child.close()

    steps = asyncio.run(run())
    phases = [event["phase"] for kind, event in steps if kind == "event" and "phase" in event]
    assert list(dict.fromkeys(phases)) == ["checking rows", "loading the tokenizer", "counting tokens"]
    (early,) = [event["check"] for kind, event in steps if kind == "event" and "check" in event]
    kind, result = steps[-1]
    assert (kind, early["structure"], early["tokens"]) == ("result", result["structure"], None)
    assert result["tokens"]["train"]["rows"] == 36


class Recorder:
    """A call whose answers are kept."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.call = Call(1, "x", {}, self, threading.Event())  # type: ignore[arg-type]

    def write(self, line: str) -> None:
        self.lines.append(json.loads(line)["event"])

    def flush(self) -> None: ...


def test_progress_is_told_in_bytes_and_not_too_often() -> None:
    recorder = Recorder()
    report = inspect._in_bytes(recorder.call, 4)
    for done in range(1, 1001):
        report("downloading", done, 1000)
    report("importing", 5, 10)
    assert recorder.lines[0] == {"phase": "downloading", "done": 1, "total": 1000}
    assert recorder.lines[-2] == {"phase": "downloading", "done": 1000, "total": 1000}
    assert recorder.lines[-1] == {"phase": "importing", "done": 20, "total": 40}
    assert len(recorder.lines) < 20
    recorder.call.cancel()
    with pytest.raises(Cancelled):
        report("importing", 6, 10)


def test_verdicts_at_their_limits() -> None:
    assert [inspect.verdict(needed, 1000) for needed in (0, 800, 801, 1000, 1001)] == [
        "fits", "fits", "tight", "tight", "does not fit"
    ]  # fmt: skip
    assert inspect.verdict(1, 0) == "does not fit"


def test_only_a_hub_model_is_ever_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("models--org--name", "models--org--other"):
        (tmp_path / "hub" / name / "blobs").mkdir(parents=True)
    for name in ("../..", "", "org", "/", "org/../..", "org/name/x"):
        hub.forget(name)
    assert len(list((tmp_path / "hub").iterdir())) == 2
    hub.forget("org/name")
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["models--org--other"]

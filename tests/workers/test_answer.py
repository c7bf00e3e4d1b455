"""The inference worker itself, without a server: turns, the adapters that are kept, what it costs to change them."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from droidft.adapters.folder import read_adapter
from droidft.engine.generation import loaded
from droidft.engine.generation.sampling import Sampling
from droidft.engine.machine.device import computing
from droidft.errors import AdapterError, ConfigError, ModelError, NotFound
from droidft.support.channel import Cancelled
from droidft.workers.answer import Worker
from tests.adapters.files import ATTENTION_QV, FULL_LAYER, edit_config, write_adapter
from tests.conftest import CACHE
from tests.tiny import llama, write_model


class Recorded:
    """A call whose events are kept; it is called off after `most` of them."""

    def __init__(self, params: dict[str, Any], most: int = 1_000_000) -> None:
        self.params = params
        self.events: list[dict[str, Any]] = []
        self.most = most
        self.checks = 0

    def emit(self, event: dict[str, Any]) -> None:
        self.check()
        self.events.append(event)

    def check(self) -> None:
        self.checks += 1
        if len(self.events) >= self.most:
            raise Cancelled

    def text(self, side: int) -> str:
        return "".join(event["text"] for event in self.events if event["type"] == "text" and event["side"] == side)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


def question(home: Path, *adapters: str | None, **changes: Any) -> dict[str, Any]:
    sampling = {"max_tokens": 16, "temperature": 0.0, "seed": 1, **changes.pop("sampling", {})}
    return {
        "home": str(home),
        "model": "tiny",
        "sides": [{"side": number, "adapter": adapter} for number, adapter in enumerate(adapters)],
        "prompt": "hello",
        "system": None,
        "messages": None,
        "use_chat_template": True,
        "sampling": sampling,
        "stop": [],
        **changes,
    }


@pytest.fixture
def worker() -> Any:
    with ExitStack() as stack:
        yield Worker(stack)


def ask(worker: Worker, *given: Any, most: int = 1_000_000, **changes: Any) -> Recorded:
    call = Recorded(question(*given, **changes), most)
    finish(worker, call)
    return call


def finish(worker: Worker, *calls: Recorded) -> None:
    """Answer calls side by side, as `channel.serve_together` does."""
    doing = [worker.answer(call) for call in calls]  # type: ignore[arg-type]
    try:
        while doing:
            worker.turn()
            doing = [steps for steps in doing if next(steps, "ended") != "ended"]
    finally:
        for steps in doing:
            steps.close()


@pytest.fixture
def adapters(home: Path) -> Path:
    write_model(home / "models" / "tiny")
    folder = home / "adapters"
    write_adapter(folder / "lora", llama())
    write_adapter(folder / "dora", llama(), kind="dora", strength=0.5)
    write_adapter(folder / "full", llama(), kind="full", strength=0.05)
    return folder


def test_all_kinds_of_adapters_take_turns_with_the_base(home: Path, adapters: Path, worker: Worker) -> None:
    sides = (None, "lora", "dora", "full")
    warm = {"sampling": {"temperature": 1.3, "top_k": 0, "max_tokens": 30}}
    for changes in ({}, warm):
        together = ask(worker, home, *sides, **changes)
        alone = [ask(worker, home, adapter, **changes).text(0) for adapter in sides]
        assert [together.text(number) for number in range(4)] == alone
        assert len(set(alone)) == 4
        assert [event["side"] for event in together.of("start")] == [0, 1, 2, 3]


def test_the_base_is_loaded_once_and_adapters_too(
    home: Path, adapters: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(worker, home, None, "lora")
    assert [event["text"] for event in first.of("phase")] == ["making the device ready", "loading model tiny"]
    read: list[Path] = []
    monkeypatch.setattr(
        loaded, "read_adapter", lambda path, which, check_values=True: note(read, path, which, check_values)
    )
    monkeypatch.setattr(loaded, "load", None)
    for adapter in ("lora", None, "lora", "dora", "lora", "dora"):
        assert ask(worker, home, adapter).of("phase") == []
    assert read == [adapters / "dora"]


def test_another_name_for_the_loaded_model(home: Path, adapters: Path, worker: Worker) -> None:
    (home / "models" / "alias").symlink_to(home / "models" / "tiny")
    edit_config(adapters / "lora", model="elsewhere")
    for name in ("tiny", "alias", str(home / "models" / "tiny"), "tiny"):
        call = ask(worker, home, "lora", model=name)
        assert call.of("phase") == [] or name == "tiny"
        assert call.of("loaded") == [{"type": "loaded", "model": name}]
        warnings = call.of("start")[0]["adapter_details"]["warnings"]
        assert f"was trained on elsewhere, and is used with {name};" in warnings[0]["message"]


def note(read: list[Path], path: Path, which: Any, check_values: bool) -> Any:
    if check_values:
        read.append(path)
    return read_adapter(path, which, check_values=check_values)


def test_it_stops_between_tokens(home: Path, adapters: Path, worker: Worker) -> None:
    ask(worker, home, None)
    whole = ask(worker, home, None, "lora")
    for most in range(len(whole.events)):
        call = Recorded(question(home, None, "lora"), most)
        with pytest.raises(Cancelled):
            finish(worker, call)
        texts = [event for event in whole.events[:most] if event["type"] == "text"]
        assert call.of("text") == texts
    assert ask(worker, home, None, "lora").text(1) == whole.text(1)


def test_requests_are_answered_side_by_side_and_one_is_called_off(home: Path, adapters: Path, worker: Worker) -> None:
    asked = [(None, {}), ("lora", {}), ("dora", {"sampling": {"temperature": 1.3, "seed": 4}}), ("full", {})]
    alone = [ask(worker, home, adapter, **changes).text(0) for adapter, changes in asked]
    calls = [Recorded(question(home, adapter, **changes)) for adapter, changes in asked]
    endless = {"max_tokens": 400, "logit_bias": {"258": -100.0}}
    gone = Recorded(question(home, "lora", sampling=endless))
    doing = [worker.answer(call) for call in (*calls, gone)]  # type: ignore[arg-type]
    while doing:
        worker.turn()
        if gone.most > len(gone.events) == 5:
            gone.most = 5
            with pytest.raises(Cancelled):
                next(doing.pop())
        doing = [steps for steps in doing if next(steps, "ended") != "ended"]
    assert [call.text(0) for call in calls] == alone
    assert len(gone.events) == 5
    assert worker._sides == {}


def test_an_error_in_the_midst_forgets_the_answers_and_the_next_is_good(
    home: Path, adapters: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ask(worker, home, "lora").text(0)
    call = Recorded(question(home, "lora"))
    steps = worker.answer(call)  # type: ignore[arg-type]
    next(steps)
    with monkeypatch.context() as broken:
        broken.setattr(type(worker._engine), "step", lambda engine: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            worker.turn()
    steps.close()
    again = ask(worker, home, "lora")
    assert [event["text"] for event in again.of("phase")] == ["loading model tiny"]
    assert again.text(0) == whole


def test_what_it_refuses(home: Path, adapters: Path, worker: Worker) -> None:
    write_adapter(adapters / "wide", llama(hidden_size=64))
    refused = ask(worker, home, "wide", "nobody", None, "lora@3")
    codes = {event["side"]: event["error"]["code"] for event in refused.of("error")}
    assert codes == {0: "adapter", 1: "not_found", 3: "not_found"}
    assert refused.text(2) == ask(worker, home, None).text(0)
    for changes, kind in (
        ({"model": "nobody"}, NotFound),
        ({"model": "org/nobody"}, NotFound),
        ({"prompt": "x" * 600}, ModelError),
        ({"system": "y", "use_chat_template": False}, ConfigError),
    ):
        with pytest.raises(kind):
            ask(worker, home, None, **changes)
        assert ask(worker, home, None).of("phase") == [], "the model stays"


def test_a_prompt_put_otherwise_than_in_the_training_is_pointed_out(
    home: Path, adapters: Path, worker: Worker
) -> None:
    record = {"data_format": "chat", "chat_template_sha256": "0" * 64, "system_prompt": "Be brief."}
    edit_config(adapters / "lora", droidft=record)

    def codes(**changes: Any) -> set[str]:
        details = ask(worker, home, "lora", **changes).of("start")[0]["adapter_details"]
        return {warning["code"] for warning in details["warnings"]} & {
            "template_unused",
            "template_added",
            "system_prompt",
        }

    def turns(system: str) -> list[dict[str, str]]:
        return [{"role": "system", "content": system}, {"role": "user", "content": "hello"}]

    assert codes() == {"system_prompt"}
    assert codes(system="Be brief.") == set()
    assert codes(system="Be long.") == {"system_prompt"}
    assert codes(use_chat_template=False) == {"template_unused"}
    assert codes(messages=turns("Be brief.")) == set()
    assert codes(messages=turns("Be long.")) == {"system_prompt"}
    edit_config(adapters / "lora", droidft={"data_format": "text", "chat_template_sha256": "0" * 64})
    assert codes() == {"template_added"}
    assert codes(use_chat_template=False) == set()


def test_stop_texts(home: Path, adapters: Path, worker: Worker) -> None:
    whole = ask(worker, home, "lora", None, sampling={"max_tokens": 40})
    stop = whole.text(0)[5:8]
    cut = ask(worker, home, "lora", None, sampling={"max_tokens": 40}, stop=[stop])
    assert cut.text(0) == whole.text(0)[: whole.text(0).index(stop)]
    ends = {event["side"]: event for event in cut.of("end")}
    assert ends[0]["finish_reason"] == "stop"
    assert ends[0]["tokens"] < 40


def test_a_file_that_changes_while_it_is_read(home: Path, adapters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded.load("tiny", models_dir=home / "models", cache_dir=home / "cache")
    changes = 0

    def read_and_change(path: Path, which: Any, check_values: bool = True) -> Any:
        nonlocal changes
        found = read_adapter(path, which, check_values=check_values)
        if check_values and changes < limit:
            changes += 1
            write_adapter(adapters / "lora", llama(), strength=0.3 + changes)
        return found

    monkeypatch.setattr(loaded, "read_adapter", read_and_change)
    limit = 2
    ready = model.ready(adapters / "lora", "latest")
    model.put(ready)
    settled = [token.token_id for token in model.answer("hello", Sampling(max_tokens=8))]
    model.put(None)
    model.switch(read_adapter(adapters / "lora"))
    assert [token.token_id for token in model.answer("hello", Sampling(max_tokens=8))] == settled
    limit = 1_000
    write_adapter(adapters / "lora", llama(), strength=0.9)
    with pytest.raises(AdapterError, match="change faster"):
        model.ready(adapters / "lora", "latest")


def test_the_least_recently_used_adapters_are_dropped(
    home: Path, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded, "KEPT_BYTES", 1)
    model = loaded.load("tiny", models_dir=home / "models", cache_dir=home / "cache")
    folders = [write_adapter(adapters / f"a{number}", llama(), strength=number) for number in range(6)]
    first = [model.ready(folder, "latest") for folder in folders]
    assert all(ready.applied.bytes > 1000 for ready in first)
    assert model.ready(folders[5], "latest") is first[5]
    assert model.ready(folders[2], "latest") is first[2]
    assert model.ready(folders[0], "latest") is not first[0]
    assert model.ready(folders[2], "latest") is first[2], "used lately"


@pytest.mark.real
@pytest.mark.alone
def test_the_real_model(home: Path, smollm2: Path, worker: Worker) -> None:
    """Sides give the answers that each gives alone; changing adapters takes no time to speak of."""
    from droidft.engine.model.loading import load_model

    (home / "models").mkdir()
    (home / "models" / "tiny").symlink_to(smollm2)
    with computing(CACHE):
        for name, strength, keys in (("strong", 0.06, FULL_LAYER), ("mild", 0.2, ATTENTION_QV)):
            base, _ = load_model(smollm2)
            write_adapter(home / "adapters" / name, base, rank=16, strength=strength, keys=keys)
    sides = (None, "strong", "mild")
    changes: dict[str, Any] = {"prompt": "Name three rivers.", "sampling": {"max_tokens": 16}}
    for temperature in (0.0, 0.9):
        changes["sampling"]["temperature"] = temperature
        together = ask(worker, home, *sides, **changes)
        alone = [ask(worker, home, adapter, **changes).text(0) for adapter in sides]
        assert [together.text(number) for number in range(3)] == alone
        assert len(set(alone)) == 3
    asked = ask(worker, home, None, prompt="What is the capital of France?")
    assert asked.text(0) == "The capital of France is Paris."
    assert asked.of("end")[0]["finish_reason"] == "stop"
    model = worker.loaded
    assert model is not None
    ready = model.ready(home / "adapters" / "strong", "latest")
    begun = time.perf_counter()
    for _ in range(50):
        model.put(ready)
        model.put(None)
    assert (time.perf_counter() - begun) / 100 < 0.001

"""What one entrance says, every entrance says: terminal, HTTP, OpenAI's interface, Python, runs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import droidft
from droidft.api.answering import _release
from droidft.cli import main
from droidft.engine.model.adapter_weights import template_hash
from droidft.errors import AdapterError
from droidft.models.fingerprint import fingerprint
from tests.adapters.files import edit_config, write_adapter
from tests.conftest import CACHE
from tests.server.listening import Listening, listening
from tests.tiny import CHAT_TEMPLATE, llama, write_chat, write_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    (folder / "cache").symlink_to(CACHE, target_is_directory=True)
    own = write_model(folder / "models" / "tiny")
    write_model(folder / "models" / "other", seed=3)
    base = dict(fingerprint(own, cache=None)) | {"path": str(own)}
    for name, kind in (("poet", "best_adapters.safetensors"), ("young", None)):
        path = folder / "adapters" / name
        write_adapter(path, llama(), strength=0.2)
        if kind is not None:
            write_adapter(path, llama(), strength=0.9, name=kind)
        record = {"base": base, "data_format": "text", "chat_template_sha256": template_hash(CHAT_TEMPLATE)}
        edit_config(path, model=str(own), droidft=record)
    write_chat(folder / "chat.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DROIDFT_HOME", str(folder))
        yield folder
    _release()


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Listening]:
    with listening(home, roots=(home,), parallel=0) as running:
        yield running


Said = tuple[int, str, list[str]]
"""Status (400 for a refusal), the weights that answered or the message, and the codes of warnings."""


def by_chat(server: Listening, capsys: Any, model: str, adapter: str, *, allow: bool) -> Said:
    words = ["chat", "--model", model, "--adapter", adapter, "--prompt", "hello", "--max-tokens", "2", "--json"]
    return _printed(main(words + ["--allow-mismatch"] * allow), capsys, lambda found: found["adapter"])


def by_compare(server: Listening, capsys: Any, model: str, adapter: str, *, allow: bool) -> Said:
    words = ["compare", "--model", model, "--adapter", adapter, "--prompt", "hello", "--max-tokens", "2", "--json"]
    return _printed(main(words + ["--allow-mismatch"] * allow), capsys, lambda found: found["arms"][1]["adapter"])


def by_http(server: Listening, capsys: Any, model: str, adapter: str, *, allow: bool) -> Said:
    body = {"model_name": model, "adapter_name": adapter, "prompt": "hello", "max_tokens": 2, "allow_mismatch": allow}
    answer = server.post("/api/models/inference", body)
    return _answered(answer.status_code, answer.json(), lambda found: found["adapter_details"])


def by_stream(server: Listening, capsys: Any, model: str, adapter: str, *, allow: bool) -> Said:
    body = {"model_name": model, "adapters": [adapter], "prompt": "hello", "max_tokens": 2, "allow_mismatch": allow}
    lines = [json.loads(line) for line in server.post("/api/models/inference/stream", body).text.splitlines()]
    first = next(line for line in lines if line["type"] in ("start", "error"))
    status = 400 if first["type"] == "error" else 200
    return _answered(status, first, lambda found: found["adapter_details"])


def by_openai(server: Listening, capsys: Any, model: str, adapter: str, *, allow: bool) -> Said:
    turns = [{"role": "user", "content": "hello"}]
    body = {"model": f"{model}:{adapter}", "messages": turns, "max_tokens": 2, "allow_mismatch": allow}
    answer = server.post("/v1/chat/completions", body)
    return _answered(answer.status_code, answer.json(), lambda found: found["droidft"]["adapter_details"])


def by_python(server: Listening, capsys: Any, model: str, adapter: str, *, allow: bool) -> Said:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loaded = droidft.load(model, adapter, allow_mismatch=allow)
        except AdapterError as error:
            return 400, error.message, []
        loaded.answer("hello", max_tokens=2)
    assert loaded.adapter is not None
    texts = " ".join(str(each.message) for each in caught)
    return 200, str(loaded.adapter.which), [code for code, text in TOLD.items() if text in texts]


def _printed(status: int, capsys: Any, details: Callable[[dict[str, Any]], dict[str, Any]]) -> Said:
    captured = capsys.readouterr()
    if status:
        return 400, captured.out + captured.err, []
    return _answered(200, json.loads(captured.out), details)


def _answered(status: int, found: dict[str, Any], details: Callable[[dict[str, Any]], dict[str, Any]]) -> Said:
    if status != 200:
        return status, found["error"]["message"], []
    codes = [warning["code"] for warning in details(found)["warnings"]]
    return 200, details(found)["type"], [code for code in TOLD if code in codes]


TOLD = {
    "template_added": "was trained on plain texts, and this prompt was put in the chat template",
    "base_mismatch": "trained on other weights",
}
ENTRANCES = [by_chat, by_compare, by_http, by_stream, by_openai, by_python]


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_a_bare_name_means_the_best_weights_or_else_the_latest(
    server: Listening, capsys: pytest.CaptureFixture[str], entrance: Any
) -> None:
    for adapter, wanted in (("poet", "best"), ("young", "latest"), ("poet@latest", "latest"), ("poet@best", "best")):
        status, weights, told = entrance(server, capsys, "tiny", adapter, allow=False)
        assert (status, weights) == (200, wanted), adapter
        assert told == ["template_added"]


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_an_adapter_of_other_weights_is_refused_unless_that_is_allowed(
    server: Listening, capsys: pytest.CaptureFixture[str], entrance: Any
) -> None:
    status, message, _ = entrance(server, capsys, "other", "poet", allow=False)
    assert (status, "trained on other weights" in " ".join(message.split())) == (400, True), message
    assert entrance(server, capsys, "other", "poet", allow=True) == (200, "best", ["template_added", "base_mismatch"])
    assert entrance(server, capsys, "other", "poet", allow=False)[0] == 400, "it was kept in memory, and is refused"


def test_an_adapter_that_is_shown_is_the_one_that_answers(
    server: Listening, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, wanted in (("poet", "best"), ("young", "latest")):
        assert server.client.get(f"/api/adapters/{name}").json()["which"] == wanted
        assert main(["adapters", "show", name, "--json"]) == 0
        file = {"best": "best_adapters.safetensors", "latest": "adapters.safetensors"}[wanted]
        assert json.loads(capsys.readouterr().out)["weights"] == file


# Runs


def train_in_terminal(server: Listening, home: Path, capsys: Any, settings: dict[str, Any]) -> str | None:
    file = home / "settings.json"
    file.write_text(json.dumps(settings))
    status = main(["train", str(file)])
    captured = capsys.readouterr()
    return captured.err + captured.out if status else None


def train_over_http(server: Listening, home: Path, capsys: Any, settings: dict[str, Any]) -> str | None:
    answer = server.post("/api/runs", settings)
    if answer.status_code == 201:
        return None
    assert answer.status_code in (400, 404, 424), answer.text
    error = answer.json()["error"]
    return f"{error['message']} {error['hint']}"


def train_a_clone(server: Listening, home: Path, capsys: Any, settings: dict[str, Any]) -> str | None:
    first = server.client.get("/api/runs").json()[0]["id"]
    changes = {name: settings.get(name) for name in {*settings, *GOOD}} | {
        "init_adapter": settings.get("init_adapter")
    }
    answer = server.post(f"/api/runs/{first}/clone", {"changes": changes})
    if answer.status_code == 201:
        return None
    error = answer.json()["error"]
    return f"{error['message']} {error['hint']}"


def train_in_python(server: Listening, home: Path, capsys: Any, settings: dict[str, Any]) -> str | None:
    try:
        droidft.train(settings).wait()
    except droidft.errors.DroidError as error:
        return f"{error.message} {error.hint}"
    return None


def plan_an_experiment(server: Listening, home: Path, capsys: Any, settings: dict[str, Any]) -> str | None:
    plan = {
        "arms": {"one": {"learning_rate": 1e-4}, "two": {"learning_rate": 2e-4}},
        "seeds": [0],
        "settings": settings,
    }
    try:
        droidft.experiment(plan)
    except droidft.errors.DroidError as error:
        return f"{error.message} {error.hint}"
    return None


GOOD: dict[str, Any] = {"model_path": "tiny", "train_data_path": "chat.jsonl", "iterations": 2, "lora_rank": 4}
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"model_path": "nobody"}, "there is no model 'nobody'"),
    ({"model_path": "bare"}, "it has no model*.safetensors"),
    ({"model_path": "strange"}, "martian"),
    ({"model_path": "narrow"}, "has tokens that its embedding of 200 rows lacks"),
    ({"model_path": "flat"}, "models of type olmo cannot be trained here"),
    ({"model_path": "org/nobody", "offline": True}, "org/nobody"),
    ({"train_data_path": "nothing.jsonl"}, "nothing.jsonl"),
    ({"train_data_path": "broken.jsonl"}, "broken.jsonl:2"),
    ({"lora_targets": "custom", "lora_keys": ["nothing"]}, "nothing"),
    ({"lora_num_layers": 7}, "7"),
    ({"init_adapter": "nobody"}, "there is no adapter 'nobody'"),
    ({"init_adapter": "poet", "lora_rank": 8}, "has rank 4, and this run 8"),
    ({"init_adapter": "theirs"}, "has rank 2, and this run 4"),
    ({"init_adapter": "poet", "fine_tune_type": "dora"}, "is of the kind lora"),
    ({"init_adapter": "poet", "model_path": "other"}, "trained on other weights"),
    ({"model_path": "nobody", "lora_num_layers": 7, "init_adapter": "nobody"}, "there is no adapter 'nobody'"),
]
ACCEPTING = [train_in_terminal, train_over_http, train_a_clone, train_in_python, plan_an_experiment]


def write_for_peft(folder: Path, base: Path) -> None:
    """An adapter of rank 2 in PEFT's format."""
    folder.mkdir()
    name = "model.layers.0.self_attn.q_proj"
    rows, columns = load_file(base / "model.safetensors")[f"{name}.weight"].shape
    a, b = np.ones((2, columns), np.float32), np.ones((rows, 2), np.float32)
    key = f"base_model.model.{name}"
    save_file({f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def faulty(home: Path) -> Path:
    """Models and data that cannot be used, and a run that can be copied."""
    (write_model(home / "models" / "bare") / "model.safetensors").unlink()
    config = write_model(home / "models" / "strange") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "martian"}))
    write_model(home / "models" / "narrow", vocab_size=200)
    config = write_model(home / "models" / "flat") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "olmo"}))
    write_for_peft(home / "adapters" / "theirs", home / "models" / "tiny")
    data = home / "data"
    data.mkdir(exist_ok=True)
    write_chat(data / "chat.jsonl")
    good = (data / "chat.jsonl").read_text().splitlines()
    (data / "broken.jsonl").write_text("\n".join([good[0], '{"messages": 5}', *good[1:]]))
    return home


@pytest.fixture
def somewhere(faulty: Path, monkeypatch: pytest.MonkeyPatch, server: Listening) -> Path:
    monkeypatch.chdir(faulty / "data")
    if not server.client.get("/api/runs").json():
        assert server.post("/api/runs", GOOD).status_code == 201
    return faulty


def folders(home: Path) -> list[str]:
    return sorted(path.name for part in ("runs", "adapters", "experiments") for path in (home / part).glob("*"))


@pytest.mark.parametrize("entrance", ACCEPTING)
def test_what_cannot_be_trained_is_refused_before_anything_is_made(
    server: Listening, somewhere: Path, capsys: pytest.CaptureFixture[str], entrance: Any
) -> None:
    for fault, wanted in FAULTS:
        before = folders(somewhere)
        said = entrance(server, somewhere, capsys, GOOD | fault)
        assert said is not None, fault
        assert wanted in " ".join(said.split()), fault
        assert folders(somewhere) == before, fault


@pytest.mark.parametrize("entrance", ACCEPTING)
def test_what_can_be_trained_is_accepted(
    server: Listening, somewhere: Path, capsys: pytest.CaptureFixture[str], entrance: Any
) -> None:
    settings = GOOD | ({} if entrance is plan_an_experiment else {"init_adapter": "poet"})
    assert entrance(server, somewhere, capsys, settings) is None

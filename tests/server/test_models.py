"""Models over HTTP: what is here, what would be trained, fetching and importing, called off without a trace."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from bench import peft_counts
from starlette.testclient import TestClient

from droidft.models import embedded
from droidft.workers.inspect import verdict
from tests import tiny
from tests.engine.model.architectures import TABLE
from tests.models.gguf.files import write_llama
from tests.models.hub_server import HubServer, serve
from tests.server import questions
from tests.server.questions import error, finished
from tests.server.serving import serving

SHAPES = {
    "qwen": peft_counts.config(peft_counts.SHAPES["Qwen2.5-0.5B"]),
    **{name: {"model_type": name, **TABLE[name].config} for name in ("mixtral", "mamba")},
}
"""Models without weights, in a folder that is allowed."""
PRESETS = ["full-layer", "attention-qv", "attention", "mlp", "all-linear"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    source = tiny.write_model(tmp_path_factory.mktemp("hub") / "source")
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    with serve(acme__tiny=files, acme__other=files, acme__slow=files) as running:
        yield running


@pytest.fixture(scope="module")
def asker(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home_folder = tmp_path_factory.mktemp("models") / "home"
    with questions.kept_home(home_folder) as home, pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_HUB_OFFLINE")
        patch.setenv("HF_ENDPOINT", hub.url)
        tiny.write_model(home / "models" / "tiny")
        allowed = home.parent / "allowed"
        allowed.mkdir()
        for name, config in SHAPES.items():
            (allowed / name).mkdir()
            (allowed / name / "config.json").write_text(json.dumps(config))
        with serving(home, roots=(allowed,)) as found:
            yield found


@pytest.fixture
def home(asker: TestClient) -> Path:
    """The home folder of the server."""
    return Path(os.environ["DROIDFT_HOME"])


def address(model: str) -> str:
    folder = Path(os.environ["DROIDFT_HOME"]).parent / "allowed" / model
    return f"/api/models/{quote(str(folder), safe='') if model in SHAPES else model}/targets"


def targets(asker: TestClient, model: str, **query: Any) -> dict[str, Any]:
    answer = asker.get(address(model), params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


class TestTargets:
    def test_the_issue_s_example_is_exact(self, asker: TestClient) -> None:
        found = targets(asker, "qwen", rank=32)
        assert [preset["preset"] for preset in found["presets"]] == PRESETS
        full = found["presets"][0]
        assert (full["trainable"], found["parameters"]) == (17_596_416, 494_032_768)
        assert full["share"] == pytest.approx(0.03562, abs=5e-6)
        assert full["adapter_bytes"] == 4 * 17_596_416
        assert sum(key["trainable"] for key in full["keys"]) == full["trainable"]
        assert (found["hidden_size"], found["blocks"], found["model_type"]) == (896, 24, "qwen2")

    def test_everything_moves_with_the_fields(self, asker: TestClient) -> None:
        first = targets(asker, "qwen", rank=8, num_layers=4)["presets"][0]
        assert targets(asker, "qwen", rank=16, num_layers=4)["presets"][0]["trainable"] == 2 * first["trainable"]
        assert targets(asker, "qwen", rank=8, num_layers=8)["presets"][0]["trainable"] == 2 * first["trainable"]
        dora = targets(asker, "qwen", rank=8, num_layers=4, dora=True)["presets"][0]
        assert dora["trainable"] == first["trainable"] + 4 * (896 * 3 + 128 * 2 + 4864 * 2)
        for change in ({"batch_size": 4}, {"seq_length": 2048}, {"optimizer": "sgd"}, {"grad_checkpoint": True}):
            other = targets(asker, "qwen", rank=8, num_layers=4, **change)["presets"][0]
            assert other["trainable"] == first["trainable"]
            assert other["memory"]["total"] != first["memory"]["total"], change
        parts = dict(first["memory"])
        assert parts.pop("total") == sum(parts.values())

    def test_mixtures_and_models_that_cannot(self, asker: TestClient) -> None:
        with_routers = targets(asker, "mixtral")["presets"][0]
        assert "block_sparse_moe.gate" in [key["key"] for key in with_routers["keys"]]
        without = targets(asker, "mixtral", routers="off")["presets"][0]
        assert without["trainable"] < with_routers["trainable"]
        assert "DoRA cannot adapt" in targets(asker, "mixtral", dora=True)["presets"][0]["problem"]
        qv = targets(asker, "mamba")["presets"][1]
        assert (qv["trainable"], qv["memory"], qv["verdict"]) == (0, None, None)
        assert "matches nothing in mamba" in qv["problem"]

    def test_keys_of_one_s_own(self, asker: TestClient) -> None:
        custom = targets(asker, "qwen", rank=8, keys=["self_attn.q_proj", "mlp.up_proj"])["presets"][-1]
        assert (custom["preset"], custom["trainable"]) == ("custom", 24 * 8 * (2 * 896 + 896 + 4864))
        wrong = targets(asker, "qwen", keys=["mlp.up_porj"])["presets"]
        assert "nearest: 'mlp.up_proj'" in wrong[-1]["problem"]
        assert wrong[0]["problem"] is None, "the presets are told all the same"

    def test_verdicts(self, asker: TestClient) -> None:
        assert verdict(80, 100) == "fits"
        assert verdict(81, 100) == verdict(100, 100) == "tight"
        assert verdict(101, 100) == "does not fit"
        small = targets(asker, "tiny")
        assert small["memory_available"] > 0
        assert small["presets"][0]["verdict"] == "fits"
        large = targets(asker, "qwen", batch_size=1000, seq_length=100_000)["presets"][0]
        assert large["verdict"] == "does not fit"

    def test_a_learning_rate_and_why(self, asker: TestClient) -> None:
        qwen = targets(asker, "qwen")["learning_rate"]
        assert qwen["value"] == pytest.approx(5e-4 * (2000 / 896) ** 0.0775, rel=0.05)
        assert "fitted to Qwen models" in qwen["why"]
        llama = targets(asker, "tiny")["learning_rate"]
        assert llama["value"] == pytest.approx(5e-4 * (2000 / 32) ** 0.781, rel=0.05)
        other = targets(asker, "mixtral")["learning_rate"]
        assert "there is no fit for mixtral" in other["why"]

    def test_a_changed_model_is_looked_at_again(self, asker: TestClient, home: Path) -> None:
        folder = tiny.write_model(home / "models" / "changing")
        before = targets(asker, "changing")["parameters"]
        shutil.rmtree(folder)
        tiny.write_model(folder, num_hidden_layers=3)
        assert targets(asker, "changing")["parameters"] > before

    @pytest.mark.alone
    def test_it_is_instant_when_warm(self, asker: TestClient, smollm2: Path, home: Path) -> None:
        (home / "models" / "real").symlink_to(smollm2)
        targets(asker, "real")
        seconds = []
        for rank in range(1, 21):
            start = time.perf_counter()
            targets(asker, "real", rank=rank, batch_size=rank)
            seconds.append(time.perf_counter() - start)
        # Of the quicker ones: the machine may have other things to do.
        assert sorted(seconds)[5] < 0.1, seconds

    @pytest.mark.parametrize(
        ("model", "query", "status", "field"),
        [
            ("tiyn", {}, 404, None),
            ("qwen", {"num_layers": 25}, 400, "lora_num_layers"),
            ("qwen", {"num_layers": 0}, 400, "lora_num_layers"),
            ("qwen", {"rank": 0}, 400, "rank"),
            ("qwen", {"routers": "maybe"}, 400, "routers"),
            ("%2Fetc", {}, 403, "model_path"),
            ("..%2F..%2Fetc", {}, 400, "model_path"),
            ("acme/none", {}, 424, None),
        ],
    )
    def test_what_cannot_be_told(
        self, asker: TestClient, model: str, query: dict[str, Any], status: int, field: str | None
    ) -> None:
        told = error(asker.get(address(model), params=query), status)
        assert told["field"] == field

    def test_of_a_hub_model_only_settings_are_fetched_once(self, asker: TestClient, hub: HubServer) -> None:
        assert targets(asker, "acme/other")["parameters"] == targets(asker, "tiny")["parameters"]
        assert "model.safetensors" not in hub.fetched
        asked = len(hub.requests)
        assert targets(asker, "acme/other", rank=4)["rank"] == 4
        assert len(hub.requests) == asked

    def test_an_allowed_folder(self, asker: TestClient, home: Path) -> None:
        folder = tiny.write_model(home.parent / "allowed" / "mine")
        assert targets(asker, quote(str(folder), safe=""))["path"] == str(folder)


class TestListing:
    def test_what_is_here_and_the_embedded_one(self, asker: TestClient, home: Path) -> None:
        (home / "models" / "damaged").mkdir(exist_ok=True)
        found = {model["ref"]: model for model in asker.get("/api/models").json()}
        bundled = found[embedded.NAME]
        assert (bundled["source"], bundled["installed"], bundled["problem"]) == ("embedded", False, "")
        assert "93 MB to fetch, 538 MB on disk" in bundled["note"]
        assert (found["tiny"]["source"], found["tiny"]["model_type"]) == ("home", "llama")
        assert found["tiny"]["bytes"] == (home / "models" / "tiny" / "model.safetensors").stat().st_size
        assert "the folder is empty" in found["damaged"]["problem"]


def folders(home: Path) -> set[str]:
    return {path.name for path in (home / "models").iterdir()}


class TestFetching:
    def test_from_the_hub(self, asker: TestClient, hub: HubServer) -> None:
        job = asker.post("/api/models/pull", json={"model": "acme/tiny"})
        assert job.status_code == 202
        done = finished(asker, job.json())
        assert (done["state"], done["model"], done["phase"]) == ("done", "acme/tiny", "downloading")
        assert done["done"] == done["total"] > 100_000
        found = {model["ref"]: model for model in asker.get("/api/models").json()}
        assert (found["acme/tiny"]["source"], found["acme/tiny"]["problem"]) == ("hub cache", "")

    @pytest.mark.alone
    def test_called_off_it_leaves_no_half_model(self, asker: TestClient, hub: HubServer, home: Path) -> None:
        hub.pace = 40_000
        try:
            job = asker.post("/api/models/pull", json={"model": "acme/slow"}).json()
            until = time.monotonic() + 20
            while not job["done"] and time.monotonic() < until:
                time.sleep(0.05)
                job = asker.get(f"/api/jobs/{job['id']}").json()
            assert 0 < job["done"] < job["total"]
            assert (home / "hub" / "models--acme--slow").is_dir()
            start = time.monotonic()
            assert asker.delete(f"/api/jobs/{job['id']}").json()["state"] == "cancelled"
            assert time.monotonic() - start < 1
            while (home / "hub" / "models--acme--slow").exists():
                assert time.monotonic() - start < 15
                time.sleep(0.05)
        finally:
            hub.pace = None
        assert "acme/slow" not in {model["ref"] for model in asker.get("/api/models").json()}
        assert finished(asker, asker.post("/api/models/pull", json={"model": "acme/slow"}).json())["state"] == "done"

    def test_the_embedded_one_from_the_cache(self, asker: TestClient, home: Path, smollm2: Path) -> None:
        # The file itself was fetched for the fixture; importing it is the same wherever it came from.
        del smollm2
        done = finished(asker, asker.post("/api/models/pull", json={"model": "smollm2-135m-instruct"}).json())
        assert (done["state"], done["model"]) == ("done", "smollm2-135m-instruct"), done
        assert (done["phase"], done["done"]) == ("importing", done["total"])
        first = asker.get("/api/models").json()[0]
        assert (first["source"], first["installed"], first["ref"]) == ("embedded", True, "smollm2-135m-instruct")
        assert first["bytes"] == 538_090_408
        shutil.rmtree(home / "models" / "smollm2-135m-instruct")

    def test_an_import_that_is_called_off_leaves_nothing(self, asker: TestClient, home: Path, smollm2: Path) -> None:
        del smollm2
        before = {path.name for path in (home / "models").iterdir()}
        job = asker.post("/api/models/pull", json={"model": "smollm2-135m-instruct"}).json()
        until = time.monotonic() + 30
        while job["phase"] != "importing" and time.monotonic() < until:
            time.sleep(0.02)
            job = asker.get(f"/api/jobs/{job['id']}").json()
        assert 0 < job["done"] < job["total"], "it has begun"
        assert {path.name for path in (home / "models").iterdir()} > before, "and writes beside the others"
        assert asker.delete(f"/api/jobs/{job['id']}").json()["state"] == "cancelled"
        while {path.name for path in (home / "models").iterdir()} != before:
            assert time.monotonic() < until
            time.sleep(0.05)

    @pytest.mark.parametrize(
        ("model", "status"), [("nohub", 400), ("../../etc", 400), ("a/..", 400), ("x", 400), ("/etc/passwd", 400)]
    )
    def test_what_cannot_be_fetched(self, asker: TestClient, model: str, status: int) -> None:
        error(asker.post("/api/models/pull", json={"model": model}), status)

    def test_an_unknown_model_fails_with_a_reason(self, asker: TestClient) -> None:
        done = finished(asker, asker.post("/api/models/pull", json={"model": "acme/none"}).json())
        assert (done["state"], done["error"]["code"]) == ("failed", "download")
        assert "knows no " in done["error"]["message"]


class TestImports:
    def test_a_folder_and_a_gguf_file(self, asker: TestClient, home: Path) -> None:
        source = tiny.write_model(home.parent / "allowed" / "folder")
        request = {"path": str(source), "name": "linked"}
        assert finished(asker, asker.post("/api/models/import", json=request).json())["model"] == "linked"
        assert (home / "models" / "linked").resolve() == source
        file = write_llama(home.parent / "allowed" / "small.gguf").path
        request = {"path": str(file), "name": "converted"}
        done = finished(asker, asker.post("/api/models/import", json=request).json())
        assert (done["state"], done["model"], done["phase"]) == ("done", "converted", "importing"), done
        assert targets(asker, "converted")["model_type"] == "llama"

    def test_what_cannot_be_imported(self, asker: TestClient, home: Path) -> None:
        allowed = home.parent / "allowed"
        (allowed / "not.gguf").write_bytes(b"no")
        before = folders(home)
        for path, name, status in (
            ("/etc", "x", 403),
            (str(allowed / "absent"), "x", 404),
            (str(allowed), "../x", 400),
        ):
            error(asker.post("/api/models/import", json={"path": path, "name": name}), status)
        for path, name, code in (
            (allowed / "not.gguf", "x", "model"),
            (allowed, "y", "model"),
            (allowed, "tiny", "config"),
        ):
            done = finished(asker, asker.post("/api/models/import", json={"path": str(path), "name": name}).json())
            assert (done["state"], done["error"]["code"]) == ("failed", code)
        assert folders(home) == before

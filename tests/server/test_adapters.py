"""Adapters over HTTP: facts, everything doubtful by its own code, a zip that mlx-lm loads, removal."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from droidft.server.files import archive
from tests import tiny
from tests.adapters.files import ATTENTION_QV, edit_config, edit_weights, write_adapter
from tests.server import questions
from tests.server.questions import error
from tests.server.serving import serving


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with questions.kept_home(tmp_path_factory.mktemp("adapters") / "home") as home:
        tiny.write_model(home / "models" / "tiny")
        tiny.write_model(home / "models" / "other", seed=7)
        tiny.write_model(home / "models" / "wider", hidden_size=64)
        snapshot = home / "hub" / "models--acme--tiny" / "snapshots" / "0123"
        shutil.copytree(home / "models" / "tiny", snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("0123")
        (home / "models" / "link").symlink_to(home / "models" / "tiny")
        with serving(home) as found:
            yield found


@pytest.fixture
def home(asker: TestClient) -> Path:
    """The home folder of the server."""
    return Path(os.environ["DROIDFT_HOME"])


@pytest.fixture
def adapters(home: Path) -> Iterator[Path]:
    """An empty folder of adapters."""
    folder = home / "adapters"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def judged(asker: TestClient, name: str, **query: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The entry, and warnings by their codes."""
    answer = asker.get(f"/api/adapters/{name}", params=query)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    return report["entry"], {warning["code"]: warning["message"] for warning in report["warnings"]}


def test_the_list_has_facts_and_problems(asker: TestClient, adapters: Path) -> None:
    assert asker.get("/api/adapters").json() == []
    write_adapter(adapters / "good", tiny.llama(), rank=4, scale=2.0, config={"model": "acme/tiny"})
    write_adapter(adapters / "good", tiny.llama(), rank=4, scale=2.0, name="0000200_adapters.safetensors")
    (adapters / "good" / "best_adapters.safetensors").symlink_to("0000200_adapters.safetensors")
    edit_config(adapters / "good", model="acme/tiny")
    (adapters / "empty").mkdir()
    good, empty = sorted(asker.get("/api/adapters").json(), key=lambda entry: entry["problem"])
    size = (adapters / "good" / "adapters.safetensors").stat().st_size
    assert (good["name"], good["rank"], good["alpha"], good["scale"]) == ("good", 4, 8.0, 2.0)
    assert (good["fine_tune_type"], good["blocks"], good["base"], good["run"]) == ("lora", 2, "acme/tiny", None)
    assert good["weights"] == ["latest", "best", "200"]
    assert good["bytes"] == 2 * size, "what is pointed at twice is counted once"
    assert len(good["modules"]) == 7
    assert empty["name"] == "empty"
    assert "no adapter_config.json" in empty["problem"]


class TestDiagnostics:
    """R12: each with its own code and text."""

    def test_nothing_doubtful(self, asker: TestClient, adapters: Path) -> None:
        write_adapter(adapters / "a", tiny.llama(), config={"model": "acme/tiny"})
        (adapters / "a" / "best_adapters.safetensors").symlink_to("adapters.safetensors")
        entry, warnings = judged(asker, "a", model="acme/tiny")
        assert (entry["problem"], warnings) == ("", {})

    def test_layers_covered(self, asker: TestClient, adapters: Path) -> None:
        write_adapter(adapters / "a", tiny.llama(), num_layers=1)
        assert judged(asker, "a", model="tiny")[1]["layers"] == "adapts 1 of the model's 2 blocks"

    def test_keys_missing(self, asker: TestClient, adapters: Path) -> None:
        write_adapter(adapters / "qv", tiny.llama(), keys=ATTENTION_QV)
        assert "attention-only" in judged(asker, "qv", model="tiny")[1]["attention_only"]
        write_adapter(adapters / "some", tiny.llama(), keys=[*ATTENTION_QV, "mlp.up_proj"])
        assert "unchanged are self_attn.k_proj" in judged(asker, "some", model="tiny")[1]["keys_missing"]

    def test_another_base(self, asker: TestClient, adapters: Path, home: Path) -> None:
        write_adapter(adapters / "a", tiny.llama(), config={"model": "acme/tiny"})
        assert "was trained on acme/tiny" in judged(asker, "a", model="other")[1]["base_mismatch"]
        edit_config(adapters / "a", model=str(home / "models" / "tiny"))
        assert "base_mismatch" not in judged(asker, "a", model="link")[1], "links are resolved"
        edit_config(adapters / "a", model=str(home / "hub/models--acme--tiny/snapshots/0123"))
        assert "base_mismatch" not in judged(asker, "a", model="acme/tiny")[1], "hub ids are resolved"
        edit_config(adapters / "a", model=None)
        assert "base_unknown" in judged(asker, "a", model="tiny")[1]

    def test_hashes_go_before_names(self, asker: TestClient, adapters: Path) -> None:
        record = {"base": {"weights_sha256": "0" * 64, "path": "acme/tiny"}}
        write_adapter(adapters / "a", tiny.llama(), config={"model": "acme/tiny", "droidft": record})
        assert "trained on other weights" in judged(asker, "a", model="acme/tiny")[1]["base_mismatch"]

    def test_the_config_is_missing(self, asker: TestClient, adapters: Path) -> None:
        write_adapter(adapters / "a", tiny.llama())
        (adapters / "a" / "adapter_config.json").unlink()
        entry, warnings = judged(asker, "a", model="tiny")
        assert list(warnings) == ["config_missing"]
        assert "rank, scale and layers are unknown" in warnings["config_missing"]
        assert entry["weights"] == ["latest"]

    def test_no_keys_in_the_config(self, asker: TestClient, adapters: Path) -> None:
        write_adapter(adapters / "a", tiny.llama(), keys=None)
        assert "names no keys" in judged(asker, "a", model="tiny")[1]["no_keys"]

    def test_damaged_or_of_another_shape(self, asker: TestClient, adapters: Path) -> None:
        write_adapter(adapters / "a", tiny.llama())
        assert "has shape" in judged(asker, "a", model="wider")[1]["does_not_fit"]
        edit_weights(adapters / "a", lambda arrays: arrays.pop(next(iter(arrays))))
        entry, warnings = judged(asker, "a")
        assert list(warnings) == ["unusable"]
        assert "is incomplete" in entry["problem"]

    def test_fields_of_the_wrong_kind_do_no_harm(self, asker: TestClient, adapters: Path) -> None:
        write_adapter(adapters / "a", tiny.llama(), config={"droidft": {"run": [1], "method": {}, "base": 3}})
        assert judged(asker, "a", model="tiny")[0]["run"] is None
        for value in ("NaN", "[", '{"lora_parameters": 1}', '"\\ud800"'):
            (adapters / "a" / "adapter_config.json").write_text(value)
            assert "unusable" in judged(asker, "a", model="tiny")[1]

    def test_what_cannot_be_judged(self, asker: TestClient, adapters: Path) -> None:
        error(asker.get("/api/adapters/none"), 404)
        write_adapter(adapters / "a", tiny.llama())
        error(asker.get("/api/adapters/a?which=best"), 404)
        error(asker.get("/api/adapters/a?which=first"), 400)
        error(asker.get("/api/adapters/a?model=absent"), 404)
        error(asker.get("/api/adapters/a?model=/etc"), 403)
        error(asker.get("/api/adapters/..%2Fmodels"), 404)


class TestDownload:
    def test_a_zip_that_mlx_lm_loads(self, asker: TestClient, adapters: Path, tmp_path: Path) -> None:
        import mlx.core as mx
        from mlx_lm.tuner.utils import load_adapters

        write_adapter(adapters / "a", tiny.llama(), strength=0.1)
        write_adapter(adapters / "a", tiny.llama(), strength=0.9, name="0000007_adapters.safetensors")
        (adapters / "a" / "best_adapters.safetensors").symlink_to("0000007_adapters.safetensors")
        for which, source in (("latest", "adapters"), ("best", "0000007_adapters"), ("7", "0000007_adapters")):
            answer = asker.get(f"/api/adapters/a/download?which={which}")
            assert answer.headers["content-type"] == "application/zip"
            label = f"a-{which}"
            assert answer.headers["content-disposition"] == f'attachment; filename="{label}.zip"'
            with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
                assert found.testzip() is None
                assert found.namelist() == ["adapter_config.json", "adapters.safetensors"]
                found.extractall(tmp_path / which)
            stored = (adapters / "a" / f"{source}.safetensors").read_bytes()
            assert (tmp_path / which / "adapters.safetensors").read_bytes() == stored
        tokens = mx.array([[1, 2, 3]])
        model = tiny.llama()
        before = model(tokens)
        assert not mx.allclose(load_adapters(model, str(tmp_path / "best"))(tokens), before)

    def test_it_is_made_while_it_is_sent(self, tmp_path: Path) -> None:
        import tracemalloc

        large = tmp_path / "adapters.safetensors"
        with large.open("wb") as file:
            file.truncate(200 << 20)
        small = tmp_path / "adapter_config.json"
        small.write_text("{}")
        tracemalloc.start()
        parts = archive.zipped({"adapter_config.json": small, "adapters.safetensors": large})
        large.unlink()
        with (tmp_path / "out.zip").open("wb") as out:
            for part in parts:
                out.write(part)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        tracemalloc.stop()
        with zipfile.ZipFile(tmp_path / "out.zip") as found:
            assert found.testzip() is None
            assert found.getinfo("adapters.safetensors").file_size == 200 << 20

    def test_what_cannot_be_given_away(self, asker: TestClient, adapters: Path) -> None:
        error(asker.get("/api/adapters/none/download"), 404)
        write_adapter(adapters / "a", tiny.llama())
        error(asker.get("/api/adapters/a/download?which=200"), 404)
        (adapters / "a" / "adapters.safetensors").write_bytes(b"anything else")
        assert error(asker.get("/api/adapters/a/download"), 400)["code"] == "adapter"


class TestRemoval:
    def test_an_adapter_and_a_link(self, asker: TestClient, adapters: Path, tmp_path: Path) -> None:
        kept = write_adapter(tmp_path / "kept", tiny.llama())
        write_adapter(adapters / "a", tiny.llama())
        (adapters / "link").symlink_to(kept)
        for name in ("a", "link"):
            assert asker.delete(f"/api/adapters/{name}").status_code == 204
        assert list(adapters.iterdir()) == []
        assert (kept / "adapters.safetensors").exists()
        error(asker.delete("/api/adapters/a"), 404)

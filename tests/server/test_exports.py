"""Exports over HTTP: planned, made, called off, listed with damaged ones among them, downloaded, deleted."""

from __future__ import annotations

import io
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from droidft.home import Home
from droidft.support.durable import hidden_folder
from tests import tiny
from tests.adapters.exports.trained import adapted, logits_of
from tests.server import questions
from tests.server.questions import error, finished
from tests.server.serving import serving

ROWS = 4


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with questions.kept_home(tmp_path_factory.mktemp("exports") / "home") as home:
        tiny.write_model(home / "models" / "tiny")
        tiny.write_model(home / "models" / "other", seed=7)
        adapted(home / "models" / "tiny", home / "adapters" / "poet")
        adapted(home / "models" / "tiny", home / "adapters" / "whole", fine_tune_type="full")
        tiny.write_chat(Home(home).data / "rows.jsonl", rows=12)
        with serving(home) as found:
            yield found


@pytest.fixture
def home(asker: TestClient) -> Iterator[Home]:
    """The home folder of the server, without exports."""
    found = Home.find()
    yield found
    shutil.rmtree(found.exports)


def wanted(form: str, **more: Any) -> dict[str, Any]:
    return {"adapter": "poet", "form": form, "rows": "rows.jsonl", "row_count": ROWS, **more}


def made(asker: TestClient, form: str, **more: Any) -> dict[str, Any]:
    """The job of an export, once it is done."""
    answer = asker.post("/api/exports", json=wanted(form, **more))
    assert answer.status_code == 202, answer.text
    job = finished(asker, answer.json(), seconds=120)
    assert job["state"] == "done", job
    return job


def planned(asker: TestClient, form: str, **more: Any) -> dict[str, Any]:
    answer = asker.post("/api/export-plan", json=wanted(form, **more))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def left(home: Home) -> list[str]:
    return sorted(os.listdir(home.exports))


def test_every_form_says_what_it_is_for(asker: TestClient) -> None:
    forms = asker.get("/api/export-forms").json()
    assert [form["form"] for form in forms] == ["peft", "merged", "mlx", "gguf", "gguf-adapter", "ollama"]
    assert all(form["title"] and form["what"] and form["loads_in"] for form in forms)


def test_an_export_is_made_listed_downloaded_and_deleted(asker: TestClient, home: Home, tmp_path: Path) -> None:
    entry = made(asker, "merged")["export"]
    assert (entry["name"], entry["problem"]) == ("poet-merged", "")
    assert entry["certificate"]["verdict"] == "passed"
    assert entry["certificate"]["rows"] == ROWS
    assert [way["program"] for way in entry["usage"]] == ["transformers", "vLLM", "mlx-lm"]
    assert entry["path"] == str(home.exports / "poet-merged")
    assert asker.get("/api/exports").json() == [entry]
    assert asker.get("/api/exports/poet-merged").json() == entry
    assert left(home) == ["poet-merged"]

    answer = asker.get("/api/exports/poet-merged/archive")
    assert answer.headers["content-disposition"] == 'attachment; filename="poet-merged.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    assert sum(file.stat().st_size for file in (tmp_path / "poet-merged").iterdir()) == entry["bytes"]
    whole = adapted(home.models / "tiny", tmp_path / "again").adapted
    np.testing.assert_allclose(logits_of(tmp_path / "poet-merged"), whole, atol=1e-4)

    assert asker.delete("/api/exports/poet-merged").status_code == 204
    assert left(home) == []
    assert error(asker.get("/api/exports/poet-merged"), 404)["code"] == "not_found"
    assert error(asker.delete("/api/exports/poet-merged"), 404)["code"] == "not_found"
    assert error(asker.get("/api/exports/poet-merged/archive"), 404)["code"] == "not_found"


def test_an_export_that_is_not_what_was_trained_is_marked_as_failed(asker: TestClient, home: Home) -> None:
    entry = made(asker, "merged", into="other")["export"]  # a copy of the base that is none
    assert entry["certificate"]["verdict"] == "failed"
    assert entry["certificate"]["sentence"].startswith("failed")
    assert entry["usage"] == []
    assert [one["certificate"]["verdict"] for one in asker.get("/api/exports").json()] == ["failed"]


class TestPlans:
    def test_size_time_and_place_are_known_before_the_start(self, asker: TestClient, home: Home) -> None:
        found = planned(asker, "merged")
        base = sum(file.stat().st_size for file in (home.models / "tiny").glob("*.safetensors"))
        assert found["refusal"] is None
        assert found["plan"]["name"] == "poet-merged"
        assert found["plan"]["path"] == str(home.exports / "poet-merged")
        assert found["plan"]["bytes"] == base
        assert 0 < found["plan"]["seconds"] < 600
        assert left(home) == []

    def test_a_refusal_names_the_forms_that_can(self, asker: TestClient, home: Home) -> None:
        found = planned(asker, "peft", adapter="whole")
        assert found["plan"] is None
        assert "holds factors only" in found["refusal"]["message"]
        assert {"merged", "mlx"} <= set(found["instead"])
        assert "peft" not in found["instead"]
        assert "gguf-adapter" not in found["instead"]
        refused = error(asker.post("/api/exports", json=wanted("peft", adapter="whole")), 400)
        assert refused == found["refusal"]
        assert planned(asker, found["instead"][0], adapter="whole")["refusal"] is None

    def test_a_name_that_is_taken_can_be_replaced(self, asker: TestClient, home: Home) -> None:
        made(asker, "merged")
        found = planned(asker, "merged")
        assert (found["refusal"]["field"], found["instead"]) == ("name", [])
        assert error(asker.post("/api/exports", json=wanted("merged")), 400)["field"] == "name"
        before = asker.get("/api/exports/poet-merged").json()["made"]
        made(asker, "merged", replace=True)
        assert asker.get("/api/exports/poet-merged").json()["made"] > before
        assert left(home) == ["poet-merged"]

    def test_without_a_run_there_have_to_be_rows(self, asker: TestClient, home: Home) -> None:
        assert planned(asker, "merged", rows=None)["refusal"]["field"] == "rows"

    def test_a_model_that_is_not_here_is_not_fetched(self, asker: TestClient, home: Home) -> None:
        assert planned(asker, "merged", into="acme/absent")["refusal"]["code"] in ("download", "not_found")


class TestWhatMayBeNamed:
    @pytest.mark.parametrize(
        ("field", "value", "code"),
        [
            ("adapter", "/etc", "adapter"),
            ("adapter", "../adapters/poet", "adapter"),
            ("adapter", "nobody", "not_found"),
            ("model", "/etc", "forbidden_path"),
            ("into", "/etc", "forbidden_path"),
            ("rows", "/etc/passwd", "forbidden_path"),
            ("name", "../out", "config"),
        ],
    )
    def test_nothing_outside_the_allowed_folders(
        self, asker: TestClient, home: Home, field: str, value: str, code: str
    ) -> None:
        answer = asker.post("/api/exports", json=wanted("merged", **{field: value}))
        assert error(answer, 403 if code == "forbidden_path" else 404 if code == "not_found" else 400)["code"] == code

    def test_links_out_of_an_export_are_not_packed(self, asker: TestClient, home: Home, tmp_path: Path) -> None:
        made(asker, "mlx")
        (tmp_path / "secret").write_text("secret")
        (home.exports / "poet-mlx" / "link.txt").symlink_to(tmp_path / "secret")
        answer = asker.get("/api/exports/poet-mlx/archive")
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert "poet-mlx/link.txt" not in archive.namelist()
            assert "poet-mlx/certificate.json" in archive.namelist()


def test_called_off_it_ends_and_leaves_nothing(asker: TestClient, home: Home) -> None:
    job = asker.post("/api/exports", json=wanted("merged", row_count=500)).json()
    while job["phase"] in ("", "checking"):
        job = asker.get(f"/api/jobs/{job['id']}").json()
    assert job["state"] == "running"
    assert asker.post("/api/exports", json=wanted("merged", row_count=500)).json()["id"] == job["id"]
    taken = planned(asker, "merged")["refusal"]
    assert (taken["field"], "is being made at this moment" in taken["message"]) == ("name", True)
    assert asker.delete(f"/api/jobs/{job['id']}").json()["state"] == "cancelled"
    until = time.monotonic() + 10
    while left(home):
        assert time.monotonic() < until, left(home)
        time.sleep(0.05)
    assert made(asker, "merged")["export"]["certificate"]["verdict"] == "passed", "it can be repeated"


class TestDamage:
    def test_a_damaged_export_never_takes_the_list_along(self, asker: TestClient, home: Home) -> None:
        made(asker, "merged")
        for name in ("cut", "bare", "short", "a name"):
            shutil.copytree(home.exports / "poet-merged", home.exports / name)
        (home.exports / "cut" / "certificate.json").write_text('{"format": 1')
        (home.exports / "bare" / "certificate.json").unlink()
        (home.exports / "short" / "model.safetensors").unlink()
        (home.exports / "file").write_text("a file among the folders")
        problems = {entry["name"]: entry["problem"] for entry in asker.get("/api/exports").json()}
        assert problems.pop("poet-merged") == ""
        assert "certificate.json is damaged" in problems.pop("cut")
        assert "certificate.json is missing" in problems.pop("bare")
        assert problems.pop("short") == "model.safetensors is missing, which the certificate is about; export again"
        assert "has a name that no export can have" in problems.pop("a name")
        assert problems == {}
        assert asker.delete("/api/exports/cut").status_code == 204

    def test_the_newest_is_first(self, asker: TestClient, home: Home) -> None:
        made(asker, "merged")
        made(asker, "mlx")
        assert [entry["name"] for entry in asker.get("/api/exports").json()] == ["poet-mlx", "poet-merged"]

    def test_the_next_start_removes_what_a_crash_left_and_spares_what_is_under_way(self, home: Home) -> None:
        dead = home.exports / ".poet-gguf.abcd.part"
        dead.mkdir()
        (dead / "weights").write_bytes(b"0" * 1000)
        (home.exports / "kept").mkdir()
        with hidden_folder(home.exports / "poet-merged") as alive, serving(home.root):
            assert left(home) == sorted([alive.name, "kept"])
        assert left(home) == ["kept"]

"""A home folder that an earlier version left opens, resumes and reports as it did there.

`tests/golden/home` was made before the modules moved to where they are now. It is not made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import old_home
from tests.old_home import OldHome
from tests.server import live
from tests.server.live import LiveServer

EXPECTED = old_home.expected()
EXPERIMENT = EXPECTED["experiment"]
RUNS = sorted(path.name for path in (old_home.HOME / "runs").iterdir())
TRAINED_AGAIN = 1e-4
"""How far losses may lie apart on another processor, as in `tests/engine/test_parity.py`."""


@pytest.fixture
def old(home: Path) -> OldHome:
    return old_home.copy(home)


@pytest.fixture
def server(old: OldHome) -> Iterator[LiveServer]:
    with live.running(old.root) as running:
        yield running


def assert_holds(found: Any, expected: Any, *, tolerance: float = 1e-9, where: str = "") -> None:
    """Everything in `expected` is in `found`, numbers within `tolerance`; fields that came later may stand beside."""
    if isinstance(expected, dict):
        assert expected.keys() <= found.keys(), (where, sorted(expected.keys() - found.keys()))
        for name, value in expected.items():
            assert_holds(found[name], value, tolerance=tolerance, where=f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, value in enumerate(expected):
            assert_holds(found[number], value, tolerance=tolerance, where=f"{where}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, abs=tolerance), where
    else:
        assert found == expected, where


def test_its_runs_are_listed_and_shown(old: OldHome) -> None:
    listed = {run["id"]: run for run in old.json("runs", "list", "--json")}
    assert sorted(listed) == RUNS
    for run_id, expected in EXPECTED["runs"].items():
        config = json.loads((old.root / "runs" / run_id / "config.json").read_text())
        assert_holds(old.run(run_id), expected | {"config": config})
        assert_holds(listed[run_id], {name: value for name, value in expected.items() if name in listed[run_id]})
    best = next(iter(EXPECTED["runs"].values()))["best_loss"]
    assert f"{best:.4f}" in old.droidft("runs", "show", next(iter(EXPECTED["runs"])))


@pytest.mark.parametrize("run_id", EXPECTED["resumed"])
def test_a_stopped_run_ends_as_one_that_was_not_stopped(old: OldHome, run_id: str) -> None:
    old.droidft("resume", run_id)
    found = old.run(run_id)
    assert found["status"] == "finished"
    assert_holds(found, EXPECTED["resumed"][run_id], tolerance=TRAINED_AGAIN)


def test_its_adapters_are_listed_shown_and_answer(old: OldHome) -> None:
    listed = {entry["name"]: entry for entry in old.json("adapters", "list", "--json")}
    assert sorted(listed) == sorted(path.name for path in (old.root / "adapters").iterdir())
    assert not [entry for entry in listed.values() if entry["problem"]]
    for name, expected in EXPECTED["adapters"].items():
        assert_holds(old.adapter(name), expected, tolerance=1e-4)
    assert_holds(old.answer("finished"), EXPECTED["answer"], tolerance=1e-3)


def test_its_experiment_reports_the_same(old: OldHome) -> None:
    (listed,) = old.json("experiments", "list", "--json")
    assert (listed["id"], listed["state"]) == (EXPERIMENT["id"], "finished")
    assert listed["done"] == listed["runs"] == len(EXPERIMENT["measured"])
    assert_holds({"id": listed["id"], **old.experiment(listed["id"])}, EXPERIMENT)
    assert EXPERIMENT["verdict"] in old.droidft("experiments", "show", "last")
    assert EXPERIMENT["verdict"] in old.droidft("experiments", "report", "last", "--form", "md", "--out", "-")


def test_its_experiment_goes_on(old: OldHome) -> None:
    """A run that is lost is trained again, by the plan as it was fixed then, and comes to the same."""
    lost = EXPERIMENT["measured"][-1]
    old.droidft("runs", "delete", lost, "--files")
    old.droidft("experiment", EXPERIMENT["id"], "--yes")
    assert sorted(run["id"] for run in old.json("runs", "list", "--json")) == RUNS
    found = old.experiment(EXPERIMENT["id"])
    for arm, expected in zip(found["arms"], EXPERIMENT["arms"], strict=True):
        figures = {name: expected[name] for name in ("validation_loss", "test_loss", "general_loss", "steps")}
        assert_holds(arm, figures, tolerance=TRAINED_AGAIN)
    (contrast,), (expected,) = found["contrasts"], EXPERIMENT["contrasts"]
    assert contrast["kind"] == expected["kind"]
    assert_holds(contrast["difference"], expected["difference"], tolerance=1e-3)


def test_the_server_opens_all_of_it(old: OldHome, server: LiveServer) -> None:
    listed = {run["id"]: run for run in server.get("/api/runs")}
    assert sorted(listed) == RUNS
    for run_id in RUNS:
        assert server.get(f"/api/runs/{run_id}")["summary"]["id"] == run_id
        assert server.request("GET", f"/api/runs/{run_id}/report.html")[0] == 200
    for run_id, expected in EXPECTED["runs"].items():
        detail = server.get(f"/api/runs/{run_id}")
        assert listed[run_id]["state"] == detail["summary"]["state"] == expected["status"]
        assert_holds(detail["summary"], {name: expected[name] for name in ("steps", "trainable", "adapter")})
        assert_holds({str(each["step"]): each["loss"] for each in detail["evaluations"]}, expected["validation"])
        resumable = [each["step"] for each in detail["checkpoints"] if each["resumable"]]
        assert sorted(resumable) == expected["checkpoints"]

    adapters = server.get("/api/adapters")
    assert sorted(entry["name"] for entry in adapters) == sorted(
        path.name for path in (old.root / "adapters").iterdir()
    )
    judged = server.get("/api/adapters/finished?which=best&model=tiny")
    assert [warning["code"] for warning in judged["warnings"]] == EXPECTED["adapters"]["finished"]["warnings"]

    (summary,) = server.get("/api/experiments")
    assert (summary["id"], summary["state"]) == (EXPERIMENT["id"], "finished")
    analysis = server.get(f"/api/experiments/{EXPERIMENT['id']}")["analysis"]
    assert_holds(analysis, {name: EXPERIMENT[name] for name in ("complete", "verdict", "base", "arms", "contrasts")})


def test_the_server_resumes_its_run(old: OldHome, server: LiveServer) -> None:
    run_id, expected = next(iter(EXPECTED["resumed"].items()))
    server.post(f"/api/runs/{run_id}/resume")
    server.until(f"/api/runs/{run_id}", lambda found: found["summary"]["state"] == "finished")
    assert_holds(old.run(run_id), expected, tolerance=TRAINED_AGAIN)

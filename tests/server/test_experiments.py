"""Experiments over HTTP: planned, started, paused, finished, refused, deleted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.server.live import LiveServer

PLAN: dict[str, Any] = {
    "title": "tiny",
    "settings": {
        "model_path": "tiny",
        "train_data_path": "chat.jsonl",
        "mask_prompt": True,
        "batch_size": 4,
        "epochs": 1,
        "lora_rank": 4,
        "lora_alpha": 4,
        "test_fraction": 0.3,
    },
    "arms": {"full": {"lora_targets": "full-layer"}, "qv": {"lora_targets": "attention-qv"}},
    "seeds": [0],
}


WHOLE = {name: value for name, value in PLAN["settings"].items() if name != "test_fraction"}
"""Settings that set no test rows aside."""


def create(server: LiveServer, **changes: Any) -> str:
    found = server.post("/api/experiments", {"plan": PLAN | changes})
    assert found["state"] == "planning"
    return str(found["id"])


def state(server: LiveServer, experiment: str, wanted: str) -> dict[str, Any]:
    found: dict[str, Any] = server.until(
        f"/api/experiments/{experiment}", lambda it: it["summary"]["state"] == wanted
    )
    return found


def test_from_a_plan_to_a_report(server: LiveServer) -> None:
    experiment = create(server)
    planned = state(server, experiment, "planned")
    assert planned["analysis"]["plan"]["estimate"]["runs"] == planned["summary"]["runs"] == 3
    assert planned["analysis"]["contrasts"][0]["kind"] == "pending"
    assert server.get("/api/runs") == [], "nothing is trained before it is started"
    status, answer = server.request("GET", f"/api/experiments/{experiment}/report?form=pdf")
    assert (status, answer["error"]["field"]) == (400, "form")

    server.post(f"/api/experiments/{experiment}/start")
    done = state(server, experiment, "finished")
    assert done["summary"]["done"] == 3
    assert done["analysis"]["complete"]
    server.until("/api/runs", lambda runs: {run["state"] for run in runs} == {"finished"})
    page = server.request("GET", f"/api/experiments/{experiment}/report")[1].decode()
    assert done["analysis"]["contrasts"][0]["sentence"] in page
    assert server.request("GET", f"/api/experiments/{experiment}/report?form=md")[1].startswith(b"# tiny")
    report = server.get(f"/api/experiments/{experiment}/report?form=json")
    assert len(report["measured"]) == 3
    assert [each["id"] for each in server.get("/api/experiments")] == [experiment]

    assert server.request("DELETE", f"/api/experiments/{experiment}")[0] == 204
    assert server.get("/api/experiments") == server.get("/api/runs") == []
    assert server.request("GET", f"/api/experiments/{experiment}")[0] == 404


def test_it_pauses_and_goes_on(server: LiveServer) -> None:
    settings = PLAN["settings"] | {"epochs": 3000, "save_every": 5, "early_stop": False}
    experiment = create(server, settings=settings)
    state(server, experiment, "planned")
    server.post(f"/api/experiments/{experiment}/start")
    run = f"{experiment}.full.s0"
    server.until("/api/runs", lambda found: any(each["id"] == run and each["step"] > 5 for each in found))
    status, answer = server.request("DELETE", f"/api/experiments/{experiment}")
    assert (status, answer["error"]["code"]) == (409, "experiment")
    assert server.post(f"/api/experiments/{experiment}/stop")["state"] == "stopped"
    server.until(f"/api/runs/{run}", lambda found: found["summary"]["state"] == "stopped")
    step = server.get(f"/api/runs/{run}")["summary"]["step"]
    server.post(f"/api/experiments/{experiment}/start")
    server.until(f"/api/runs/{run}", lambda found: found["summary"]["step"] > step)
    server.post(f"/api/runs/{run}/stop", {})
    halted = state(server, experiment, "halted")
    assert halted["summary"]["problem"]["code"] == "stopped"
    assert server.request("DELETE", f"/api/experiments/{experiment}")[0] == 204


def test_it_can_be_deleted_as_soon_as_it_is_told_to_stop(server: LiveServer) -> None:
    settings = PLAN["settings"] | {"epochs": 3000, "early_stop": False}
    experiment = create(server, settings=settings)
    state(server, experiment, "planned")
    server.post(f"/api/experiments/{experiment}/start")
    run = f"{experiment}.full.s0"
    server.until("/api/runs", lambda found: any(each["id"] == run and each["step"] > 5 for each in found))
    server.post(f"/api/experiments/{experiment}/stop")
    assert server.request("DELETE", f"/api/experiments/{experiment}")[0] == 204
    time.sleep(1.5)
    assert server.get("/api/experiments") == server.get("/api/runs") == [], "nothing of it comes back"


def test_it_can_be_deleted_while_it_is_planned(server: LiveServer) -> None:
    experiment = create(server)
    assert server.request("DELETE", f"/api/experiments/{experiment}")[0] == 204
    time.sleep(1.5)
    assert server.get("/api/experiments") == [], "nothing of it comes back"


def test_a_plan_that_cannot_be_fixed_says_why(server: LiveServer) -> None:
    experiment = create(
        server, arms={"full": {}, "odd": {"lora_targets": "custom", "lora_keys": ["self_attn.x_proj"]}}
    )
    refused = state(server, experiment, "refused")
    assert "self_attn.x_proj" in refused["summary"]["problem"]["message"]
    status, answer = server.request("POST", f"/api/experiments/{experiment}/start", {})
    assert (status, answer["error"]["code"]) == (409, "experiment")
    assert server.request("DELETE", f"/api/experiments/{experiment}")[0] == 204


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"seeds": []}, "config"),
        ({"arms": {"a": {}}}, "config"),
        ({"settings": PLAN["settings"] | {"train_data_path": "/etc/passwd"}}, "forbidden_path"),
        ({"settings": WHOLE, "measurement": {"test_data_path": "/etc/passwd"}}, "forbidden_path"),
        ({"measurement": {"general_data_path": "../../secret.jsonl"}}, None),
        ({"measurement": {"harness": {"tasks": ["a"], "include": "/etc"}}}, "forbidden_path"),
    ],
)
def test_a_wrong_plan_is_refused_at_once(
    shared_server: LiveServer, changes: dict[str, Any], code: str | None
) -> None:
    status, answer = shared_server.request("POST", "/api/experiments", {"plan": PLAN | changes})
    assert 400 <= status < 500
    if code is not None:
        assert answer["error"]["code"] == code
    assert shared_server.get("/api/experiments") == []


def test_one_that_cannot_be_read_keeps_none_of_the_others(server: LiveServer) -> None:
    bad = server.home / "experiments" / "x20200101-000000"
    bad.mkdir()
    (bad / "request.json").write_text('{"colour": "red"}')
    (bad / "plan.json").write_text("{}")
    (bad / "wanted.json").write_text('{"running": true, "since": 1}')
    experiment = create(server)
    state(server, experiment, "planned")
    server.post(f"/api/experiments/{experiment}/start")
    state(server, experiment, "finished")
    listed = {each["id"]: each for each in server.get("/api/experiments")}
    assert listed[bad.name]["state"] == "refused"
    assert "x20200101-000000/request.json is damaged" in listed[bad.name]["problem"]["message"]
    assert server.request("GET", f"/api/experiments/{bad.name}")[0] == 409
    assert server.request("DELETE", f"/api/experiments/{bad.name}")[0] == 204
    assert not bad.exists()

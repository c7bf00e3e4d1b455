"""The life of a run over HTTP, and what its pages are made of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from droidft.config import parse_config
from droidft.events import Completions, EvalReport, Record, RunStarted, SampledCompletion
from droidft.home import Home
from droidft.reports.plot import Series, chart, round_ticks
from droidft.runs import folder as runs
from droidft.runs.history import chosen
from droidft.runs.writer import EventLog
from droidft.server.runs import history
from tests.server.live import LiveServer
from tests.server.test_sockets import report as train_report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def test_the_life_of_a_run(server: LiveServer, settings: dict[str, Any]) -> None:
    made = server.post("/api/runs", settings | {"system_prompt": HOSTILE, "adapter_name": "till"})
    run = made["id"]
    assert made["state"] in ("queued", "running")
    detail = server.until(f"/api/runs/{run}", lambda found: found["summary"]["state"] == "finished")
    summary = detail["summary"]
    assert (summary["step"], summary["steps"], summary["model_name"]) == (6, 6, "tiny")
    assert summary["best_loss"] < summary["first_loss"]
    assert summary["trainable"] == detail["lora"]["trainable"] > 0
    assert detail["changed"]["adapter_name"] == "till"
    assert detail["command"].startswith("droidft train --model-path tiny ")
    assert "lora_rank: 4" in detail["yaml"]
    assert [row["step"] for row in detail["evaluations"]] == [0, 6]
    newest = detail["checkpoints"][0]
    assert (newest["step"], newest["latest"], newest["adapter"]) == (6, True, "till@6")

    curves = server.get(f"/api/runs/{run}/curves")
    assert curves["train"]["step"] == [1, 2, 3, 4, 5, 6]
    assert curves["train"].pop("metrics") == curves["validation"]["metrics"] == {}
    assert {len(column) for column in curves["train"].values()} == {6}
    assert curves["validation"]["loss"] == [row["loss"] for row in detail["evaluations"]]

    events = server.get(f"/api/runs/{run}/events?limit=3")
    assert ([record["seq"] for record in events["records"]], events["more"]) == ([1, 2, 3], True)
    rest = server.get(f"/api/runs/{run}/events?after=3")
    assert rest["records"][-1]["event"]["type"] == "finished"
    assert not rest["more"]
    assert server.get(f"/api/runs/{run}/log")["truncated"] is False

    status, page = server.request("GET", f"/api/runs/{run}/report.html")
    text = page.decode()
    assert status == 200
    assert "<script" not in text
    assert "onerror=alert" not in text.replace("&lt;img src=x onerror=alert(2)&gt;", "")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert f"{summary['best_loss']:.4f}" in text
    assert "{&#39;" not in text  # parts of parts are said in words
    export = server.get(f"/api/runs/{run}/export.json")
    assert export["run"]["summary"] == summary
    assert export["events"]["records"] == server.get(f"/api/runs/{run}/events?limit=10000")["records"]

    clone = server.post(f"/api/runs/{run}/clone", {"changes": {"lora_rank": 8, "system_prompt": None}})
    server.until(f"/api/runs/{clone['id']}", lambda found: found["summary"]["state"] == "finished")
    diff = server.get(f"/api/diff?run={run}&run={clone['id']}")
    assert {row["name"]: row["values"] for row in diff["rows"]} == {
        "lora_rank": [4, 8],
        "system_prompt": [HOSTILE, None],
        "adapter_name": ["till", None],
    }
    listed = [found["id"] for found in server.get("/api/runs")]
    assert sorted(listed, reverse=True) == listed
    assert {run, clone["id"]} == set(listed)

    assert server.request("DELETE", f"/api/runs/{run}?files=true")[0] == 204
    assert server.request("GET", f"/api/runs/{run}")[0] == 404
    assert not (server.home / "adapters" / "till").exists()


def test_an_adapter_stays_while_its_run_writes_to_it(server: LiveServer, settings: dict[str, Any]) -> None:
    long = {**settings, "iterations": 100_000, "save_every": 1, "early_stop": False, "adapter_name": "busy"}
    run = server.post("/api/runs", long)["id"]
    folder = server.home / "adapters" / "busy"
    assert _removal(server) == (409, "run")  # waiting or running, as far as it has come
    server.until("/api/adapters", lambda found: [adapter["name"] for adapter in found] == ["busy"])
    assert _removal(server) == (409, "run")
    server.post(f"/api/runs/{run}/stop", {"force": True})
    server.until(f"/api/runs/{run}", lambda found: found["summary"]["state"] == "crashed")
    assert server.request("DELETE", "/api/adapters/busy")[0] == 204
    assert not folder.exists()
    assert (server.home / "runs" / run / "config.json").exists()


def _removal(server: LiveServer) -> tuple[int, str]:
    status, told = server.request("DELETE", "/api/adapters/busy")
    return status, told["error"]["code"]


def test_the_same_key_makes_one_run(server: LiveServer, settings: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "abc"}
    first = server.post("/api/runs", settings, headers=headers)
    second = server.post("/api/runs", settings, headers=headers)
    assert first["id"] == second["id"]
    status, error = server.request("POST", "/api/runs", settings | {"seed": 5}, headers=headers)
    assert (status, error["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"lora_rank": 0}, 400, "lora_rank"),
        ({"learning_rat": 1}, 400, "learning_rat"),
        ({"model_path": "nothing-here"}, 404, "model_path"),
        ({"lora_targets": "custom", "lora_keys": ["nothing"]}, 400, "lora_keys"),
        ({"train_data_path": "missing.jsonl"}, 404, "train_data_path"),
        ({"train_data_path": "/etc/passwd"}, 403, "train_data_path"),
        ({"model_path": "/etc"}, 403, "model_path"),
        ({"init_adapter": "../../x"}, 400, "init_adapter"),
        ({"resume": "some-run"}, 400, "resume"),
    ],
)
def test_what_is_refused_names_the_field(
    shared_server: LiveServer, settings: dict[str, Any], changes: dict[str, Any], status: int, field: str | None
) -> None:
    found, body = shared_server.request("POST", "/api/runs", settings | changes)
    assert found == status, body
    if status != 201:
        assert body["error"]["field"] == field
        assert body["error"]["message"]


def test_a_taken_adapter_name_is_refused(server: LiveServer, settings: dict[str, Any]) -> None:
    server.post("/api/runs", settings | {"adapter_name": "one"})
    status, body = server.request("POST", "/api/runs", settings | {"adapter_name": "one"})
    assert (status, body["error"]["field"]) == (400, "adapter_name")


def test_a_run_whose_settings_are_damaged_is_listed_and_can_be_deleted(
    server: LiveServer, settings: dict[str, Any]
) -> None:
    run = runs.create(Home(server.home), parse_config(settings))
    (run.path / "config.json").write_text('{"lora_rank": "many"}')
    found = server.until("/api/runs", lambda listed: listed)[0]
    assert found["state"] == "unreadable"
    assert "lora_rank" in found["problem"]["message"]
    assert server.request("GET", f"/api/runs/{run.id}")[0] == 409
    assert server.request("DELETE", f"/api/runs/{run.id}")[0] == 204


def test_long_histories_are_thinned_to_their_extremes(home: Path) -> None:
    values = [float(index % 97) for index in range(100_000)]
    values[54_321], values[77_777] = -5.0, 1e6
    kept = chosen(values, 2000)
    assert len(kept) <= 2002
    assert {0, 54_321, 77_777, 99_999} <= set(kept)
    assert kept == sorted(kept)
    assert chosen(values[:100], 2000) == list(range(100))


def test_steps_that_a_resumed_run_does_again_appear_once(home: Path, settings: dict[str, Any]) -> None:
    from droidft.events import RunStarted

    run = runs.create(Home.find(), parse_config(settings))
    log = EventLog(run)
    for step in (1, 2, 3):
        log.append(train_report(step))
    log.append(RunStarted(config={}, versions={}, device={}, resumed_from_step=1))
    for step in (2, 3, 4):
        log.append(train_report(step))
    log.close()
    assert history.curves(run, points=100).train.step == [1, 2, 3, 4]


def test_a_run_that_begins_again_from_nothing_evaluates_the_base_once(home: Path, settings: dict[str, Any]) -> None:
    from droidft.events import RunStarted
    from droidft.runs.summary import Summary

    run = runs.create(Home.find(), parse_config(settings))
    start = RunStarted(config={}, versions={}, device={})
    base = EvalReport(step=0, loss=3.0, tokens=1, best=True, best_loss=3.0, best_step=0, seconds=1.0)
    log, summary = EventLog(run), Summary()
    for event in (start, base, train_report(1), start, base, train_report(1)):
        summary.add(log.append(event))
    log.close()
    found = history.curves(run, points=100)
    assert (found.train.step, found.validation.step) == ([1], [0])
    assert [event.step for event in summary.evaluations] == [0]


def test_the_pause_before_a_resume_is_no_training_time(home: Path, settings: dict[str, Any]) -> None:
    from droidft.events import RunStarted

    run = runs.create(Home.find(), parse_config(settings))
    start = RunStarted(config={}, versions={}, device={})
    again = start.model_copy(update={"resumed_from_step": 2})
    said = [(100.0, start), (101.0, train_report(1)), (103.0, train_report(2))]
    said += [(5000.0, again), (5004.0, train_report(3))]
    lines = [
        Record(seq=seq, time=time, event=event).model_dump_json() for seq, (time, event) in enumerate(said, start=1)
    ]
    run.events_file.write_text("\n".join(lines) + "\n")
    found = history.curves(run, points=100).train
    assert (found.time, found.seconds) == ([101.0, 103.0, 5004.0], [1.0, 3.0, 7.0])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.013, 2.64, [0, 1, 2, 3]),
        (3, 3, [3]),
        (0, 80, [0, 20, 40, 60, 80]),
        (1e-5, 1e-4, [0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4]),
    ],
)
def test_ticks_are_round_and_cover_the_range(low: float, high: float, ticks: list[float]) -> None:
    assert round_ticks(low, high) == pytest.approx(ticks)


def test_a_flat_line_stands_in_the_middle_of_its_chart() -> None:
    drawn = chart("Learning rate", [Series("rate", "c", [1, 2], [1e-3, 1e-3])])
    assert drawn is not None
    heights = {float(point.split(",")[1]) for point in drawn["series"][0]["points"].split()}
    ticks = [tick["y"] for tick in drawn["y_ticks"]]
    assert len(heights) == 1
    assert min(ticks) < heights.pop() < max(ticks)


def test_the_report_survives_a_run_that_said_nothing(server: LiveServer, settings: dict[str, Any]) -> None:
    run = runs.create(Home(server.home), parse_config(settings))
    server.until("/api/runs", lambda listed: listed)
    status, page = server.request("GET", f"/api/runs/{run.id}/report.html")
    assert status == 200
    assert b"created" in page
    assert json.loads(json.dumps(server.get(f"/api/runs/{run.id}/curves")["train"]["step"])) == []


def test_a_run_that_learns_from_rewards(server: LiveServer, settings: dict[str, Any]) -> None:
    more = {
        "method": "grpo", "rewards": [{"kind": "length_window", "unit": "characters", "maximum": 6, "falloff": 20}],
        "max_completion_length": 8, "steps_per_eval": 3, "num_generations": 4, "prompts_per_step": 2,
    }  # fmt: skip
    run = server.post("/api/runs", settings | more)["id"]
    detail = server.until(f"/api/runs/{run}", lambda found: found["summary"]["state"] == "finished")
    summary, evaluations = detail["summary"], detail["evaluations"]
    assert summary["method"] == "grpo"
    rewards = {row["step"]: row["metrics"]["reward"] for row in evaluations}
    assert (summary["first_reward"], summary["last_eval_reward"]) == (rewards[0], rewards[6])
    assert summary["best_reward"] == rewards[summary["best_step"]] == max(rewards.values())

    curves = server.get(f"/api/runs/{run}/curves")
    metrics = curves["train"]["metrics"]
    assert {"reward", "reward/length_window", "tied_groups", "entropy"} <= set(metrics)
    assert {len(column) for column in metrics.values()} == {6}
    assert metrics["reward"] == summary["sparkline"]
    assert metrics["reward"][-1] == summary["reward"]
    assert curves["validation"]["metrics"]["reward"] == list(rewards.values())

    newest = server.get(f"/api/runs/{run}/completions")
    assert (newest["steps"], newest["step"]) == ([1, 2, 3, 4, 5, 6], 6)
    assert server.get(f"/api/runs/{run}/completions?step=9") == newest
    third = server.get(f"/api/runs/{run}/completions?step=3")
    assert third["step"] == 3
    assert {row["place"].split(":")[0] for row in third["rows"]} == {"chat.jsonl"}
    assert third["rows"] != newest["rows"]
    assert server.get(f"/api/runs/{run}/completions?step=0")["step"] == 1

    status, page = server.request("GET", f"/api/runs/{run}/report.html")
    text = page.decode()
    assert status == 200
    assert "ean reward" in text.partition('class="verdict">')[2].partition("<")[0]
    assert "Mean reward" in text
    assert f"{summary['best_reward']:.4f}" in text
    assert '<p class="soft">GRPO' in text or "GRPO, lora" in text


def test_completions_that_a_resumed_run_did_again_replace_the_old_ones(home: Path) -> None:
    run = runs.create(Home(home), parse_config({"model_path": "m", "train_data_path": "t", "iterations": 9}))
    row = SampledCompletion(
        place="t:1", prompt="p", completion="old", rewards={}, reward=0, advantage=0, tokens=1, truncated=False
    )
    started = {"config": {}, "versions": {}, "device": {}}
    events: list[Any] = [
        RunStarted(**started), Completions(step=1, rows=[row]), Completions(step=2, rows=[row]),
        Completions(step=3, rows=[row]), RunStarted(**started, resumed_from_step=1),
        Completions(step=2, rows=[row.model_copy(update={"completion": "new"})]),
    ]  # fmt: skip
    lines = [Record(seq=at, time=at, event=event).model_dump_json() for at, event in enumerate(events, start=1)]
    run.events_file.write_text("\n".join([*lines[:3], "{damaged", *lines[3:]]) + "\n")
    assert history.completions(run, None).steps == [1, 2]
    assert history.completions(run, 2).rows[0].completion == "new"
    assert history.completions(run, 1).rows[0].completion == "old"
    run.events_file.write_text("")
    assert history.completions(run, 5).model_dump() == {"steps": [], "step": None, "rows": []}

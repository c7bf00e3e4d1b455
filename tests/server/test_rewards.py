"""Methods and rewards as the browser sees them; a trial in a process of its own, whatever the user's code does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from droidft.config import METHODS, TrainingConfig
from droidft.config.rewards import REWARDS
from tests import tiny
from tests.server import questions
from tests.server.serving import serving

OWN = """import os, time

def long(prompts, completions, **columns):
    '''Longer is better.'''
    return [len(c) for c in completions]

def hang(**columns):
    while True:
        time.sleep(1)

def die(**columns):
    os._exit(3)

def wrong(completions):
    return [float('nan') for _ in completions]
"""


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with questions.kept_home(tmp_path_factory.mktemp("rewards") / "home") as home:
        tiny.write_model(home / "models" / "tiny")
        (home / "data").mkdir()
        tiny.write_chat(home / "data" / "chat.jsonl")
        (home / "rewards").mkdir()
        (home / "rewards" / "mine.py").write_text(OWN)
        (home / "rewards" / "outer.py").symlink_to(Path(__file__))
        with serving(home) as found:
            yield found


def settings(function: str = "long", **more: Any) -> dict[str, Any]:
    return {
        "method": "grpo", "model_path": "tiny", "train_data_path": "chat.jsonl", "max_completion_length": 12,
        "rewards": [{"kind": "python", "file": "mine.py", "function": function}, {"kind": "tag_format", "weight": 2}],
        **more,
    }  # fmt: skip


def test_methods_are_told(asker: TestClient) -> None:
    found = asker.get("/api/methods").json()
    assert [method["name"] for method in found["methods"]] == list(METHODS)
    by_name = {method["name"]: method for method in found["methods"]}
    assert by_name["grpo"]["family"] == "rewards"
    defaults = {each["name"]: each for each in by_name["gspo"]["defaults"]}
    assert defaults["epsilon"]["value"] == 3e-4
    assert "paper" in defaults["epsilon"]["why"]
    assert {"rewards", "num_generations"} <= set(by_name["dr_grpo"]["settings"])
    assert "grad_accumulation_steps" in by_name["grpo"]["without_effect"]
    assert "rewards" in by_name["dpo"]["without_effect"]
    for method in found["methods"]:
        named = {*method["settings"], *method["without_effect"], *(each["name"] for each in method["defaults"])}
        assert named <= set(TrainingConfig.model_fields)
    assert "tied_groups" in {metric["name"] for metric in found["metrics"]}


def test_kinds_and_own_files_are_told(asker: TestClient) -> None:
    found = asker.get("/api/rewards").json()
    assert [kind["kind"] for kind in found["kinds"]] == [each.model_fields["kind"].default for each in REWARDS]
    for kind, reward in zip(found["kinds"], REWARDS, strict=True):
        names = [parameter["name"] for parameter in kind["parameters"]]
        assert set(names) == set(reward.model_fields) - {"kind"}
        assert names[-2:] == ["weight", "label"]
        assert kind["help"]
        assert all(parameter["help"] for parameter in kind["parameters"])
        assert kind["json_schema"]["properties"]["kind"]["const"] == kind["kind"]
    mine, outer = found["files"]
    assert [function["name"] for function in mine["functions"]] == ["long", "hang", "die", "wrong"]
    assert mine["functions"][0]["help"] == "Longer is better."
    assert "a link out of its folder" in outer["problem"]
    assert outer["functions"] == []


def test_a_trial_scores_completions(asker: TestClient) -> None:
    body = {"settings": settings(), "prompts": 3, "completions": 2, "seed": 7}
    done = questions.finished(asker, asker.post("/api/rewards/try", json=body).json())
    assert (done["kind"], done["state"], done["error"]) == ("try", "done", None)
    trial = done["trial"]
    assert (trial["rewards"], trial["weights"], trial["seed"]) == (["mine.long", "tag_format"], [1.0, 2.0], 7)
    assert len(trial["rows"]) == 6
    for row in trial["rows"]:
        assert row["rewards"]["mine.long"] == len(row["completion"])
        assert row["reward"] == pytest.approx(len(row["completion"]) + 2 * row["rewards"]["tag_format"])
    again = questions.finished(asker, asker.post("/api/rewards/try", json=body).json())
    assert again["trial"]["rows"] == trial["rows"]


@pytest.mark.parametrize(
    ("function", "told"),
    [("die", "exit status 3"), ("wrong", "returned nan for row"), ("none", "no function 'none'")],
)
def test_code_that_fails_is_an_error_of_the_job(asker: TestClient, function: str, told: str) -> None:
    job = asker.post("/api/rewards/try", json={"settings": settings(function)}).json()
    done = questions.finished(asker, job)
    assert (done["state"], done["error"]["code"]) == ("failed", "reward")
    assert told in done["error"]["message"]


def scoring(asker: TestClient, job: dict[str, Any]) -> None:
    end = time.monotonic() + 60
    while asker.get(f"/api/jobs/{job['id']}").json()["phase"] != "scoring":
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_that_hangs_is_called_off_at_once_and_no_second_one_beside_it(asker: TestClient) -> None:
    job = asker.post("/api/rewards/try", json={"settings": settings("hang")}).json()
    scoring(asker, job)
    refused = questions.error(asker.post("/api/rewards/try", json={"settings": settings()}), 409)
    assert "being tried already" in refused["message"]
    assert asker.delete(f"/api/jobs/{job['id']}").json()["state"] == "cancelled"
    began = time.monotonic()
    done = questions.finished(asker, asker.post("/api/rewards/try", json={"settings": settings()}).json())
    assert done["state"] == "done"
    assert time.monotonic() - began < 30


def test_one_that_takes_too_long_is_ended(asker: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: Any = asker.app
    monkeypatch.setattr(jobs.state.droidft.jobs, "trial_seconds", 8.0)
    done = questions.finished(asker, asker.post("/api/rewards/try", json={"settings": settings("hang")}).json())
    assert (done["state"], done["error"]["code"]) == ("failed", "reward")
    assert "longer than 8 s and was ended while scoring" in done["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"method": "sft"}, 400, "has no rewards to try"),
        ({"rewards": []}, 400, "needs rewards"),
        ({"rewards": [{"kind": "python", "file": "../x.py"}]}, 400, "plain name"),
        ({"model_path": "/etc"}, 403, "outside"),
        ({"train_data_path": "/etc/passwd"}, 403, "outside"),
    ],
)
def test_what_is_refused_at_once(asker: TestClient, changes: dict[str, Any], status: int, told: str) -> None:
    answer = asker.post("/api/rewards/try", json={"settings": settings(**changes)})
    assert told in questions.error(answer, status)["message"]


def check(asker: TestClient, **more: Any) -> dict[str, Any]:
    body = {"train_data_path": "chat.jsonl", "model_path": "tiny", "settings": more}
    found = questions.finished(asker, asker.post("/api/data/check", json=body).json())
    assert found["error"] is None, found
    return dict(found["check"])


def test_the_data_check_knows_the_method(asker: TestClient) -> None:
    prompts = check(asker, method="grpo")
    assert prompts["ok"], prompts
    assert prompts["tokens"]["train"]["supervised_tokens"] == 0
    lacking = check(asker, method="grpo", rewards=[{"kind": "lexical_f1", "column": "right"}])
    assert lacking["fault_count"] > 0
    assert "reward lexical_f1: column 'right' is missing" in lacking["faults"][0]["reason"]
    assert lacking["faults"][0]["line"] is not None
    pairs = check(asker, method="dpo")
    assert not pairs["ok"]
    assert pairs["tokens"] is None

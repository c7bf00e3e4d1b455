"""Runs that a script starts and follows, on a tiny model."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import droidft
from droidft.errors import ConfigError, DataError, NonFiniteError, NotFound, RunError, error_of
from droidft.events import EvalReport, Finished, RunStarted, Stopped, TrainReport, Warned
from droidft.home import Home
from droidft.runs import folder as folders
from droidft.runs.folder import RunStatus
from droidft.runs.writer import EventLog

LONG = {"iterations": 3000, "steps_per_report": 1, "steps_per_eval": 3000, "save_every": 3000}


def test_a_run_is_started_followed_and_read_as_columns(home: Path, material: dict[str, Any]) -> None:
    run = droidft.train(material, iterations=6, steps_per_report=2, steps_per_eval=3, adapter_name="mine")
    events = list(run.follow())
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], Finished)
    assert (run.state, run.adapter, run.config.iterations) == (RunStatus.FINISHED, "mine", 6)
    assert events == run.events() == list(run.follow()), "each time from the beginning"
    assert run.wait() is run
    assert droidft.Run.find(run.id[:15]).id == droidft.Run.find().id == run.id
    assert repr(run) == f"<droidft.Run {run.id}: finished>"

    metrics, evaluations = run.metrics, run.evaluations
    assert metrics["step"].tolist() == [2, 4, 6]
    assert evaluations["step"].tolist() == [0, 3, 6]
    reports = [event for event in events if isinstance(event, TrainReport)]
    for name in ("loss", "learning_rate", "tokens", "peak_memory_bytes"):
        assert metrics[name].dtype == np.float64
        assert metrics[name].tolist() == [getattr(report, name) for report in reports]
    assert (np.diff(metrics["seconds"]) >= 0).all()
    assert evaluations["loss"].tolist() == [event.loss for event in events if isinstance(event, EvalReport)]
    listed = [folder.id for folder in folders.all_runs(Home.find())]
    assert listed == [run.id], "the terminal and the browser see it too"


def test_columns_become_a_table(home: Path, material: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    run = droidft.train(material, iterations=4, steps_per_report=2, steps_per_eval=4).wait()
    table = run.to_pandas()
    assert table["step"].tolist() == [0, 2, 4]
    assert table["val_loss"].notna().tolist() == [True, False, True]
    assert table["loss"].notna().tolist() == [False, True, True]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        run.to_pandas()


def test_a_run_is_stopped_and_resumed_and_no_step_is_told_twice(home: Path, material: dict[str, Any]) -> None:
    run = droidft.train(material, **LONG)
    for event in run.follow():
        if isinstance(event, TrainReport) and event.step == 3:
            run.stop()
    stopped = event
    assert isinstance(stopped, Stopped)
    assert (run.state, stopped.step >= 3) == (RunStatus.STOPPED, True)
    with pytest.raises(RunError, match="nothing to stop"):
        run.stop()
    assert run.resume() is run
    with pytest.raises(RunError, match="is running"):
        run.resume()
    with pytest.raises(TimeoutError, match=r"still runs after 0\.2 seconds"):
        run.wait(timeout=0.2)
    with pytest.raises(RunError, match="died without saying why"):
        kill_at(run, stopped.step + 2)
    assert run.state is RunStatus.CRASHED
    steps = [event.step for event in run.events() if isinstance(event, TrainReport)]
    assert steps == sorted(set(steps)) == run.metrics["step"].astype(int).tolist()


def test_a_finished_run_is_made_longer(home: Path, material: dict[str, Any]) -> None:
    run = droidft.train(material, iterations=2).wait()
    with pytest.raises(RunError, match="is finished: it has done all 2 steps"):
        run.resume()
    with pytest.raises(ConfigError, match="lora_rank cannot change: the trained weights have its shape"):
        run.resume(iterations=4, lora_rank=8)
    assert run.resume(iterations=3).wait().config.iterations == 3
    again = droidft.train(resume=run.id, iterations=5)
    assert (again.id, again.wait().state, again.evaluations["step"][-1]) == (run.id, RunStatus.FINISHED, 5)


def kill_at(run: droidft.Run, step: int) -> None:
    for event in run.follow():
        if isinstance(event, TrainReport) and event.step == step:
            os.kill(run._folder.worker_pid() or 0, signal.SIGKILL)


def test_what_came_again_after_a_resume_counts_once(home: Path) -> None:
    created = folders.create(Home.find(), droidft.TrainingConfig(model_path="model", train_data_path="data"))
    run = droidft.Run.find()
    with pytest.raises(RunError, match="has not begun"):
        list(run.follow())
    log = EventLog(created)
    start = RunStarted(config={}, versions={}, device={})
    told = [start, Warned(code="x", message="first"), report(0), report(5), report(10)]
    again = start.model_copy(update={"resumed_from_step": 5})
    for event in [*told, again, report(10)]:
        log.append(event)
    log.close()
    assert run.events() == [*told[:4], again, report(10)]
    assert run.evaluations["step"].tolist() == [0, 5, 10]


def report(step: int) -> EvalReport:
    return EvalReport(step=step, loss=1, tokens=1, best=True, best_loss=1, best_step=step, seconds=0)


def test_a_failed_run_raises_its_reason(home: Path, material: dict[str, Any], tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl"):
        droidft.train(material, train_data_path=bad)
    bad.write_text('{"prompt": "a"}\n' * 300_000)  # rows of large files are read by the worker alone
    run = droidft.train(material, train_data_path=bad)
    with pytest.raises(DataError, match=r"bad\.jsonl"):
        run.wait()
    with pytest.raises(DataError):
        list(run.follow())
    assert run.state is RunStatus.FAILED


def test_errors_that_were_written_down_are_of_their_kind() -> None:
    assert isinstance(error_of("non_finite", "NaN"), NonFiniteError)
    error = error_of("out_of_memory", "no room", hint="lower batch_size")
    assert (type(error), error.message, error.hint) == (RunError, "no room", "lower batch_size")


def test_settings_come_from_a_file_a_mapping_or_a_configuration(
    home: Path, material: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders.Run, "start", lambda _: Started())
    file = tmp_path / "run.json"
    file.write_text(json.dumps(material, default=str))
    rewarded = {"method": "grpo", "rewards": [{"kind": "exact_answer"}]}
    places = {name: str(material[name]) for name in ("model_path", "train_data_path")}
    config = droidft.TrainingConfig(**places, **rewarded)
    assert droidft.train(file, lora_rank=2).config.lora_rank == 2
    assert droidft.train(str(file)).config.batch_size == 4
    assert droidft.train(config).config == config
    assert droidft.train(config, seed=3).config == config.model_copy(update={"seed": 3})
    with pytest.raises(
        ConfigError, match=r"settings: lora_rnk is not a setting; did you mean 'lora_rank'\?"
    ) as refused:
        droidft.train(material, lora_rnk=2)
    assert refused.value.field == "lora_rnk"
    with pytest.raises(ConfigError, match="model_path is required"):
        droidft.train(train_data_path="rows.jsonl")


class Started:
    """A worker that has nothing to do."""

    def wait(self) -> int:
        return 0


def test_a_home_of_its_own(home: Path, material: dict[str, Any], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "cache").symlink_to(home / "cache")
    run = droidft.train(material, iterations=1, home=other).wait()
    assert (other / "adapters" / run.adapter / "adapters.safetensors").exists()
    assert droidft.Run.find(home=other).id == run.id
    with pytest.raises(NotFound):
        droidft.Run.find(run.id)

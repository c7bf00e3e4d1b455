"""Run folders: derived status, one writer, logs that survive a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from droidft.adapters.folder import OWNER
from droidft.config import TrainingConfig
from droidft.config.measurement import Measurement, RunMeasurement
from droidft.errors import ConfigError, NotFound, RunError
from droidft.events import Failed, Finished, Stopped, Warned
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.runs.folder import Run, RunStatus
from droidft.runs.writer import EventLog

MEASURE = RunMeasurement(
    measurement=Measurement(test_data_path="test"), experiment="x20260101-000000", cell="a.seed0"
)


@pytest.fixture
def run(home: Path) -> Run:
    return runs.create(Home.find(), TrainingConfig(model_path="model", train_data_path="data"))


def finished(step: int = 3) -> Finished:
    return Finished(step=step, best_step=None, best_loss=None, final_loss=None, seconds=1)


def test_status_follows_from_the_last_event_and_the_lock(run: Run) -> None:
    assert run.status() is RunStatus.CREATED
    log = EventLog(run)
    assert run.status() is RunStatus.RUNNING
    assert run.worker_pid() == os.getpid()
    log.append(Warned(code="x", message="y"))
    log.close()
    assert run.status() is RunStatus.CRASHED
    for event, status in (
        (Stopped(step=1), RunStatus.STOPPED),
        (Failed(code="x", message="y"), RunStatus.FAILED),
        (finished(), RunStatus.FINISHED),
    ):
        log = EventLog(run)
        log.append(event)
        log.close()
        assert run.status() is status


def test_a_second_worker_is_refused(run: Run) -> None:
    log = EventLog(run)
    with pytest.raises(RunError, match="has a worker already"):
        EventLog(run)
    log.close()
    EventLog(run).close()


def test_a_foreign_process_with_the_recorded_pid_is_never_signalled(run: Run) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (run.path / "worker.json").write_text(json.dumps({"pid": stranger.pid, "started": 0}))
        assert run.worker_pid() is None
        with pytest.raises(RunError, match="nothing to stop"):
            run.stop()
        run.kill()
        assert stranger.poll() is None
    finally:
        stranger.communicate(b"\n")


def test_half_a_line_is_never_read_and_goes_when_the_next_worker_comes(run: Run) -> None:
    log = EventLog(run)
    log.append(Warned(code="a", message="first"))
    log.close()
    with run.events_file.open("ab") as file:
        file.write(b'{"seq":2,"time":1.0,"event":{"type":"warn')
    records, offset = run.records()
    assert [record.seq for record in records] == [1]
    log = EventLog(run)
    log.append(Warned(code="b", message="second"))
    log.close()
    more, _ = run.records(offset)
    assert [(record.seq, record.event.message) for record in more] == [(2, "second")]  # type: ignore[union-attr]


def test_runs_are_found_by_the_beginning_of_their_id(run: Run) -> None:
    home = Home.find()
    other = runs.create(home, TrainingConfig(model_path="model", train_data_path="data"))
    assert runs.find(home, other.id) == other
    assert runs.find(home, "last") == other
    with pytest.raises(NotFound, match="any of 2 runs"):
        runs.find(home, run.id[:8])
    with pytest.raises(NotFound, match="did you mean"):
        runs.find(home, "x" + run.id)


def test_last_is_the_newest_by_time_whatever_its_id(run: Run) -> None:
    """Ids of another machine hold another clock, and those of experiments begin with a letter."""
    home, config = Home.find(), TrainingConfig(model_path="model", train_data_path="data")
    runs.create(home, config, run_id="x20990101-000000.a.seed0", measure=MEASURE)
    older = runs.create(home, config, run_id="20990101-000000-model")
    os.utime(older.path / "config.json", (1, 1))
    newest = runs.create(home, config, run_id="20010101-000000-model")
    os.utime(run.path / "config.json", (2, 2))
    assert [each.id for each in runs.all_runs(home) if not each.belongs_to_experiment] == [
        newest.id,
        run.id,
        older.id,
    ]
    assert runs.find(home, "last") == newest
    newest.delete(home, files=True)
    assert runs.find(home, "last") == run


def test_last_is_never_a_run_of_an_experiment(home: Path) -> None:
    at = Home.find()
    with pytest.raises(NotFound, match=r"there is no run yet$"):
        runs.find(at, "last")
    config = TrainingConfig(model_path="model", train_data_path="data")
    made = runs.create(at, config, run_id="x20260101-000000.a.seed0", measure=MEASURE)
    with pytest.raises(NotFound, match="no run yet; 1 run here belongs to an experiment"):
        runs.find(at, "last")
    assert runs.find(at, "x2026") == made


def test_a_copy_of_a_run_is_as_old_as_its_first_event(run: Run) -> None:
    log = EventLog(run)
    log.append(Warned(code="x", message="y"))
    log.close()
    began = run.records()[0][0].time
    os.utime(run.path / "config.json", (began + 1000, began + 1000))
    assert run.created == began


def test_ids_are_in_universal_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")  # 14 hours ahead
    time.tzset()
    try:
        made = runs.create(Home.find(), TrainingConfig(model_path="model", train_data_path="data"))
    finally:
        monkeypatch.undo()
        time.tzset()
    stamp = datetime.strptime(made.id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - stamp).total_seconds()) < 60


def test_a_running_run_is_not_deleted_and_an_existing_adapter_not_overwritten(run: Run) -> None:
    home = Home.find()
    log = EventLog(run)
    with pytest.raises(RunError, match="running"):
        run.delete(home, files=True)
    log.close()
    home.adapter("mine").mkdir()
    with pytest.raises(ConfigError, match="adapter_name"):
        runs.create(home, TrainingConfig(model_path="model", train_data_path="data", adapter_name="mine"))
    run.delete(home, files=True)
    assert not run.path.exists()


def test_an_adapter_is_not_deleted_under_its_run(run: Run) -> None:
    home = Home.find()
    adapter = home.adapter(run.adapter_name())
    (home.adapters / "link").symlink_to(adapter)
    with pytest.raises(RunError, match="has not begun"):
        runs.delete_adapter(home, adapter.name)
    log = EventLog(run)
    with pytest.raises(RunError, match=f"run {run.id} writes to the adapter"):
        runs.delete_adapter(home, adapter.name)
    runs.delete_adapter(home, "link")
    log.append(finished())
    log.close()
    assert adapter.is_dir()
    runs.delete_adapter(home, adapter.name)
    assert not adapter.exists()
    with pytest.raises(NotFound):
        runs.delete_adapter(home, adapter.name)
    foreign = home.adapter("foreign")
    foreign.mkdir()
    (foreign / OWNER).write_text("../../no run of this home")
    runs.delete_adapter(home, "foreign")


def test_references_lead_from_anywhere_and_names_stay_names(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poet").mkdir()
    (tmp_path / "data.jsonl").touch()
    found = Home.find()
    given = {"model_path": "acme/model", "train_data_path": "data.jsonl", "init_adapter": "poet@200", "seed": 3}
    wanted = {**given, "train_data_path": str(tmp_path / "data.jsonl")}
    assert found.rooted(given) == {**wanted, "init_adapter": f"{tmp_path / 'poet'}@200"}
    found.adapter("poet").mkdir()
    assert found.rooted(given) == wanted
    (found.models / "acme").mkdir()
    (tmp_path / "acme").mkdir()
    assert found.rooted({"model_path": "acme"}) == {"model_path": "acme"}
    (tmp_path / "acme" / "config.json").touch()
    assert found.rooted({"model_path": "acme"}) == {"model_path": str(tmp_path / "acme")}
    for unreadable in ("x" * 300, "~nobody-of-that-name/x", "\0"):
        assert found.rooted({"train_data_path": unreadable}) == {"train_data_path": unreadable}


def test_a_home_that_moves_takes_its_paths_along(home: Path, tmp_path: Path) -> None:
    """Also through a link to it, and in runs of versions that kept whole paths; paths outside stay."""
    first = Home.find()
    for folder in (first.data, first.models / "m"):
        folder.mkdir(exist_ok=True)
    (first.data / "rows.jsonl").touch()
    (tmp_path / "alias").symlink_to(first.root)
    outside = tmp_path / "outside.jsonl"
    outside.touch()
    given = {
        "model_path": str(first.models / "m"),
        "train_data_path": f"{os.path.realpath(first.root)}/data/rows.jsonl",
        "val_data_path": str(outside),
    }
    run = runs.create(first, TrainingConfig(**given))
    kept = json.loads((run.path / "config.json").read_text())
    assert kept["train_data_path"] == "$DROIDFT_HOME/data/rows.jsonl"
    assert kept["model_path"] == "$DROIDFT_HOME/models/m"
    assert run.config().train_data_path == str(first.data / "rows.jsonl")
    old = runs.create(first, TrainingConfig(**given))
    (old.path / "config.json").write_text(json.dumps(kept | given))
    new = tmp_path / "elsewhere"
    first.root.rename(new)
    for moved in (Home(new).run(run.id), Home(new).run(old.id)):
        config = runs.Run(moved).config()
        assert config.train_data_path == str(new / "data" / "rows.jsonl")
        assert config.model_path == str(new / "models" / "m")
        assert config.val_data_path == str(outside)
    gone = {"train_data_path": str(tmp_path / "nowhere" / "rows.jsonl")}
    assert Home(new).opened(gone) == gone

"""`droidft runs`: several at once, JSON, and `last`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from droidft.cli import main
from droidft.config import TrainingConfig
from droidft.events import Finished
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.runs.folder import Run
from droidft.runs.writer import EventLog


@pytest.fixture
def three(home: Path) -> list[Run]:
    config = TrainingConfig(model_path="model", train_data_path="data")
    made = [runs.create(Home.find(), config) for _ in range(3)]
    for run in made:
        log = EventLog(run)
        log.append(Finished(step=1, best_step=None, best_loss=None, final_loss=None, seconds=1))
        log.close()
    return made


def test_several_are_deleted_at_once_or_none(three: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = three
    log = EventLog(second)
    assert main(["runs", "delete", first.id, second.id]) == 1
    assert "is running" in capsys.readouterr().err
    log.close()
    assert main(["runs", "delete", first.id, "nothing"]) == 1
    assert first.path.exists()
    capsys.readouterr()
    assert main(["runs", "delete", first.id, "last", third.id, "--files", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": [first.id, third.id]}
    assert runs.all_runs(Home.find()) == [second]


def test_watch_as_json_is_an_event_a_line(three: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "watch", "last", "--json"]) == 0
    (event,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert event["event"]["type"] == "finished"


def test_the_list_in_a_pipe_has_a_run_in_each_line(three: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    head, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert head == ["run", "status", "method", "step", "loss", "best val"]
    assert [row[:2] for row in rows] == [[run.id, "finished"] for run in reversed(three)]

"""`droidft experiment` and `droidft experiments`, as typed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from droidft.cli import main
from droidft.commands._experiment_display import ExperimentDisplay
from droidft.events import Record
from droidft.experiments.plan.settled import Cost
from droidft.experiments.runs.progress import Began, Reported, look
from droidft.home import Home
from tests.experiments import furnished
from tests.server.test_sockets import report as train_report


def write(folder: Path, **changes: Any) -> Path:
    paths = furnished.furnish(folder)
    values = {
        "title": "tiny [red]question[/]",
        "settings": furnished.SETTINGS | paths,
        "arms": {"full": {"lora_targets": "full-layer"}, "qv": {"lora_targets": "attention-qv"}},
        "seeds": [0],
        "measurement": {"general_data_path": str(folder / "general.jsonl")},
    }
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(values | changes))
    return file


def ask(*words: str, answer: str) -> str:
    """What a command prints that is given this answer, or none."""
    command = [sys.executable, "-m", "droidft.cli", *words]
    return subprocess.run(command, input=f"{answer}\n" if answer else "", capture_output=True, text=True).stdout


def test_planned_run_shown_reported_deleted(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write(tmp_path)
    assert main(["experiment", str(plan), "--plan-only", "--no-timing"]) == 0
    planned = capsys.readouterr().out
    assert "tiny [red]question[/]" in planned
    assert "full − qv" in planned
    assert "3 runs" in planned
    name = planned.rpartition("droidft experiment ")[2].strip()
    assert f"not started; later: droidft experiment {name}" in ask("experiment", name, answer="n")
    assert "not started" in ask("experiment", name, answer="")
    assert not (home / "runs").exists() or list((home / "runs").iterdir()) == []
    assert main(["experiments", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["id"], listed["state"], listed["done"]) == (name, "planned", 0)

    assert main(["experiment", name, "--yes"]) == 0
    told = capsys.readouterr().out
    assert told.count("finished") == 0
    assert told.count("test ") >= 3
    assert "Exploratory (1 seed; a verdict takes 3)" in told
    assert (home / "experiments" / name / "report.html").is_file()

    assert main(["experiments", "show", "last"]) == 0
    assert "state     finished, 3 of 3 runs done" in capsys.readouterr().out
    out = tmp_path / "report.json"
    assert main(["experiments", "report", name, "--form", "json", "--out", str(out)]) == 0
    assert len(json.loads(out.read_text())["measured"]) == 3
    capsys.readouterr()
    assert main(["experiments", "report", name, "--form", "json", "--out", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["analysis"] == json.loads(out.read_text())["analysis"]
    assert not Path("-").exists()
    assert main(["experiments", "stop", name]) == 0
    assert f"{name} is finished: there is nothing to stop" in capsys.readouterr().out
    assert ask("experiments", "delete", name, answer="n").startswith(f"Delete {name}, with 3 finished runs")
    assert len(list((home / "runs").iterdir())) == 3
    assert main(["experiments", "delete", name, "--yes"]) == 0
    assert list((home / "runs").iterdir()) == []
    capsys.readouterr()
    assert main(["experiments"]) == 0
    assert "no experiments yet" in capsys.readouterr().err


def test_a_run_under_way_shows_its_step_and_what_is_left(home: Path, tmp_path: Path) -> None:
    plan = furnished.plan(tmp_path, furnished.furnish(tmp_path))
    experiment, fixed = furnished.planned(Home.find(), plan)
    costs = [
        Cost(arm=arm.name, seconds_per_token=1, evaluation_seconds_per_token=1, peak_bytes=1, seconds_per_run=60)
        for arm in fixed.arms
    ]
    fixed = fixed.model_copy(update={"costs": costs})
    progress = look(experiment, fixed)
    base, first, *_ = progress.cells
    screen = io.StringIO()
    with ExperimentDisplay(fixed, Console(file=screen, force_terminal=True, width=200)) as display:
        display.show(Began(base, progress))
        display.show(Began(first, progress))
        display.show(Reported(first, Record(seq=1, time=1.0, event=train_report(step=3))))
        time.sleep(0.3)  # it is drawn several times a second
    assert "run   1/5  full.s0  about 4 min 5 s left in all  step 3/6, loss 0.3333" in screen.getvalue()


def test_what_is_refused_leaves_nothing_behind(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = write(tmp_path, settings={"model_path": "nowhere", "train_data_path": str(tmp_path / "chat.jsonl")})
    assert main(["experiment", str(plan)]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert list((home / "experiments").iterdir()) == []
    assert main(["experiment", str(write(tmp_path, seeds=[]))]) == 2
    assert "seeds: must not be empty, got []; leave it out for the default" in capsys.readouterr().err
    assert main(["experiments", "show", "x1"]) == 1
    assert main(["experiment", "x1"]) == 1


def test_one_that_is_stopped_elsewhere_says_so_and_how_to_go_on(home: Path, tmp_path: Path) -> None:
    settings = furnished.SETTINGS | furnished.furnish(tmp_path) | {"epochs": 4000, "save_every": 4000}
    plan = write(tmp_path, settings=settings)
    command = [sys.executable, "-m", "droidft.cli", "experiment", str(plan), "--no-timing", "--yes"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as driving:
        assert driving.stdout is not None
        lines = []
        for line in driving.stdout:
            lines.append(line)
            if line.startswith("run   1/3"):  # the next one has not begun to train, and may not have a worker yet
                break
        assert main(["experiments", "stop", "last"]) == 0
        rest = driving.stdout.read()
        assert driving.wait(timeout=60) == 0
    name = lines[0].split()[1]
    assert rest.splitlines()[-1] == (
        f"stopped from elsewhere, in another terminal or the browser; continue with: droidft experiment {name}"
    )
    assert not (home / "experiments" / name / "report.html").exists()

"""An experiment from a script: planned, stopped midway, gone on with, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import droidft
from droidft.errors import ConfigError, NotFound
from droidft.experiments.runs.progress import Began, Ended, ExperimentState, Reported


def plan(material: dict[str, Any]) -> dict[str, Any]:
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in material.items()}
    return {
        "title": "rank",
        "settings": settings | {"iterations": 2, "test_fraction": 0.2},
        "arms": {"small": {"lora_rank": 2}, "large": {"lora_rank": 8}},
        "seeds": [0],
    }


def test_an_experiment_is_stopped_goes_on_and_reports(home: Path, material: dict[str, Any]) -> None:
    steps: list[str] = []
    experiment = droidft.experiment(plan(material), progress=lambda what, _done, _total: steps.append(what))
    assert "reading data" in steps
    assert (experiment.state, len(experiment.progress.cells)) == (ExperimentState.PLANNED, 3)
    assert [arm.rank for arm in experiment.plan.arms] == [2, 8]
    assert experiment.plan.estimate is None
    happenings = []
    for happening in experiment.follow():
        happenings.append(type(happening))
        if isinstance(happening, Ended):
            experiment.stop()
            assert sum(cell.done for cell in happening.progress.cells) == 1
    assert happenings[0] is Began
    assert happenings[-1] is Ended
    assert set(happenings[1:-1]) == {Reported}
    assert experiment.state is ExperimentState.STOPPED
    assert experiment.verdict != ""
    assert experiment.wait().state is ExperimentState.FINISHED
    assert [run.state.value for run in experiment.runs] == ["finished"] * 3
    assert experiment.verdict == experiment.analysis.verdict != ""
    assert experiment.report().startswith("# rank")
    assert "<html" in experiment.report("html")
    assert droidft.Experiment.find().id == experiment.id
    assert repr(experiment) == f"<droidft.Experiment {experiment.id}: finished>"


def test_a_plan_that_is_refused_leaves_nothing_behind(home: Path, material: dict[str, Any]) -> None:
    wrong = plan(material)
    wrong["settings"]["lora_rnk"] = 3
    with pytest.raises(ConfigError, match="lora_rnk"):
        droidft.experiment(wrong)
    missing = plan(material)
    missing["settings"]["model_path"] = "nowhere"
    with pytest.raises(NotFound):
        droidft.experiment(missing)
    with pytest.raises(NotFound):
        droidft.Experiment.find()

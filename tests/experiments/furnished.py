"""A home folder with a tiny model and data, and plans on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from droidft.engine.machine.device import computing
from droidft.experiments.plan.settled import FixedPlan
from droidft.experiments.plan.written import Plan, parse_plan
from droidft.experiments.runs import folder as folders
from droidft.experiments.runs.folder import Experiment
from droidft.experiments.runs.progress import Began, Ended, Reported, drive
from droidft.home import Home
from droidft.runs.folder import Run
from tests import tiny
from tests.workers import here

SETTINGS: dict[str, Any] = {
    "mask_prompt": True,
    "lora_rank": 4,
    "lora_alpha": 4,
    "batch_size": 4,
    "epochs": 1,
    "learning_rate": 0.01,
    "test_fraction": 0.3,
}
TEXTS = ["a small text that nobody has trained on", "another one, about rivers and stones"]


def furnish(folder: Path, *, rows: int = 40) -> dict[str, str]:
    """Model, conversations and a general text; the paths of the first two as settings."""
    general = folder / "general.jsonl"
    general.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return {
        "model_path": str(tiny.write_model(folder / "model")),
        "train_data_path": str(tiny.write_chat(folder / "chat.jsonl", rows=rows)),
    }


def plan(folder: Path, paths: dict[str, str], **changes: Any) -> Plan:
    """Two arms and two seeds, unless changed."""
    values: dict[str, Any] = {
        "settings": SETTINGS | paths,
        "arms": {"full": {"lora_targets": "full-layer"}, "qv": {"lora_targets": "attention-qv"}},
        "seeds": [0, 1],
        "measurement": {"general_data_path": str(folder / "general.jsonl")},
    }
    return parse_plan(values | changes, source="test")


def planned(home: Home, plan: Plan, *, timed: bool = False) -> tuple[Experiment, FixedPlan]:
    """A new experiment whose plan is fixed."""
    from droidft.workers import settle

    experiment = folders.create(home, plan)
    with computing(home.cache) as device:
        fixed = settle.fix(
            plan, experiment_id=experiment.id, home=home, device=device, report=lambda *_: None, timed=timed
        )
    experiment.fix(fixed)
    return experiment, fixed


def driven(experiment: Experiment, fixed: FixedPlan) -> Iterator[Began | Reported | Ended]:
    """Run it, with the work of its workers done in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "start", here.start)
        yield from drive(experiment, fixed, should_stop=lambda: False)


def finish(experiment: Experiment, fixed: FixedPlan) -> None:
    """Run all of it."""
    for _ in driven(experiment, fixed):
        pass

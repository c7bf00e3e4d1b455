"""A run whose worker dies before it can write anything stops its experiment after a few starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from droidft.config import TrainingConfig
from droidft.errors import ExperimentError
from droidft.experiments.runs.attempts import MOST_STARTS, Attempts
from droidft.experiments.runs.progress import Began, drive
from droidft.home import Home
from droidft.runs import folder as runs
from tests.experiments.furnished import furnish, plan, planned


def test_starts_without_an_event_are_counted_and_progress_forgets_them(home: Path) -> None:
    run = runs.create(Home.find(), TrainingConfig(model_path="model", train_data_path="data"))
    attempts = Attempts()
    for _ in range(MOST_STARTS):
        assert attempts.next(run) is None
    run.log_file.write_text("a library\nOSError: No space left on device\n\n")
    obstacle = attempts.next(run)
    assert obstacle is not None
    assert obstacle.message == (
        f"run {run.id}: its worker was started 3 times and ended before it wrote an event: "
        "OSError: No space left on device"
    )
    run.events_file.write_text("{}\n")
    assert attempts.next(run) is None


def test_a_terminal_gives_up(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, fixed = planned(Home.find(), plan(tmp_path, furnish(tmp_path, rows=24), seeds=[0]))
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "sitecustomize.py").write_text(
        "import os, sys\nprint('no room', file=sys.stderr, flush=True)\nos._exit(9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{trap}{os.pathsep}{os.environ['PYTHONPATH']}")
    began = []
    with pytest.raises(ExperimentError, match="started 3 times and ended before it wrote an event: no room"):
        began += [step for step in drive(experiment, fixed, should_stop=lambda: False) if isinstance(step, Began)]
    assert not began
    assert experiment.wanted().running

"""Every shipped example is valid and says what the demo does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from droidft.commands.demo import settings
from droidft.config import load_config_file, parse_config
from droidft.data import orders
from droidft.engine.evaluation.measure import Accuracy
from droidft.experiments.plan.written import parse_plan
from tests import tiny
from tests.places import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_valid_and_its_data_is_there(path: Path) -> None:
    config = parse_config(load_config_file(path), source=path.name)
    assert config.warnings() == []
    for file in (config.train_data_path, config.val_data_path):
        assert file is None or (ROOT / file).is_file()


def test_the_full_layer_example_is_the_demo() -> None:
    assert load_config_file(ROOT / "examples/full_layer.yaml") == settings()


def test_the_examples_data_is_what_the_demo_makes(tmp_path: Path) -> None:
    for which, path in orders.write(tmp_path).items():
        assert path.read_text() == (ROOT / f"examples/orders/{which}.jsonl").read_text()


def test_no_test_customer_is_in_training_and_no_order_repeats() -> None:
    sets = {which: orders.orders(which) for which in orders.SIZES_OF_SETS}
    for which, rows in sets.items():
        assert len({row.spoken for row in rows}) == len(rows) == orders.SIZES_OF_SETS[which]
    names = {which: {json.loads(row.line)["name"] for row in rows} for which, rows in sets.items()}
    assert not names["test"] & (names["train"] | names["valid"])


def test_an_answer_is_right_only_to_the_letter() -> None:
    order = orders.orders("test")[0]
    assert orders.is_right(f" {order.line}\n", order.line)
    assert not orders.is_right(order.line.replace(":", ": ", 1), order.line)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"), [(0, 100, 0.0, 0.0370), (50, 100, 0.4038, 0.5962), (100, 100, 0.9630, 1.0)]
)
def test_the_interval_is_wilsons(right: int, total: int, low: float, high: float) -> None:
    from scipy.stats import binomtest

    found = Accuracy(right, total).interval
    assert found == pytest.approx((low, high), abs=1e-4)
    scipy = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert found == pytest.approx((scipy.low, scipy.high), abs=1e-9)


@pytest.mark.parametrize("path", sorted((ROOT / "examples/experiments").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_of_an_experiment_is_valid_and_its_data_is_there(path: Path) -> None:
    plan = parse_plan(load_config_file(path), source=path.name)
    files = [plan.settings["train_data_path"], plan.settings.get("val_data_path"), plan.measurement.test_data_path]
    assert all(file is None or (ROOT / file).is_file() for file in files)
    assert not plan.exploratory


def test_a_method_of_ones_own_trains_in_under_40_lines(home: Path, tmp_path: Path) -> None:
    text = (ROOT / "examples/own_method.py").read_text()
    assert len(text.splitlines()) < 40
    # With so high a power a token counts little, even of a model that knows nothing yet.
    (program := tmp_path / "own.py").write_text(text.replace("GAMMA = 2.0", "GAMMA = 2000.0"))
    model, data = tiny.write_model(tmp_path / "model"), tiny.write_chat(tmp_path / "chat.jsonl")
    settings = ["iterations=2", "lora_rank=4", "batch_size=4", "steps_per_report=1", "mask_prompt=true"]
    command = [sys.executable, program, f"model_path={model}", f"train_data_path={data}", *settings]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reports = {
        kind: [float(re.search(r" loss=(\S+)", line)[1]) for line in done.stdout.splitlines() if f"'{kind}'" in line]
        for kind in ("train_report", "eval_report")
    }
    assert len(reports["train_report"]) == 2
    assert max(reports["train_report"]) < 0.6 * reports["eval_report"][0]
    assert "type='finished' step=2" in done.stdout

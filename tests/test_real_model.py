"""End to end on a real model: SmolLM2-135M learns, stops, is answered with, and is read by mlx-lm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from droidft.config import load_config_file, parse_config
from droidft.data import orders
from droidft.events import Completions, DataPrepared, EvalReport, Finished, LoraAttached, TrainReport
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.runs.folder import Run
from tests.places import GSM8K, ROOT

pytestmark = pytest.mark.real


def train(model: Path, **changes: Any) -> Run:
    settings = {"mask_prompt": True, "early_stop": False, "learning_rate": 1e-3} | changes
    run = runs.create(Home.find(), parse_config(settings | {"model_path": str(model)}))
    assert run.start().wait(timeout=300) == 0, run.log_file.read_text() + str(run.records()[0][-1])
    return run


def event(run: Run, kind: type[Any]) -> Any:
    return [record.event for record in run.records()[0] if isinstance(record.event, kind)][-1]


def test_it_learns_orders_and_mlx_lm_reads_the_adapter(home: Path, smollm2: Path, tmp_path: Path) -> None:
    paths = orders.write(tmp_path)
    few = tmp_path / "few.jsonl"
    few.write_text("".join(paths["valid"].read_text().splitlines(keepends=True)[:8]))
    run = train(
        smollm2, train_data_path=str(paths["train"]), val_data_path=str(few), batch_size=4, iterations=8,
        steps_per_eval=8, warmup_steps=1, adapter_name="orders",
    )  # fmt: skip
    attached = event(run, LoraAttached)
    assert (attached.trainable, attached.total) == (9_768_960, 134_515_008)
    first = next(r.event for r in run.records()[0] if isinstance(r.event, EvalReport))
    assert event(run, Finished).final_loss < 0.6 * first.loss

    import mlx.core as mx
    from mlx_lm.utils import load

    folder = Home.find().adapter("orders")
    assert json.loads((folder / "adapter_config.json").read_text())["num_layers"] == -1
    theirs, _ = load(str(smollm2), adapter_path=str(folder))
    from droidft.adapters.folder import read_adapter
    from droidft.engine.model import adapter_weights, loading

    ours, _ = loading.load_model(smollm2)
    adapter_weights.apply(ours, read_adapter(folder))
    ours.eval()
    tokens = mx.array([[1, 4093, 198, 2]])
    assert mx.allclose(theirs(tokens), ours(tokens), atol=1e-3).item()


@pytest.mark.skipif(not GSM8K.is_dir(), reason="the GSM8K files are not here")
def test_gsm8k_trains_as_it_is(home: Path, smollm2: Path, tmp_path: Path) -> None:
    rows = (GSM8K / "gsm8k_train.jsonl").read_text().splitlines(keepends=True)
    held_out = tmp_path / "valid.jsonl"
    held_out.write_text("".join(rows[:4]))
    whole = GSM8K / "gsm8k_train.jsonl"
    run = train(smollm2, train_data_path=str(whole), val_data_path=str(held_out), batch_size=2, iterations=2)
    data = event(run, DataPrepared)
    assert (data.train_rows, data.truncated_rows, data.format) == (7473, 0, "completion")
    assert event(run, Finished).step == 2


@pytest.mark.parametrize(
    "name", [path.name for path in sorted((ROOT / "examples").glob("*.yaml")) if path.name != "grpo.yaml"]
)
def test_an_example_trains(name: str, home: Path, smollm2: Path, tmp_path: Path) -> None:
    settings = load_config_file(ROOT / "examples" / name)
    few = tmp_path / "few.jsonl"
    few.write_text(
        "".join(
            (ROOT / settings.get("val_data_path", settings["train_data_path"]))
            .read_text()
            .splitlines(keepends=True)[:4]
        )
    )
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join((ROOT / settings["train_data_path"]).read_text().splitlines(keepends=True)[:16]))
    short = {"epochs": None, "iterations": 2, "warmup_steps": 0, "batch_size": 2}
    run = train(smollm2, **settings | short | {"train_data_path": str(rows), "val_data_path": str(few)})
    assert event(run, Finished).step == 2


def test_the_grpo_example_runs_and_writes_its_keys_out(home: Path, smollm2: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    few = {"iterations": 2, "num_generations": 4, "prompts_per_step": 2, "max_completion_length": 24}
    run = train(
        smollm2, **load_config_file(ROOT / "examples/grpo.yaml") | few | {"mask_prompt": False, "max_eval_prompts": 3}
    )
    attached = event(run, LoraAttached)
    assert [target.key for target in attached.targets] == ["self_attn.q_proj", "self_attn.v_proj"]
    assert attached.trainable == 1_843_200
    written = json.loads((Home.find().adapter(run.adapter_name()) / "adapter_config.json").read_text())
    assert written["lora_parameters"]["keys"] == ["self_attn.q_proj", "self_attn.v_proj"]
    assert written["droidft"]["method"] == "grpo"
    report, shown = event(run, TrainReport), event(run, Completions)
    assert 0 <= report.metrics["reward/length_window"] <= 1
    assert report.metrics["clip_low"] == report.metrics["clip_high"] == 0, "each rollout serves one step"
    assert {row.tokens for row in shown.rows} <= set(range(1, 25))
    assert event(run, Finished).step == 2


@pytest.mark.skipif(not GSM8K.is_dir(), reason="GSM8K is not here")
def test_gsm8k_is_learned_from_rewards_as_it_is(home: Path, smollm2: Path, tmp_path: Path) -> None:
    rows = (GSM8K / "gsm8k_train.jsonl").read_text().splitlines(keepends=True)
    few = tmp_path / "gsm8k.jsonl"
    few.write_text("".join(rows[:20]))
    run = train(
        smollm2, method="grpo", train_data_path=str(few), mask_prompt=False, iterations=1, num_generations=4,
        prompts_per_step=1, max_completion_length=32, max_eval_prompts=2,
        rewards=[{"kind": "numeric_answer"}, {"kind": "length_window", "maximum": 20, "falloff": 20}],
    )  # fmt: skip
    assert event(run, DataPrepared).train_rows == 18
    assert event(run, TrainReport).metrics.keys() >= {"reward/numeric_answer", "reward/length_window", "tied_groups"}
    assert event(run, Finished).best_loss is not None

"""Runs that go on with other settings: what may change, what may not, and what is equal to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from droidft.config import TrainingConfig, parse_config
from droidft.config.continuation import CHANGEABLE
from droidft.errors import ConfigError, RunError
from droidft.events import EarlyStopped, EvalReport, Finished, RunStarted, TrainingPlan, Warned
from droidft.home import Home
from droidft.runs import continuation
from droidft.runs import folder as runs
from droidft.runs.folder import Run
from droidft.support.durable import sha256
from tests.workers import here

OTHERS: dict[str, Any] = {
    "method": "orpo", "model_path": "/other", "train_data_path": "/other.jsonl", "val_data_path": "/other.jsonl",
    "validation_fraction": 0.2, "test_fraction": 0.2, "train_fraction": 0.5, "split_seed": 5,
    "split_by": "conversation", "split_column": "id", "data_format": "chat", "text_column": "t", "prompt_column": "p",
    "completion_column": "c", "messages_column": "m", "system_prompt": "Be brief.", "mask_prompt": True,
    "max_seq_length": 64, "batch_size": 2, "grad_accumulation_steps": 2, "learning_rate": 1e-5, "optimizer": "sgd",
    "weight_decay": 0.1, "adam_beta1": 0.8, "adam_beta2": 0.9, "adam_eps": 1e-6, "adam_bias_correction": False,
    "max_grad_norm": 2.0, "lr_schedule": "linear", "warmup_steps": 3, "lr_end_fraction": 0.5,
    "fine_tune_type": "dora",
    "lora_rank": 8, "lora_alpha": 8, "lora_dropout": 0.2, "lora_num_layers": 1, "lora_targets": "attention-qv",
    "lora_routers": "off", "lora_scaling": "raw", "rewards": [{"kind": "lexical_f1"}], "num_generations": 3,
    "prompts_per_step": 3, "beta": 0.5, "grad_checkpoint": True, "seed": 1, "adapter_name": "other",
    "init_adapter": "other",
}  # fmt: skip
"""A setting each that a run cannot change, with another value."""


def create(material: dict[str, str], **changes: Any) -> Run:
    settings = {
        "batch_size": 4,
        "epochs": 2,
        "steps_per_report": 3,
        "steps_per_eval": 9,
        "learning_rate": 3e-3,
        "lora_rank": 4,
        "lora_alpha": 4,
        "lora_dropout": 0.1,
        "early_stop": False,
    }
    return runs.create(Home.find(), parse_config(settings | material | changes))


def finish(run: Run) -> list[Any]:
    assert here.start(run).returncode in (0, 1)
    found = [record.event for record in run.records()[0]]
    assert isinstance(found[-1], Finished), found[-1]
    return found


def adapter_hash(run: Run) -> str:
    return sha256(Home.find().adapter(run.adapter_name()) / "adapters.safetensors")


def warned(events: list[Any]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned) and event.code == "settings_changed"]


def test_two_epochs_made_four_equal_four(home: Path, material: dict[str, str]) -> None:
    whole = create(material, epochs=4)
    expected = finish(whole)
    run = create(material)
    finish(run)
    assert adapter_hash(run) != adapter_hash(whole)
    continuation.prepare(run, {"epochs": 4})
    found = finish(run)
    assert adapter_hash(run) == adapter_hash(whole)
    losses = {event.step: event.loss for event in expected if isinstance(event, EvalReport)}
    assert {event.step: event.loss for event in found if isinstance(event, EvalReport)} == losses
    assert run.config().epochs == 4
    assert [event.steps for event in found if isinstance(event, TrainingPlan)] == [18, 36]
    assert [event.config["epochs"] for event in found if isinstance(event, RunStarted)] == [2, 4]
    assert [event.resumed_from_step for event in found if isinstance(event, RunStarted)] == [None, 18]
    assert warned(found) == ["settings changed from here on: epochs 2 -> 4"]


def test_a_schedule_runs_over_the_new_length_and_says_so(home: Path, material: dict[str, str]) -> None:
    run = create(material, epochs=None, iterations=10, lr_schedule="cosine", learning_rate=1e-3)
    finish(run)
    continuation.prepare(run, {"iterations": 19})
    [told] = warned(finish(run))
    assert "iterations 10 -> 19; lr_schedule 'cosine' now falls over 19 steps instead of 10" in told
    assert "step 11 has the rate 0.0004132 instead of 0" in told


def test_a_run_that_stopped_early_goes_on_without_early_stop(home: Path, material: dict[str, str]) -> None:
    run = create(material, early_stop=True, patience=1, min_delta=100.0, steps_per_eval=2)
    [stopped] = [event for event in finish(run) if isinstance(event, EarlyStopped)]
    with pytest.raises(RunError, match=r"it stopped early at step 2.*had not improved for 1 evaluation") as caught:
        continuation.prepare(run, {"epochs": 4})
    assert "--no-early-stop" in caught.value.hint
    continuation.prepare(run, {"early_stop": False})
    found = finish(run)
    assert found[-1].step == 18 > stopped.step
    assert warned(found) == ["settings changed from here on: early_stop on -> off"]


def test_reports_and_checkpoints_may_change(home: Path, material: dict[str, str]) -> None:
    whole = create(material)
    finish(whole)
    run = create(material, epochs=1)
    finish(run)
    changes = {"epochs": 2, "steps_per_report": 1, "save_every": 2, "keep_checkpoints": 4, "steps_per_eval": 3}
    continuation.prepare(run, changes)
    found = finish(run)
    assert adapter_hash(run) == adapter_hash(whole)
    assert run.checkpoint_steps() == [14, 15, 16, 18]
    [told] = warned(found)
    assert "save_every 25 -> 2" in told


def test_what_cannot_change_is_named_with_its_reason(home: Path, material: dict[str, str]) -> None:
    run = create(material)
    before = (run.path / "config.json").read_bytes()
    with pytest.raises(ConfigError) as caught:
        continuation.prepare(run, {"lora_rank": 8, "seed": 3, "epochs": 5})
    assert "seed cannot change: the order of the rows" in caught.value.message
    assert "lora_rank cannot change: the trained weights have its shape" in caught.value.message
    assert f"init_adapter: {run.adapter_name()}" in caught.value.hint
    with pytest.raises(ConfigError, match=r"epoch is not a setting.*epochs"):
        continuation.prepare(run, {"epoch": 5})
    with pytest.raises(ConfigError, match="epochs"):
        continuation.prepare(run, {"epochs": -1})
    with pytest.raises(ConfigError, match="iterations or epochs, not both"):
        continuation.prepare(run, {"epochs": 3, "iterations": 3})
    assert (run.path / "config.json").read_bytes() == before
    continuation.prepare(run, {"lora_rank": 4, "resume": run.id})  # as they are


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_setting_is_refused_by_name(home: Path, material: dict[str, str], name: str) -> None:
    run = create(material)
    with pytest.raises(ConfigError, match=rf"\b{name} cannot change: ") as caught:
        continuation.prepare(run, {name: OTHERS[name]})
    assert caught.value.field == name


def test_no_setting_is_both(home: Path) -> None:
    assert not OTHERS.keys() & set(CHANGEABLE)
    assert set(CHANGEABLE) < TrainingConfig.model_fields.keys()


def test_a_finished_run_needs_something_to_do(home: Path, material: dict[str, str]) -> None:
    run = create(material)
    finish(run)
    for changes in ({}, {"steps_per_report": 1}, {"epochs": 2}, {"iterations": 18}):
        with pytest.raises(RunError, match=r"is finished: it has done all 18 steps"):
            continuation.prepare(run, changes)
    with pytest.raises(ConfigError, match=r"iterations 7 is 7 steps, and run .* has done 18"):
        continuation.prepare(run, {"iterations": 7})
    with pytest.raises(ConfigError, match=r"epochs 1.0 is 9 steps") as caught:
        continuation.prepare(run, {"epochs": 1})
    assert "--iterations 36" in caught.value.hint


def test_a_checkpoint_of_an_older_version_goes_on_longer(home: Path, material: dict[str, str]) -> None:
    """It has a hash over all settings only; the log tells which those were."""
    whole = create(material, epochs=4)
    finish(whole)
    run = create(material)
    finish(run)
    for step in run.checkpoint_steps():
        _forget_core_hash(run.checkpoints / f"{step:07d}")
    continuation.prepare(run, {"epochs": 4})
    finish(run)
    assert adapter_hash(run) == adapter_hash(whole)


def test_settings_edited_by_hand_are_refused_by_the_worker(home: Path, material: dict[str, str]) -> None:
    run = create(material)
    finish(run)
    values = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(values | {"epochs": 4, "learning_rate": 1e-5}))
    assert here.start(run).returncode == 1
    last = run.last_record()
    assert last is not None
    assert "the configuration is not the one" in last.event.message  # type: ignore[union-attr]


def _forget_core_hash(folder: Path) -> None:
    from droidft.engine.training import checkpoint

    state = checkpoint.verify(folder).model_dump(mode="json")
    del state["core_hash"]
    (folder / checkpoint.STATE).write_text(json.dumps(state))
    manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
    manifest.pop("sha256")
    entry = {"bytes": (folder / checkpoint.STATE).stat().st_size, "sha256": sha256(folder / checkpoint.STATE)}
    manifest["files"][checkpoint.STATE] = entry
    (folder / checkpoint.MANIFEST).write_bytes(checkpoint._manifest(manifest))

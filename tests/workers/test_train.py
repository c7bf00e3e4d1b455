"""Workers on a tiny model: killed at any moment, resumed bit for bit; failures told with their reason.

Where a process is killed, stopped or started in an environment of its own it is a real one (`finish_elsewhere`); for
what a run comes to, its work is done here (`finish`), in a sixth of the time.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from droidft.adapters.exports.forms import ExportRequest
from droidft.config import parse_config
from droidft.events import CheckpointSaved, EvalReport, Failed, Finished, Stopped, TrainReport, Warned
from droidft.home import Home
from droidft.runs import continuation
from droidft.runs import folder as runs
from droidft.runs.folder import Run, RunStatus
from droidft.support.durable import sha256
from droidft.workers.export import export, plan_export
from tests import tiny
from tests.workers import here

KILLS = 10


def create(material: dict[str, str], **changes: Any) -> Run:
    settings = {
        "batch_size": 4,
        "iterations": 120,
        "steps_per_report": 1,
        "steps_per_eval": 7,
        "save_every": 3,
        "learning_rate": 3e-3,
        "lora_rank": 4,
        "lora_alpha": 4,
        "lora_dropout": 0.1,
        "mask_prompt": True,
        "early_stop": False,
    }
    return runs.create(Home.find(), parse_config(settings | material | changes))


def finish(run: Run) -> list[Any]:
    assert here.start(run).returncode in (0, 1)
    return events(run)


def finish_elsewhere(run: Run) -> list[Any]:
    worker = run.start()
    assert worker.wait(timeout=120) in (0, 1), run.log_file.read_text()
    return events(run)


def events(run: Run) -> list[Any]:
    return [record.event for record in run.records()[0]]


def losses(found: list[Any]) -> dict[tuple[str, int], float]:
    return {(event.type, event.step): event.loss for event in found if isinstance(event, TrainReport | EvalReport)}


def adapter_hash(run: Run, which: str = "adapters") -> str:
    return sha256(Home.find().adapter(run.adapter_name()) / f"{which}.safetensors")


def kill_repeatedly(run: Run, *, kills: int, seed: int) -> None:
    """Start and kill the run's worker `kills` times: while it starts and loads, and within its first steps."""
    generator = random.Random(seed)
    for number in range(kills):
        worker = run.start()
        before = len(reports(run))
        if number % 3 == 0:
            until = time.monotonic() + generator.uniform(0, 1.5)
            while time.monotonic() < until and len(reports(run)) == before:
                time.sleep(0.002)
        else:
            wanted = before + generator.randint(1, 5)
            while worker.poll() is None and len(reports(run)) < wanted:
                time.sleep(0.002)
            time.sleep(generator.uniform(0, 0.03))
        assert worker.poll() is None, (run.log_file.read_text(), events(run)[-3:])
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        assert run.status() is RunStatus.CRASHED


def reports(run: Run) -> list[Any]:
    return [event for event in events(run) if isinstance(event, TrainReport)]


def test_a_run_killed_ten_times_equals_one_never_killed(home: Path, material: dict[str, str]) -> None:
    undisturbed = create(material)
    expected = finish_elsewhere(undisturbed)
    assert isinstance(expected[-1], Finished), undisturbed.log_file.read_text()
    run = create(material)
    kill_repeatedly(run, kills=KILLS, seed=1)
    assert isinstance(finish_elsewhere(run)[-1], Finished)
    assert losses(events(run)) == losses(expected)
    assert adapter_hash(run) == adapter_hash(undisturbed)
    assert adapter_hash(run, "best_adapters") == adapter_hash(undisturbed, "best_adapters")
    assert not [event for event in events(run) if isinstance(event, Warned) and event.code == "damaged_checkpoint"]


def test_a_run_that_samples_is_killed_and_equals_one_never_killed(home: Path, material: dict[str, str]) -> None:
    """Checkpoints fall in the middle of rollouts that serve four steps each."""
    settings: dict[str, Any] = {
        "method": "grpo",
        "rewards": [{"kind": "length_window", "maximum": 8, "unit": "characters", "falloff": 10}],
        "num_generations": 4,
        "prompts_per_step": 2,
        "steps_per_generation": 2,
        "num_iterations": 2,
        "max_completion_length": 12,
        "beta": 0.02,
        "lora_dropout": 0.0,
        "mask_prompt": False,
        "iterations": 60,
        "max_eval_prompts": 2,
        "learning_rate": 1e-2,
    }
    undisturbed = create(material, **settings)
    expected = finish_elsewhere(undisturbed)
    assert isinstance(expected[-1], Finished), undisturbed.log_file.read_text()
    run = create(material, **settings)
    kill_repeatedly(run, kills=6, seed=2)
    assert isinstance(finish_elsewhere(run)[-1], Finished)
    assert losses(events(run)) == losses(expected)
    assert measured(events(run)) == measured(expected)
    assert any(found["tied_groups"] < 1 for found in measured(expected).values()), "it learned something"
    assert adapter_hash(run) == adapter_hash(undisturbed)
    assert adapter_hash(run, "best_adapters") == adapter_hash(undisturbed, "best_adapters")


def measured(found: list[Any]) -> dict[int, dict[str, float]]:
    """Metrics by step, but for speed."""
    reports = {event.step: dict(event.metrics) for event in found if isinstance(event, TrainReport)}
    for metrics in reports.values():
        metrics.pop("sampling_tokens_per_second")
    return reports


def test_stop_saves_a_checkpoint_and_resume_continues_from_it(home: Path, material: dict[str, str]) -> None:
    run = create(material, iterations=2000, steps_per_eval=1000, save_every=1000)
    worker = run.start()
    while not any(isinstance(event, TrainReport) for event in events(run)):
        time.sleep(0.02)
    run.stop()
    assert worker.wait(timeout=10) == 0
    stopped = events(run)[-1]
    assert isinstance(stopped, Stopped)
    saved = [event for event in events(run) if isinstance(event, CheckpointSaved)]
    assert saved[-1].step == stopped.step > 0
    assert run.status() is RunStatus.STOPPED
    before = len(events(run))
    worker = run.start()
    while not any(isinstance(event, TrainReport) for event in events(run)[before:]):
        time.sleep(0.02)
    run.stop()
    assert worker.wait(timeout=10) == 0
    first = next(event for event in events(run)[before:] if isinstance(event, TrainReport))
    assert first.step == stopped.step + 1


def test_a_killed_worker_leaves_a_crashed_run(home: Path, material: dict[str, str]) -> None:
    run = create(material, iterations=100000)
    worker = run.start()
    assert run.status() is RunStatus.RUNNING
    worker.kill()
    worker.wait()
    assert run.status() is RunStatus.CRASHED


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"model_path": "/nowhere/model"}, "not_found", "/nowhere/model"),
        ({"train_data_path": "/nowhere.jsonl"}, "data", "/nowhere.jsonl"),
        ({"lora_num_layers": 3}, "config", "lora_num_layers"),
        ({"lora_targets": "custom", "lora_keys": ["self_attn.q_prj"]}, "target", "self_attn.q_proj"),
        ({"init_adapter": "nobody"}, "not_found", "nobody"),
    ],
)
def test_what_is_wrong_is_said_before_training(
    home: Path, material: dict[str, str], changes: dict[str, Any], code: str, words: str
) -> None:
    found = finish(create(material, **changes))
    failed = found[-1]
    assert isinstance(failed, Failed)
    assert failed.code == code, failed
    assert words in failed.message + failed.hint
    assert not any(isinstance(event, TrainReport) for event in found)


def test_a_run_started_from_an_adapter_begins_at_its_loss(home: Path, material: dict[str, str]) -> None:
    first = create(material, adapter_name="first")
    best = finish(first)[-1]
    assert isinstance(best, Finished)
    for chosen, loss in (("first@latest", best.final_loss), ("first", best.best_loss)):
        second = finish(create(material, init_adapter=chosen, iterations=1))
        start = next(event for event in second if isinstance(event, EvalReport))
        assert start.loss == loss


def test_a_run_started_from_a_folder_of_peft_s_begins_at_its_loss(
    home: Path, material: dict[str, str], tmp_path: Path
) -> None:
    first = create(material, adapter_name="first", iterations=14)
    best = finish(first)[-1]
    assert isinstance(best, Finished)
    settings = {"adapter": "first@latest", "form": "peft"}
    theirs = export(plan_export(ExportRequest.model_validate(settings), Home(home)), Home(home), lambda *_: None)
    shutil.rmtree(home / "adapters")
    second = finish(create(material, init_adapter=str(theirs.path), iterations=1))
    start = next(event for event in second if isinstance(event, EvalReport))
    assert start.loss == pytest.approx(best.final_loss, rel=1e-6)


def test_an_adapter_of_other_modules_is_refused_with_the_settings_that_take_it(
    home: Path, material: dict[str, str]
) -> None:
    first = create(material, iterations=2, lora_targets="mlp", lora_num_layers=1)
    finish(first)
    failed = finish(create(material, lora_targets="attention", init_adapter=first.adapter_name()))[-1]
    assert isinstance(failed, Failed)
    assert "does not fit" in failed.message
    rank = first.config().lora_rank
    assert failed.hint == f"set lora_rank to {rank}, lora_num_layers to 1 and lora_targets to mlp"


def test_mlx_lm_loads_the_adapter(home: Path, material: dict[str, str]) -> None:
    """Its loader accepts every tensor, and the adapted model answers differently from the base."""
    import mlx.core as mx
    from mlx_lm.utils import load

    run = create(material, lora_scaling="rslora")
    finish(run)
    folder = Home.find().adapter(run.adapter_name())
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["lora_parameters"]["scale"] == pytest.approx(4 / 2)
    adapted, _ = load(material["model_path"], adapter_path=str(folder))
    base, _ = load(material["model_path"])
    tokens = mx.array([[1, 2, 3, 4]])
    assert not mx.allclose(adapted(tokens), base(tokens), atol=1e-3).item()


def test_a_run_resumes_from_any_folder(
    home: Path, material: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(material["train_data_path"]).parent
    monkeypatch.chdir(here)
    run = create(material | {"train_data_path": "chat.jsonl"}, iterations=3)
    monkeypatch.chdir(tmp_path)
    assert isinstance(finish(run)[-1], Finished)


def test_an_adapter_that_was_deleted_meanwhile_belongs_to_its_run_again(home: Path, material: dict[str, str]) -> None:
    run = create(material, iterations=3)
    adapter = Home.find().adapter(run.adapter_name())
    shutil.rmtree(adapter)
    assert isinstance(finish(run)[-1], Finished)
    run.delete(Home.find(), files=True)
    assert not adapter.exists()


def test_a_run_whose_checkpoints_are_all_damaged_never_starts_over(home: Path, material: dict[str, str]) -> None:
    run = create(material, iterations=6)
    finish(run)
    for folder in run.checkpoints.iterdir():
        (folder / "state.json").write_text("{}")
    for _ in range(2):
        failed = finish(run)[-1]
        assert isinstance(failed, Failed)
        assert failed.code == "checkpoint"


def test_another_scale_or_base_is_said_when_starting_from_an_adapter(
    home: Path, material: dict[str, str], tmp_path: Path
) -> None:
    finish(create(material, iterations=3, adapter_name="first"))
    other = str(tiny.write_model(tmp_path / "other", seed=1))
    settings: dict[str, Any] = {"init_adapter": "first", "lora_alpha": 8, "iterations": 1}
    refused = finish(create(material | {"model_path": other}, **settings))[-1]
    assert isinstance(refused, Failed)
    assert (refused.code, "trained on other weights" in refused.message) == ("adapter", True)
    found = finish(create(material | {"model_path": other}, **settings, allow_mismatch=True))
    messages = " ".join(event.message for event in found if isinstance(event, Warned))
    assert "scale 1, this run has 2" in messages
    assert "another base model" in messages


def test_other_blas_kernels_are_said_on_resume(
    home: Path, material: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create(material, iterations=6)
    monkeypatch.setenv("DROIDFT_BLAS", "none")
    finish_elsewhere(run)
    monkeypatch.delenv("DROIDFT_BLAS")
    (run.checkpoints / "0000006").rename(run.checkpoints / ".0000006.tmp")
    warned = [event for event in finish_elsewhere(run) if isinstance(event, Warned) and event.code == "not_bit_exact"]
    assert "blas" in warned[0].message


def test_quantised_weights_are_not_fully_fine_tuned(home: Path, material: dict[str, str], tmp_path: Path) -> None:
    from mlx_lm.convert import convert

    convert(material["model_path"], mlx_path=str(tmp_path / "q4"), quantize=True, q_group_size=32, q_bits=4)
    failed = finish(create(material | {"model_path": str(tmp_path / "q4")}, fine_tune_type="full"))[-1]
    assert isinstance(failed, Failed)
    assert "quantised" in failed.message


def test_a_quantised_base_learns(home: Path, material: dict[str, str], tmp_path: Path) -> None:
    from mlx_lm.convert import convert

    convert(material["model_path"], mlx_path=str(tmp_path / "q4"), quantize=True, q_group_size=32, q_bits=4)
    found = finish(create(material | {"model_path": str(tmp_path / "q4")}, iterations=40))
    finished = found[-1]
    assert isinstance(finished, Finished), found[-1]
    first = next(event for event in found if isinstance(event, EvalReport))
    assert finished.best_loss is not None
    assert finished.best_loss < first.loss - 0.1


def test_a_changed_base_model_is_refused_on_resume(home: Path, material: dict[str, str], tmp_path: Path) -> None:
    model = tiny.write_model(tmp_path / "model")
    run = create(material | {"model_path": str(model)}, iterations=6, save_every=3)
    finish(run)
    adapter = Home.find().adapter(run.adapter_name())
    before = {path.name: path.read_bytes() for path in adapter.iterdir()}
    tiny.write_model(model, seed=1)
    failed = finish(run)[-1]
    assert isinstance(failed, Failed)
    assert "base model" in failed.message
    kept = {path.name: path.read_bytes() for path in adapter.iterdir()}
    assert kept == before, "the adapter still names the model that it was trained on"


def test_a_failed_run_neither_deletes_nor_overwrites_another_runs_adapter(
    home: Path, material: dict[str, str]
) -> None:
    from droidft.errors import ConfigError

    failed = create(material | {"train_data_path": "/nowhere.jsonl"}, adapter_name="mine")
    finish_elsewhere(failed)
    with pytest.raises(ConfigError, match="adapter_name"):
        create(material, adapter_name="mine")
    failed.delete(Home.find(), files=False)
    trained = create(material, adapter_name="mine", iterations=3)
    finish_elsewhere(trained)
    assert (Home.find().adapter("mine") / "adapters.safetensors").exists()


def test_a_stop_does_not_wait_for_a_reward_that_never_returns(home: Path, material: dict[str, str]) -> None:
    file = Home.find().rewards / "forever.py"
    file.write_text(
        "import time\ncalls = 0\n"
        "def reward(completions, **_):\n"
        "    global calls\n    calls += 1\n"
        "    while calls > 2:\n        try:\n            time.sleep(60)\n"
        "        except Exception:\n            pass\n"
        "    return [len(c) for c in completions]\n"
    )
    settings: dict[str, Any] = {
        "method": "grpo",
        "rewards": [{"kind": "python", "file": "forever.py"}],
        "num_generations": 2,
        "prompts_per_step": 1,
        "max_completion_length": 4,
        "iterations": 100,
        "mask_prompt": False,
        "lora_dropout": 0.0,
    }
    run = create(material, **settings)
    worker = run.start()
    while not reports(run):
        assert worker.poll() is None, (run.log_file.read_text(), events(run)[-3:])
        time.sleep(0.02)
    time.sleep(0.5)
    run.stop()
    assert worker.wait(timeout=5) == 0
    assert events(run)[-1] == Stopped(step=1)
    assert run.status() is RunStatus.STOPPED
    assert run.checkpoint_steps()[-1] == 1


def test_without_a_validation_set_nothing_is_evaluated_and_nothing_is_best(material: dict[str, str]) -> None:
    run = create(material, validation="none", iterations=6, early_stop=True)
    record = finish(run)
    assert isinstance(record[-1], Finished)
    assert record[-1].best_step is None
    assert not [event for event in record if isinstance(event, EvalReport)]
    assert any("validation 'none'" in event.message for event in record if isinstance(event, Warned))
    adapter = Home.find().adapter(run.adapter_name())
    assert (adapter / "adapters.safetensors").exists()
    assert not (adapter / "best_adapters.safetensors").exists()


def test_a_run_is_not_continued_on_another_base(home: Path, material: dict[str, str], tmp_path: Path) -> None:
    """Neither with another rotary base in config.json nor with other weights of the same size and time."""
    model = tiny.write_model(tmp_path / "model")
    run = create(material | {"model_path": str(model)}, iterations=3)
    finish(run)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rope_theta": 500.0}))
    continuation.prepare(run, {"iterations": 6})
    assert "the base model's config.json is not the one" in finish(run)[-1].message
    (model / "config.json").write_text(json.dumps(config | {"transformers_version": "9"}, indent=3))
    weights = model / "model.safetensors"
    before, content = weights.stat(), bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "the base model is not the one" in finish(run)[-1].message
    content[-1] ^= 1
    weights.write_bytes(content)
    assert isinstance(finish(run)[-1], Finished), "as it was, whoever wrote its config.json"


def test_nothing_half_written_stays(home: Path, material: dict[str, str]) -> None:
    run = create(material, iterations=4, save_every=2)
    finish(run)
    adapter = Home.find().adapter(run.adapter_name())
    for folder, name in ((run.path, ".config.json.77.tmp"), (adapter, ".best_adapters.safetensors.77.tmp")):
        (folder / name).write_text("half")
    continuation.prepare(run, {"iterations": 6})
    finish(run)
    assert not [path for folder in (run.path, run.checkpoints, adapter) for path in folder.glob(".*.tmp")]


def test_files_of_a_run_are_nobody_elses_to_write(home: Path, material: dict[str, str]) -> None:
    before = os.umask(0)
    try:
        run = create(material, iterations=2)
        finish_elsewhere(run)
    finally:
        os.umask(before)
    files = [path for path in run.path.rglob("*") if path.is_file() and path.name not in ("log.txt",)]
    assert len(files) > 5
    assert not [path for path in files if path.stat().st_mode & 0o022]


def test_a_run_is_resumed_in_a_home_that_was_moved(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = Home.find()
    inside = {
        "model_path": str(tiny.write_model(first.models / "mine")),
        "train_data_path": str(tiny.write_chat(first.data / "chat.jsonl")),
    }
    whole = create(inside, iterations=6)
    finish(whole)
    run = create(inside, iterations=3)
    finish(run)
    expected = adapter_hash(whole)
    first.root.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("DROIDFT_HOME", str(tmp_path / "elsewhere"))
    moved = Run(Home.find().run(run.id))
    continuation.prepare(moved, {"iterations": 6})
    assert isinstance(finish(moved)[-1], Finished), moved.log_file.read_text()
    assert adapter_hash(moved) == expected

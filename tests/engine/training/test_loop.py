"""The loop: exact resume, whole steps, honest losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from droidft.config.schedule import learning_rate
from droidft.engine.model import lora
from droidft.engine.training import checkpoint
from droidft.engine.training.loop import train
from droidft.errors import CheckpointError, NonFiniteError
from droidft.events import CheckpointSaved, EarlyStopped, EvalReport, Finished, Stopped, TrainReport
from tests import tiny
from tests.engine import jobs
from tests.places import GOLDEN


def losses(events: list[Any]) -> dict[int, float]:
    return {event.step: event.loss for event in events if isinstance(event, TrainReport)}


def evaluations(events: list[Any]) -> dict[int, float]:
    return {event.step: event.loss for event in events if isinstance(event, EvalReport)}


def newest(folder: Path) -> Any:
    return checkpoint.newest_good(folder)[:2]


def adapter_hash(folder: Path) -> str:
    return str(checkpoint.sha256(newest(folder)[0] / checkpoint.ADAPTER))


@pytest.mark.parametrize("stop_after", [0, 3, 11, 18])
@pytest.mark.parametrize("changes", [{}, {"lora_dropout": 0.2, "grad_accumulation_steps": 3, "optimizer": "lion"}])
def test_a_stopped_and_resumed_run_equals_one_never_stopped(
    tmp_path: Path, stop_after: int, changes: dict[str, Any]
) -> None:
    settings = jobs.config(lr_schedule="cosine", warmup_steps=3, steps_per_report=2, **changes)
    whole = list(train(jobs.job(tmp_path / "whole", settings)))
    asked = [0]

    def should_stop() -> bool:
        asked[0] += 1
        return asked[0] > stop_after

    first = list(train(jobs.job(tmp_path / "parts", settings), should_stop=should_stop))
    assert isinstance(first[-1], Stopped)
    second = list(train(jobs.job(tmp_path / "parts", settings, resume=newest(tmp_path / "parts"))))
    assert losses(first) | losses(second) == losses(whole)
    assert evaluations(first) | evaluations(second) == evaluations(whole)
    assert adapter_hash(tmp_path / "parts") == adapter_hash(tmp_path / "whole")
    assert second[-1].best_step == whole[-1].best_step


def test_the_evaluation_interval_changes_nothing(tmp_path: Path) -> None:
    often = list(train(jobs.job(tmp_path / "often", jobs.config(steps_per_eval=1, lora_dropout=0.1))))
    seldom = list(train(jobs.job(tmp_path / "seldom", jobs.config(steps_per_eval=12, lora_dropout=0.1))))
    assert losses(often) == losses(seldom)
    assert adapter_hash(tmp_path / "often") == adapter_hash(tmp_path / "seldom")


def test_shared_modules_start_alike_whatever_else_is_adapted() -> None:
    arrays = []
    for targets in ("full-layer", "attention-qv"):
        model, settings = tiny.llama(), jobs.config(lora_targets=targets)
        lora.attach(model, lora.targets_of(model, settings), settings)
        arrays.append(lora.trainable(model))
    full, qv = arrays
    assert len(full) == 7 * 2 * 2
    assert len(qv) == 2 * 2 * 2
    for name, array in qv.items():
        assert mx.array_equal(array, full[name]).item()
    another = tiny.llama()
    settings = jobs.config(seed=1)
    lora.attach(another, lora.targets_of(another, settings), settings)
    name = "model.layers.0.self_attn.q_proj.lora_a"
    assert not mx.array_equal(lora.trainable(another)[name], full[name]).item()


def test_accumulated_batches_weigh_tokens_not_batches(tmp_path: Path) -> None:
    """Four rows at once and one by one give the same step, though the rows differ in length."""
    results = []
    for size, accumulation in ((4, 1), (1, 4), (2, 2)):
        settings = jobs.config(
            batch_size=size, grad_accumulation_steps=accumulation, iterations=1, optimizer="sgd", max_grad_norm=0
        )
        four = tiny.Rows(4, seed=2)
        job = jobs.job(tmp_path / f"{size}", settings, train=four)
        events = list(train(job))
        results.append((losses(events)[1], lora.trainable(job.model)))
    (loss, arrays), *others = results
    for other_loss, other_arrays in others:
        assert other_loss == pytest.approx(loss, rel=1e-6)
        for name, array in arrays.items():
            assert np.allclose(np.asarray(array), np.asarray(other_arrays[name]), atol=1e-6)


def test_best_is_the_evaluated_weights(tmp_path: Path) -> None:
    """Loading what was saved at the best evaluation gives that evaluation's loss again, to the bit."""
    settings = jobs.config(iterations=40, learning_rate=3e-2, steps_per_eval=5, keep_checkpoints=100)
    events = list(train(jobs.job(tmp_path, settings)))
    finished = events[-1]
    assert isinstance(finished, Finished)
    bests = [event for event in events if isinstance(event, CheckpointSaved) and event.best]
    assert bests[-1].step == finished.best_step
    assert finished.best_loss == min(evaluations(events).values())
    job = jobs.job(tmp_path / "again", settings)
    weights, _, _ = checkpoint.load_arrays(tmp_path / checkpoint.folder_name(finished.best_step or 0))
    job.model.load_weights(list(weights.items()), strict=False)
    job.model.eval()
    from droidft.engine.model.loss import SplitModel

    answer = job.method.evaluate(SplitModel(job.model), should_stop=lambda: False)
    assert answer.loss == finished.best_loss


def test_early_stop_waits_for_patience_and_counts_small_gains_as_none(tmp_path: Path) -> None:
    settings = jobs.config(
        iterations=60, steps_per_eval=2, early_stop=True, patience=3, min_delta=5.0, learning_rate=1e-4
    )
    events = list(train(jobs.job(tmp_path, settings)))
    stopped = [event for event in events if isinstance(event, EarlyStopped)]
    assert stopped[0].step == 6
    assert isinstance(events[-1], Finished)
    assert events[-1].step == 6


def test_every_row_counts_once_per_epoch_and_so_does_the_last_small_batch(tmp_path: Path) -> None:
    settings = jobs.config(batch_size=4, grad_accumulation_steps=3, iterations=None, epochs=1)
    job = jobs.job(tmp_path, settings)
    steps = job.method.steps_per_epoch
    assert steps == 3
    seen = [row for step in range(1, steps + 1) for batch in job.method.batches(step) for row in batch.rows]
    assert sorted(seen) == list(range(30))
    events = list(train(job))
    reports = [event for event in events if isinstance(event, TrainReport)]
    assert reports[-1].tokens == int(tiny.Rows(30).lengths.sum())


def poisoned(method: Any, row: int) -> Any:
    """The method's loss, NaN for every batch that holds this row, as a function of the batch's tokens."""
    healthy, tokens = method.loss, mx.array(method._train[row].tokens[:-1])

    def loss(model: Any, batch: Any) -> tuple[mx.array, Any]:
        value, sums = healthy(model, batch)
        if batch.inputs.shape[1] < len(tokens):
            return value, sums
        held = (mx.array(batch.inputs)[:, : len(tokens)] == tokens).all(axis=1).any()
        return mx.where(held, float("nan"), value), sums

    return loss


@pytest.mark.parametrize("where", ["row", "weight"])
@pytest.mark.parametrize("at", [1, 4, 5, 8])
def test_nan_stops_before_the_update(tmp_path: Path, where: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step `at` is the first, an evaluation step, a saving step and the last."""
    settings = jobs.config(iterations=8)
    job = jobs.job(tmp_path, settings)
    method = job.method
    bad_row = method.batches(at)[0].rows[1]
    if where == "row":
        monkeypatch.setattr(method, "loss", poisoned(method, bad_row))
    before: dict[str, mx.array] = {}

    def until_it_stops() -> None:
        for event in train(job):
            if getattr(event, "step", 0) != at - 1:
                continue
            before.update({name: mx.array(array) for name, array in lora.trainable(job.model).items()})
            if where == "weight" and isinstance(event, EvalReport | TrainReport):
                name = "model.layers.0.mlp.up_proj.lora_b"
                array = mx.array(lora.trainable(job.model)[name])
                array[0, 0] = float("inf")
                job.model.load_weights([(name, array)], strict=False)

    with pytest.raises(NonFiniteError) as caught:
        until_it_stops()
    assert f"step {at}" in caught.value.message or where == "weight"
    if where == "row":
        row = method._train[bad_row]
        assert f"rows.jsonl:{row.line}" in caught.value.message
        for name, array in lora.trainable(job.model).items():
            assert mx.array_equal(array, before[name]).item()
    for step in checkpoint.steps(tmp_path):
        for array in checkpoint.load_arrays(tmp_path / checkpoint.folder_name(step))[0].values():
            assert mx.isfinite(array).all().item()


def test_a_model_that_is_not_finite_from_the_start_is_not_blamed_on_the_learning_rate(tmp_path: Path) -> None:
    job = jobs.job(tmp_path, jobs.config())
    norm = job.model.model.norm
    norm.weight = norm.weight * float("nan")
    with pytest.raises(NonFiniteError, match="step 0: the validation loss is nan") as caught:
        list(train(job))
    assert caught.value.hint is not None
    assert "nothing is trained yet" in caught.value.hint
    assert "learning_rate" not in caught.value.hint


def test_a_run_is_not_continued_with_other_settings_or_data(tmp_path: Path) -> None:
    list(train(jobs.job(tmp_path, jobs.config())))
    with pytest.raises(CheckpointError, match="configuration"):
        list(train(jobs.job(tmp_path, jobs.config(learning_rate=2e-2), resume=newest(tmp_path))))
    job = jobs.job(tmp_path, jobs.config(), resume=newest(tmp_path))
    job.data_hash = "other"
    with pytest.raises(CheckpointError, match="data"):
        list(train(job))


@pytest.mark.parametrize("kind", ["lora", "dora", "full"])
def test_each_type_trains_and_grad_checkpoint_changes_no_loss(tmp_path: Path, kind: str) -> None:
    curves = []
    for recompute in (False, True):
        settings = jobs.config(fine_tune_type=kind, iterations=8, grad_checkpoint=recompute, lora_num_layers=1)
        events = list(train(jobs.job(tmp_path / f"{recompute}", settings)))
        curves.append(losses(events))
    assert curves[0] == pytest.approx(curves[1], rel=1e-6)
    assert evaluations(events)[8] < evaluations(events)[0]


def test_recomputed_blocks_drop_the_same_values_twice(tmp_path: Path) -> None:
    """With dropout, the gradient under gradient checkpointing is the gradient of the loss that was reported."""
    from mlx.utils import tree_flatten

    from droidft.engine.model.loss import SplitModel
    from droidft.engine.model.recompute import recomputed_blocks, seed_dropout

    settings = jobs.config(lora_dropout=0.5, grad_checkpoint=True)
    job = jobs.job(tmp_path, settings)
    noise = [(n, a + 0.3 * mx.random.normal(a.shape)) for n, a in lora.trainable(job.model).items()]
    job.model.load_weights(noise, strict=False)
    split, batch = SplitModel(job.model), job.method.batches(1)[0]

    def loss_at(shift: float, name: str) -> float:
        array = dict(noise)[name]
        job.model.load_weights([(name, array.at[0, 0].add(shift))], strict=False)
        seed_dropout(5)
        return float(job.method.loss(split, batch)[0].item())

    with recomputed_blocks(job.model):
        seed_dropout(5)
        gradients = dict(tree_flatten(nn.value_and_grad(job.model, lambda: job.method.loss(split, batch)[0])()[1]))
        for name in ("model.layers.0.self_attn.v_proj.lora_b", "model.layers.1.mlp.down_proj.lora_b"):
            slope = (loss_at(1e-2, name) - loss_at(-1e-2, name)) / 2e-2
            loss_at(0, name)
            assert float(gradients[name][0, 0].item()) == pytest.approx(slope, rel=0.02, abs=0.01)


def test_schedules_are_counted_in_optimizer_steps() -> None:
    settings = jobs.config(lr_schedule="cosine", warmup_steps=4, lr_end_fraction=0.1, iterations=20)
    rates = [learning_rate(settings, step=step, total=20) for step in range(1, 21)]
    assert rates[0] == pytest.approx(settings.learning_rate / 4)
    assert rates[3] == settings.learning_rate == max(rates)
    assert rates[-1] == pytest.approx(settings.learning_rate * 0.1)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    linear = jobs.config(lr_schedule="linear", iterations=5)
    assert [learning_rate(linear, step=step, total=5) / 1e-2 for step in range(1, 6)] == pytest.approx(
        [1, 0.75, 0.5, 0.25, 0]
    )


def test_speed_and_tokens_are_right_in_the_last_short_window(tmp_path: Path) -> None:
    events = list(train(jobs.job(tmp_path, jobs.config(iterations=7, steps_per_report=5))))
    first, last = [event for event in events if isinstance(event, TrainReport)]
    assert (first.step, last.step) == (5, 7)
    window = last.tokens - first.tokens
    expected = sum(
        batch.tokens for step in (6, 7) for batch in jobs.job(tmp_path, jobs.config()).method.batches(step)
    )
    assert window == expected
    assert last.seconds_left == pytest.approx(0, abs=1)


def test_losses_are_the_same_from_run_to_run_and_as_recorded(tmp_path: Path) -> None:
    golden = GOLDEN / "tiny_losses.txt"
    runs = []
    for number in range(2):
        settings = jobs.config(iterations=60, lora_dropout=0.05, grad_accumulation_steps=2, steps_per_eval=20)
        runs.append(losses(list(train(jobs.job(tmp_path / f"{number}", settings, compiled=False)))))
    assert runs[0] == runs[1]
    recorded = dict(line.split() for line in golden.read_text().splitlines() if not line.startswith("#"))
    assert {int(step): float(loss) for step, loss in recorded.items()} == pytest.approx(runs[0], rel=2e-5)

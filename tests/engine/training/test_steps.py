"""The compiled step against the eager one: the same losses, few shapes, nothing read in between, NaN kept out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from droidft.data import shapes
from droidft.engine.model import lora
from droidft.engine.model.architectures import build_lazily
from droidft.engine.training import checkpoint, steps
from droidft.engine.training.loop import Job, train
from droidft.errors import NonFiniteError
from droidft.events import Stopped, TrainingPlan, TrainReport, Warned
from tests import tiny
from tests.engine import jobs
from tests.engine.methods import preferred, rewarded
from tests.engine.model.architectures import TABLE
from tests.engine.training.test_loop import losses, newest, poisoned

EXACT = 1e-6


class Alike(tiny.Rows):
    """Rows of one length, as many as fill every batch: padding would draw other dropout."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(32)
        generator = np.random.default_rng(0)
        for at, row in enumerate(self._rows):
            tokens = generator.integers(0, tiny.VOCABULARY, 17).astype(np.int32)
            self._rows[at] = tiny.Row(tokens, np.arange(17) >= 6, row.file, row.line)


def quantised() -> Any:
    model = tiny.llama(hidden_size=64)
    nn.quantize(model, group_size=32, bits=4)
    return model


def experts() -> Any:
    mx.random.seed(3)
    model = build_lazily({"model_type": "qwen3_moe", **TABLE["qwen3_moe"].config, "vocab_size": tiny.VOCABULARY})
    mx.eval(model.parameters())
    return model


CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "plain": ({}, None),
    "dropout, accumulated": ({"lora_dropout": 0.3, "grad_accumulation_steps": 2}, None),
    "dropout, checkpointed": ({"lora_dropout": 0.3, "grad_checkpoint": True}, None),
    "dora": ({"fine_tune_type": "dora"}, None),
    "full": ({"fine_tune_type": "full", "lora_num_layers": 1, "learning_rate": 1e-3}, None),
    "trained head": ({"lora_targets": "custom", "lora_keys": ["mlp.up_proj", "lm_head"]}, "untied"),
    "sgd, not clipped": ({"optimizer": "sgd", "max_grad_norm": 0, "learning_rate": 1e-3}, None),
    "lion, clipped": ({"optimizer": "lion", "max_grad_norm": 1e-3, "learning_rate": 1e-4}, None),
    "quantised": ({}, quantised),
    "experts": ({"learning_rate": 1e-3}, experts),
}


def model_of(maker: Any) -> Any:
    if maker == "untied":
        return tiny.llama(tie_word_embeddings=False)
    return maker() if maker else None


@pytest.mark.parametrize("name", CASES)
def test_losses_equal_the_eager_steps(tmp_path: Path, name: str) -> None:
    changes, maker = CASES[name]
    settings = jobs.config(iterations=6, steps_per_eval=100, save_every=100, **changes)
    curves = []
    for compiled in (False, True):
        job = jobs.job(tmp_path / f"{compiled}", settings, model=model_of(maker), train=Alike(), compiled=compiled)
        curves.append(losses(list(train(job))))
    assert curves[1] == pytest.approx(curves[0], rel=EXACT)


@pytest.mark.parametrize(
    ("made", "changes"),
    [(preferred, {}), (preferred, {"method": "orpo"}), (rewarded, {"beta": 0.1}), (rewarded, {"method": "gspo"})],
)
def test_preferences_and_rewards_equal_the_eager_steps(tmp_path: Path, made: Any, changes: dict[str, Any]) -> None:
    if made is rewarded:
        changes = {"rewards": [rewarded.ASCII], **changes}
    settings = made.config(iterations=5, steps_per_report=1, steps_per_eval=100, learning_rate=1e-3, **changes)
    curves = []
    for compiled in (False, True):
        job: Job = made.job(tmp_path / f"{compiled}", settings)
        job.compiled = compiled
        reports = [event for event in train(job) if isinstance(event, TrainReport)]
        # Whether one of two equal ratings is the larger is decided by rounding.
        left_out = {"sampling_tokens_per_second", "accuracy"}
        metrics = [[value for name, value in report.metrics.items() if name not in left_out] for report in reports]
        curves.append([[report.loss, report.grad_norm, *own] for report, own in zip(reports, metrics, strict=True)])
    # Losses of rewards are nearly zero: what is compared is their distance, beside rewards of about one.
    for eager, found in zip(*curves, strict=True):
        assert found == pytest.approx(eager, rel=2e-5, abs=2e-6)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> list[steps.Compiled]:
    """The compiled steps that runs make."""
    made: list[steps.Compiled] = []
    begin = steps.Compiled.__init__

    def init(self: steps.Compiled, *given: Any) -> None:
        begin(self, *given)
        made.append(self)

    monkeypatch.setattr(steps.Compiled, "__init__", init)
    return made


def test_a_model_whose_code_looks_at_numbers_is_trained_eagerly(tmp_path: Path) -> None:
    model = build_lazily({"model_type": "dbrx", **TABLE["dbrx"].config, "vocab_size": tiny.VOCABULARY})
    job = jobs.job(tmp_path, jobs.config(iterations=1, lora_num_layers=1), model=model, compiled=True)
    events = list(train(job))
    assert [event.code for event in events if isinstance(event, Warned)] == ["not_compiled"]
    assert losses(events)[1] > 0


@pytest.mark.parametrize("accumulation", [1, 3])
def test_nothing_is_compiled_after_the_first_pass_over_the_shapes(
    tmp_path: Path, accumulation: int, running: list[steps.Compiled]
) -> None:
    rows = tiny.Rows(90, longest=200)
    settings = jobs.config(
        iterations=120, epochs=None, steps_per_eval=1000, save_every=1000, grad_accumulation_steps=accumulation
    )
    job = jobs.job(tmp_path, settings, train=rows, compiled=True)
    counts, seen = [], set()
    for event in train(job):
        if isinstance(event, TrainingPlan):
            assert 0 < len(event.widths) <= shapes.MOST_SHAPES
            assert event.padding is not None
            assert 0 < event.padding < 0.4
        if isinstance(event, TrainReport):
            counts.append(running[0].compilations)
            seen |= {(batch.inputs.shape, batch.targets.shape) for batch in job.method.batches(event.step)}
            assert counts[-1] == len(seen) + (accumulation > 1)
    assert len(seen) <= shapes.MOST_SHAPES


def test_between_reports_the_host_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = jobs.config(iterations=8, steps_per_report=4, steps_per_eval=100, save_every=100, validation="none")
    job = jobs.job(tmp_path, settings, compiled=True)
    reads, evaluate = [], mx.eval
    monkeypatch.setattr(mx, "eval", lambda *given: (reads.append(len(reads)), evaluate(*given)))
    before = []
    for event in train(job):
        if isinstance(event, TrainReport):
            before.append(len(reads))
    assert before[1] - before[0] == 1


def test_a_step_that_is_not_finite_changes_nothing_though_it_is_found_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 5 has the bad row, and 6 to 8 are begun before it is seen."""
    whole = jobs.job(tmp_path / "whole", jobs.config(iterations=4), compiled=True)
    list(train(whole))
    settings = jobs.config(iterations=8, steps_per_report=8, steps_per_eval=100, save_every=100)
    job = jobs.job(tmp_path / "bad", settings, compiled=True)
    row = job.method.batches(5)[0].rows[1]
    monkeypatch.setattr(job.method, "loss", poisoned(job.method, row))
    with pytest.raises(NonFiniteError, match="step 5: the loss is NaN or infinite") as caught:
        list(train(job))
    assert f"rows.jsonl:{row + 1}" in caught.value.message
    assert checkpoint.steps(tmp_path / "bad") == [0]
    for name, array in lora.trainable(job.model).items():
        assert mx.array_equal(array, lora.trainable(whole.model)[name]).item()


def test_a_run_stopped_between_reports_goes_on_to_the_bit(tmp_path: Path) -> None:
    settings = jobs.config(iterations=10, steps_per_report=5, steps_per_eval=100, save_every=100, lora_dropout=0.2)
    whole = losses(list(train(jobs.job(tmp_path / "whole", settings, compiled=True))))
    asked = iter(range(100))
    job = jobs.job(tmp_path / "parts", settings, compiled=True)
    first = list(train(job, should_stop=lambda: next(asked) == 9))
    assert isinstance(first[-1], Stopped)
    assert first[-1].step == 7
    second = list(train(jobs.job(tmp_path / "parts", settings, resume=newest(tmp_path / "parts"), compiled=True)))
    assert losses(first) | losses(second) == whole


def test_the_shapes_hold_every_batch_with_the_least_padding() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(9, 400, 300)
    targets = lengths // 2
    batches = list(np.split(generator.permutation(300), 75))
    found = shapes.choose(lengths, lengths, targets, batches, batch_size=4)
    assert len(found.shapes) <= shapes.MOST_SHAPES
    assert sorted(found.shapes) == list(found.shapes)
    for rows in batches:
        shape = found.first(int(lengths[rows].max()), int(targets[rows].sum()))
        assert shape.width >= lengths[rows].max() - 1
    worst = np.argsort(lengths)[-4:]
    assert found.first(int(lengths[worst].max()), int(targets[worst].sum())) == found.shapes[-1]


def test_the_widths_are_the_best_of_all_choices() -> None:
    from itertools import combinations

    widths = np.random.default_rng(1).integers(1, 13, 60) * 8
    values = np.unique(widths)
    costs = {
        chosen: sum(min(end for end in chosen if end >= width) for width in widths)
        for chosen in combinations(values.tolist(), 3)
        if chosen[-1] == values[-1]
    }
    assert costs[tuple(shapes._ends(widths, 3))] == min(costs.values())

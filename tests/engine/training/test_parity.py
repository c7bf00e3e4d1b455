"""The same losses as mlx-lm's own step and as torch + PEFT, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
import numpy as np
import pytest

from droidft.config import TrainingConfig
from droidft.data import batches
from droidft.engine.methods.sft import Supervised
from droidft.engine.model import lora
from droidft.engine.training.loop import Job, train
from droidft.events import TrainReport
from tests import parity, tiny
from tests.places import GOLDEN

RECORDED = GOLDEN / "peft_losses.txt"


class Chosen(Supervised):
    """Supervised training on batches chosen by the test."""

    def __init__(self, config: TrainingConfig, rows: tiny.Rows, steps: list[list[int]]) -> None:
        super().__init__(config, rows, rows)
        self._steps = steps

    def batches(self, step: int) -> list[batches.Batch]:
        return [batches.make_batch(self._train, self._steps[step - 1])]


def model_with_adapters(config: TrainingConfig) -> nn.Module:
    model: nn.Module = tiny.llama()
    model.load_weights([(name, mx.array(array)) for name, array in parity.weights().items()])
    plan = lora.targets_of(model, config)
    lora.attach(model, plan, config)
    start = [(f"{t.path}.lora_a", mx.array(parity.lora_a(t.path, t.in_dims))) for t in plan.targets]
    model.load_weights(start, strict=False)
    return model


def settings(**changes: Any) -> TrainingConfig:
    return TrainingConfig(
        model_path="tiny",
        train_data_path="rows",
        batch_size=parity.BATCH,
        iterations=parity.STEPS,
        steps_per_report=1,
        steps_per_eval=1000,
        lora_rank=parity.RANK,
        lora_alpha=parity.RANK * parity.SCALE,
        **({"learning_rate": parity.RATE} | changes),
    )


def our_losses(folder: Path, config: TrainingConfig) -> list[float]:
    rows, steps = parity.batches()
    job = Job(config, model_with_adapters(config), Chosen(config, rows, steps), folder, data_hash="")
    return [event.loss for event in train(job) if isinstance(event, TrainReport)]


def test_losses_equal_torch_and_peft(tmp_path: Path, arithmetic: None) -> None:
    recorded = [float(line.split()[1]) for line in RECORDED.read_text().splitlines() if not line.startswith("#")]
    assert our_losses(tmp_path, settings()) == pytest.approx(recorded, abs=1e-4)


@pytest.mark.parametrize(("bias_correction", "rate"), [(True, parity.RATE), (False, parity.RATE / 5)])
def test_losses_equal_mlx_lm_own_step(tmp_path: Path, bias_correction: bool, rate: float, arithmetic: None) -> None:
    """Without bias correction the first updates are three times as large, so the rate is lower there."""
    from mlx_lm.tuner.trainer import default_loss

    config = settings(max_grad_norm=0, adam_bias_correction=bias_correction, learning_rate=rate)
    model = model_with_adapters(config)
    optimizer = optimizers.AdamW(rate, weight_decay=parity.DECAY, bias_correction=bias_correction)
    value_and_grad = nn.value_and_grad(model, default_loss)
    rows, steps = parity.batches()
    theirs = []
    for chosen in steps:
        # mlx-lm's loss is over a span of each row: offset and length, padded to one width.
        width = max(len(rows[index].tokens) for index in chosen)
        tokens = np.zeros((len(chosen), width), np.int32)
        spans = []
        for number, index in enumerate(chosen):
            row = rows[index]
            tokens[number, : len(row.tokens)] = row.tokens
            spans.append((int(np.argmax(row.supervised)), len(row.tokens) - 1))
        (loss, _), gradients = value_and_grad(model, mx.array(tokens), mx.array(spans))
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
        theirs.append(loss.item())
    assert our_losses(tmp_path, config) == pytest.approx(theirs, abs=1e-5)

"""Training goes on in PEFT from our export as it goes on here: the same losses for five steps."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from droidft.adapters.folder import read_adapter
from droidft.config import TrainingConfig
from droidft.data import batches
from droidft.engine.methods.sft import Supervised
from droidft.engine.model import loading, lora
from droidft.engine.training.loop import Job, train
from droidft.events import TrainReport
from tests import parity, tiny
from tests.adapters.exports.trained import Trained, adapted
from tests.interop import models
from tests.interop.forms import peft

STEPS = 5


class Chosen(Supervised):
    """Supervised training on batches chosen by the test."""

    def __init__(self, config: TrainingConfig, rows: tiny.Rows, steps: list[list[int]]) -> None:
        super().__init__(config, rows, rows)
        self._steps = steps

    def batches(self, step: int) -> list[batches.Batch]:
        return [batches.make_batch(self._train, self._steps[step - 1])]


def here(made: Trained, folder: Path, rows: tiny.Rows, steps: list[list[int]]) -> list[float]:
    config = TrainingConfig(
        model_path=str(made.base),
        train_data_path="rows",
        batch_size=parity.BATCH,
        iterations=STEPS,
        steps_per_report=1,
        steps_per_eval=1000,
        lora_rank=4,
        lora_alpha=8,
        learning_rate=parity.RATE,
    )
    model, _ = loading.load_model(made.base)
    lora.attach(model, lora.targets_of(model, config), config)
    arrays = mx.load(str(read_adapter(made.adapter).file))
    assert isinstance(arrays, dict)
    model.load_weights(list(arrays.items()), strict=False)
    job = Job(config, model, Chosen(config, rows, steps), folder, data_hash="")
    return [event.loss for event in train(job) if isinstance(event, TrainReport)]


def in_peft(base: Path, adapter: Path, rows: tiny.Rows, steps: list[list[int]]) -> list[float]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)  # of so small a model, threads wait for each other
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(model, str(adapter), is_trainable=True).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=parity.RATE, betas=parity.BETAS, eps=parity.EPS, weight_decay=parity.DECAY
    )
    losses = []
    for chosen in steps:
        parts = [rows[index] for index in chosen]
        count = sum(int(row.supervised[1:].sum()) for row in parts)
        loss = sum(_summed(model, row.tokens, row.supervised) for row in parts) / count
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def _summed(model, tokens, supervised):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Summed loss of a row's supervised tokens, by torch's own cross-entropy."""
    import torch

    ids = torch.from_numpy(tokens.astype(np.int64))
    labels = torch.where(torch.from_numpy(supervised), ids, -100)
    logits = model(input_ids=ids[None]).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum")


@pytest.mark.filterwarnings("ignore")  # torch's and transformers' own
@pytest.mark.parametrize("architecture", ["llama", "phi3"])
def test_five_more_steps_give_the_same_losses(architecture: str, tmp_path: Path) -> None:
    made = adapted(models.write(architecture, tmp_path / "base"), tmp_path / "adapter")
    peft(made, tmp_path)
    rows, steps = parity.batches()
    ours = here(made, tmp_path / "run", rows, steps[:STEPS])
    theirs = in_peft(made.base, tmp_path / "peft", rows, steps[:STEPS])
    assert len(ours) == STEPS
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert abs(ours[0] - ours[-1]) > 0.01

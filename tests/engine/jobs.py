"""Jobs on tiny models for tests of the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from droidft.config import TrainingConfig
from droidft.engine.methods.sft import Supervised
from droidft.engine.model import lora
from droidft.engine.training.loop import Job
from tests import tiny

SETTINGS: dict[str, Any] = {
    "model_path": "tiny",
    "train_data_path": "rows",
    "batch_size": 4,
    "iterations": 12,
    "steps_per_report": 1,
    "steps_per_eval": 4,
    "save_every": 5,
    "learning_rate": 1e-2,
    "lora_rank": 4,
    "lora_alpha": 4,
    "early_stop": False,
}


def config(**changes: Any) -> TrainingConfig:
    """Settings of a run of a second."""
    return TrainingConfig.model_validate(SETTINGS | changes)


def job(
    folder: Path,
    settings: TrainingConfig,
    *,
    resume: Any = None,
    train: Any = None,
    model: Any = None,
    compiled: bool | None = None,
) -> Job:
    """A tiny Llama with adapters, 30 training rows and 7 validation rows."""
    model = model or tiny.llama()
    lora.attach(model, lora.targets_of(model, settings), settings)
    method = Supervised(settings, train or tiny.Rows(30), tiny.Rows(7, seed=1))
    return Job(settings, model, method, folder, data_hash="rows", resume_from=resume, compiled=compiled)

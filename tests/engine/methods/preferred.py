"""Jobs that learn from preferences, on the tiny Llama."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from droidft.config import TrainingConfig
from droidft.data.preferences import PairSet, PreparedPairs, prepare_pairs
from droidft.data.tokens import Encoded, TokenSetBuilder
from droidft.engine.methods.preference import Preference
from droidft.engine.model import loading, lora
from droidft.engine.training.loop import Job
from tests import tiny

SETTINGS: dict[str, Any] = {
    "method": "dpo",
    "model_path": "tiny",
    "train_data_path": "pairs",
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


def write_pairs(path: Path, *, rows: int = 40) -> Path:
    """Words, with themselves in capitals preferred to themselves backwards."""
    lines = []
    for line in tiny.write_chat(path.with_suffix(".chat"), rows=rows, seed=3).read_text().splitlines():
        asked, answer = json.loads(line)["messages"]
        word = asked["content"]
        lines.append(json.dumps({"prompt": word, "chosen": answer["content"], "rejected": f"{word[::-1]}!"}))
    path.write_text("\n".join(lines) + "\n")
    return path


@cache
def material() -> tuple[Any, Path]:
    """The tiny model's tokenizer, and a file of forty pairs."""
    folder = Path(mkdtemp(prefix="droidft-preferred-"))
    return loading.load_tokenizer(tiny.write_model(folder / "model")), write_pairs(folder / "pairs.jsonl")


def pairs(settings: TrainingConfig) -> PreparedPairs:
    """The pairs as a run would have them."""
    tokenizer, file = material()
    return prepare_pairs(settings.model_copy(update={"train_data_path": str(file)}), tokenizer)


def job(folder: Path, settings: TrainingConfig, *, resume: Any = None) -> Job:
    """The tiny Llama with adapters, about to learn."""
    model = tiny.llama()
    lora.attach(model, lora.targets_of(model, settings), settings)
    data = pairs(settings)
    method = Preference(settings, data.train, data.validation)
    return Job(settings, model, method, folder, data_hash="pairs", resume_from=resume)


def pair_set(rows: list[tuple[list[int], list[int], list[int]]]) -> PairSet:
    """Pairs of given tokens: prompt, chosen answer, rejected answer."""
    builder = TokenSetBuilder()
    for line, (prompt, *answers) in enumerate(rows, start=1):
        for answer in answers:
            tokens = np.array(prompt + answer, np.int32)
            builder.add(Encoded(tokens, np.arange(len(tokens)) >= len(prompt)), "pairs.jsonl", line)
    return PairSet(builder.build())

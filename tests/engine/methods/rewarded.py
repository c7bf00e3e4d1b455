"""Jobs that learn from rewards, on the tiny Llama."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from droidft.config import TrainingConfig
from droidft.data.prompts import PreparedPrompts, prepare_prompts
from droidft.engine.methods.grpo import GroupRelative
from droidft.engine.methods.rollouts import Texts
from droidft.engine.model import loading, lora
from droidft.engine.training.loop import Job
from droidft.rewards.scorer import Scorer
from tests import tiny

SHORT = {"kind": "length_window", "minimum": 0, "maximum": 4, "unit": "tokens", "falloff": 20}
"""Rewards the tiny model for ending soon."""
ASCII = {"kind": "python", "file": "letters.py", "function": "ascii_share"}
"""Rewards it for the share of characters that are ASCII: about half at first, and every token counts."""
OWN_FILE = """
def ascii_share(prompts, completions, **columns):
    return [sum(map(str.isascii, text)) / max(len(text), 1) for text in completions]
"""

SETTINGS: dict[str, Any] = {
    "method": "grpo",
    "model_path": "tiny",
    "train_data_path": "prompts",
    "rewards": [SHORT, {"kind": "lexical_f1", "weight": 0.5}],
    "num_generations": 4,
    "prompts_per_step": 2,
    "steps_per_generation": 1,
    "max_completion_length": 12,
    "batch_size": 3,
    "iterations": 10,
    "steps_per_eval": 4,
    "save_every": 3,
    "max_eval_prompts": 3,
    "learning_rate": 1e-2,
    "lora_rank": 4,
    "lora_alpha": 4,
}


def config(**changes: Any) -> TrainingConfig:
    """Settings of a run of a second."""
    return TrainingConfig.model_validate(SETTINGS | changes)


@cache
def material() -> tuple[Any, Path]:
    """The tiny model's tokenizer, and a file of forty prompts."""
    folder = Path(mkdtemp(prefix="droidft-rewarded-"))
    tokenizer = loading.load_tokenizer(tiny.write_model(folder / "model"))
    (folder / "rewards").mkdir()
    (folder / "rewards" / "letters.py").write_text(OWN_FILE)
    return tokenizer, tiny.write_chat(folder / "chat.jsonl")


def prompts(settings: TrainingConfig) -> PreparedPrompts:
    """The prompts as a run would have them."""
    tokenizer, file = material()
    return prepare_prompts(settings.model_copy(update={"train_data_path": str(file)}), tokenizer)


def method(settings: TrainingConfig) -> GroupRelative:
    """The method of `settings` on these prompts."""
    tokenizer, file = material()
    data = prompts(settings)
    scorer = Scorer(settings.rewards, file.parent / "rewards")
    return GroupRelative(settings, data.train, data.validation, scorer=scorer, texts=Texts.of(tokenizer))


def job(folder: Path, settings: TrainingConfig, *, resume: Any = None) -> Job:
    """The tiny Llama with adapters, about to learn."""
    model = tiny.llama()
    lora.attach(model, lora.targets_of(model, settings), settings)
    return Job(settings, model, method(settings), folder, data_hash="prompts", resume_from=resume)

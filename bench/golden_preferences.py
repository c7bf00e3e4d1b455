"""TRL's DPOTrainer and ORPOTrainer on the tiny Llama of the tests, written to tests/golden/trl_preferences.txt.

The trainers are real ones and every number is their own: loss and statistics of DPO's `_compute_loss` over all pairs
at once, and of ORPO's `get_batch_loss_metrics` pair by pair (over several, TRL weighs a pair by its length in the
loss on chosen answers), with the gradients of each.

Needs torch, peft and trl, which the tests do not:  pip install torch peft trl && python -m bench.golden_preferences
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from typing import Any

os.environ |= {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}

import datasets
import numpy as np
import peft
import torch
import transformers
import trl
from tests.engine.methods import policy_cases
from tests.engine.methods import preference_cases as cases
from tests.engine.methods.preference_cases import Case
from trl import DPOConfig, DPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from bench.golden_policy import _adapter, _fill_adapter, _lora, _model, _tokenizer

SHARED = {
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
    "logp_chosen": "logps/chosen",
    "logp_rejected": "logps/rejected",
}
ONLY_ORPO = {"nll": "nll_loss", "log_odds": "log_odds_chosen"}


def main() -> None:
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.simplefilter("ignore")
    sections: dict[str, dict[str, list[float]]] = {"inputs": _inputs()}
    for case in cases.CASES:
        sections[f"case {case.name}"] = _dpo(case) if case.method == "dpo" else _orpo(case)
    versions = f"trl {trl.__version__}, torch {torch.__version__.split('+')[0]}, peft {peft.__version__}"
    header = f"{versions}, transformers {transformers.__version__}; float32; by bench/golden_preferences.py"
    policy_cases.write(header, sections, cases.RECORDED)
    print(cases.RECORDED.read_text())


def _inputs() -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for number, pair in enumerate(cases.pairs()):
        for name, tokens in zip(("prompt", "chosen", "rejected"), pair, strict=True):
            found[f"{name} {number}"] = [float(token) for token in tokens]
    return found


def _dpo(case: Case) -> dict[str, list[float]]:
    trainer = DPOTrainer(args=DPOConfig(**_options(case, len(cases.LENGTHS))), **_parts())
    _fill_adapter(trainer.model)
    trainer.model.train()
    rows = list(trainer.train_dataset)
    for row, (prompt, chosen, rejected) in zip(rows, cases.pairs(), strict=True):
        assert (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) == (prompt, chosen, rejected)
    loss = trainer._compute_loss(trainer.model, trainer.data_collator(rows), return_outputs=False)
    loss.backward()
    metrics = trainer._metrics["train"]
    measured = {name: [metrics[key][-1]] for name, key in SHARED.items()}
    return {"loss": [loss.item()]} | measured | _gradients(trainer.model)


def _orpo(case: Case) -> dict[str, list[float]]:
    trainer = ORPOTrainer(args=ORPOConfig(**_options(case, 1)), **_parts())
    _fill_adapter(trainer.model)
    trainer.model.train()
    losses, measured = [], []
    for row, (prompt, chosen, rejected) in zip(list(trainer.train_dataset), cases.pairs(), strict=True):
        assert (row["chosen_input_ids"], row["rejected_input_ids"]) == (prompt + chosen, prompt + rejected)
        loss, metrics = trainer.get_batch_loss_metrics(trainer.model, trainer.data_collator([row]))
        (loss / len(cases.LENGTHS)).backward()
        losses.append(loss.item())
        measured.append({name: metrics[key] for name, key in (SHARED | ONLY_ORPO).items()})
    means = {name: [float(np.mean([one[name] for one in measured]))] for name in measured[0]}
    return {"loss": [float(np.mean(losses))]} | means | _gradients(trainer.model)


def _options(case: Case, batch: int) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": batch,
        "beta": case.beta,
        "report_to": [],
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def _parts() -> dict[str, Any]:
    """The model without its adapter, which is filled once the trainer is made, and the pairs as texts."""
    rows = [[_text(tokens) for tokens in pair] for pair in cases.pairs()]
    columns = dict(zip(("prompt", "chosen", "rejected"), map(list, zip(*rows, strict=True)), strict=True))
    columns["prompt"] = [f"{prompt} " for prompt in columns["prompt"]]
    return {
        "model": _model(),
        "peft_config": _adapter(),
        "train_dataset": datasets.Dataset.from_dict(columns),
        "processing_class": _tokenizer(),
    }


def _text(tokens: list[int]) -> str:
    return " ".join(chr(0x4E00 + token) for token in tokens)


def _gradients(model: torch.nn.Module) -> dict[str, list[float]]:
    gradients = _lora(model, gradient=True)
    squares = {name: float((array.astype(np.float64) ** 2).sum()) for name, array in gradients.items()}
    return (
        {"gradient_norm": [sum(squares.values()) ** 0.5]}
        | {f"norm {name}": [square**0.5] for name, square in squares.items()}
        | {f"values {name}": policy_cases.shown(array.reshape(-1)) for name, array in gradients.items()}
    )


if __name__ == "__main__":
    main()

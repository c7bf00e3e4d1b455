"""TRL's GRPOTrainer on the tiny Llama of the tests, written to tests/golden/trl_policy.txt.

The trainer is a real one and every number is its own: advantages and masks of `_generate_and_score_completions`,
log-probabilities of `_get_per_token_logps_and_entropies`, loss and statistics of `_compute_loss`, and whole steps of
`train()`. Only sampling is replaced, by fixed completions (`rollout_func`), and the log-probabilities at sampling, by
fixed numbers. A step is one batch, so TRL's normalisation over a batch and ours over a step are the same.

Needs torch, peft and trl, which the tests do not:  pip install torch peft trl && python -m bench.golden_policy
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
from tests import parity
from tests.engine.methods import policy_cases as cases
from tests.engine.methods.policy_cases import Case
from tests.tiny import LLAMA, VOCABULARY
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

KINK = 1e-5
"""Ratios this near to the bounds of the clip could fall on either side of them in another framework."""


def main() -> None:
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    sections: dict[str, dict[str, list[float]]] = {"inputs": _inputs()}
    for temperature in sorted({case.temperature for case in cases.CASES}):
        case = Case("", temperature=temperature, beta=1.0)
        sections[cases.policy_name(case)] = _policy(case)
    for case in cases.CASES:
        now = _rows(sections[cases.policy_name(case)], "logps")
        old = [cases.moved(row, number, case.spread) for number, row in enumerate(now)]
        sections[cases.old_name(case)] = _numbered("old", old)
    for case in cases.CASES:
        sections[f"case {case.name}"] = _case(case, _rows(sections[cases.old_name(case)], "old"))
    for case in cases.TRAININGS:
        sections[f"training {case.name}"] = _training(case)
    versions = f"trl {trl.__version__}, torch {torch.__version__.split('+')[0]}, peft {peft.__version__}"
    cases.write(f"{versions}, transformers {transformers.__version__}; float32; by bench/golden_policy.py", sections)


def _inputs() -> dict[str, list[float]]:
    found: dict[str, list[float]] = _numbered("prompt", cases.prompts())
    for sampling in range(cases.STEPS // cases.ITERATIONS):
        found |= _numbered(f"completion of sampling {sampling}", cases.completions(sampling))
        found |= _numbered(f"rewards of sampling {sampling}", cases.rewards(sampling).tolist())
    return found


def _policy(case: Case) -> dict[str, list[float]]:
    """Log-probabilities with and without adapter, and entropies, of every completion token."""
    trainer = _trainer(case)
    batch = _scored(trainer)
    tokens = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        logps, entropies, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, tokens, seen, batch["completion_ids"].size(1), compute_entropy=True
        )
    return (
        _numbered("logps", _ragged(logps))
        | _numbered("base", _ragged(batch["ref_per_token_logps"]))
        | _numbered("entropies", _ragged(entropies))
    )


def _case(case: Case, old: list[list[float]]) -> dict[str, list[float]]:
    trainer = _trainer(case)
    batch = _scored(trainer)
    width = batch["completion_ids"].size(1)
    batch["old_per_token_logps"] = torch.tensor([row + [0.0] * (width - len(row)) for row in old])
    _refuse_kinks(trainer, case, batch)
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    gradients = _lora(trainer.model, gradient=True)
    squares = [float((array.astype(np.float64) ** 2).sum()) for array in gradients.values()]
    return (
        {"loss": [loss.item()], "advantages": batch["advantages"].tolist(), "gradient_norm": [sum(squares) ** 0.5]}
        | {f"norm {name}": [square**0.5] for (name, _), square in zip(gradients.items(), squares, strict=True)}
        | {f"values {name}": cases.shown(array.reshape(-1)) for name, array in gradients.items()}
        | _metrics(trainer)
    )


def _training(case: Case) -> dict[str, list[float]]:
    """Whole optimizer steps with AdamW: two rollouts with several updates each."""
    trainer = _trainer(case, num_iterations=cases.ITERATIONS, max_steps=cases.STEPS)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == cases.STEPS
    found = {name: [float(entry[key]) for entry in logs] for name, key in _LOGGED.items() if key in logs[0]}
    # The log rounds losses to four digits; the trainer's own are taken where they are made.
    found["loss"] = trainer.exact_losses
    return found | {f"values {name}": cases.shown(array.reshape(-1)) for name, array in _lora(trainer.model).items()}


_LOGGED = {
    "loss": "loss",
    "gradient_norm": "grad_norm",
    "kl": "kl",
    "entropy": "entropy",
    "clip_low": "clip_ratio/low_mean",
    "clip_high": "clip_ratio/high_mean",
}
_MEASURED = {name: key for name, key in _LOGGED.items() if name not in ("loss", "gradient_norm")} | {
    "completion_length": "completions/mean_length",
    "completion_length_max": "completions/max_length",
    "truncated": "completions/clipped_ratio",
    "reward": "reward",
    "reward_std": "reward_std",
    "tied_groups": "frac_reward_zero_std",
    "reward/format": "rewards/format/mean",
    "reward_std/format": "rewards/format/std",
    "reward/answer": "rewards/answer/mean",
    "reward_std/answer": "rewards/answer/std",
}


def _metrics(trainer: GRPOTrainer) -> dict[str, list[float]]:
    metrics = trainer._metrics["train"]
    return {name: [metrics[key][-1]] for name, key in _MEASURED.items() if metrics[key]}


class _Exact(GRPOTrainer):
    """The trainer, with its losses kept unrounded."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.exact_losses: list[float] = []

    def compute_loss(self, *args: Any, **options: Any) -> Any:
        loss = super().compute_loss(*args, **options)
        self.exact_losses.append(loss.item())
        return loss


def _trainer(case: Case, **changes: Any) -> _Exact:
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=cases.GROUPS * cases.SIZE,
        num_generations=cases.SIZE,
        gradient_accumulation_steps=1,
        steps_per_generation=1,
        max_completion_length=cases.LONGEST,
        temperature=case.temperature,
        loss_type=case.loss_type,
        importance_sampling_level="sequence" if case.sequence_level else "token",
        epsilon=case.epsilon,
        epsilon_high=case.epsilon_high,
        beta=case.beta,
        use_bias_correction_kl=False,  # the paper's KL term; the ratio on it came later
        scale_rewards=case.scale,
        mask_truncated_completions=case.mask_truncated,
        reward_weights=list(cases.REWARD_WEIGHTS),
        learning_rate=cases.RATE,
        lr_scheduler_type="constant",
        adam_beta1=parity.BETAS[0],
        adam_beta2=parity.BETAS[1],
        adam_epsilon=parity.EPS,
        weight_decay=0.0,
        max_grad_norm=0.05,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        shuffle_dataset=False,
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        **changes,
    )
    rollouts = _Rollouts()
    prompts = [str(number) for number in range(cases.GROUPS)] * 2
    # Filled after the trainer is made: an adapter that it is given would be its reference, and not the base.
    trainer = _Exact(
        model=_model(),
        peft_config=_adapter(),
        reward_funcs=[rollouts.format, rollouts.answer],
        args=config,
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
        processing_class=_tokenizer(),
        rollout_func=rollouts,
    )
    _fill_adapter(trainer.model)
    return trainer


class _Rollouts:
    """Fixed completions in the place of sampled ones, and what they earned."""

    def __init__(self) -> None:
        self.sampling = -1

    def __call__(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        self.sampling += 1
        assert prompts == [str(number) for number in range(cases.GROUPS) for _ in range(cases.SIZE)]
        tokens = cases.prompts()
        completions = cases.completions(self.sampling)
        return {
            "prompt_ids": [tokens[int(prompt)] for prompt in prompts],
            "completion_ids": completions,
            "logprobs": None,
        }

    def format(self, **_: Any) -> list[float]:
        return cases.rewards(self.sampling)[:, 0].tolist()

    def answer(self, **_: Any) -> list[float]:
        return cases.rewards(self.sampling)[:, 1].tolist()


def _scored(trainer: GRPOTrainer) -> dict[str, Any]:
    """What the trainer makes of the completions, before any loss."""
    trainer.model.train()
    rows = [{"prompt": str(number)} for number in range(cases.GROUPS) for _ in range(cases.SIZE)]
    batch: dict[str, Any] = trainer._generate_and_score_completions(rows)
    return batch


def _model() -> torch.nn.Module:
    settings = {name: value for name, value in LLAMA.items() if name not in ("model_type", "architectures")}
    model = LlamaForCausalLM(LlamaConfig(**settings, attn_implementation="eager"))
    weights = {name: torch.from_numpy(array) for name, array in parity.weights().items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert missing in ([], ["lm_head.weight"])
    model.tie_weights()
    model.generation_config.eos_token_id = cases.END
    return model


def _adapter() -> peft.LoraConfig:
    return peft.LoraConfig(
        r=cases.RANK,
        lora_alpha=int(cases.RANK * cases.SCALE),
        target_modules=[key.split(".")[-1] for key in cases.KEYS],
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )


def _fill_adapter(model: torch.nn.Module) -> None:
    start = {path: (cases.lora_a(path, width), cases.lora_b(path, out)) for path, width, out in cases.modules()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                a, b = start[_path(name)]
                parameter.copy_(torch.from_numpy((a if "lora_A" in name else b).T.copy()))


def _lora(model: torch.nn.Module, *, gradient: bool = False) -> dict[str, np.ndarray]:
    """The adapter's arrays, or their gradients, by mlx-lm's names and in its layout."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            array = parameter.grad if gradient else parameter.detach()
            found[f"{_path(name)}.{'lora_a' if 'lora_A' in name else 'lora_b'}"] = array.numpy().T.copy()
    return found


def _path(name: str) -> str:
    return name.removeprefix("base_model.model.").split(".lora_")[0]


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {chr(0x4E00 + number): number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=chr(0x4E00)))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    end = chr(0x4E00 + cases.END)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end)


def _refuse_kinks(trainer: GRPOTrainer, case: Case, batch: dict[str, Any]) -> None:
    tokens = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    width, mask = batch["completion_ids"].size(1), batch["completion_mask"]
    seen = torch.cat([batch["prompt_mask"], mask], 1)
    with torch.no_grad():
        logps, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, tokens, seen, width)
    apart = (logps - batch["old_per_token_logps"]) * mask
    if case.sequence_level:
        apart = apart.sum(1) / mask.sum(1).clamp(min=1)
    for bound in (1 - case.epsilon, 1 + case.epsilon_high):
        nearest = (apart.exp() / bound - 1).abs().min().item()
        assert nearest > KINK, f"{case.name}: a ratio lies {nearest:g} from {bound:g}; change the spread"


def _ragged(rows: torch.Tensor) -> list[list[float]]:
    return [row[:length].tolist() for row, length in zip(rows, cases.LENGTHS, strict=True)]


def _numbered(name: str, rows: list[list[Any]]) -> dict[str, list[float]]:
    return {f"{name} {number}": row for number, row in enumerate(rows)}


def _rows(section: dict[str, list[float]], name: str) -> list[list[float]]:
    return [section[f"{name} {number}"] for number in range(cases.GROUPS * cases.SIZE)]


if __name__ == "__main__":
    main()

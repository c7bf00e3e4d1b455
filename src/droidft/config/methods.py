"""The training methods: what each is, and the defaults that it changes.

A setting that is not given takes its method's default, else that of `TrainingConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from droidft.config.choices import Family, LoraTargets, LossType, Method, ScaleRewards


@dataclass(frozen=True, slots=True)
class Default:
    """A method's own default of a setting, as its JSON value, and why it is that."""

    value: Any
    why: str


@dataclass(frozen=True, slots=True)
class Description:
    """A method as a person chooses it."""

    title: str
    paper: str
    good_for: str
    costs: str
    defaults: Mapping[str, Default]


_ATTENTION_ONLY = Default(
    LoraTargets.ATTENTION_QV.value,
    "policy gradients carry little information per step, so Q and V are enough",
)
_SMALL_RATE = Default(
    1e-5, "ten times the 1e-6 that full fine-tuning uses with these methods (LoRA Without Regret; TRL)"
)
_REWARDED: dict[str, Default] = {
    "learning_rate": _SMALL_RATE,
    "lora_targets": _ATTENTION_ONLY,
    "batch_size": Default(8, "completions at once; changes memory and speed, not the update"),
    "weight_decay": Default(0.0, "a step without a signal must not move the weights"),
    "early_stop": Default(False, "rewards of a few prompts are too noisy to stop by"),
    "steps_per_report": Default(1, "a step samples many completions and takes long"),
    "steps_per_eval": Default(50, "an evaluation answers every validation prompt"),
    "save_every": Default(10, "a step takes long"),
}
_PREFERENCES: dict[str, Default] = {
    "lora_targets": _ATTENTION_ONLY,
    "steps_per_report": Default(10, "a step reads two answers"),
    "steps_per_eval": Default(100, "an evaluation reads every validation pair"),
}

METHODS: Mapping[Method, Description] = {
    Method.SFT: Description(
        title="Supervised fine-tuning",
        paper="",
        good_for="Answers that you have: the model learns to write them.",
        costs="One forward and one backward pass a batch.",
        defaults={},
    ),
    Method.GRPO: Description(
        title="GRPO: Group Relative Policy Optimization",
        paper="Shao et al., 2024 (DeepSeekMath)",
        good_for="Tasks whose answers can be scored: each completion is compared with others of the same prompt.",
        costs="Sampling a group of completions for every prompt takes most of the time.",
        defaults={
            **_REWARDED,
            "epsilon": Default(0.2, "the clip range of PPO and TRL, for ratios of single tokens"),
            "beta": Default(0.0, "no pull to the base model: recent work and TRL leave it out, and it costs a pass"),
            "loss_type": Default(LossType.GRPO.value, "the paper's: a mean within each completion, then over all"),
            "scale_rewards": Default(
                ScaleRewards.GROUP.value, "the paper's: advantages are in standard deviations of the group"
            ),
        },
    ),
    Method.GSPO: Description(
        title="GSPO: Group Sequence Policy Optimization",
        paper="Zheng et al., 2025 (Qwen)",
        good_for="Long completions and mixtures of experts, where ratios of single tokens are noisy.",
        costs="As GRPO.",
        defaults={
            **_REWARDED,
            "epsilon": Default(
                3e-4, "the paper's: a length-normalised sequence ratio varies far less than a token's"
            ),
            "epsilon_high": Default(4e-4, "the paper's, a little wider upwards"),
            "steps_per_generation": Default(
                4, "the paper's: while a rollout serves one step, every ratio is 1 and GSPO equals GRPO"
            ),
            "beta": Default(0.0, "as in the paper's experiments"),
            "loss_type": Default(LossType.GRPO.value, "one ratio a completion, and the mean over completions"),
            "scale_rewards": Default(ScaleRewards.GROUP.value, "the paper's: as GRPO"),
        },
    ),
    Method.DR_GRPO: Description(
        title="Dr. GRPO: GRPO Done Right",
        paper="Liu et al., 2025",
        good_for="GRPO without its biases: wrong answers do not grow longer, easy and hard prompts weigh alike.",
        costs="As GRPO.",
        defaults={
            **_REWARDED,
            "epsilon": Default(0.2, "as GRPO"),
            "beta": Default(0.0, "the paper's"),
            "loss_type": Default(LossType.DR_GRPO.value, "the paper's: divided by a constant, not by the length"),
            "scale_rewards": Default(ScaleRewards.NONE.value, "the paper's: not divided by the standard deviation"),
        },
    ),
    Method.DPO: Description(
        title="DPO: Direct Preference Optimization",
        paper="Rafailov et al., 2023",
        good_for="Pairs of answers of which one is preferred; the base model is the anchor.",
        costs="Two answers a pair, and a second pass through the base model.",
        defaults={
            **_PREFERENCES,
            "learning_rate": Default(1e-5, "ten times the 1e-6 of full fine-tuning in the paper and TRL"),
            "beta": Default(0.1, "the paper's and TRL's: how strongly the base model holds"),
        },
    ),
    Method.ORPO: Description(
        title="ORPO: Odds Ratio Preference Optimization",
        paper="Hong et al., 2024",
        good_for="Pairs of answers, learning to write the preferred ones at the same time; no reference model.",
        costs="Two answers a pair.",
        defaults={
            **_PREFERENCES,
            "learning_rate": Default(5e-5, "it fine-tunes as well, and LoRA needs about ten times the paper's 8e-6"),
            "beta": Default(0.1, "the paper's lambda: weight of the odds ratio beside the loss on chosen answers"),
            "mask_prompt": Default(True, "the paper's: the loss is that of the chosen answer given its prompt"),
        },
    ),
}

FAMILY_SETTINGS: Mapping[Family, frozenset[str]] = {
    Family.ANSWERS: frozenset({"max_seq_length", "long_rows", "split_by", "split_column", "train_on"}),
    Family.REWARDS: frozenset(
        {
            "rewards",
            "num_generations",
            "prompts_per_step",
            "steps_per_generation",
            "num_iterations",
            "max_prompt_length",
            "max_completion_length",
            "temperature",
            "sampling_batch_size",
            "max_eval_prompts",
            "shown_completions",
            "beta",
            "epsilon",
            "epsilon_high",
            "loss_type",
            "scale_rewards",
            "mask_truncated_completions",
            "reference_adapter",
        }
    ),
    Family.PREFERENCES: frozenset({"beta", "max_seq_length", "long_rows", "reference_adapter"}),
}
"""Settings that only some families have."""

FAMILY_ONLY = frozenset().union(*FAMILY_SETTINGS.values())


def method_defaults(method: Any) -> dict[str, Any]:
    """The defaults that `method`, a `Method` or its text, changes; nothing for what is no method."""
    if not isinstance(method, str) or method not in set(Method):
        return {}
    return {name: default.value for name, default in METHODS[Method(method)].defaults.items()}


def without_effect(method: Method) -> frozenset[str]:
    """Settings that this method ignores."""
    more = {"mask_prompt", "text_column"} if method.family is Family.REWARDS else set()
    if method.family is Family.REWARDS:
        more |= {"grad_accumulation_steps"}
    if method is Method.DPO:
        more |= {"mask_prompt"}
    if method is Method.ORPO:
        more |= {"reference_adapter"}
    return (FAMILY_ONLY - FAMILY_SETTINGS[method.family]) | more

"""`TrainingConfig`: every setting of a training run, with its limits and help text, once."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from droidft.config.choices import (
    ComputeDtype,
    DataFormat,
    Family,
    FineTuneType,
    LongRows,
    LoraRouters,
    LoraScaling,
    LoraTargets,
    LossType,
    LrSchedule,
    Method,
    Optimizer,
    ScaleRewards,
    SplitBy,
    SystemRole,
    TrainOn,
    Validation,
)
from droidft.config.methods import method_defaults, without_effect
from droidft.config.rewards import Reward
from droidft.support.names import is_whole

NO_ADAPTER = "none"
"""Value of `reference_adapter` that stands for the bare base model."""
LARGE_RANK = 256
HIGH_SCALE = 4.0
LARGEST = 2**53 - 1
"""Largest whole number that JSON carries everywhere."""


class Contradiction(ValueError):
    """Settings that are legal one by one but not together; `faults` holds a sentence for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _is_day(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class TrainingConfig(BaseModel):
    """Settings of one training run."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    # Method
    method: Method = Method.SFT
    """What is learned from: `sft` answers; `grpo`, `gspo`, `dr_grpo` rewards; `dpo`, `orpo` preferences."""

    # Model and data
    model_path: Annotated[str, Field(min_length=1)]
    """Base model: a folder, a name from `droidft models list`, or a hub id such as `org/name`."""
    train_data_path: Annotated[str, Field(min_length=1)]
    """Training data: a JSONL, JSON, CSV or Parquet file, or a hub data set id (`hub:org/name`)."""
    val_data_path: str | None = None
    """Validation data in the same forms. Without it, a seeded part of the training data is held out."""
    validation: Validation = Validation.AUTO
    """`none` trains on all rows: no validation loss, no best weights, no early stop."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training rows held out when `val_data_path` is not given."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the training rows set aside for a test: neither trained on nor evaluated."""
    train_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the rows left for training that is used; a smaller share is part of every larger one."""
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed that decides which rows are held out, set aside or left out. Default: `seed`."""
    split_by: SplitBy = SplitBy.ROW
    """Unit of the split: a `row`, or a `conversation` (all rows that open with the same messages, up to and including
    the first message of the user)."""
    split_column: Annotated[str, Field(min_length=1)] | None = None
    """Column that names the unit of the split, such as a document. Overrides `split_by`."""
    data_format: DataFormat = DataFormat.AUTO
    """Shape of a row; `auto` recognises it from the first row's fields and holds every row to it."""
    text_column: str | None = None
    """Column holding plain text, when it is not named `text`."""
    prompt_column: str | None = None
    """Column holding the prompt, when it is not named `prompt`, `instruction` or `question`."""
    completion_column: str | None = None
    """Column holding the answer, when it is not named `completion`, `answer`, `output` or `response`."""
    messages_column: str | None = None
    """Column holding the conversation, when it is not named `messages` or `conversations`."""
    system_prompt: str | None = None
    """A system message for every conversation that has none of its own."""
    system_role: SystemRole = SystemRole.AUTO
    """System turns: `auto` leaves them to the chat template, `fold` puts their text into the user's turn beside them,
    `refuse` makes a fault of one that the template does not show."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Variables for the chat template, such as `{"enable_thinking": false}`. Answers have them too."""
    template_date: str | None = None
    """The day, such as 2026-11-30, for chat templates that write today's date. Default: the day the run is made."""
    mask_prompt: bool = False
    """Train on the assistant's turns only; otherwise on every token. Turns of weight 0 are never trained."""
    train_on: TrainOn = TrainOn.ALL_TURNS
    """With `mask_prompt`: `all-turns` of the assistant's, or the `last-turn` only."""
    max_seq_length: Annotated[int, Field(ge=8)] | None = None
    """Rows longer than this many tokens are cut. Default: what the longest row needs, at most the model's limit."""
    long_rows: LongRows = LongRows.CUT
    """What becomes of rows longer than `max_seq_length`: `cut` after it, `split` into as many rows as it takes (plain
    text only), or `refuse`."""

    # Length of the run
    iterations: Annotated[int, Field(ge=1)] | None = None
    """Number of optimizer steps. Default: as many as `epochs` take."""
    epochs: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Passes over the training data, when `iterations` is not given. Default: 3; 1 for all methods but `sft`."""
    batch_size: Annotated[int, Field(ge=1)] = 1
    """Rows processed at once."""
    grad_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Batches summed before one optimizer step; the effective batch is this times `batch_size`."""

    # Optimizer
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Peak learning rate. LoRA needs about ten times the rate of full fine-tuning."""
    optimizer: Optimizer = Optimizer.ADAMW
    """Update rule. `adamw` decays the weights separately from the gradient."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Decoupled weight decay of the trained weights (`adamw` and `lion`; `sgd` adds it to the gradient)."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment (`adamw`, `adam`; `lion` and `sgd` use it as momentum)."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the second moment."""
    adam_eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the square root of the second moment."""
    adam_bias_correction: bool = True
    """Correct for the moments starting at zero, as the paper and PyTorch do; mlx-lm does not."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Largest global norm of the gradient; larger ones are scaled down to it. 0 turns clipping off."""
    lr_schedule: LrSchedule = LrSchedule.CONSTANT
    """Shape of the learning rate after warm-up, counted in optimizer steps."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps over which the learning rate rises from zero to `learning_rate`."""
    lr_end_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Rate at which `linear` and `cosine` end, as a share of `learning_rate`."""

    # LoRA
    fine_tune_type: FineTuneType = FineTuneType.LORA
    """`lora`, `dora` (LoRA with a trained magnitude), or `full` (every weight of the chosen layers)."""
    lora_rank: Annotated[int, Field(ge=1)] = 32
    """Rank of the update: a higher rank means more capacity, memory and time."""
    lora_alpha: Annotated[float, Field(gt=0)] = 32.0
    """Strength of the update; with `standard` scaling the factor is alpha / rank."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs dropped during training."""
    lora_num_layers: int = -1
    """How many blocks are adapted, counted from the last; -1 is all."""
    lora_targets: LoraTargets = LoraTargets.FULL_LAYER
    """Which projections are adapted; `full-layer` is attention and MLP, experts included."""
    lora_keys: list[str] | None = None
    """Module names inside a block, such as `self_attn.q_proj`; used with `lora_targets: custom`."""
    lora_routers: LoraRouters = LoraRouters.AUTO
    """Adapt expert routers: `auto` does so for mixtral, phimoe, qwen2_moe and qwen3_next."""
    lora_scaling: LoraScaling = LoraScaling.STANDARD
    """Factor on the update: `standard` alpha/rank, `rslora` alpha/sqrt(rank), `raw` alpha itself."""

    # Rollouts and rewards
    rewards: list[Reward] = []
    """What scores a completion (`droidft rewards` lists all kinds); the reward is their weighted sum."""
    num_generations: Annotated[int, Field(ge=2)] = 8
    """Completions sampled for each prompt. Each is compared with the others of this group."""
    prompts_per_step: Annotated[int, Field(ge=1)] = 4
    """Prompts whose groups make one optimizer step."""
    steps_per_generation: Annotated[int, Field(ge=1)] = 1
    """Optimizer steps that one rollout is split over; all but the first train on slightly old completions."""
    num_iterations: Annotated[int, Field(ge=1)] = 1
    """Passes over the completions of each rollout."""
    max_prompt_length: Annotated[int, Field(ge=1)] | None = None
    """Longest prompt, in tokens; longer ones are refused. Default: what the model's context leaves room for."""
    max_completion_length: Annotated[int, Field(ge=1)] = 256
    """Tokens after which a completion is cut off."""
    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Divides the logits, both when completions are sampled and when their probabilities are computed."""
    sampling_batch_size: Annotated[int, Field(ge=1)] = 64
    """Completions sampled at once; changes memory and speed only."""
    max_eval_prompts: Annotated[int, Field(ge=1)] = 32
    """Validation prompts answered at each evaluation, always the same ones."""
    shown_completions: Annotated[int, Field(ge=0, le=64)] = 8
    """Completions written to the log with each report."""

    # Policy and preference loss
    beta: Annotated[float, Field(ge=0, le=100)] = 0.0
    """`grpo`, `gspo`, `dr_grpo`: weight of the KL divergence from the base model. `dpo`: how strongly the base
    model holds. `orpo`: weight of the odds ratio."""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The probability ratio is clipped below 1 - epsilon and, without `epsilon_high`, above 1 + epsilon."""
    epsilon_high: Annotated[float, Field(gt=0, le=100)] | None = None
    """The probability ratio is clipped above 1 + epsilon_high. Default: `epsilon`."""
    loss_type: LossType = LossType.GRPO
    """Mean over tokens: `grpo` within each completion, then over all; `dapo` and `bnpo` over all tokens of the step;
    `dr_grpo` divides their sum by completions times `max_completion_length`."""
    scale_rewards: ScaleRewards = ScaleRewards.GROUP
    """Advantages are divided by the rewards' standard deviation in the `group`, in the `batch`, or by `none`."""
    mask_truncated_completions: bool = False
    """Leave completions that were cut off out of the loss."""

    # Reports, evaluation, checkpoints
    steps_per_report: Annotated[int, Field(ge=1)] = 25
    """Optimizer steps between training reports."""
    steps_per_eval: Annotated[int, Field(ge=1)] = 200
    """Optimizer steps between evaluations on the whole validation set (also at step 0 and at the end)."""
    save_every: Annotated[int, Field(ge=1)] = 25
    """Optimizer steps between checkpoints."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """How many resumable checkpoints are kept; the best adapter is always kept."""
    early_stop: bool = True
    """Stop when the validation loss has not improved for `patience` evaluations."""
    patience: Annotated[int, Field(ge=1)] = 3
    """Evaluations without improvement before an early stop."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest fall of the validation loss (or rise of the reward) that counts as an improvement, in its own unit."""

    # The rest
    grad_checkpoint: bool = False
    """Recompute activations in the backward pass: saves memory, takes about a third more time."""
    compute_dtype: ComputeDtype = ComputeDtype.AUTO
    """Frozen weights are kept and multiplied in `float32` or `bfloat16`, which is faster and takes half the memory;
    sums, adapters and loss are float32. `auto`: on a CPU bfloat16 if it has instructions for it, else float32;
    on a GPU as stored. A run goes on with what it began with."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides how the adapter is initialised, the order of the data, and dropout. Without `split_seed`, also which
    rows are held out."""
    adapter_name: Name | None = None
    """Name of the adapter folder. Default: the run's id."""
    init_adapter: str | None = None
    """Adapter whose weights a new run starts from (`resume` continues an old run). A bare name means its best
    weights, or else its latest; `name@latest`, `name@200` choose others. A folder of PEFT's, a GGUF LoRA file or a
    packed adapter is converted for the run's model."""
    allow_mismatch: bool = False
    """Start from `init_adapter` though it was trained on another base model of the same shapes."""
    reference_adapter: str | None = None
    """Adapter that DPO and the KL term compare with: a name or folder, or `none` for the bare base model. Default:
    `init_adapter`, so that a run starts where it is compared with."""
    resume: Name | None = None
    """Id of a run to continue, bit for bit, from its last checkpoint."""
    offline: bool = False
    """Never use the network: models and data must be on this machine already."""

    @field_validator("lora_num_layers")
    @classmethod
    def _layers(cls, value: int) -> int:
        if value == 0 or value < -1:
            raise ValueError("must be -1 (all layers), or 1 or more")
        return value

    @field_validator("lora_keys")
    @classmethod
    def _keys(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and not value:
            raise ValueError("must name at least one module")
        if value is not None and len(set(value)) != len(value):
            raise ValueError("names a module twice")
        return value

    @field_validator("learning_rate", "lora_alpha", "weight_decay", mode="before")
    @classmethod
    def _no_booleans(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("must be a number, not true or false")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _portable(cls, value: Any) -> Any:
        """Refuse what JSON does not carry everywhere."""
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"must be at most {LARGEST:,}")
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not is_whole(text):
                raise ValueError("holds half of a character (a file whose name is not UTF-8 has to be renamed)")
        return value

    @field_validator("chat_template_kwargs", mode="before")
    @classmethod
    def _kwargs(cls, value: Any) -> Any:
        """JSON text is taken too, as forms and flags have it."""
        if not isinstance(value, str):
            return value
        try:
            parsed = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            parsed = value
        if not isinstance(parsed, dict):
            raise ValueError('must be a JSON object, such as {"enable_thinking": false}')
        return parsed

    @field_validator("template_date", mode="before")
    @classmethod
    def _date(cls, value: Any) -> Any:
        if type(value) is datetime.date:  # YAML reads a day as one
            return value.isoformat()
        if value is not None and not (isinstance(value, str) and _DAY.fullmatch(value) and _is_day(value)):
            raise ValueError("must be a day such as 2026-11-30")
        return value

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_method(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        defaults = method_defaults(values.get("method"))
        if "epsilon" in values:  # the bound above follows the one that is given
            defaults.pop("epsilon_high", None)
        return defaults | values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if faults := list(self._contradictions()):
            raise Contradiction(faults)
        return self

    def _contradictions(self) -> Iterator[str]:
        if self.iterations is not None and self.epochs is not None:
            yield "give iterations or epochs, not both"
        if self.lora_targets is LoraTargets.CUSTOM and self.lora_keys is None:
            yield "lora_targets 'custom' needs lora_keys"
        if self.lora_keys is not None and self.lora_targets is not LoraTargets.CUSTOM:
            yield "lora_keys needs lora_targets 'custom'"
        if self.validation is Validation.NONE and self.val_data_path is not None:
            yield "validation 'none' and val_data_path contradict each other"
        if self.iterations is not None and self.warmup_steps >= self.iterations:
            yield f"warmup_steps {self.warmup_steps} leaves nothing of {self.iterations} iterations"
        if self.train_on is TrainOn.LAST_TURN and not self.mask_prompt and self.method is Method.SFT:
            yield "train_on 'last-turn' needs mask_prompt, without which every token is trained"
        yield from self._method_contradictions()

    def _method_contradictions(self) -> Iterator[str]:
        rewarded = self.method.family is Family.REWARDS
        if rewarded and not self.rewards:
            yield f"method '{self.method}' needs rewards"
        names = [reward.name for reward in self.rewards]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield f"rewards names {', '.join(twice)} twice"
        if self.fine_tune_type is FineTuneType.FULL and self.needs_reference:
            yield "fine_tune_type 'full' keeps no base model to compare with; use 'lora', or beta 0"

    @property
    def needs_reference(self) -> bool:
        """Whether the base model's probabilities are part of the loss."""
        return self.method is Method.DPO or (self.method.family is Family.REWARDS and self.beta > 0)

    @property
    def reference(self) -> str | None:
        """The adapter that the loss compares with; None where that is the bare base model, or where nothing is."""
        if not self.needs_reference or self.reference_adapter == NO_ADAPTER:
            return None
        return self.reference_adapter or self.init_adapter

    @property
    def completions_per_step(self) -> int:
        """Sampled completions that make one optimizer step."""
        return self.prompts_per_step * self.num_generations

    @property
    def lora_scale(self) -> float:
        """The factor on the update B·A: 1.0 at rank 32, alpha 32 and `standard` scaling."""
        match self.lora_scaling:
            case LoraScaling.STANDARD:
                return self.lora_alpha / self.lora_rank
            case LoraScaling.RSLORA:
                return self.lora_alpha / math.sqrt(self.lora_rank)
            case LoraScaling.RAW:
                return self.lora_alpha

    def changed(self) -> dict[str, Any]:
        """The settings that differ from their method's defaults, as JSON values."""
        values = self.model_dump(mode="json")
        defaults = self.defaults() | method_defaults(self.method)
        return {name: value for name, value in values.items() if value != defaults[name]}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Each setting's default, whatever the method."""
        return {name: field.default for name, field in cls.model_fields.items()}

    def warnings(self) -> list[str]:
        """Settings that are legal but unusual or without effect, each as a sentence."""
        return [*self._unusual(), *self._without_effect()]

    def _unusual(self) -> list[str]:
        warnings = []
        if self.validation is Validation.NONE:
            warnings.append(
                "validation 'none': the run cannot tell learning from learning by heart; it keeps the last weights, "
                "not the best ones, and does not stop early"
            )
        if self.fine_tune_type is not FineTuneType.FULL:
            if self.lora_rank > LARGE_RANK:
                warnings.append(f"lora_rank {self.lora_rank} is above {LARGE_RANK}: memory and time grow with it")
            if self.lora_alpha < self.lora_rank and self.lora_scaling is LoraScaling.STANDARD:
                warnings.append(
                    f"lora_alpha {self.lora_alpha:g} is below lora_rank {self.lora_rank}: "
                    f"the update is scaled by {self.lora_scale:g}; alpha equal to the rank gives 1.0"
                )
            if self.lora_scale > HIGH_SCALE:
                usual = f"a factor of up to {HIGH_SCALE:g} is usual"
                if self.lora_scaling is not LoraScaling.STANDARD:
                    usual += f"; with standard scaling, alpha {self.lora_scale * self.lora_rank:g} does the same"
                warnings.append(
                    f"lora_alpha {self.lora_alpha:g} at lora_rank {self.lora_rank} ({self.lora_scaling}) multiplies "
                    f"the update by {self.lora_scale:g}; {usual}"
                )
        elif self.learning_rate > 5e-5:
            warnings.append(f"learning_rate {self.learning_rate:g} is high for full fine-tuning; 1e-5 is usual")
        return [*warnings, *self._unusual_for_method()]

    def _unusual_for_method(self) -> Iterator[str]:
        once = self.method.family is Family.REWARDS and self.steps_per_generation * self.num_iterations == 1
        if once and (self.method is Method.GSPO or {"epsilon", "epsilon_high"} & self.changed().keys()):
            yield (
                "each rollout serves one step, so every ratio is 1, nothing is clipped and 'gspo' equals 'grpo': "
                "epsilon matters only with steps_per_generation or num_iterations of 2 or more"
            )
        if self.method is Method.GSPO and self.epsilon > 0.05:
            yield f"epsilon {self.epsilon:g} almost never clips a ratio of whole sequences; GSPO's paper has 3e-4"
        if self.method in (Method.GRPO, Method.DR_GRPO) and self.epsilon < 0.01:
            yield f"epsilon {self.epsilon:g} clips nearly every ratio of single tokens; 0.2 is usual"
        if self.method is Method.DR_GRPO and self.scale_rewards is not ScaleRewards.NONE:
            yield f"scale_rewards '{self.scale_rewards}' divides by the standard deviation, which Dr. GRPO leaves out"
        if self.method is Method.DR_GRPO and self.loss_type is not LossType.DR_GRPO:
            yield f"loss_type '{self.loss_type}' normalises by length, which Dr. GRPO leaves out"
        if self.method.family is Family.REWARDS and self.lora_dropout > 0:
            yield f"lora_dropout {self.lora_dropout:g}: completions are sampled without it, so ratios are noisy"

    def _without_effect(self) -> list[str]:
        given = self.changed()
        rules: list[tuple[set[str], bool, str]] = [
            (
                {name for name in type(self).model_fields if name.startswith("lora_")},
                self.fine_tune_type is FineTuneType.FULL,
                "with fine_tune_type 'full', which trains the weights themselves",
            ),
            ({"compute_dtype"}, self.fine_tune_type is FineTuneType.FULL, "with fine_tune_type 'full' on a CPU"),
            ({"patience", "min_delta"}, not self.early_stop, "with early_stop off"),
            (
                {"adam_beta2", "adam_eps", "adam_bias_correction"},
                self.optimizer is Optimizer.SGD,
                "with optimizer 'sgd'",
            ),
            (
                {"adam_eps", "adam_bias_correction"},
                self.optimizer is Optimizer.LION,
                "with optimizer 'lion'",
            ),
            ({"weight_decay"}, self.optimizer is Optimizer.ADAM, "with optimizer 'adam'; use 'adamw'"),
            ({"lr_end_fraction"}, self.lr_schedule is LrSchedule.CONSTANT, "with a constant lr_schedule"),
            ({"split_by"}, self.split_column is not None, "when split_column is given"),
            ({"reference_adapter"}, not self.needs_reference, "with beta 0, which compares with nothing"),
            ({"validation_fraction"}, self.val_data_path is not None, "when val_data_path is given"),
            (
                {"validation_fraction", "steps_per_eval", "patience", "min_delta", "max_eval_prompts"},
                self.validation is Validation.NONE,
                "with validation 'none'",
            ),
            (set(without_effect(self.method)), True, f"with method '{self.method}'"),
        ]
        # Full fine-tuning still counts its layers, so `lora_num_layers` keeps its meaning there.
        return [
            f"{name} has no effect {why}"
            for names, applies, why in rules
            if applies
            for name in sorted((names & given.keys()) - {"lora_num_layers"})
        ]

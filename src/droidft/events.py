"""Everything a run can say, as one tagged union.

`train()` yields these objects; the worker writes each as one JSON line of `events.jsonl` with a sequence
number and a time (`Record`). A reader that meets an unknown `type` came with an older program.

Standard library and pydantic only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class PhaseName(StrEnum):
    """What the worker is busy with."""

    PREPARING_DATA = "preparing data"
    LOADING = "loading model"
    EVALUATING = "evaluating"
    SAMPLING = "sampling"
    MEASURING = "measuring"
    TRAINING = "training"


class RunStarted(_Event):
    """The first event: what is run, on what."""

    type: Literal["run_started"] = "run_started"
    config: dict[str, Any]
    """The `TrainingConfig` as JSON."""
    versions: dict[str, str]
    """Versions of droidft, mlx, mlx-lm, python."""
    device: dict[str, Any]
    """Device, BLAS and memory as `droidft doctor` shows them."""
    resumed_from_step: int | None = None
    """Step of the checkpoint this run continues from."""


class Phase(_Event):
    """A stretch of work began."""

    type: Literal["phase"] = "phase"
    name: PhaseName
    detail: str = ""


class DataPrepared(_Event):
    """Data was read, checked, tokenized and masked."""

    type: Literal["data_prepared"] = "data_prepared"
    train_rows: int
    val_rows: int
    train_tokens: int
    val_tokens: int
    train_supervised_tokens: int
    val_supervised_tokens: int
    truncated_rows: int
    dropped_rows: int
    max_seq_length: int
    format: str
    split: str
    """How validation rows were obtained, as a sentence."""
    data_hash: str
    """SHA-256 over the tokens and masks of both sets."""


class TargetCount(BaseModel):
    """One adapted key and what it costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    modules: int
    trainable: int


class LoraAttached(_Event):
    """Adapters are in place; counts are exact."""

    type: Literal["lora_attached"] = "lora_attached"
    targets: list[TargetCount]
    trainable: int
    total: int
    rank: int
    alpha: float
    scale: float
    scaling: str = "standard"
    dropout: float
    num_layers: int
    log_line: str
    """`LoRA Configuration: rank=32, alpha=32.0, scale=1.0, dropout=0.0, layers=-1, keys=7`"""


class TrainingPlan(_Event):
    """How long the run is, before its first step."""

    type: Literal["plan"] = "plan"
    steps: int
    steps_per_epoch: int
    epochs: float
    effective_batch: int
    widths: list[int] = []
    """Tokens that batches are padded to, where a step is compiled for each of these; none where any will do."""
    padding: float | None = None
    """Share of padding in such batches, where it is known beforehand."""


class TrainReport(_Event):
    """Means over the steps since the last report."""

    type: Literal["train_report"] = "train_report"
    step: int
    epoch: float
    loss: float
    """Nats per supervised token; of methods that learn from rewards or preferences, their own loss."""
    learning_rate: float
    grad_norm: float
    """Largest global norm in the window, before clipping."""
    tokens_per_second: float
    supervised_tokens_per_second: float
    tokens: int
    """Tokens seen since step 0, padding not counted."""
    supervised_tokens: int
    peak_memory_bytes: int
    rss_bytes: int
    seconds_left: float | None
    """None until the first step has been timed."""
    metrics: dict[str, float] = {}
    """What the method measures besides: means over the steps since the last report, by the names of `METRICS`."""


class EvalReport(_Event):
    """Loss on the whole validation set."""

    type: Literal["eval_report"] = "eval_report"
    step: int
    loss: float
    """What is to fall: nats per supervised token, the loss of preferences, or minus the mean reward."""
    tokens: int
    best: bool
    best_loss: float
    best_step: int
    seconds: float
    metrics: dict[str, float] = {}
    """What the method measures besides, by the names of `METRICS`."""


class SampledCompletion(BaseModel):
    """One completion and what it earned."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    place: str
    """`file:line` of its prompt."""
    prompt: str
    completion: str
    rewards: dict[str, float]
    """By the name of each reward, unweighted."""
    reward: float
    """Their weighted sum."""
    advantage: float
    tokens: int
    truncated: bool
    """Whether it was cut off before the model ended it."""


class Completions(_Event):
    """Some of the completions that a step was trained on."""

    type: Literal["completions"] = "completions"
    step: int
    rows: list[SampledCompletion]


class Measured(_Event):
    """The trained model was held against data that it was not trained on, as an experiment asked."""

    type: Literal["measured"] = "measured"
    step: int
    """Of the measured weights; 0 is the base model."""
    test_loss: float
    """Nats per supervised token of the test set."""
    general_loss: float
    """Nats per token of the general text."""
    right: int | None = None
    """Questions answered rightly, of `questions`."""
    questions: int | None = None
    seconds: float


class CheckpointSaved(_Event):
    """A checkpoint is complete on disk."""

    type: Literal["checkpoint_saved"] = "checkpoint_saved"
    step: int
    best: bool
    bytes: int


class Warned(_Event):
    """Something the user should know; the run goes on."""

    type: Literal["warning"] = "warning"
    code: str
    message: str


class EarlyStopped(_Event):
    """The validation loss stopped improving."""

    type: Literal["early_stopped"] = "early_stopped"
    step: int
    best_step: int
    best_loss: float
    evaluations_without_improvement: int


class Stopped(_Event):
    """The user stopped the run; a checkpoint was saved."""

    type: Literal["stopped"] = "stopped"
    step: int


class Failed(_Event):
    """The run ended with an error."""

    type: Literal["failed"] = "failed"
    code: str
    message: str
    hint: str = ""
    step: int | None = None


class Finished(_Event):
    """The run did all it was asked to."""

    type: Literal["finished"] = "finished"
    step: int
    best_step: int | None
    best_loss: float | None
    final_loss: float | None
    seconds: float


Event = Annotated[
    RunStarted
    | Phase
    | DataPrepared
    | LoraAttached
    | TrainingPlan
    | TrainReport
    | EvalReport
    | Completions
    | Measured
    | CheckpointSaved
    | Warned
    | EarlyStopped
    | Stopped
    | Failed
    | Finished,
    Field(discriminator="type"),
]

METRICS = {
    "reward": "Mean of the weighted sum of rewards.",
    "reward_std": "Its standard deviation over all completions of a step.",
    "reward/NAME": "Mean of the reward NAME, unweighted.",
    "reward_std/NAME": "Its standard deviation over all completions of a step.",
    "tied_groups": "Share of groups whose completions all earned the same: they teach nothing.",
    "kl": "KL divergence from the base model, in nats per token (k3 estimate); with beta above 0.",
    "clip_low": "Share of tokens whose ratio was clipped from below.",
    "clip_high": "Share of tokens whose ratio was clipped from above.",
    "entropy": "Entropy of the sampling policy, in nats per token.",
    "completion_length": "Mean length of completions in tokens, the end token included.",
    "completion_length_max": "Length of the longest completion of a step in tokens, a mean over steps.",
    "truncated": "Share of completions cut off at max_completion_length.",
    "sampling_tokens_per_second": "Tokens sampled per second of sampling.",
    "accuracy": "Share of pairs in which the chosen answer is rated above the rejected one.",
    "margin": "Mean rating of the chosen answer above the rejected one.",
    "reward_chosen": "Mean rating of chosen answers: beta times their gain in log-probability over the base.",
    "reward_rejected": "The same of rejected answers.",
    "logp_chosen": "Mean log-probability of chosen answers, in nats (of a token, for orpo).",
    "logp_rejected": "The same of rejected answers.",
    "nll": "Loss on chosen answers, in nats per token (orpo).",
    "log_odds": "Mean log odds ratio of chosen over rejected answers (orpo).",
}
"""Names of metrics in reports and what they are; NAME stands for the name of a reward."""

TERMINAL_EVENTS = (Stopped, Failed, Finished)


class Record(BaseModel):
    """One line of `events.jsonl`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seq: int
    time: float
    """Seconds since the epoch."""
    event: Event

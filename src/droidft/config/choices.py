"""Settings with a fixed set of values."""

from __future__ import annotations

from enum import StrEnum


class Method(StrEnum):
    """What the model learns from: answers, rewards of its own completions, or preferences between two answers."""

    SFT = "sft"
    GRPO = "grpo"
    GSPO = "gspo"
    DR_GRPO = "dr_grpo"
    DPO = "dpo"
    ORPO = "orpo"

    @property
    def family(self) -> Family:
        """What its data has to hold."""
        if self is Method.SFT:
            return Family.ANSWERS
        return Family.PREFERENCES if self in (Method.DPO, Method.ORPO) else Family.REWARDS


class Family(StrEnum):
    """What a method learns from."""

    ANSWERS = "answers"
    REWARDS = "rewards"
    PREFERENCES = "preferences"


class LossType(StrEnum):
    """How the losses of single tokens become the loss of an optimizer step (GRPO, GSPO, Dr. GRPO)."""

    GRPO = "grpo"
    DAPO = "dapo"
    BNPO = "bnpo"
    DR_GRPO = "dr_grpo"


class ScaleRewards(StrEnum):
    """What a completion's lead over its group is divided by to give its advantage."""

    GROUP = "group"
    BATCH = "batch"
    NONE = "none"


class FineTuneType(StrEnum):
    """What is trained."""

    LORA = "lora"
    DORA = "dora"
    FULL = "full"


class LoraTargets(StrEnum):
    """Which projections get an adapter; resolved on the model's real module tree."""

    FULL_LAYER = "full-layer"
    ATTENTION_QV = "attention-qv"
    ATTENTION = "attention"
    MLP = "mlp"
    ALL_LINEAR = "all-linear"
    CUSTOM = "custom"


class LoraScaling(StrEnum):
    """How `lora_alpha` and `lora_rank` become the factor on B·A."""

    STANDARD = "standard"
    RSLORA = "rslora"
    RAW = "raw"


class LoraRouters(StrEnum):
    """Whether mixture-of-experts routers are adapted too."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Optimizer(StrEnum):
    """The update rule."""

    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"
    LION = "lion"


class LrSchedule(StrEnum):
    """The shape of the learning rate after warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class SplitBy(StrEnum):
    """Unit of the split: what stays together when rows are held out, set aside or left out."""

    ROW = "row"
    CONVERSATION = "conversation"


class TrainOn(StrEnum):
    """Which of the assistant's turns are trained, where `mask_prompt` leaves it at those."""

    ALL_TURNS = "all-turns"
    LAST_TURN = "last-turn"


class SystemRole(StrEnum):
    """What becomes of system turns."""

    AUTO = "auto"
    FOLD = "fold"
    REFUSE = "refuse"


class Validation(StrEnum):
    """Where validation rows come from."""

    AUTO = "auto"
    NONE = "none"


class LongRows(StrEnum):
    """What becomes of a row with more tokens than the limit."""

    CUT = "cut"
    SPLIT = "split"
    REFUSE = "refuse"


class ComputeDtype(StrEnum):
    """What frozen weights are kept in and multiplied in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class DataFormat(StrEnum):
    """What a row of training data looks like."""

    AUTO = "auto"
    TEXT = "text"
    COMPLETION = "completion"
    INSTRUCTION = "instruction"
    CHAT = "chat"
    SHAREGPT = "sharegpt"

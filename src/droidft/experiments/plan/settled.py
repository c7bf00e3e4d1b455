"""A plan with nothing left open, as it is written down before the first step: `plan.json` of an experiment folder.

Which runs there are, in which order, and the settings of each follow from it alone (`cells`, `config_of`), so an
experiment that was interrupted at any point goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from droidft.config import TrainingConfig
from droidft.config.measurement import Measurement
from droidft.experiments.plan.written import BASE, Plan

EVALUATIONS = 8
"""How often a run is evaluated, where steps_per_eval is not given."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class FixedArm(_Model):
    """An arm as it will be trained."""

    name: str
    differs: dict[str, object]
    """Its own settings, the matched rank included."""
    rank: int
    alpha: float
    scale: float
    trainable: int
    total: int
    matched: str | None
    """The arm whose trainable count it matches."""
    steps: dict[str, int]
    """Optimizer steps of a run, by share of the data (`"1"`, `"0.25"`)."""
    config: dict[str, Any] | None = None
    """All other settings, with the defaults of that day. None: it was fixed before these were kept."""

    def evaluates_by_setting(self, plan: Plan) -> bool:
        """Whether the plan says how often this arm is evaluated."""
        return "steps_per_eval" in plan.settings.keys() | plan.all_arms()[self.name].settings.keys()


LOADING_SECONDS = 5.0
"""Of each run, to read model and data."""


class Cost(_Model):
    """What an arm takes on this machine: measured in a few steps before the start."""

    arm: str
    seconds_per_token: float
    """Of training: forward, backward, update."""
    evaluation_seconds_per_token: float
    peak_bytes: int
    """With the longest batch, by MLX's own account."""
    seconds_per_run: float
    """A run with all of the data: loading, training, evaluations and the measurement. Tasks of a harness are not
    timed."""
    seconds_by_share: dict[str, float] = {}
    """The same with each share of the data, on which no questions are asked."""
    measuring_seconds: float = 0.0
    """Of a run with all of the data, the measurement at its end."""

    @property
    def base_seconds(self) -> float:
        """The base model's run, which is measured but not trained."""
        return LOADING_SECONDS + self.measuring_seconds

    def seconds(self, share: float) -> float:
        """A run with a share of the data; in proportion where that was not yet worked out."""
        if share == 1:
            return self.seconds_per_run
        return self.seconds_by_share.get(share_key(share), self.seconds_per_run * share)


class Estimate(_Model):
    """What the whole experiment takes, from the measured steps."""

    runs: int
    seconds: float
    peak_bytes: int
    disk_bytes: int


class Sizes(_Model):
    """Rows and tokens of each set, all of the training data."""

    train_rows: int
    validation_rows: int
    test_rows: int
    general_rows: int
    questions: int
    clusters: int
    """Groups of test rows that belong together."""
    train_tokens: int
    validation_tokens: int
    test_tokens: int
    general_tokens: int
    seen_in_training: int
    """Test rows that are also in the training or validation set."""
    opened_in_training: int | None = None
    """Further test rows that belong together with rows of the training or validation set. None: they were not yet
    counted when the plan was fixed."""
    split: str
    """How the sets were made, as a sentence."""


class FixedPlan(_Model):
    """All that is decided before the first step."""

    id: str
    created: float
    """Seconds since the epoch."""
    plan: Plan
    arms: list[FixedArm]
    contrasts: list[tuple[str, str]]
    sizes: Sizes
    data_hash: str
    """SHA-256 over tokens and masks of the training and validation set."""
    test_hash: str
    general_hash: str
    base_hash: str
    """SHA-256 of the base model's weights."""
    model: str
    versions: dict[str, str]
    device: dict[str, Any]
    warnings: list[str] = []
    costs: list[Cost] = []
    estimate: Estimate | None = None

    def arm(self, name: str) -> FixedArm:
        """The arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)


class Cell(_Model):
    """One run of an experiment."""

    arm: str
    seed: int = 0
    share: float = 1.0
    rate: int = 0
    """Index among the learning rates that are tried."""

    @property
    def key(self) -> str:
        """Its place, as in the id of its run: `full-layer.s0`, `full-layer.r2.d25.s0`."""
        if self.arm == BASE:
            return BASE
        rate = f".r{self.rate}" if self.rate else ""
        share = ".d" + f"{self.share * 100:g}".replace(".", "_") if self.share < 1 else ""
        return f"{self.arm}{rate}{share}.s{self.seed}"


def run_id(fixed: FixedPlan, cell: Cell) -> str:
    """The id of the run of `cell`: the same whenever it is asked for."""
    return f"{fixed.id}.{cell.key}"


def first_cells(fixed: FixedPlan) -> Iterator[Cell]:
    """The base model, then every arm with all of the data: seed by seed, so that early results come in pairs."""
    plan = fixed.plan
    yield Cell(arm=BASE)
    for seed in plan.seeds:
        for rate in range(len(plan.learning_rates or [0])):
            for arm in fixed.arms:
                yield Cell(arm=arm.name, seed=seed, rate=rate)


def later_cells(fixed: FixedPlan, chosen: Mapping[str, int]) -> Iterator[Cell]:
    """Every arm with a part of the data, at the learning rate that was `chosen` for it."""
    plan = fixed.plan
    for seed in plan.seeds:
        for share in plan.shares:
            if share < 1:
                for arm in fixed.arms:
                    if arm.name in chosen:
                        yield Cell(arm=arm.name, seed=seed, share=share, rate=chosen[arm.name])


def count_of_runs(fixed: FixedPlan) -> int:
    """How many runs there are, the base model's included."""
    return sum(1 for _ in first_cells(fixed)) + sum(
        1 for _ in later_cells(fixed, {arm.name: 0 for arm in fixed.arms})
    )


def config_of(fixed: FixedPlan, cell: Cell) -> TrainingConfig:
    """The settings of the run of `cell`."""
    plan = fixed.plan
    arm = fixed.arms[0] if cell.arm == BASE else fixed.arm(cell.arm)
    rate = plan.learning_rates[cell.rate] if plan.learning_rates else None
    changes: dict[str, object] = {"lora_rank": arm.rank, "lora_alpha": arm.alpha}
    if not arm.evaluates_by_setting(plan):
        changes["steps_per_eval"] = -(-arm.steps[share_key(cell.share)] // EVALUATIONS)
    if arm.config is None:
        config = plan.config(arm.name, seed=cell.seed, share=cell.share, learning_rate=rate)
    else:
        config = TrainingConfig.model_validate(arm.config | {"seed": cell.seed, "train_fraction": cell.share})
        changes |= {} if rate is None else {"learning_rate": rate}
    return config.model_copy(update=changes)


def measurement_of(fixed: FixedPlan, cell: Cell) -> Measurement:
    """What is measured of the run of `cell`: answers only with all of the data, since the curve is of losses."""
    wanted = fixed.plan.measurement
    return wanted if cell.share == 1 else wanted.model_copy(update={"questions": None, "harness": None})


def share_key(share: float) -> str:
    """A share of the data as a key: `0.25`."""
    return f"{share:g}"

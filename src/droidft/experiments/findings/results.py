"""What an experiment has shown, as its report and the server give it. Every number follows from measured files.

Losses are means in nats per supervised token; a difference is the first arm's less the second's, so that below zero
the first is better. Intervals are of 95 %.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from droidft.experiments.plan.settled import FixedPlan


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class Interval(_Model):
    """A value with its 95 % interval; without one where there is too little to say."""

    value: float
    low: float | None
    high: float | None


class PerSeed(_Model):
    """One figure of an arm: its mean over seeds, and each seed's."""

    mean: float
    values: list[float]
    """In the order of the plan's seeds, of the runs that are done."""
    sd: float | None
    """Standard deviation between seeds; of one seed, none."""


class ArmResult(_Model):
    """What one arm did with all of the data, at the learning rate that was chosen for it."""

    arm: str
    rank: int
    trainable: int
    total: int
    learning_rate: float
    seeds: list[int]
    """Those whose runs are done."""
    validation_loss: PerSeed
    """The lowest of each run."""
    test_loss: PerSeed
    test_interval: Interval
    """The mean test loss; examples and seeds both vary."""
    general_loss: PerSeed
    forgetting: Interval | None
    """General loss less that of the base model: above zero is forgotten."""
    accuracy: PerSeed | None
    """Share of questions answered rightly."""
    seconds: PerSeed
    """Of training, without evaluations."""
    tokens_per_second: PerSeed
    peak_bytes: int
    adapter_bytes: int
    steps: PerSeed
    """Of the weights that were measured."""
    rates: list[RateResult]
    """Every learning rate that was tried."""


class RateResult(_Model):
    """One learning rate of an arm."""

    learning_rate: float
    validation_loss: PerSeed | None
    """None: a run diverged."""
    chosen: bool


class BaseResult(_Model):
    """The base model: run zero."""

    test_loss: float
    test_interval: Interval
    general_loss: float
    accuracy: float | None
    questions: int | None


class Kind(StrEnum):
    """What a comparison says."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    NO_DETECTABLE_DIFFERENCE = "no_detectable_difference"
    PENDING = "pending"
    """Too few runs are done."""


class Needed(_Model):
    """What would detect a difference as large as the margin, with a power of 80 %; None: that alone never would."""

    effect: float
    seeds: int | None
    examples: int | None


class ScoreResult(_Model):
    """Questions answered by both arms."""

    name: str
    """`questions`, or a task and metric of the harness."""
    first: float
    second: float
    difference: Interval
    """Without an interval where almost no question separates the arms."""
    telling: int
    """Questions that the arms answer differently under one seed or more."""
    only_first: int
    """Questions that only the first arm answers rightly, in most of its seeds."""
    only_second: int
    mcnemar_p: float
    """Exact, two-sided, of the answers of most seeds: for these trained models, other seeds left out of account."""
    adjusted_p: float
    """Corrected likewise, over all contrasts and tasks."""
    questions: int


class Reaches(_Model):
    """Data efficiency: the share of the data with which the first arm has the second's loss with all of it."""

    share: float | None
    """None: it is not reached with all of the data, or (`below`) with the smallest share already."""
    low: float | None
    """None: below the smallest share that was measured."""
    high: float | None
    """None: above all of the data."""
    smallest: float
    """The smallest share that was measured."""
    below: bool
    """It has that loss with the smallest share already."""
    sentence: str


class ContrastResult(_Model):
    """Two arms compared."""

    first: str
    second: str
    kind: Kind
    exploratory: bool
    sentence: str
    difference: Interval | None
    p: float | None
    adjusted_p: float | None
    """Corrected for the learning rates that were tried, and by Holm for all contrasts that are read."""
    equivalence_p: float | None
    """Of the test that the difference is within the margin, corrected likewise."""
    degrees_of_freedom: float | None
    per_seed: list[float]
    seed_sd: float | None
    """Standard deviation of the difference between seeds."""
    variance_of_seeds: float | None
    variance_of_examples: float | None
    """Parts of the estimate's variance."""
    perplexity_ratio: Interval | None
    examples_better: float | None
    """Share of test rows on which the first arm is better, a mean over seeds."""
    forgetting: Interval | None
    """Difference of general losses."""
    scores: list[ScoreResult]
    reaches: Reaches | None
    needed: Needed | None


class CurvePoint(_Model):
    """Test loss at one share of the data."""

    share: float
    """Of the training rows, as they were trained on: where rows stay together, it is not quite that of the plan."""
    rows: int
    loss: Interval
    values: list[float]
    """Of each seed."""


class Curve(_Model):
    """Test loss over the share of the data, for one arm."""

    arm: str
    points: list[CurvePoint]


class NoiseFloor(_Model):
    """How far two means of the same arm lie apart by its seeds alone."""

    sd: float
    """Between seeds of one arm, pooled over arms."""
    difference: float
    """95 % of such differences are smaller."""


class SweepRow(_Model):
    """One combination of a sweep, in the order of its runs."""

    arm: str
    settings: dict[str, object]
    validation_loss: PerSeed | None
    """None: a run diverged."""
    best_so_far: float | None
    """None: none before it has converged."""


class RunRow(_Model):
    """One run."""

    run: str
    arm: str
    seed: int | None
    share: float
    learning_rate: float | None
    status: str
    """`waiting` until it is made; then as that of any run."""
    validation_loss: float | None
    test_loss: float | None
    general_loss: float | None
    right: int | None
    seconds: float | None
    """Of training, without evaluations; of the base model, of its measurement."""
    whole_seconds: float | None
    """Of all of it, with evaluations and its measurement; without loading."""
    step: int | None
    steps: int | None
    tokens: int | None
    """Trained, padding left out."""
    peak_bytes: int | None
    adapter_bytes: int | None


class TableRow(_Model):
    """One line of the table: each arm's figure, and the difference of each contrast."""

    name: str
    values: list[str]
    """Of each arm, as text."""
    differences: list[str]
    """Of each contrast, as text, with its interval where there is one."""


class Table(_Model):
    """The figures side by side."""

    arms: list[str]
    contrasts: list[str]
    rows: list[TableRow]


class Analysis(_Model):
    """All that an experiment has shown so far."""

    plan: FixedPlan
    complete: bool
    verdict: str
    """The answer in a sentence or two."""
    runs: list[RunRow]
    base: BaseResult | None
    arms: list[ArmResult]
    contrasts: list[ContrastResult]
    noise_floor: NoiseFloor | None
    curves: list[Curve]
    sweep: list[SweepRow]
    table: Table | None
    notes: list[str]
    """What limits the conclusions."""

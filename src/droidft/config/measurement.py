"""What a trained model is measured on after its run, and what came of it.

`measure.json` of a run folder says what to measure: a test set, a general text, questions, tasks of a harness.
`measured.json` holds the result, row by row: written once, by the worker, after training. Every figure of an
experiment's report comes from these files.

Nothing here changes a trained bit: a run with a measurement trains exactly as one without.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from droidft.config.rewards import Column, ExactAnswer, NumericAnswer

Check = Annotated[ExactAnswer | NumericAnswer, Field(discriminator="kind")]
"""How an answer is judged: right or wrong."""


class _Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


class Weights(StrEnum):
    """Which weights of a run are measured."""

    BEST = "best"
    LAST = "last"


class Questions(_Settings):
    """Test rows answered by the model, one greedy answer each, which is right or wrong."""

    check: Check
    """How an answer is judged: `kind: exact_answer` or `kind: numeric_answer`, with their parameters."""
    most: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Questions that are answered, always the same ones of the test set."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Tokens after which an answer is cut off."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Questions answered at once; changes memory and speed only."""

    @field_validator("check", mode="before")
    @classmethod
    def _by_kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class Harness(_Settings):
    """Tasks of EleutherAI's evaluation harness (`pip install "droidft[harness]"`)."""

    tasks: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=50)]
    """Names of tasks, such as `mmlu` or `arc_easy`."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Questions of each task. Default: all."""
    num_fewshot: Annotated[int, Field(ge=0, le=100)] | None = None
    """Examples before each question. Default: the task's own."""
    include: str | None = None
    """Folder with task files of your own."""


class Measurement(_Settings):
    """What is measured after a run, and of which weights."""

    test_data_path: Annotated[str, Field(min_length=1)] | None = None
    """Test data, in the form of the training data: a file, or a folder or hub data set with a test split. Default:
    the rows that `test_fraction` set aside."""
    general_data_path: Annotated[str, Field(min_length=1)] | None = None
    """A general text that was not trained on, to see what is forgotten. Default: one that is included."""
    cluster_column: Column | None = None
    """Column of the test data that names what a row belongs to, such as a conversation: its rows are no independent
    evidence. Default: rows with the same opening belong together."""
    questions: Questions | None = None
    """Test rows to be answered, where their answers can be checked."""
    harness: Harness | None = None
    """Tasks of the evaluation harness."""
    weights: Weights = Weights.BEST
    """`best` by validation loss, or `last`."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, values: Any) -> Any:
        """`questions: numeric_answer` will do."""
        if isinstance(values, dict) and isinstance(values.get("questions"), str):
            return values | {"questions": {"check": values["questions"]}}
        return values


class Expected(_Settings):
    """SHA-256 of what the plan of an experiment was fixed with; a run that finds something else is refused."""

    training: str | None
    """Of the training and validation rows; None where a part of the data is trained on."""
    test: str
    general: str
    base: str
    """Of the base model's weights."""


class RunMeasurement(_Settings):
    """`measure.json` of a run folder: what to measure after it, and where it belongs."""

    measurement: Measurement
    experiment: str
    """Id of the experiment that the run is part of."""
    cell: str
    """Its place there."""
    base: bool = False
    """Measure the base model; nothing is trained."""
    expected: Expected | None = None


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class RowLosses(_Values):
    """Negative log-likelihood of each row of a set; all lists have one entry a row, in the order of the data."""

    losses: list[float]
    """Summed over the row's supervised tokens, in nats."""
    tokens: list[int]
    """Supervised tokens of the row."""
    clusters: list[int]
    """Which rows belong together: equal numbers are one conversation."""
    places: list[str]
    """`file:line` of the row."""
    data_hash: str
    """SHA-256 over the rows' tokens and masks: equal in every run that was measured on the same data."""

    @model_validator(mode="after")
    def _of_rows(self) -> Self:
        columns = (self.losses, self.tokens, self.clusters, self.places)
        if len({len(column) for column in columns}) != 1 or sum(self.tokens) < 1 or min(self.tokens) < 0:
            raise ValueError("losses, tokens, clusters and places are not of the same rows")
        return self

    @property
    def mean(self) -> float:
        """Nats per supervised token."""
        return sum(self.losses) / sum(self.tokens)


class Answers(_Values):
    """Greedy answers to some of the test rows."""

    check: str
    """How they were judged."""
    rows: list[int]
    """Which rows of the test set were asked, by their index there."""
    right: list[bool]
    answers: list[str]

    @model_validator(mode="after")
    def _of_rows(self) -> Self:
        if not len(self.rows) == len(self.right) == len(self.answers):
            raise ValueError("rows, right and answers have different lengths")
        return self


class TaskScore(_Values):
    """One task of the evaluation harness by one of its metrics."""

    task: str
    version: str
    metric: str
    value: float
    scores: list[float]
    """Of each question, in the task's own order."""


class Measurements(_Values):
    """All that was measured of one model."""

    step: int
    """Optimizer step of the weights; 0 is the base model."""
    test: RowLosses
    general: RowLosses
    questions: Answers | None = None
    harness: list[TaskScore] = []
    seen_in_training: int
    """Test rows that are also in the training set, token for token."""
    seconds: float

"""`measured.json` of a run folder: what its model did on data that it was not trained on, row by row.

Written once, by the worker, after training. Every figure of an experiment's report comes from these files.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


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

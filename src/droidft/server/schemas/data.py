"""Data files, checks, the token view."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from droidft.server.schemas.base import ErrorBody, Wire


class DataFile(Wire):
    """A data file below the home folder's `data/`."""

    name: str
    path: str
    """What to give as `train_data_path`."""
    bytes: int
    modified: float


class DataSettings(Wire):
    """The part of a configuration that says what the data is and how it is cut; `model_path` for its tokenizer."""

    train_data_path: Annotated[str, Field(min_length=1, max_length=4096)]
    val_data_path: str | None = None
    model_path: str | None = None
    settings: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Further settings of `TrainingConfig`: format, columns, mask_prompt, max_seq_length, seed, batch_size …"""


class ViewRequest(DataSettings):
    """Rows to see token by token."""

    rows: Annotated[list[Annotated[int, Field(ge=0, le=10**9)]], Field(min_length=1, max_length=20)]


class Fault(Wire):
    """One fault in a data file."""

    file: str
    line: int | None
    offset: int | None
    kind: str
    reason: str
    fix: str


class Places(Wire):
    """Rows with one property: how many, and the first of them as `file:line`."""

    count: int
    first: list[str]


class LengthBin(Wire):
    """Rows whose uncut length lies in [low, high)."""

    low: int
    high: int
    rows: int


class SetReport(Wire):
    """One of the two sets, in tokens."""

    rows: int
    tokens: int
    supervised_tokens: int
    lengths: dict[str, int]
    """min, p5, p25, p50, p75, p95, p99, max."""
    histogram: list[LengthBin]
    truncated: Places
    cut_tokens: int
    lost_end_of_turn: Places
    duplicates: Places
    flagged: dict[str, Places]
    ends_in_eos: int


class TokenReport(Wire):
    """What training would make of the data."""

    train: SetReport
    validation: SetReport
    overlap: Places
    max_seq_length: int
    format: str
    split: str
    data_hash: str
    warnings: list[str]
    notes: list[str]


class FileReport(Wire):
    """One set, before tokens."""

    files: list[str]
    format: str
    rows: int
    bytes: int
    duplicates: Places


class StructureReport(Wire):
    """The checks that need no tokenizer."""

    train: FileReport
    validation: FileReport | None
    overlap: Places
    notes: list[str]


class StepPlan(Wire):
    """How long a run on this data is."""

    steps: int
    steps_per_epoch: int
    epochs: float
    effective_batch: int


class DataCheck(Wire):
    """The result of a data check: faults, or what the data is."""

    ok: bool
    fault_count: int
    faults: list[Fault]
    structure: StructureReport | None
    tokens: TokenReport | None
    """With a model only."""
    token_problem: ErrorBody | None
    """Why tokens could not be counted though there is a model: it is not here, or has no usable tokenizer."""
    plan: StepPlan | None


class Piece(Wire):
    """Tokens shown together."""

    ids: list[int]
    text: str
    state: Literal["trained", "masked", "cut"]


class RowView(Wire):
    """A row token by token."""

    row: int
    file: str
    line: int
    pieces: list[Piece]
    warnings: list[str]
    part: str = ""
    """`prompt` in data for rewards, `chosen` or `rejected` in preferences."""


class RowViews(Wire):
    """The rows asked for, or the faults that keep them from being shown."""

    rows: list[RowView]
    faults: list[Fault]

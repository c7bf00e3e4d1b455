"""Data files, checks, the token view."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from droidft.data.report import RowView, StructureReport, TokenReport
from droidft.server.schemas.base import Body, ErrorBody, Wire
from droidft.support.faults import Fault


class DataFile(Wire):
    """A data file below the home folder's `data/`."""

    name: str
    path: str
    """What to give as `train_data_path`."""
    bytes: int
    modified: float


class DataSettings(Body):
    """The part of a configuration that says what the data is and how it is cut; `model_path` for its tokenizer."""

    train_data_path: Annotated[str, Field(min_length=1, max_length=4096)]
    val_data_path: str | None = None
    model_path: str | None = None
    settings: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Further settings of `TrainingConfig`: format, columns, mask_prompt, max_seq_length, seed, batch_size …"""


class ViewRequest(DataSettings):
    """Rows to see token by token."""

    rows: Annotated[list[Annotated[int, Field(ge=0, le=10**9)]], Field(min_length=1, max_length=20)]


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


class RowViews(Wire):
    """The rows asked for, or the faults that keep them from being shown."""

    rows: list[RowView]
    faults: list[Fault]

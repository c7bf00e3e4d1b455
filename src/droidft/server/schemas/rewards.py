"""Rewards: their kinds, the user's own files, and trying them out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from droidft.config import TrainingConfig
from droidft.events import SampledCompletion
from droidft.server.schemas.base import Wire
from droidft.server.schemas.settings import SettingView


class RewardKindView(Wire):
    """One kind of reward."""

    kind: str
    title: str
    range: str
    """Least and most that it gives, in words."""
    help: str
    parameters: list[SettingView]
    """Its fields but `kind`; `weight` and `label`, which every kind has, come last."""
    json_schema: dict[str, Any]
    """JSON schema of the whole object."""


class RewardFunction(Wire):
    """A function in a file of the user's own, as its definition says; nothing was run."""

    name: str
    line: int
    help: str
    """First line of its docstring."""
    parameters: list[str]
    required: list[str]
    """Columns that a row has to have: parameters without a default."""
    takes_all: bool
    """Whether it takes every column (`**columns`)."""


class RewardFileView(Wire):
    """A Python file in the home folder's `rewards/`; `problem` says why it cannot be used."""

    file: str
    functions: list[RewardFunction]
    problem: str


class Rewards(Wire):
    """Everything that can be chosen as a reward."""

    kinds: list[RewardKindView]
    files: list[RewardFileView]
    folder: str
    """Where own files belong."""


class TryRequest(Wire):
    """Rewards to try before a run: settings as they stand in the form."""

    settings: Annotated[dict[str, Any], Field(max_length=len(TrainingConfig.model_fields))]
    """Settings by name, as for a run: model, data, method, rewards, temperature, max_completion_length …"""
    prompts: Annotated[int, Field(ge=1, le=8)] = 2
    completions: Annotated[int, Field(ge=1, le=8)] = 4
    """Completions of each prompt, at most; fewer where `num_generations` is less."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Decides prompts and completions; without it they are drawn anew."""


class Trial(Wire):
    """Completions of some training prompts by the model as it is, and what they earn."""

    rewards: list[str]
    """Names of the rewards, in order."""
    weights: list[float]
    rows: list[SampledCompletion]
    """Completions of one prompt stand together; `advantage` is the reward's lead over their mean."""
    tied_groups: float
    """Share of prompts whose completions all earned the same: nothing would be learned from them."""
    sampling_tokens_per_second: float
    seconds: float
    """From the first token to the last score."""
    seed: int
    warnings: list[str]

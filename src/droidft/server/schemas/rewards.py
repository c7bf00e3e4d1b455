"""Rewards: their kinds, the user's own files, and trying them out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from droidft.config import TrainingConfig
from droidft.rewards.own import RewardFileView
from droidft.server.schemas.base import Body, Wire
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


class Rewards(Wire):
    """Everything that can be chosen as a reward."""

    kinds: list[RewardKindView]
    files: list[RewardFileView]
    folder: str
    """Where own files belong."""


class TryRequest(Body):
    """Rewards to try before a run: settings as they stand in the form."""

    settings: Annotated[dict[str, Any], Field(max_length=len(TrainingConfig.model_fields))]
    """Settings by name, as for a run: model, data, method, rewards, temperature, max_completion_length …"""
    prompts: Annotated[int, Field(ge=1, le=8)] = 2
    completions: Annotated[int, Field(ge=1, le=8)] = 4
    """Completions of each prompt, at most; fewer where `num_generations` is less."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Decides prompts and completions; without it they differ from trial to trial."""

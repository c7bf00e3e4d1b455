"""Rewards: what there is, and trying them out on a few completions."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter

from droidft.config import Family, parse_config
from droidft.config.settings import reward_kinds
from droidft.errors import ConfigError
from droidft.rewards import own
from droidft.server.app_state import State
from droidft.server.paths import confine
from droidft.server.schemas.jobs import Job
from droidft.server.schemas.rewards import RewardKindView, Rewards, TryRequest
from droidft.server.schemas.settings import SettingView

router = APIRouter(prefix="/api/rewards", tags=["rewards"])


@router.get("", operation_id="getRewards")
async def get_rewards(state: State) -> Rewards:
    """Every kind with its range and parameters, and the functions in files of one's own, which are not run."""
    files = await asyncio.to_thread(own.listed, state.home.rewards)
    return Rewards(
        kinds=[
            RewardKindView(
                kind=each.kind,
                title=each.title,
                range=each.range,
                help=each.help,
                parameters=[SettingView.model_validate(asdict(setting)) for setting in each.parameters],
                json_schema=each.schema,
            )
            for each in reward_kinds()
        ],
        files=files,
        folder=str(state.home.rewards),
    )


@router.post("/try", operation_id="tryRewards", status_code=202)
async def try_rewards(request: TryRequest, state: State) -> Job:
    """Sample a few completions of the model as it is and score them. The job's `trial` is the result.

    One at a time: while another is being tried, this is refused.
    """
    config = parse_config(request.settings, source="settings")
    if config.method.family is not Family.REWARDS:
        hint = "choose grpo, gspo or dr_grpo"
        raise ConfigError(f"method '{config.method}' has no rewards to try", hint=hint, field="method")
    confined = await asyncio.to_thread(confine, state.options, config)
    return await state.jobs.try_rewards(
        confined, prompts=request.prompts, completions=request.completions, seed=request.seed
    )

"""Prompts: a whole answer, or several sides streamed at once as JSON lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from droidft.errors import DroidError
from droidft.server.app_state import State
from droidft.server.asking.answers import Asked, Live, Question, sampling_of, unless_gone
from droidft.server.schemas.inference import (
    CompareRequest,
    InferenceAnswer,
    InferenceRequest,
    InferenceState,
    Share,
    Shares,
)
from droidft.support.shares import score_interval

router = APIRouter(prefix="/api", tags=["inference"])

Wins = Annotated[int, Field(ge=0, le=1_000_000)]
MOST_SIDES = 16


@router.post("/models/inference", operation_id="infer")
async def infer(body: InferenceRequest, state: State, request: Request) -> InferenceAnswer:
    """Answer a prompt with a model, with or without an adapter."""
    asked = state.answers.ask(_question(body, [body.adapter_name]))
    return InferenceAnswer.model_validate(await unless_gone(request, asked, asked.whole()))


@router.post("/models/inference/stream", operation_id="compareStream", response_class=Response)
async def stream(body: CompareRequest, state: State, request: Request) -> Response:
    """Answers of several sides as they come: one `StreamEvent` a line. Closing the connection ends them."""
    asked = state.answers.ask(_question(body, body.adapters))
    await unless_gone(request, asked, asked.peek())
    return Live(asked, _lines(asked), media_type="application/x-ndjson")


@router.get("/inference", operation_id="getInference")
async def inference_state(state: State) -> InferenceState:
    """What the inference worker holds."""
    return await state.answers.state()


@router.delete("/inference", operation_id="unloadModel")
async def unload(state: State) -> InferenceState:
    """Unload the model, so that its memory is free; refused while it answers."""
    return await state.answers.unload()


@router.get("/votes/shares", operation_id="getShares")
async def shares(wins: Annotated[list[Wins], Query(min_length=1, max_length=MOST_SIDES)]) -> Shares:
    """Each side's share of the decisive votes, given how many it won, and how sure that is."""
    total, sides = sum(wins), len(wins)
    level = 0.95 if sides <= 2 else 1 - 0.05 / sides
    ends = [score_interval(won, total, level=level) for won in wins]
    preferred = (place for place, (low, _) in enumerate(ends) if low > 1 / sides)
    return Shares(
        shares=[
            Share(share=won / total if total else None, low=low, high=high)
            for won, (low, high) in zip(wins, ends, strict=True)
        ],
        chance=1 / sides,
        level=level,
        preferred=next(preferred, None),
    )


def _question(body: InferenceRequest | CompareRequest, adapters: Sequence[str | None]) -> Question:
    return Question(
        model=body.model_name,
        adapters=adapters,
        sampling=sampling_of(body),
        prompt=body.prompt,
        system=body.system_prompt,
        use_chat_template=body.use_chat_template,
        allow_mismatch=body.allow_mismatch,
        chat_template_kwargs=body.chat_template_kwargs,
        template_date=None if body.template_date is None else body.template_date.isoformat(),
    )


async def _lines(asked: Asked) -> AsyncIterator[str]:
    """Each event as a line of JSON; an error that ends all sides is the last."""
    try:
        async for event in asked:
            yield json.dumps(event) + "\n"
    except DroidError as error:
        yield json.dumps({"type": "error", "side": None, "error": error.as_dict()}) + "\n"

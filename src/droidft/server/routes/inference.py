"""Prompts: a whole answer, or several sides streamed at once as JSON lines."""

from __future__ import annotations

from fastapi import APIRouter, Response

from droidft.server.app_state import State
from droidft.server.schemas.inference import (
    CompareRequest,
    InferenceAnswer,
    InferenceRequest,
    InferenceState,
    StreamEvent,
)

router = APIRouter(prefix="/api", tags=["inference"])


@router.post("/models/inference", operation_id="infer")
async def infer(request: InferenceRequest, state: State) -> InferenceAnswer:
    """Answer a prompt with a model, with or without an adapter."""
    raise NotImplementedError


@router.post("/models/inference/stream", operation_id="compareStream", response_class=Response)
async def stream(request: CompareRequest, state: State) -> Response:
    """Answers of several sides as they come: one `StreamEvent` a line. Closing the connection ends them."""
    raise NotImplementedError


@router.get("/inference", operation_id="getInference")
async def inference_state(state: State) -> InferenceState:
    """What the inference worker holds."""
    raise NotImplementedError


@router.delete("/inference", operation_id="unloadModel")
async def unload(state: State) -> InferenceState:
    """Unload the model, so that its memory is free."""
    raise NotImplementedError


_ = StreamEvent

"""The queue: see, reorder, cancel."""

from __future__ import annotations

from fastapi import APIRouter

from droidft.server.app_state import State
from droidft.server.routes.runs import RunId
from droidft.server.schemas.runs import QueueMove, QueueView

router = APIRouter(prefix="/api/queue", tags=["queue"])


@router.get("", operation_id="getQueue")
async def get_queue(state: State) -> QueueView:
    """What trains and what waits."""
    return state.supervisor.queue


@router.post("/{run}/move", operation_id="moveInQueue")
async def move(run: RunId, request: QueueMove, state: State) -> QueueView:
    """Put a waiting run at another position."""
    return await state.supervisor.move(run, request.position)


@router.delete("/{run}", operation_id="cancelQueued")
async def cancel(run: RunId, state: State) -> QueueView:
    """Take a waiting run out of the queue; it can be started later."""
    return await state.supervisor.cancel(run)

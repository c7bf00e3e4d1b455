"""WebSockets: a run's events, and what changes in the list of runs, the queue and the jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from droidft.runs.log import rewinds
from droidft.server.app_state import AppState, State
from droidft.server.routes.runs import RunId
from droidft.server.schemas.jobs import Job
from droidft.server.schemas.runs import QueueView
from droidft.server.schemas.sockets import ResetFrame, UpdateFrame

router = APIRouter(prefix="/api", tags=["sockets"])

SEND_SECONDS = 30.0
"""A reader that takes nothing for so long is dropped; it can come back and continue where it was."""


@router.websocket("/runs/{run}/events")
async def run_events(
    socket: WebSocket, run: RunId, state: State, after: Annotated[int, Query(ge=0, le=2**53)] = 0
) -> None:
    """A run's records after number `after`, in order and without a gap, then new ones as they come."""
    entry = state.supervisor.entry(run)
    await socket.accept()
    last = entry.summary.seq
    if after > last and after > await asyncio.to_thread(_last_number, state, run):
        await socket.send_text(ResetFrame().model_dump_json())
        after = 0
    await _send_all(socket, _record_frames(state, run, after))


@router.websocket("/updates")
async def updates(socket: WebSocket, state: State) -> None:
    """All runs, the queue and the jobs; then what changes."""
    await socket.accept()
    await _send_all(socket, _update_frames(state))


async def _record_frames(state: AppState, run: str, after: int) -> AsyncGenerator[str]:
    """Frames as in `RecordsFrame`, put together from the log's own text."""
    async with aclosing(state.tails.follow(state.supervisor.entry(run).run, after=after)) as followed:
        async for lines in followed:
            records = b",".join(lines.records).decode()
            starts = json.dumps([{"seq": seq, "step": step} for seq, step in rewinds(lines.records).items()])
            caught_up = "false" if lines.more else "true"
            yield (
                f'{{"type":"records","records":[{records}],"rewinds":{starts},'
                f'"last":{lines.last},"caught_up":{caught_up}}}'
            )


async def _update_frames(state: AppState) -> AsyncGenerator[str]:
    """Everything, then what has changed since the last frame."""
    jobs: dict[str, Job] = {}
    queue: QueueView | None = None
    async with aclosing(state.supervisor.changes()) as changes:
        async for changed, gone in changes:
            changed_jobs = [job for job in state.jobs.all() if jobs.get(job.id) != job]
            if changed or gone or changed_jobs or queue != state.supervisor.queue:
                queue = state.supervisor.queue
                jobs |= {job.id: job for job in changed_jobs}
                yield UpdateFrame(runs=changed, removed=gone, queue=queue, jobs=changed_jobs).model_dump_json()


def _last_number(state: AppState, run: str) -> int:
    last = state.supervisor.entry(run).run.last_record()
    return last.seq if last is not None else 0


async def _send_all(socket: WebSocket, frames: AsyncGenerator[str]) -> None:
    """Send every frame until the other side leaves, or takes nothing for too long."""
    tasks = {asyncio.create_task(_send(socket, frames)), asyncio.create_task(_until_gone(socket))}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send(socket: WebSocket, frames: AsyncGenerator[str]) -> None:
    async with aclosing(frames):
        async for frame in frames:
            async with asyncio.timeout(SEND_SECONDS):
                await socket.send_text(frame)


async def _until_gone(socket: WebSocket) -> None:
    with suppress(WebSocketDisconnect):
        while True:
            await socket.receive_text()

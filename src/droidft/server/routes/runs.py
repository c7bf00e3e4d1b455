"""Runs: create, list, open, stop, resume, clone, delete; their history, files and reports; the queue."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from droidft.config import TrainingConfig, parse_config
from droidft.config.settings import settings
from droidft.errors import ConfigError, RunError
from droidft.runs.folder import Run
from droidft.runs.log import all_lines, end, parse_record, stream
from droidft.server.app_state import AppState, State
from droidft.server.paths import confine
from droidft.server.runs import history, report
from droidft.server.runs.index import detail
from droidft.server.schemas.runs import (
    CompletionsView,
    ConfigDiff,
    Curves,
    Events,
    LogText,
    QueueMove,
    QueueView,
    RunClone,
    RunDetail,
    RunResume,
    RunSummary,
    StopRequest,
)

router = APIRouter(prefix="/api", tags=["runs"])
queue = APIRouter(prefix="/api/queue", tags=["queue"])

EXPORT_BYTES = 1 << 18
"""An export is sent in parts of about this size."""

RunId = Annotated[str, Path(min_length=1, max_length=1024, description="Id of the run.")]
"""Looked up among the folders that are there, so an odd name, which can be shown and deleted, leads nowhere else."""
ClientKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,128}$",
        description="Requests with the same key make one run.",
    ),
]


@router.get("/runs", operation_id="listRuns")
async def list_runs(state: State) -> list[RunSummary]:
    """All runs, newest first."""
    return sorted(state.supervisor.views.values(), key=lambda run: (run.created, run.id), reverse=True)


@router.post("/runs", operation_id="createRun", status_code=201)
async def create_run(config: TrainingConfig, state: State, key: ClientKey = None) -> RunSummary:
    """Create a run and put it into the queue."""
    if config.resume is not None:
        raise ConfigError(
            "resume is for the command line", hint=f"POST /api/runs/{config.resume}/resume", field="resume"
        )
    confined = await asyncio.to_thread(confine, state.options, config)
    if key is None or not state.supervisor.knows(key):
        # The same checks as at every other entrance, before anything is made.
        await state.inspector.ask_patiently("accept", config=confined.model_dump(mode="json"))
    return await state.supervisor.create(confined, key)


@router.get("/runs/{run}", operation_id="getRun")
async def get_run(run: RunId, state: State) -> RunDetail:
    """Everything about one run but its reports."""
    return await asyncio.to_thread(detail, state.supervisor.entry(run), state.supervisor.views[run], state.home)


@router.delete("/runs/{run}", operation_id="deleteRun", status_code=204)
async def delete_run(run: RunId, state: State, *, files: bool = False) -> Response:
    """Remove a run; with `files` its adapter too. A running one has to be stopped first."""
    await state.supervisor.delete(run, files=files)
    return Response(status_code=204)


@router.post("/runs/{run}/stop", operation_id="stopRun")
async def stop_run(run: RunId, state: State, request: StopRequest) -> RunSummary:
    """Save a checkpoint and end; a waiting run leaves the queue. Stopping one that has ended changes nothing."""
    return await state.supervisor.stop(run, force=request.force)


@router.post("/runs/{run}/resume", operation_id="resumeRun")
async def resume_run(run: RunId, state: State, request: RunResume | None = None) -> RunSummary:
    """Put a run that has ended early, or never begun, into the queue; with changes, a finished one to get longer."""
    return await state.supervisor.resume(run, request.changes if request else None)


@router.post("/runs/{run}/clone", operation_id="cloneRun", status_code=201)
async def clone_run(run: RunId, state: State, request: RunClone, key: ClientKey = None) -> RunSummary:
    """Queue a new run with the settings of an old one, some of them changed."""
    values = _config(state, run).model_dump(mode="json") | {"adapter_name": None} | request.changes
    config = parse_config(values, source="changes")
    return await create_run(config, state, key)


@router.get("/runs/{run}/events", operation_id="getEvents")
async def get_events(
    run: RunId,
    state: State,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Events:
    """Records after a sequence number, in order."""
    entry = state.supervisor.entry(run)
    return await asyncio.to_thread(_events, entry.run, after, limit)


@router.get("/runs/{run}/curves", operation_id="getCurves")
async def get_curves(run: RunId, state: State, points: Annotated[int, Query(ge=10, le=1_000_000)] = 2000) -> Curves:
    """The history as columns, thinned to about `points` reports."""
    return await asyncio.to_thread(history.curves, state.supervisor.entry(run).run, points=points)


@router.get("/runs/{run}/completions", operation_id="getCompletions")
async def get_completions(
    run: RunId, state: State, step: Annotated[int | None, Query(ge=0, le=2**53)] = None
) -> CompletionsView:
    """Sampled completions of the last step up to `step` that has some in the log; without it, of the newest."""
    return await asyncio.to_thread(history.completions, state.supervisor.entry(run).run, step)


@router.get("/runs/{run}/log", operation_id="getLog")
async def get_log(
    run: RunId, state: State, most: Annotated[int, Query(alias="bytes", ge=1, le=10_000_000)] = 200_000
) -> LogText:
    """The end of what the worker printed."""
    return await asyncio.to_thread(history.log_text, state.supervisor.entry(run).run.log_file, most=most)


@router.get("/runs/{run}/report.html", operation_id="getReport", response_class=Response)
async def get_report(run: RunId, state: State) -> Response:
    """A page about the run that needs no server and no network."""
    entry = state.supervisor.entry(run)
    curves = await asyncio.to_thread(history.curves, entry.run, points=report.POINTS)
    page = report.render(await get_run(run, state), curves)
    headers = {
        "Content-Security-Policy": report.CSP,
        "Content-Disposition": f'inline; filename="{attachment(run)}.html"',
    }
    return Response(page, media_type="text/html", headers=headers)


@router.get("/runs/{run}/export.json", operation_id="exportRun", response_class=Response)
async def export_run(run: RunId, state: State) -> Response:
    """Configuration, events and summary as one JSON file."""
    shown = await get_run(run, state)
    headers = {"Content-Disposition": f'attachment; filename="{attachment(run)}.json"'}
    await asyncio.to_thread(end, state.supervisor.entry(run).run.events_file)  # refused before half of it is sent
    parts = _exported(shown.model_dump_json(), state.supervisor.entry(run).run)
    return StreamingResponse(parts, media_type="application/json", headers=headers)


def _exported(shown: str, run: Run) -> Iterator[bytes]:
    """The file a part at a time: a log can have any length."""
    yield f'{{"run":{shown},"events":{{"records":['.encode()
    last, part, comma = 0, bytearray(), b""
    for line, _ in stream(run.events_file):
        if (record := parse_record(line)) is not None and record.seq > last:
            last = record.seq
            part += comma + line
            comma = b","
        if len(part) > EXPORT_BYTES:
            yield bytes(part)
            part.clear()
    yield bytes(part) + f'],"last":{last},"more":false}}}}'.encode()


@router.get("/diff", operation_id="diffRuns")
async def diff_runs(state: State, run: Annotated[list[str], Query(min_length=2, max_length=8)]) -> ConfigDiff:
    """Only the settings that differ between runs."""
    groups = {setting.name: setting.group for setting in settings()}
    return history.diff({name: _config(state, name) for name in dict.fromkeys(run)}, groups)


@queue.get("", operation_id="getQueue")
async def get_queue(state: State) -> QueueView:
    """What trains and what waits."""
    return state.supervisor.queue


@queue.post("/{run}/move", operation_id="moveInQueue")
async def move(run: RunId, request: QueueMove, state: State) -> QueueView:
    """Put a waiting run at another position."""
    return await state.supervisor.move(run, request.position)


@queue.delete("/{run}", operation_id="cancelQueued")
async def cancel(run: RunId, state: State) -> QueueView:
    """Take a waiting run out of the queue; it can be started later."""
    return await state.supervisor.cancel(run)


def attachment(run: str) -> str:
    """The name of a file about a run, as it may stand in a header."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", run)


def _config(state: AppState, run: str) -> TrainingConfig:
    entry = state.supervisor.entry(run)
    if entry.config is None:
        raise RunError(f"run {run} cannot be read: {entry.problem}")
    return entry.config


def _events(run: Run, after: int, limit: int) -> Events:
    """Up to `limit` records after number `after`."""
    lines = all_lines(run.events_file, after=after)
    records = list(islice((record for line in lines if (record := parse_record(line)) is not None), limit + 1))
    kept = records[:limit]
    return Events(records=kept, last=kept[-1].seq if kept else after, more=len(records) > limit)

"""Runs: create, list, open, stop, resume, clone, delete; their history, files and reports."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import FileResponse

from droidft.config import TrainingConfig
from droidft.server.app_state import State
from droidft.server.schemas.runs import (
    ConfigDiff,
    Curves,
    Events,
    LogText,
    RunClone,
    RunDetail,
    RunSummary,
    StopRequest,
)

router = APIRouter(prefix="/api", tags=["runs"])

RunId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Id of the run.")]
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
    raise NotImplementedError


@router.post("/runs", operation_id="createRun", status_code=201)
async def create_run(config: TrainingConfig, state: State, key: ClientKey = None) -> RunSummary:
    """Create a run and put it into the queue."""
    raise NotImplementedError


@router.get("/runs/{run}", operation_id="getRun")
async def get_run(run: RunId, state: State) -> RunDetail:
    """Everything about one run but its reports."""
    raise NotImplementedError


@router.delete("/runs/{run}", operation_id="deleteRun", status_code=204)
async def delete_run(run: RunId, state: State, *, files: bool = False) -> Response:
    """Remove a run; with `files` its adapter too. A running one has to be stopped first."""
    raise NotImplementedError


@router.post("/runs/{run}/stop", operation_id="stopRun")
async def stop_run(run: RunId, state: State, request: StopRequest) -> RunSummary:
    """Save a checkpoint and end; a waiting run leaves the queue. Stopping one that has ended changes nothing."""
    raise NotImplementedError


@router.post("/runs/{run}/resume", operation_id="resumeRun")
async def resume_run(run: RunId, state: State) -> RunSummary:
    """Put a run that has ended early, or never begun, into the queue."""
    raise NotImplementedError


@router.post("/runs/{run}/clone", operation_id="cloneRun", status_code=201)
async def clone_run(run: RunId, state: State, request: RunClone, key: ClientKey = None) -> RunSummary:
    """Queue a new run with the settings of an old one, some of them changed."""
    raise NotImplementedError


@router.get("/runs/{run}/events", operation_id="getEvents")
async def get_events(
    run: RunId,
    state: State,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Events:
    """Records after a sequence number, in order."""
    raise NotImplementedError


@router.get("/runs/{run}/curves", operation_id="getCurves")
async def get_curves(run: RunId, state: State, points: Annotated[int, Query(ge=10, le=1_000_000)] = 2000) -> Curves:
    """The history as columns, thinned to about `points` reports."""
    raise NotImplementedError


@router.get("/runs/{run}/log", operation_id="getLog")
async def get_log(
    run: RunId, state: State, most: Annotated[int, Query(alias="bytes", ge=1, le=10_000_000)] = 200_000
) -> LogText:
    """The end of what the worker printed."""
    raise NotImplementedError


@router.get("/runs/{run}/report.html", operation_id="getReport", response_class=Response)
async def get_report(run: RunId, state: State) -> Response:
    """A page about the run that needs no server and no network."""
    raise NotImplementedError


@router.get("/runs/{run}/export.json", operation_id="exportRun", response_class=Response)
async def export_run(run: RunId, state: State) -> Response:
    """Configuration, events and summary as one JSON file."""
    raise NotImplementedError


@router.get("/diff", operation_id="diffRuns")
async def diff_runs(state: State, run: Annotated[list[str], Query(min_length=2, max_length=8)]) -> ConfigDiff:
    """Only the settings that differ between runs."""
    raise NotImplementedError


_ = FileResponse

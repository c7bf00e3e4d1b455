"""Jobs: how far they are, their results, cancelling."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from droidft.server.app_state import State
from droidft.server.schemas.jobs import Job

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

JobId = Annotated[str, Path(pattern=r"^[a-z0-9]{1,32}$", description="Id of the job.")]


@router.get("", operation_id="listJobs")
async def list_jobs(state: State) -> list[Job]:
    """Jobs of this server, newest first; results of ended ones are kept for a while."""
    return state.jobs.all()


@router.get("/{job}", operation_id="getJob")
async def get_job(job: JobId, state: State) -> Job:
    """One job."""
    return state.jobs.get(job)


@router.delete("/{job}", operation_id="cancelJob")
async def cancel_job(job: JobId, state: State) -> Job:
    """End a job; one that has ended stays as it is."""
    return state.jobs.cancel(job)

"""Experiments: plan, start, stop, read, delete."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from droidft.experiments.plan.written import parse_plan
from droidft.server.app_state import State
from droidft.server.paths import confine_plan
from droidft.server.runs import report
from droidft.server.schemas.experiments import ExperimentDetail, ExperimentSummary, PlanRequest

router = APIRouter(prefix="/api/experiments", tags=["experiments"])

ExperimentId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Id of the experiment.")]


class Form(StrEnum):
    """Forms of a report."""

    HTML = "html"
    JSON = "json"
    MARKDOWN = "md"


MEDIA = {Form.HTML: "text/html", Form.JSON: "application/json", Form.MARKDOWN: "text/markdown"}


@router.get("", operation_id="listExperiments")
async def list_experiments(state: State) -> list[ExperimentSummary]:
    """All experiments, newest first."""
    return await state.experiments.all()


@router.post("", operation_id="createExperiment", status_code=201)
async def create_experiment(request: PlanRequest, state: State) -> ExperimentSummary:
    """Settle a plan: ranks, data, steps, cost. Nothing is trained before it is started."""
    plan = parse_plan(request.plan, source="plan")
    confined = await asyncio.to_thread(confine_plan, state.options, plan)
    return await state.experiments.create(confined, start=request.start)


@router.get("/{experiment}", operation_id="getExperiment")
async def get_experiment(experiment: ExperimentId, state: State) -> ExperimentDetail:
    """One experiment: its plan, its progress, its results."""
    return await state.experiments.detail(experiment)


@router.post("/{experiment}/start", operation_id="startExperiment")
async def start_experiment(experiment: ExperimentId, state: State) -> ExperimentSummary:
    """Start or continue it; a run that failed is tried again."""
    return await state.experiments.start(experiment)


@router.post("/{experiment}/stop", operation_id="stopExperiment")
async def stop_experiment(experiment: ExperimentId, state: State) -> ExperimentSummary:
    """Pause it; its run saves a checkpoint. Stopping one that is not running changes nothing."""
    return await state.experiments.stop(experiment)


@router.delete("/{experiment}", operation_id="deleteExperiment", status_code=204)
async def delete_experiment(experiment: ExperimentId, state: State) -> Response:
    """Remove an experiment with all its runs and their adapters. A running one has to be stopped first."""
    await state.experiments.delete(experiment)
    return Response(status_code=204)


@router.get(
    "/{experiment}/report",
    operation_id="getExperimentReport",
    response_class=Response,
    responses={200: {"content": {media: {} for media in MEDIA.values()}, "description": "The report."}},
)
async def get_report(experiment: ExperimentId, state: State, form: Annotated[Form, Query()] = Form.HTML) -> Response:
    """The report as one file: a page that needs no network, JSON, or Markdown."""
    text = await state.experiments.report(experiment, form.value)
    headers = {"Content-Disposition": f'attachment; filename="{experiment}.{form.value}"'}
    if form is Form.HTML:
        headers["Content-Security-Policy"] = report.CSP
    return Response(text, media_type=f"{MEDIA[form]}; charset=utf-8", headers=headers)

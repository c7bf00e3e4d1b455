"""Exports: plan, make, list, download, push, delete."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from droidft.adapters.exports import catalog, forms, pushing
from droidft.adapters.exports.catalog import ExportEntry
from droidft.adapters.exports.forms import ExportRequest, FormFacts
from droidft.adapters.exports.pushing import PushRequest
from droidft.errors import NotFound
from droidft.home import NAME
from droidft.server import paths
from droidft.server.app_state import AppState, State
from droidft.server.files import archive
from droidft.server.routes.adapters import ZIP
from droidft.server.schemas.exports import AgreedPush, ExportPlan, PushPlan
from droidft.server.schemas.jobs import Job
from droidft.support.channel import ChildError

router = APIRouter(prefix="/api", tags=["exports"])

ExportName = Annotated[str, Path(pattern=f"^{NAME.pattern}$", description="Name of the export.")]


@router.get("/export-forms", operation_id="listExportForms")
async def list_forms() -> list[FormFacts]:
    """The forms in which an adapter can leave: what each is for, what reads it, types to choose from."""
    return forms.facts()


@router.get("/exports", operation_id="listExports")
async def list_exports(state: State) -> list[ExportEntry]:
    """Every export with its certificate, newest first; a damaged one with its problem."""
    return await asyncio.to_thread(catalog.list_exports, state.home.exports)


@router.post("/exports", operation_id="createExport", status_code=202)
async def create_export(request: ExportRequest, state: State) -> Job:
    """Make an export: a job, whose result has the certificate. Cancelled, it leaves nothing."""
    confined = await asyncio.to_thread(paths.confine_export, state.options, request)
    if (job := state.jobs.exporting(confined)) is not None:
        return job
    planned = await _planned(state, confined)
    if planned.refusal is not None:
        raise ChildError(**planned.refusal.model_dump())
    return await state.jobs.export(confined)


@router.post("/export-plan", operation_id="planExport")
async def plan_export(request: ExportRequest, state: State) -> ExportPlan:
    """What an export would make, or why it is refused; nothing is written."""
    return await _planned(state, await asyncio.to_thread(paths.confine_export, state.options, request))


@router.get("/exports/{name}", operation_id="getExport")
async def get_export(name: ExportName, state: State) -> ExportEntry:
    """One export."""
    return await asyncio.to_thread(catalog.find_export, state.home.exports, name)


@router.delete("/exports/{name}", operation_id="deleteExport", status_code=204)
async def delete_export(name: ExportName, state: State) -> Response:
    """Remove an export's folder."""
    await asyncio.to_thread(catalog.delete_export, state.home.exports, name)
    return Response(status_code=204)


@router.get("/exports/{name}/archive", operation_id="downloadExport", response_class=Response, responses=ZIP)
async def download_export(name: ExportName, state: State) -> Response:
    """A zip with all files of an export, its certificate and its card among them."""
    content = await asyncio.to_thread(_zipped, state, name)
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return StreamingResponse(content, media_type="application/zip", headers=headers)


@router.post("/exports/{name}/push-plan", operation_id="planPush")
async def plan_push(name: ExportName, request: PushRequest, state: State) -> PushPlan:
    """What pushing an export to a hub would do, as the user of this machine's token; or why it is refused.

    The hub is asked; nothing is sent.
    """
    await asyncio.to_thread(catalog.find_export, state.home.exports, name)
    asked = request.model_dump(mode="json")
    return PushPlan.model_validate(await state.inspector.ask_worker("push_plan", name=name, request=asked))


@router.post("/exports/{name}/push", operation_id="pushExport", status_code=202)
async def push_export(name: ExportName, request: AgreedPush, state: State) -> Job:
    """Push an export to a hub: a job. Cancelled or cut off, the repository shows nothing of it.

    Pushed again, what the hub has whole is not sent again.
    """
    entry = await asyncio.to_thread(catalog.find_export, state.home.exports, name)
    await asyncio.to_thread(pushing.pushable, state.home.export(entry.name))
    wanted = PushRequest.model_validate(request.model_dump(exclude={"agreed"}))
    return await state.jobs.push(name, wanted, request.agreed)


def _zipped(state: AppState, name: str) -> Any:
    catalog.find_export(state.home.exports, name)
    files = catalog.files_of(state.home.export(name))
    try:
        return archive.zipped({f"{name}/{file}": path for file, path in files.items()})
    except OSError:
        raise NotFound(f"export {name!r} has just been deleted", hint="choose another one") from None


async def _planned(state: AppState, request: ExportRequest) -> ExportPlan:
    # The first look at a base hashes its weights.
    answer = await state.inspector.ask_patiently("export_plan", request=request.model_dump(mode="json"))
    return ExportPlan.model_validate(answer)

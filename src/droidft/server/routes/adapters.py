"""Adapters: list, judge, download, delete."""

from __future__ import annotations

import asyncio
from pathlib import Path as File
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from droidft.adapters.folder import CONFIG, LATEST, AdapterEntry, usual
from droidft.errors import NotFound
from droidft.server import paths
from droidft.server.app_state import State
from droidft.server.files import archive
from droidft.server.schemas.models import AdapterReport

router = APIRouter(prefix="/api/adapters", tags=["adapters"])

AdapterName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Name of the adapter.")]
Which = Annotated[
    str, Query(pattern=r"^(best|latest|[0-9]{1,9})$", description="Which weights; the best, or else the latest.")
]
ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get("", operation_id="listAdapters", response_model=list[AdapterEntry])
async def list_adapters(state: State) -> Any:
    """Every adapter folder, by name."""
    return await state.inspector.ask("adapters")


@router.get("/{name}", operation_id="getAdapter", response_model=AdapterReport)
async def get_adapter(
    name: AdapterName,
    state: State,
    which: Which | None = None,
    model: Annotated[str | None, Query(min_length=1, max_length=4096)] = None,
) -> Any:
    """One adapter with all its warnings, alone or on a model."""
    which = which or str(usual(_folder(state, name)))
    if model is not None:
        model = await asyncio.to_thread(paths.model_ref, state.options, model)
    # The first look at a model hashes its weights.
    ask = state.inspector.ask if model is None else state.inspector.ask_patiently
    return await ask("adapter", name=name, which=which, model=model)


@router.delete("/{name}", operation_id="deleteAdapter", status_code=204)
async def delete_adapter(name: AdapterName, state: State) -> Response:
    """Remove an adapter's folder; refused while a run writes to it."""
    _folder(state, name)
    await state.supervisor.delete_adapter(name)
    return Response(status_code=204)


@router.get("/{name}/download", operation_id="downloadAdapter", response_class=Response, responses=ZIP)
async def download_adapter(name: AdapterName, state: State, which: Which | None = None) -> Response:
    """A zip with the weights and their configuration, as mlx-lm reads them."""
    folder = _folder(state, name)
    which = which or str(usual(folder))
    weights = await state.inspector.ask("adapter_file", name=name, which=which)
    files = {CONFIG: folder / CONFIG, LATEST: folder / weights}
    try:
        content = await asyncio.to_thread(archive.zipped, files)
    except OSError:
        raise NotFound(f"adapter {name!r} has just been deleted", hint="choose another one") from None
    label = f"{name}-{which}"
    headers = {"Content-Disposition": f'attachment; filename="{label}.zip"'}
    return StreamingResponse(content, media_type="application/zip", headers=headers)


def _folder(state: State, name: str) -> File:
    folder = state.home.adapter(name)
    if not folder.is_dir():
        raise NotFound(f"there is no adapter {name!r}", hint="it may have been deleted")
    return folder

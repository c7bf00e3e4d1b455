"""Base models: list, fetch, import, count what each preset would train."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from droidft.config import LoraRouters, Optimizer
from droidft.models.catalog import ModelEntry
from droidft.server import paths
from droidft.server.app_state import AppState, State
from droidft.server.leaving import while_wanted
from droidft.server.schemas.jobs import Job
from droidft.server.schemas.models import ModelImport, ModelPull, TargetsReport
from droidft.support.channel import ChildError

router = APIRouter(prefix="/api/models", tags=["models"])

ModelRef = Annotated[str, Path(min_length=1, max_length=4096, description="Name, hub id, or allowed folder.")]


@router.get("", operation_id="listModels", response_model=list[ModelEntry])
async def list_models(state: State) -> Any:
    """Models of the home folder, of the Hugging Face cache, and the embedded one."""
    models = await state.inspector.ask("models")
    state.inspector.warm()
    return models


@router.post("/pull", operation_id="pullModel", status_code=202)
async def pull_model(request: ModelPull, state: State) -> Job:
    """Fetch a model from the hub, or the embedded one."""
    return await state.jobs.pull(paths.pull_ref(request.model))


@router.post("/import", operation_id="importModel", status_code=202)
async def import_model(request: ModelImport, state: State) -> Job:
    """Make a model folder or a GGUF file known under a name."""
    source = await asyncio.to_thread(paths.import_ref, state.options, request.path)
    return await state.jobs.take(str(source), request.name)


@router.get("/{model:path}/targets", operation_id="getTargets", response_model=TargetsReport)
async def get_targets(
    model: ModelRef,
    state: State,
    request: Request,
    rank: Annotated[int, Query(ge=1, le=100_000)] = 32,
    batch_size: Annotated[int, Query(ge=1, le=100_000)] = 1,
    seq_length: Annotated[int, Query(ge=8, le=10_000_000)] = 512,
    num_layers: Annotated[int, Query(ge=-1, le=10_000)] = -1,
    routers: LoraRouters = LoraRouters.AUTO,
    optimizer: Optimizer = Optimizer.ADAMW,
    keys: Annotated[list[str] | None, Query(max_length=200)] = None,
    *,
    grad_checkpoint: bool = False,
    dora: bool = False,
) -> Any:
    """Exact trainable counts and estimated peak memory per preset; no weights are read. `keys` adds `custom`."""
    params = {
        "model": await asyncio.to_thread(paths.model_ref, state.options, model),
        "rank": rank,
        "batch_size": batch_size,
        "seq_length": seq_length,
        "num_layers": num_layers,
        "routers": routers,
        "optimizer": optimizer,
        "keys": keys,
        "grad_checkpoint": grad_checkpoint,
        "dora": dora,
    }
    return await while_wanted(request, _targets(state, params))


async def _targets(state: AppState, params: dict[str, Any]) -> Any:
    try:
        return await state.inspector.ask("targets", **params, offline=True)
    except ChildError as error:
        if error.code != "download":
            raise
        # Only settings and tokenizer are fetched; later questions find them here.
        return await state.inspector.ask_patiently("targets", **params, offline=False)

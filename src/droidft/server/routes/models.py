"""Base models: list, fetch, import, count what each preset would train."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from droidft.config import LoraRouters, Optimizer
from droidft.server.app_state import State
from droidft.server.schemas.jobs import Job
from droidft.server.schemas.models import ModelEntry, ModelImport, ModelPull, TargetsReport

router = APIRouter(prefix="/api/models", tags=["models"])

ModelRef = Annotated[str, Path(min_length=1, max_length=4096, description="Name, hub id, or allowed folder.")]


@router.get("", operation_id="listModels")
async def list_models(state: State) -> list[ModelEntry]:
    """Models of the home folder, of the Hugging Face cache, and the embedded one."""
    raise NotImplementedError


@router.post("/pull", operation_id="pullModel", status_code=202)
async def pull_model(request: ModelPull, state: State) -> Job:
    """Fetch a model from the hub, or the embedded one."""
    raise NotImplementedError


@router.post("/import", operation_id="importModel", status_code=202)
async def import_model(request: ModelImport, state: State) -> Job:
    """Make a model folder or a GGUF file known under a name."""
    raise NotImplementedError


@router.get("/{model:path}/targets", operation_id="getTargets")
async def get_targets(
    model: ModelRef,
    state: State,
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
) -> TargetsReport:
    """Exact trainable counts and estimated peak memory per preset; no weights are read. `keys` adds `custom`."""
    raise NotImplementedError

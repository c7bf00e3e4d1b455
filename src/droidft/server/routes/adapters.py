"""Adapters: list, judge, download, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from droidft.server.app_state import State
from droidft.server.schemas.models import AdapterEntry, AdapterReport

router = APIRouter(prefix="/api/adapters", tags=["adapters"])

AdapterName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Name of the adapter.")]
Which = Annotated[str, Query(pattern=r"^(best|latest|[0-9]{1,9})$", description="Which weights.")]


@router.get("", operation_id="listAdapters")
async def list_adapters(state: State) -> list[AdapterEntry]:
    """Every adapter folder, by name."""
    raise NotImplementedError


@router.get("/{name}", operation_id="getAdapter")
async def get_adapter(
    name: AdapterName,
    state: State,
    which: Which = "latest",
    model: Annotated[str | None, Query(min_length=1, max_length=4096)] = None,
) -> AdapterReport:
    """One adapter with everything doubtful about it, alone or on a model."""
    raise NotImplementedError


@router.delete("/{name}", operation_id="deleteAdapter", status_code=204)
async def delete_adapter(name: AdapterName, state: State) -> Response:
    """Remove an adapter's folder; refused while a run writes to it."""
    raise NotImplementedError


@router.get("/{name}/download", operation_id="downloadAdapter", response_class=Response)
async def download_adapter(name: AdapterName, state: State, which: Which = "latest") -> Response:
    """A zip with the weights and their configuration, as mlx-lm reads them."""
    raise NotImplementedError

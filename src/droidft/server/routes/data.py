"""Data files: upload, list, check, see token by token."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from droidft.server.app_state import State
from droidft.server.schemas.data import DataFile, DataSettings, RowViews, ViewRequest
from droidft.server.schemas.jobs import Job

router = APIRouter(prefix="/api/data", tags=["data"])

FileName = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Name of the file in the home folder.")
]


@router.get("", operation_id="listData")
async def list_data(state: State) -> list[DataFile]:
    """Data files in the home folder, newest first."""
    raise NotImplementedError


@router.put("/files/{name}", operation_id="uploadData", status_code=201)
async def upload_data(name: FileName, request: Request, state: State) -> DataFile:
    """Store the body as a data file; a file of that name gets a number."""
    raise NotImplementedError


@router.delete("/files/{name}", operation_id="deleteData", status_code=204)
async def delete_data(name: FileName, state: State) -> Response:
    """Remove an uploaded file."""
    raise NotImplementedError


@router.post("/check", operation_id="checkData", status_code=202)
async def check_data(request: DataSettings, state: State) -> Job:
    """Check every row; with a model also count its tokens. The job's result holds faults or statistics."""
    raise NotImplementedError


@router.post("/view", operation_id="viewRows")
async def view_rows(request: ViewRequest, state: State) -> RowViews:
    """Rows token by token, as training will see them."""
    raise NotImplementedError


_ = Query

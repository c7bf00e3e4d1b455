"""Data files: upload, list, check, see token by token."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from droidft.config import Family, Method, TrainingConfig, load_config_file, parse_config
from droidft.config.settings import DATA_SETTINGS
from droidft.data import orders
from droidft.errors import ConfigError
from droidft.server import paths
from droidft.server.app_state import State
from droidft.server.errors import BadRequest, Conflict
from droidft.server.files import uploads
from droidft.server.leaving import while_wanted
from droidft.server.schemas.data import DataFile, DataSettings, RowViews, ViewRequest
from droidft.server.schemas.jobs import Job
from droidft.server.schemas.runs import RunState
from droidft.server.schemas.settings import ParsedSettings
from droidft.support.durable import storage_errors

router = APIRouter(prefix="/api/data", tags=["data"])

FileName = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Name of the file in the home folder.")
]
MATTERS = frozenset(
    {
        *DATA_SETTINGS, "iterations", "epochs", "batch_size", "grad_accumulation_steps", "num_iterations",
        "prompts_per_step", "num_generations",
    }
)  # fmt: skip
"""Settings that decide what the data becomes and how long the run is; a draft's others are not looked at."""
NO_COLUMN_NEEDED = [{"kind": "length_window"}]
"""Stands for rewards as long as none is chosen: what the data is does not wait for them."""
REWARDED = [method.value for method in Method if method.family is Family.REWARDS]
USING = {RunState.QUEUED, RunState.RUNNING, RunState.STOPPING, RunState.STALLED}
BINARY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("", operation_id="listData")
async def list_data(state: State) -> list[DataFile]:
    """Data files in the home folder, newest first."""
    state.inspector.warm_worker()
    return await asyncio.to_thread(uploads.listed, state.home.data)


@router.put("/files/{name}", operation_id="uploadData", status_code=201, openapi_extra=BINARY)
async def upload_data(name: FileName, request: Request, state: State) -> DataFile:
    """Store the body as a data file; a file of that name gets a number."""
    length = request.headers.get("content-length", "")
    if length and not (length.isascii() and length.isdigit() and len(length) < 20):
        raise BadRequest(f"Content-Length is {length[:40]!r}", hint="send the number of bytes")
    return await uploads.store(
        state.home.data,
        name,
        request.stream(),
        limit=state.options.upload_limit,
        length=int(length) if length else None,
    )


@router.delete("/files/{name}", operation_id="deleteData", status_code=204)
async def delete_data(name: FileName, state: State) -> Response:
    """Remove an uploaded file; refused while a run that waits or trains needs it."""
    await asyncio.to_thread(_refuse_used, state, name)
    await asyncio.to_thread(uploads.remove, state.home.data, name)
    return Response(status_code=204)


@router.post("/example", operation_id="makeExample")
async def make_example(state: State) -> ParsedSettings:
    """Put the demo's data into the home folder; answers with the settings that `droidft demo` trains with."""
    return ParsedSettings(values=await asyncio.to_thread(_example, state.home.data / "orders"))


@router.post("/check", operation_id="checkData", status_code=202)
async def check_data(request: DataSettings, state: State) -> Job:
    """Check every row; with a model also count its tokens. The job's result holds faults or statistics.

    A small file's job has ended when it is answered.
    """
    config = await asyncio.to_thread(_config, request, state)
    return await state.jobs.check(config, with_model=request.model_path is not None)


@router.post("/view", operation_id="viewRows", response_model=RowViews)
async def view_rows(request: ViewRequest, state: State, connection: Request) -> Any:
    """Rows token by token, as training will see them."""
    if request.model_path is None:
        raise ConfigError("rows are shown with a model's tokenizer", hint="choose a model first", field="model_path")
    config = await asyncio.to_thread(_config, request, state)
    rows = sorted(set(request.rows))
    asked = state.inspector.ask_worker("view_rows", config=config.model_dump(mode="json"), rows=rows)
    return await while_wanted(connection, asked)


def _example(folder: FilePath) -> dict[str, Any]:
    files = {which: folder / f"{which}.jsonl" for which in orders.SIZES_OF_SETS}
    if not all(file.is_file() for file in files.values()):
        with storage_errors(folder):
            files = orders.write(folder)
    values = load_config_file(FilePath(orders.__file__).with_name("orders.yaml"))
    return {**values, "train_data_path": str(files["train"]), "val_data_path": str(files["valid"])}


def _config(request: DataSettings, state: State) -> TrainingConfig:
    """The part of a configuration that the request gives, with the references in it confined.

    Raises:
        DroidError: a setting is unknown or out of range, or a path cannot be used.
    """
    unknown = [name for name in request.settings if name not in TrainingConfig.model_fields]
    given = {name: value for name, value in request.settings.items() if name in MATTERS or name in unknown}
    if given.get("method") in REWARDED:
        given["rewards"] = given.get("rewards") or NO_COLUMN_NEEDED
    model = None if request.model_path is None else paths.model_ref(state.options, request.model_path)
    values = {
        **given,
        "model_path": model or "-",
        "train_data_path": paths.data_ref(state.options, request.train_data_path),
    }
    if request.val_data_path is not None:
        values["val_data_path"] = paths.data_ref(state.options, request.val_data_path, field="val_data_path")
    return parse_config(values, source="settings")


def _refuse_used(state: State, name: str) -> None:
    file = os.path.realpath(state.home.data / name)
    for run, view in list(state.supervisor.views.items()):
        config = state.supervisor.entry(run).config
        if view.state not in USING or config is None:
            continue
        for used in (config.train_data_path, config.val_data_path):
            if used is not None and os.path.realpath(used) == file:
                raise Conflict(f"run {run} needs {name}", hint="stop the run or take it out of the queue first")

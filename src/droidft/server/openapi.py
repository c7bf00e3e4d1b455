"""The OpenAPI document, to which the frames of sockets and streams are added."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from droidft.server.schemas.inference import StreamEvent
from droidft.server.schemas.sockets import RecordsFrame, ResetFrame, UpdateFrame

REFERENCE = "#/components/schemas/{model}"


def document(app: FastAPI) -> dict[str, Any]:
    """The document of `app`; the browser's types are made from it."""
    made = get_openapi(
        title=app.title,
        version="1",
        description=app.description,
        routes=app.routes,
        separate_input_output_schemas=app.separate_input_output_schemas,
    )
    schemas = made["components"]["schemas"]
    _, frames = models_json_schema(
        [(frame, "serialization") for frame in (RecordsFrame, ResetFrame, UpdateFrame)], ref_template=REFERENCE
    )
    stream = TypeAdapter(StreamEvent).json_schema(ref_template=REFERENCE, mode="serialization")
    for name, schema in {**frames["$defs"], **stream.pop("$defs")}.items():
        schemas.setdefault(name, schema)
    schemas["StreamEvent"] = stream
    for schema in schemas.values():
        _require_tag(schema)
    return made


def _require_tag(schema: dict[str, Any]) -> None:
    """A tagged object always has its tag; the default that fills it in on our side does not matter to a reader."""
    if "const" in schema.get("properties", {}).get("type", {}):
        schema["required"] = sorted({"type", *schema.get("required", [])})

"""Dataclasses that leave the program: in answers of the server, its OpenAPI document, and `--json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

from pydantic import ConfigDict, with_config

T = TypeVar("T")

SHAPE = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass_transform(frozen_default=True)
def shape(cls: type[T]) -> type[T]:
    """A frozen dataclass without unknown fields and NaN; the docstring under a field is its description."""
    return with_config(SHAPE)(dataclass(frozen=True)(cls))

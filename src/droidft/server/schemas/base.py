"""What every schema is made of, and the one shape of errors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """Base of all: closed, finite, immutable; the docstring under a field is its description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


class Body(Wire):
    """Base of what clients send: types as JSON has them, so that `"4"` is no number and `1` no truth value."""

    model_config = ConfigDict(strict=True)


class ErrorBody(Wire):
    """An error, for the person who can fix it."""

    code: str
    message: str
    hint: str
    """What to do about it; may be empty."""
    field: str | None
    """The setting or parameter at fault."""


class ErrorAnswer(Wire):
    """The shape of every error below `/api`."""

    error: ErrorBody

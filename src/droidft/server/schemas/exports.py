"""Exports before they are made."""

from __future__ import annotations

from droidft.adapters.exports.forms import Form
from droidft.server.schemas.base import ErrorBody, Wire


class PlannedExport(Wire):
    """What an export would make."""

    name: str
    path: str
    bytes: int
    """About what it takes on the disk."""
    seconds: float
    """About how long it takes on this machine."""
    base: str
    """What others call the base model: its hub id, or the name of its folder."""
    warnings: list[str]


class ExportPlan(Wire):
    """A request for an export, checked as a whole: what it would make, or why it is refused."""

    plan: PlannedExport | None
    refusal: ErrorBody | None
    instead: list[Form]
    """Forms in which the same adapter would not be refused."""

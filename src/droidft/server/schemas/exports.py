"""Exports before they are made."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from droidft.adapters.exports.forms import Form
from droidft.adapters.exports.pushing import PushRequest
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


class PlannedPush(Wire):
    """What pushing an export to a hub would do."""

    repo_id: str
    user: str
    """Whose token is used."""
    exists: bool
    private: bool
    """What the repository is, or would be made."""
    files: dict[str, int]
    """Bytes of each file that goes there."""
    bytes: int
    removed: list[str]
    """Files of an earlier export there that this one does not have."""
    others: list[str]
    """Files there that were not pushed from here."""
    question: str
    """What is to be agreed to: files, bytes, account, repository, visibility, what is removed."""


class PushPlan(Wire):
    """A push, looked at before anything is sent: what it would do, or why it is refused."""

    plan: PlannedPush | None
    refusal: ErrorBody | None


class AgreedPush(PushRequest):
    """A push that somebody has agreed to."""

    agreed: Annotated[str, Field(max_length=4096)]
    """The plan's `question`. Where another one would be asked by now, nothing is sent."""

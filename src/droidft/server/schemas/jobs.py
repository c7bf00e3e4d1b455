"""Work that takes a while."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from droidft.adapters.exports.catalog import ExportEntry
from droidft.models.upload import Pushed
from droidft.rewards.scorer import Trial
from droidft.server.schemas.base import ErrorBody, Wire
from droidft.server.schemas.data import DataCheck


class Job(Wire):
    """Work that takes a while: a data check, a download, an import, a trial of rewards, an export, a push."""

    id: str
    kind: Literal["check", "pull", "import", "try", "export", "push"]
    title: str
    state: Literal["running", "done", "failed", "cancelled"]
    waiting: bool
    """Whether it has yet to begin, since others are being done."""
    phase: str
    """What is being done: checking rows, counting tokens, downloading, importing, sampling …; may be empty."""
    done: int
    """Bytes so far, of this phase; while rewards are tried, completions; while exports are read, rows."""
    total: int | None
    started: float
    error: ErrorBody | None
    check: DataCheck | None
    """Result of a data check; while tokens are being counted, what is known of the structure."""
    model: str | None
    """Result of a pull or import: what to give as `model_path`."""
    warnings: list[str] = Field(default_factory=list)
    """What an import could not take over, such as the length that a GGUF file's model reads; what came out otherwise
    than asked of an export."""
    trial: Trial | None
    """Result of trying rewards."""
    export: ExportEntry | None
    """Result of an export, whether or not its certificate passed."""
    pushed: Pushed | None
    """Result of a push."""

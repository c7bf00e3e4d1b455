"""The folders that a run reads and writes, for rooms that do not know the home folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """Folders of one run; `Home.places` gives those below the home folder."""

    models: Path
    adapters: Path
    cache: Path
    checkpoints: Path
    rewards: Path
    """The user's own reward files."""

"""How an adapter came to be, without the run's folder: what a packed adapter and a model card tell of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from droidft.errors import AdapterError
from droidft.models.hub import REPO_ID, repo_id_of
from droidft.support import stored

FILE = "training.json"
"""Where an adapter folder has it that came from another machine."""
_PLACES = ("model_path", "train_data_path", "val_data_path", "init_adapter", "reference_adapter")
_OF_THIS_MACHINE = ("resume", "offline", "adapter_name")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_PATH = re.compile(
    r"(?<![\w:/\\.])(?:~|\$\w+|[A-Za-z]:|\.{1,2})?[\\/](?:[^\s/\\'\"`<>|:,;]+[\\/])+([^\s/\\'\"`<>|:,;]*)"
)
"""A path of two parts or more inside a text; an address on the web is none."""
_QUOTED = re.compile(r"(['\"])((?:~|/|[A-Za-z]:[\\/])[^'\"\n]*)\1")
"""A path in quotation marks, which may hold blanks."""


class TrainingRecord(BaseModel):
    """Settings and figures of the run that made an adapter. Files and folders go by their last name alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    settings: dict[str, Any]
    """The `TrainingConfig`."""
    data_hash: str | None = None
    """SHA-256 over the tokens and masks of both sets."""
    train_rows: int | None = None
    val_rows: int | None = None
    train_tokens: int | None = None
    steps: int | None = None
    """Optimizer steps that were done."""
    best_step: int | None = None
    best_loss: float | None = None
    """Lowest loss on the validation set, in nats per token for methods that learn from texts."""
    versions: dict[str, str] = {}
    device: str | None = None


def settings_without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run as others may see them: no folder of this machine, nor the name of who uses it."""
    kept = {name: value for name, value in settings.items() if name not in _OF_THIS_MACHINE}
    return {
        name: without_place(value) if name in _PLACES and isinstance(value, str) else value
        for name, value in kept.items()
    }


def without_place(reference: str) -> str:
    """The last name of a file or folder; a hub id, where it lies in the hub's cache; anything else as it is."""
    if repo_id := repo_id_of(Path(reference)):
        return repo_id
    is_path = os.path.isabs(reference) or reference.startswith(("~", "$", ".")) or _DRIVE.match(reference)
    if is_path or ("/" in reference and ":" not in reference and not REPO_ID.fullmatch(reference)):
        return re.split(r"[\\/]", reference.rstrip("\\/"))[-1]
    return reference


def without_places(text: str) -> str:
    """A sentence or a command in which every path of a file or folder has become its last name."""
    user = str(Path.home()).rstrip("/")
    text = text.replace(user, "~") if user else text
    text = _QUOTED.sub(lambda match: f"{match[1]}{without_place(match[2])}{match[1]}", text)
    return _PATH.sub(lambda match: match[1] or "…", text)


def recorded(folder: Path) -> TrainingRecord | None:
    """What an adapter folder that came from elsewhere holds about its training.

    Raises:
        AdapterError: the file is damaged.
    """
    file = folder / FILE
    return stored.model(file, TrainingRecord, kind=AdapterError) if os.path.lexists(file) else None

"""Deleting a model: what goes with it, and which runs still need it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from droidft.config import nearest
from droidft.errors import DroidError, NotFound, RunError
from droidft.home import Home
from droidft.models import catalog, hub
from droidft.runs.folder import Run, RunStatus, all_runs
from droidft.support.durable import storage_errors


@dataclass(frozen=True)
class ModelRemoval:
    """One model that is to be deleted."""

    name: str
    path: Path
    """The folder, or the link to one, that goes."""
    target: Path | None
    """Where a link leads: that stays."""
    bytes: int
    """What is freed: of a link nothing."""
    shared: bool
    """Whether it lies in the Hugging Face cache, which other programs use too."""

    def do(self) -> None:
        """Delete it."""
        with storage_errors(self.path):
            if self.target is not None:
                self.path.unlink()
            else:
                shutil.rmtree(self.path)


def model_removal(home: Home, name: str) -> ModelRemoval:
    """What deleting the model `name`, as `droidft models list` shows it, would take away.

    Raises:
        NotFound: there is no such model.
        RunError: a run that is under way, or waits to begin, needs it.
    """
    listed = {model.name: model for model in catalog.list_models(home.models)}
    model = listed.get(name)
    if model is None:
        raise NotFound(
            f"there is no model {name!r}{nearest(name, list(listed))}", hint="`droidft models list` shows those here"
        )
    shared = model.source == "hub cache"
    path = hub.folder_of(name) if shared else home.models / name
    for run in all_runs(home):
        if run.status() in (RunStatus.RUNNING, RunStatus.CREATED) and _needs(run, name, model.path):
            state = "is training on" if run.status() is RunStatus.RUNNING else "waits to begin with"
            raise RunError(f"run {run.id} {state} the model {name!r}", hint="stop or delete the run first")
    target = path.resolve() if path.is_symlink() else None
    return ModelRemoval(name, path, target, 0 if target is not None else _size(path), shared)


def _needs(run: Run, name: str, folder: Path) -> bool:
    try:
        wanted = run.config().model_path
    except DroidError:  # one that cannot be read does not run
        return False
    return wanted == name or os.path.realpath(os.path.expanduser(wanted)) == os.path.realpath(folder)


def _size(folder: Path) -> int:
    """Bytes of all files below a folder; what links lead to is not counted."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total

"""Exports: what `droidft export` does, in this process."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from droidft.adapters.exports.forms import parse_request
from droidft.api.answering import prepare
from droidft.api.training import home_at
from droidft.support.progress import Progress
from droidft.workers.export import Exported as Exported
from droidft.workers.export import export as make
from droidft.workers.export import plan_export


def export(
    adapter: str | Path,
    to: str,
    *,
    home: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Exported:
    """Make an adapter usable in other programs, and prove that what leaves is what was trained.

    Args:
        adapter: name or folder; its best weights unless `@latest` or `@200` follows.
        to: `peft`, `merged`, `mlx`, `gguf`, `gguf-adapter` or `ollama`.
        home: the home folder; `DROIDFT_HOME` or `~/.droidft` if it is not given.
        progress: called with what is being done, how much of it is done, and the whole. What it raises ends the
            export, of which nothing is left then.
        **settings: `type`, `model`, `into`, `name`, `rows`, `row_count`, `replace`, as the flags of `droidft export`.

    Returns:
        The folder, its size, how it is used elsewhere, and its certificate. `certificate.passed` says whether the
        exported files are what was trained, `certificate.verdict` is `unproven` where the adapter changes too little
        to tell; the files of a failed one are kept too.

    Raises:
        ConfigError: a setting is unknown or out of range, a name is taken, or there are no rows to compare on.
        DroidError: adapter or model cannot be used, or the form cannot hold them; the hint names one that can.
        StorageError: the disk.
    """
    request = parse_request({**settings, "adapter": str(adapter), "form": to})
    place = home_at(home)
    prepare(place)
    plan = plan_export(request, place)
    for warning in plan.warnings:
        warnings.warn(warning, stacklevel=2)
    return make(plan, place, progress or _silent)


def _silent(what: str, done: int, total: int) -> None:
    """Nobody wants to know."""

"""What a verdict on an export rests on: three readings of the same rows, and which program took the third.

The exported files are read by a program that is not ours where one is installed, is able to, and reads the base as we
do. Else by ours, from the files, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from droidft.adapters.exports import readers
from droidft.adapters.exports.readers.reading import Reading, Request, Subject
from droidft.errors import DroidError
from droidft.support.progress import Progress
from droidft.support.words import loss as shown_loss

SHARE, QUANTISED_SHARE = 0.10, 0.25
"""Of what the adapter changes: so far the exported files may be from base + adapter."""
MOST_NOISE = 0.01
"""Nats per token by which a reader may differ from ours on the base and still be a judge of small changes."""


@dataclass(frozen=True)
class Evidence:
    """The readings of base and base + adapter by our engine, and that of the exported files.

    `exported` is None where the files could not be read, for the reason `refusal`. `reader_base` is the base as the
    reader of the exported files sees it, where that is not our engine. `note` says why the reader is ours.
    """

    base: Reading
    trained: Reading
    exported: Reading | None
    reader_base: Reading | None = None
    refusal: str = ""
    reader: str = ""
    note: str = ""


def collect(
    form: str,
    subjects: Sequence[Subject],
    request: Request,
    *,
    base: Reading,
    trained: Reading,
    read_back: Callable[[], Reading],
    scratch: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> Evidence:
    """Have the export read, the last of `subjects`, after the base where it can be read in the same format.

    Args:
        read_back: reads the exported files by our engine; called where no other reader will do.
        scratch: where a temporary folder may be made.

    Raises:
        readers.Stopped: `should_stop` returned True.
    """
    reader = readers.choose(form)
    if reader is None:
        return _by_ours(base, trained, read_back, readers.advice(form))
    outcome = readers.read(reader, subjects, request, scratch=scratch, should_stop=should_stop, progress=progress)
    if (why := outcome.unfit or _misread(base, trained, outcome.base)) is not None:
        return _by_ours(base, trained, read_back, f"{reader.name} is no judge of it: {why}")
    if outcome.refusal is not None:
        return Evidence(base, trained, None, outcome.base, outcome.refusal, reader.name)
    return Evidence(base, trained, outcome.exported, outcome.base)


def _misread(base: Reading, trained: Reading, theirs: Reading | None) -> str | None:
    """Why a reader that reads the base in another way than ours cannot judge what the adapter changes."""
    if theirs is None:
        return None
    noise = abs(theirs.mean - base.mean)
    if noise <= max(MOST_NOISE, SHARE * abs(base.mean - trained.mean)):
        return None
    shown = shown_loss(theirs.mean) if math.isfinite(theirs.mean) else "no finite loss"
    return f"on the base alone it has {shown} where droidft has {shown_loss(base.mean)}"


def _by_ours(base: Reading, trained: Reading, read_back: Callable[[], Reading], note: str) -> Evidence:
    try:
        return Evidence(base, trained, read_back(), note=note)
    except DroidError as error:
        return Evidence(base, trained, None, refusal=str(error), reader=base.reader, note=note)

"""The whole check of a data set before a run: structure first, then tokens, then how long the run will be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from droidft.config import TrainingConfig
from droidft.engine.batches import steps_per_epoch
from droidft.engine.data.check import StructureReport, check_structure
from droidft.engine.data.faults import Fault, InvalidData
from droidft.engine.data.prepare import prepare
from droidft.engine.data.sources import Fetch
from droidft.engine.data.statistics import DataReport
from droidft.engine.plan import plan
from droidft.engine.progress import Progress
from droidft.errors import DataError
from droidft.events import TrainingPlan

Tokenizer = Callable[[], tuple[Any, int | None]]
"""Brings a tokenizer and the model's limit in tokens."""


@dataclass(frozen=True)
class Verified:
    """What the check found: the first hundred of `fault_count` faults, or what the data is.

    `tokens` and `plan` are None without a tokenizer, and where there are faults.
    """

    structure: StructureReport
    faults: list[Fault]
    fault_count: int
    tokens: DataReport | None = None
    plan: TrainingPlan | None = None


def verify(
    config: TrainingConfig,
    tokenizer: Tokenizer | None,
    *,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
    notice: Callable[[Verified], None] | None = None,
) -> Verified:
    """Hold the data of `config` to every rule; faults are listed, not raised.

    `notice` is told what the structural check found before tokens are counted.

    Raises:
        ConfigError, ModelError, DownloadError: the settings, the tokenizer or a hub data set cannot be used.
    """
    structure = check_structure(config, fetch=fetch, progress=_named("checking rows", progress))
    found = Verified(structure, structure.faults, structure.fault_count)
    if found.fault_count or tokenizer is None:
        return found
    if notice is not None:
        notice(found)
    made, limit = tokenizer()
    try:
        report = prepare(
            config, made, context_length=limit, fetch=fetch, progress=_named("counting tokens", progress)
        ).report
    except InvalidData as error:
        return replace(found, faults=error.faults, fault_count=error.count)
    except DataError as error:  # of the data as a whole: no line is at fault
        reason = error.message.removeprefix(f"{config.train_data_path}: ")
        fault = Fault(config.train_data_path, None, None, "data", reason, error.hint)
        return replace(found, faults=[fault], fault_count=1)
    steps = steps_per_epoch(
        report.train.rows, batch_size=config.batch_size, accumulation=config.grad_accumulation_steps
    )
    return replace(found, tokens=report, plan=plan(config, steps))


def _named(what: str, progress: Progress | None) -> Callable[[int, int | None], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total or 0)

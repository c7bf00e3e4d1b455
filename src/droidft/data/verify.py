"""The whole check of a data set before a run: structure first, then tokens, then how long the run will be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from droidft.config import Family, TrainingConfig
from droidft.data.batches import steps_per_epoch
from droidft.data.check import StructureReport, check_structure
from droidft.data.length import plan
from droidft.data.preferences import prepare_pairs
from droidft.data.prepare import prepare
from droidft.data.prompts import prepare_prompts
from droidft.data.sources import Fetch
from droidft.data.statistics import DataReport
from droidft.errors import DataError
from droidft.events import TrainingPlan
from droidft.rewards import Scorer
from droidft.support.faults import Fault, InvalidData
from droidft.support.progress import Progress

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
    rewards: Path | None = None,
) -> Verified:
    """Hold the data of `config` to every rule; faults are listed, not raised.

    `notice` is told what the structural check found before tokens are counted. `rewards` is the folder of the user's
    own reward files, none of which is run; with it, columns that rewards need are looked for too.

    Raises:
        ConfigError, ModelError, DownloadError: the settings, the tokenizer or a hub data set cannot be used.
        RewardError: there is no such file of the user's own.
    """
    structure = check_structure(config, fetch=fetch, progress=_named("checking rows", progress))
    found = Verified(structure, structure.faults, structure.fault_count)
    if found.fault_count or tokenizer is None:
        return found
    if notice is not None:
        notice(found)
    made, limit = tokenizer()
    try:
        report = _prepared(config, made, limit, fetch, _named("counting tokens", progress), rewards)
    except InvalidData as error:
        return replace(found, faults=error.faults, fault_count=error.count)
    except DataError as error:  # of the data as a whole: no line is at fault
        reason = error.message.removeprefix(f"{config.train_data_path}: ")
        fault = Fault(config.train_data_path, None, None, "data", reason, error.hint)
        return replace(found, faults=[fault], fault_count=1)
    return replace(found, tokens=report, plan=plan(config, _steps(config, report.train.rows)))


def _prepared(
    config: TrainingConfig,
    tokenizer: Any,
    limit: int | None,
    fetch: Fetch | None,
    progress: Callable[[int, int | None], None] | None,
    rewards: Path | None,
) -> DataReport:
    """What the data is, as the method will see it."""
    match config.method.family:
        case Family.ANSWERS:
            return prepare(config, tokenizer, context_length=limit, fetch=fetch, progress=progress).report
        case Family.REWARDS:
            prompts = prepare_prompts(config, tokenizer, context_length=limit, fetch=fetch, progress=progress)
            if rewards is not None:
                Scorer(config.rewards, rewards).check(prompts.places_and_columns())
            return prompts.report
        case Family.PREFERENCES:
            return prepare_pairs(config, tokenizer, context_length=limit, fetch=fetch, progress=progress).report


def _steps(config: TrainingConfig, rows: int) -> int:
    """Optimizer steps of an epoch, as the methods have them."""
    if config.method.family is Family.REWARDS:
        return max(1, math.ceil(rows * config.num_iterations / config.prompts_per_step))
    return steps_per_epoch(rows, batch_size=config.batch_size, accumulation=config.grad_accumulation_steps)


def _named(what: str, progress: Progress | None) -> Callable[[int, int | None], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total or 0)

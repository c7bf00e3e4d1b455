"""Runs that are trained and measured, and the losses of two arms paired row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from droidft.adapters.folder import BEST
from droidft.errors import ExperimentError
from droidft.events import DataPrepared, EvalReport, Finished, TrainReport
from droidft.experiments.findings.results import Interval
from droidft.experiments.findings.stats import Floats, Paired, paired
from droidft.experiments.plan.settled import Cell
from droidft.experiments.plan.written import BASE
from droidft.experiments.runs.folder import Experiment
from droidft.experiments.runs.progress import CellState, validation_loss
from droidft.measurement import Measurements, RowLosses, Weights
from droidft.runs.folder import RunStatus


@dataclass(frozen=True)
class Done:
    """A run that was trained and measured."""

    cell: Cell
    measured: Measurements
    validation: float | None
    seconds: float
    whole_seconds: float
    rows: int
    """Trained on."""
    tokens: int
    peak_bytes: int
    adapter_bytes: int


def read(experiment: Experiment, state: CellState, weights: Weights) -> Done | None:
    """The run of `state`; None unless it is finished and measured."""
    if state.run is None or state.status is not RunStatus.FINISHED:
        return None
    measured = state.run.measured()
    if measured is None:
        return None
    events = [record.event for record in state.run.records()[0]]
    reports = [event for event in events if isinstance(event, TrainReport)]
    seconds = next((event.seconds for event in reversed(events) if isinstance(event, Finished)), 0.0)
    evaluations = {event.step: event.seconds for event in events if isinstance(event, EvalReport)}
    adapter = experiment.home.adapter(state.run.adapter_name()) / BEST
    return Done(
        cell=state.cell,
        measured=measured,
        validation=validation_loss(events, weights),
        seconds=max(0.0, seconds - sum(evaluations.values())),
        # The base model's seconds are those of its measurement.
        whole_seconds=seconds + (0.0 if state.cell.arm == BASE else measured.seconds),
        rows=next((event.train_rows for event in events if isinstance(event, DataPrepared)), 0),
        tokens=reports[-1].tokens if reports else 0,
        peak_bytes=max((max(event.rss_bytes, event.peak_memory_bytes) for event in reports), default=0),
        adapter_bytes=adapter.stat().st_size if adapter.exists() else 0,
    )


def difference(first: Sequence[Done], second: Sequence[Done], of: str = "test") -> Paired:
    """Losses of `first` less those of `second`, pair by pair, on the test set or the general text."""
    rows = [_rows(done, of) for done in first]
    others = [_rows(done, of) for done in second]
    if {each.data_hash for each in [*rows, *others]} != {rows[0].data_hash}:
        raise ExperimentError(
            f"runs of {first[0].cell.arm} and others were measured on different data: it was changed in between",
            hint="plan a new experiment",
        )
    differences = np.array([each.losses for each in rows]) - np.array([each.losses for each in others])
    return paired(differences, rows[0].tokens, rows[0].clusters)


def mean_loss(done: Sequence[Done]) -> Interval:
    """The mean test loss of one arm's runs. Its interval ends at zero: no loss lies below."""
    test = done[0].measured.test
    found = interval(paired(losses(done), test.tokens, test.clusters))
    return found if found.low is None else found.model_copy(update={"low": max(0.0, found.low)})


def losses(done: Sequence[Done]) -> Floats:
    """Summed test losses of runs and rows [S, N]."""
    return np.array([each.measured.test.losses for each in done])


def _rows(done: Done, of: str) -> RowLosses:
    return done.measured.general if of == "general" else done.measured.test


def interval(found: Paired) -> Interval:
    """The estimate with its ends; without them where they are infinite."""
    return as_interval(found.estimate, *found.interval())


def as_interval(value: float, low: float, high: float) -> Interval:
    """The same of three numbers."""
    finite = math.isfinite(low) and math.isfinite(high)
    return Interval(value=value, low=low if finite else None, high=high if finite else None)

"""Two arms compared: runs paired row by row, answers question by question, and what that says in a sentence.

A sentence claims no more than was measured. Its criterion is fixed before the first step: three seeds or more; level
5 %, corrected by Holm for all contrasts that are read; a margin below which a difference does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from droidft.adapters.folder import BEST
from droidft.config.measurement import Measurements, RowLosses
from droidft.errors import ExperimentError
from droidft.events import DataPrepared, EvalReport, Event, Finished, RunStarted, TrainReport
from droidft.experiments.findings.results import Interval, Kind, ScoreResult
from droidft.experiments.findings.stats import (
    FEW,
    LEVEL,
    Floats,
    Paired,
    examples_needed,
    holm,
    mcnemar,
    of_most_seeds,
    paired,
    seeds_needed,
)
from droidft.experiments.plan.settled import Cell, FixedPlan, config_of
from droidft.experiments.plan.written import BASE, VERDICT_SEEDS
from droidft.experiments.runs.folder import Experiment
from droidft.experiments.runs.progress import CellState, validation_loss
from droidft.home import REFERENCES
from droidft.runs.folder import RunStatus
from droidft.support.words import count, signed


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


def read(experiment: Experiment, fixed: FixedPlan, state: CellState) -> Done | None:
    """The run of `state`; None unless it is finished and measured.

    Raises:
        ExperimentError: it was trained with other settings than the plan has now.
        RunError: its files cannot be read.
    """
    if state.run is None or state.status is not RunStatus.FINISHED:
        return None
    weights = fixed.plan.measurement.weights
    measured = state.run.measured()
    if measured is None:
        return None
    events = [record.event for record in state.run.stream()]
    _refuse_other_settings(experiment, fixed, state, events)
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


def _refuse_other_settings(
    experiment: Experiment, fixed: FixedPlan, state: CellState, events: Sequence[Event]
) -> None:
    """The plan may have been edited since: a report must not state settings that nothing was trained with."""
    start = next((event for event in events if isinstance(event, RunStarted)), None)
    if start is None:
        return
    planned = config_of(fixed, state.cell).model_dump(mode="json")
    for name, value in start.config.items():
        if name in planned and name not in REFERENCES and value != planned[name]:
            raise ExperimentError(
                f"plan.json of experiment {experiment.id} was changed after its runs: run {state.run_id} was trained "
                f"with {name} {value}, and the plan has {planned[name]}",
                hint="put the plan back as it was, or make a new experiment with it",
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
    estimated = interval(paired(losses(done), test.tokens, test.clusters))
    return estimated if estimated.low is None else estimated.model_copy(update={"low": max(0.0, estimated.low)})


def losses(done: Sequence[Done]) -> Floats:
    """Summed test losses of runs and rows [S, N]."""
    return np.array([each.measured.test.losses for each in done])


def _rows(done: Done, of: str) -> RowLosses:
    return done.measured.general if of == "general" else done.measured.test


def interval(measured: Paired) -> Interval:
    """The estimate with its ends; without them where they are infinite."""
    return as_interval(measured.estimate, *measured.interval())


def as_interval(value: float, low: float, high: float) -> Interval:
    """The same of three numbers."""
    finite = math.isfinite(low) and math.isfinite(high)
    return Interval(value=value, low=low if finite else None, high=high if finite else None)


Pair = tuple[str, str]


def compare(first: Sequence[Done], second: Sequence[Done]) -> list[ScoreResult]:
    """Questions and tasks that both arms have answered under every seed."""
    scores = []
    asked = first[0].measured.questions
    if asked is not None:
        clusters = [first[0].measured.test.clusters[row] for row in asked.rows]
        sides = [
            np.array([each.measured.questions.right for each in side if each.measured.questions], dtype=float)
            for side in (first, second)
        ]
        scores.append(_score("questions", sides[0], sides[1], clusters))
    for number, task in enumerate(first[0].measured.harness):
        sides = [np.array([each.measured.harness[number].scores for each in side]) for side in (first, second)]
        scores.append(_score(f"{task.task}, {task.metric}", sides[0], sides[1], list(range(len(task.scores)))))
    return scores


def corrected(compared: Mapping[Pair, list[ScoreResult]], *, choices: int = 1) -> dict[Pair, list[ScoreResult]]:
    """With p-values of McNemar's test corrected for `choices`, then by Holm over contrasts and tasks."""
    adjusted = iter(holm([min(1.0, choices * score.mcnemar_p) for scores in compared.values() for score in scores]))
    return {
        pair: [score.model_copy(update={"adjusted_p": next(adjusted)}) for score in scores]
        for pair, scores in compared.items()
    }


def _score(name: str, first: Floats, second: Floats, clusters: list[int]) -> ScoreResult:
    """Two arms' scores [S, N] of the same questions. McNemar's test takes a score of more than a half as right.

    Where almost no question separates the arms there is no interval: its variance would be that of a few answers.
    """
    difference = paired(first - second, np.ones(first.shape[1]), clusters)
    telling = int((first != second).any(axis=0).sum())
    test = mcnemar(of_most_seeds(first > 0.5), of_most_seeds(second > 0.5))
    return ScoreResult(
        name=name,
        first=float(first.mean()),
        second=float(second.mean()),
        difference=interval(difference) if telling >= FEW else as_interval(difference.estimate, math.nan, math.nan),
        telling=telling,
        only_first=test.only_first,
        only_second=test.only_second,
        mcnemar_p=test.p_value,
        adjusted_p=test.p_value,
        questions=first.shape[1],
    )


ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class Verdict:
    """One contrast's answer; p-values are Holm's."""

    kind: Kind
    exploratory: bool
    sentence: str
    difference_p: float
    equivalence_p: float
    seeds_needed: int | None = None
    examples_needed: int | None = None


def verdicts(
    contrasts: Mapping[tuple[str, str], Paired],
    margin: float,
    *,
    names: Mapping[str, str] | None = None,
    choices: int = 1,
    to_come: int = 0,
) -> dict[tuple[str, str], Verdict]:
    """The answer of each contrast, all of them being read; `names` are what sentences call arms.

    p-values are multiplied by `choices`, the learning rates among which each arm had its own chosen by the runs that
    it is judged by (Bonferroni), then corrected by Holm over these contrasts and those `to_come`.
    """
    pairs, called = list(contrasts), names or {}
    rest = [1.0] * to_come
    differences = holm([*(min(1.0, choices * contrasts[pair].p_value) for pair in pairs), *rest])
    equivalences = holm([*(min(1.0, choices * contrasts[pair].equivalence_p(margin)) for pair in pairs), *rest])
    return {
        pair: _verdict(
            (called.get(pair[0], pair[0]), called.get(pair[1], pair[1])),
            contrasts[pair],
            margin,
            difference,
            equivalence,
            tests=choices * (len(pairs) + to_come),
        )
        for pair, difference, equivalence in zip(pairs, differences, equivalences, strict=False)
    }


def with_interval(measured: Paired) -> str:
    """`−0.0123 [−0.0200, −0.0046]`."""
    low, high = measured.interval()
    if not math.isfinite(low):
        return f"{signed(measured.estimate)} [no interval: a single group of rows]"
    return f"{signed(measured.estimate)} [{signed(low)}, {signed(high)}]"


def _verdict(
    pair: tuple[str, str], measured: Paired, margin: float, difference_p: float, equivalence_p: float, *, tests: int
) -> Verdict:
    exploratory = measured.seeds < VERDICT_SEEDS
    differs, same = difference_p < ALPHA, equivalence_p < ALPHA
    if differs:
        kind = Kind.BETTER if measured.estimate < 0 else Kind.WORSE
    else:
        kind = Kind.EQUIVALENT if same else Kind.NO_DETECTABLE_DIFFERENCE
    missing = kind is Kind.NO_DETECTABLE_DIFFERENCE and measured.seeds > 1
    level = 1 - ALPHA / tests  # what any one of these contrasts has to pass at worst
    seeds = seeds_needed(measured, margin, level=level) if missing else None
    examples = examples_needed(measured, margin, level=level) if missing else None
    sentence = _sentence(pair, measured, margin, kind, same) + (
        _needs(measured, seeds, examples, margin) if missing else ""
    )
    if exploratory:
        sentence = f"Exploratory ({count(measured.seeds, 'seed')}; a verdict takes {VERDICT_SEEDS}): {sentence}"
        if measured.seeds == 1:
            sentence += " The interval leaves out what another seed would change."
    return Verdict(kind, exploratory, sentence, difference_p, equivalence_p, seeds, examples)


def _sentence(pair: tuple[str, str], measured: Paired, margin: float, kind: Kind, same: bool) -> str:
    first, second = pair
    numbers = f"{with_interval(measured)} nats per token"
    match kind:
        case Kind.BETTER | Kind.WORSE:
            small = f" The difference is within the margin of {margin:g}: too small to matter." if same else ""
            return f"{first} is {kind.value} than {second}: test loss {numbers}.{small}"
        case Kind.EQUIVALENT:
            return (
                f"{first} and {second} are equivalent: they differ by {numbers}, by two one-sided tests less than "
                f"the margin of {margin:g}."
            )
        case _:
            low, high = measured.interval()
            alone = " Its own interval leaves out 0; corrected for all contrasts it does not." * (
                not low <= 0 <= high
            )
            return f"No detectable difference between {first} and {second}: {numbers}.{alone}"


def _needs(measured: Paired, seeds: int | None, examples: int | None, margin: float) -> str:
    if seeds == measured.seeds:
        return f" One of {margin:g} would most likely have been found."
    ways = []
    if seeds is not None:
        ways.append(f"about {seeds:,} seeds")
    if examples is not None:
        ways.append(f"about {examples:,} test rows")
    if not ways:
        return f" A difference of {margin:g} would not be found with more seeds or more test rows alone."
    return f" To find one of {margin:g}, {' or '.join(ways)} would be needed."

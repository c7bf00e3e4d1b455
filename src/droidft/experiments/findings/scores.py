"""Answers and tasks of two arms compared, question by question."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from droidft.experiments.findings.measured_runs import Done, as_interval, interval
from droidft.experiments.findings.results import ScoreResult
from droidft.experiments.findings.stats import FEW, Floats, holm, mcnemar, of_most_seeds, paired

Pair = tuple[str, str]


def compare(first: Sequence[Done], second: Sequence[Done]) -> list[ScoreResult]:
    """Questions and tasks that both arms have answered under every seed."""
    found = []
    asked = first[0].measured.questions
    if asked is not None:
        clusters = [first[0].measured.test.clusters[row] for row in asked.rows]
        sides = [
            np.array([each.measured.questions.right for each in side if each.measured.questions], dtype=float)
            for side in (first, second)
        ]
        found.append(_score("questions", sides[0], sides[1], clusters))
    for number, task in enumerate(first[0].measured.harness):
        sides = [np.array([each.measured.harness[number].scores for each in side]) for side in (first, second)]
        found.append(_score(f"{task.task}, {task.metric}", sides[0], sides[1], list(range(len(task.scores)))))
    return found


def corrected(found: Mapping[Pair, list[ScoreResult]], *, choices: int = 1) -> dict[Pair, list[ScoreResult]]:
    """With p-values of McNemar's test corrected for `choices`, then by Holm over contrasts and tasks."""
    adjusted = iter(holm([min(1.0, choices * score.mcnemar_p) for scores in found.values() for score in scores]))
    return {
        pair: [score.model_copy(update={"adjusted_p": next(adjusted)}) for score in scores]
        for pair, scores in found.items()
    }


def _score(name: str, first: Floats, second: Floats, clusters: list[int]) -> ScoreResult:
    """Two arms' scores [S, N] of the same questions. McNemar's test takes a score of more than a half as right.

    Where hardly a question tells the arms apart there is no interval: its variance would be that of a few answers.
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

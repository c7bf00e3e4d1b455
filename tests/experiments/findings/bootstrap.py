"""A second way to the same numbers, written without looking at the first: resampling."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np


def resample_mean(
    table: Sequence[Sequence[float]], weights: Sequence[float], seeds: Sequence[int], rows: Sequence[int]
) -> float:
    """Weighted mean of the cells at these seeds and rows, each as often as it is named."""
    top = sum(table[seed][row] for seed in seeds for row in rows)
    return top / (len(seeds) * sum(weights[row] for row in rows))


def every_seed_resample(table: Sequence[Sequence[float]], weights: Sequence[float]) -> Iterator[float]:
    """The estimate of all S**S resamples of the seeds, the rows being kept."""
    rows = range(len(weights))
    for chosen in itertools.product(range(len(table)), repeat=len(table)):
        yield resample_mean(table, weights, chosen, rows)


def every_row_resample(table: Sequence[Sequence[float]], weights: Sequence[float]) -> Iterator[float]:
    """The estimate of all N**N resamples of the rows, the seeds being kept."""
    seeds = range(len(table))
    for chosen in itertools.product(range(len(weights)), repeat=len(weights)):
        yield resample_mean(table, weights, seeds, chosen)


def crossed(
    table: np.ndarray, weights: np.ndarray, groups: np.ndarray, *, times: int, random: np.random.Generator
) -> np.ndarray:
    """Estimates of `times` resamples of seeds and, independently, of whole groups."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    found = np.empty(times)
    for turn in range(times):
        seeds = random.integers(0, len(table), len(table))
        rows = np.concatenate([members[each] for each in random.integers(0, len(members), len(members))])
        found[turn] = table[np.ix_(seeds, rows)].sum() / (len(seeds) * weights[rows].sum())
    return found

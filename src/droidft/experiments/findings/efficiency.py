"""Data efficiency: with what share of the data an arm has the loss that another has with all of it.

Between measured shares the loss of each row is taken to change linearly with the logarithm of the share. The
confidence set holds every share x at which the paired interval of (first arm at x) − (second arm with all of the
data) contains 0: Fieller's (1954) way of making an interval for a ratio from intervals for differences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from droidft.experiments.findings.stats import Floats, Paired, paired
from droidft.support.words import percent

GRID = 200
"""Shares at which the confidence set is looked at, between the smallest and all of the data."""


@dataclass(frozen=True)
class Reached:
    """The share, and both ends of its confidence set. `smallest` is the smallest share that was measured."""

    share: float | None
    """None: it does not reach that loss with all of the data, or has it with the smallest share already."""
    low: float | None
    """None: below the smallest share."""
    high: float | None
    """None: above all of the data."""
    smallest: float
    below: bool
    """It has that loss with the smallest share already."""
    behind: bool = False
    """It is worse beyond doubt at every share."""

    def sentence(self, first: str, second: str) -> str:
        """The result in words."""
        if self.share is None and not self.below:
            if self.behind:
                return f"{first} does not reach {second}'s loss with all of the data."
            low = f"less than {percent(self.smallest)}" if self.low is None else f"{self.low:.0%}"
            return (
                f"It is unclear with what share of the data {first} reaches {second}'s loss: with all of it, it "
                f"is behind, but not beyond doubt [95 % interval: {low} to more than 100%]."
            )
        low = f"less than {percent(self.smallest)}" if self.low is None else f"{self.low:.0%}"
        high = "more than 100%" if self.high is None else f"{self.high:.0%}"
        if self.share is None:
            return (
                f"{first} has {second}'s loss with {percent(self.smallest)} of the data or less "
                f"[95 % interval: {low} to {high}]."
            )
        return f"{first} reaches {second}'s loss with {self.share:.0%} of the data [95 % interval: {low} to {high}]."


def reaches(
    first: Floats, shares: Sequence[float], second: Floats, tokens: npt.ArrayLike, clusters: npt.ArrayLike
) -> Reached:
    """From row losses `first` [F, S, N] at rising `shares` [F], the last of them 1, and `second` [S, N] at 1.

    Where the curve crosses more than once, the smallest share counts, and the set is closed over its gaps.
    """
    values = np.asarray(shares, dtype=np.float64)
    grid = np.unique(np.concatenate([np.geomspace(values[0], 1.0, GRID), values]))
    differences = [paired(_between(first, values, share) - second, tokens, clusters) for share in grid]
    inside = [share for share, each in zip(grid, differences, strict=True) if _holds_zero(each)]
    below = differences[0].estimate <= 0
    crossing = None if below else _crossing(grid, [each.estimate for each in differences])
    low, high = _ends(inside, grid, differences, crossing)
    return Reached(
        share=crossing, low=low, high=high, smallest=float(values[0]), below=below, behind=not inside and not below
    )


def _ends(
    inside: list[float], grid: Floats, differences: list[Paired], crossing: float | None
) -> tuple[float | None, float | None]:
    """Ends of the set; None where it is open, since the next share was not measured."""
    first, last = differences[0], differences[-1]
    # Better than the other arm beyond doubt at the smallest share, or worse beyond doubt with everything.
    low_open = first.estimate <= 0 or _holds_zero(first)
    high_open = last.estimate > 0 or _holds_zero(last)
    if not inside:
        near = crossing if crossing is not None else (float(grid[0]) if first.estimate <= 0 else 1.0)
        return (None if low_open else near), (None if high_open else near)
    return (None if low_open else float(min(inside))), (None if high_open else float(max(inside)))


def _between(losses: Floats, shares: Floats, share: float) -> Floats:
    """Row losses [S, N] at a share between measured ones."""
    upper = int(np.searchsorted(shares, share))
    if shares[upper] == share:
        return np.asarray(losses[upper])
    lower = upper - 1
    weight = math.log(share / shares[lower]) / math.log(shares[upper] / shares[lower])
    return np.asarray((1 - weight) * losses[lower] + weight * losses[upper])


def _holds_zero(difference: Paired) -> bool:
    low, high = difference.interval()
    return low <= 0 <= high


def _crossing(grid: Floats, estimates: Sequence[float]) -> float | None:
    for at in range(1, len(grid)):
        before, after = estimates[at - 1], estimates[at]
        if before > 0 >= after:
            weight = before / (before - after)
            return float(grid[at - 1] * (grid[at] / grid[at - 1]) ** weight)
    return None

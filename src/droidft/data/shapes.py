"""The few shapes that batches have where a step is compiled for each: on Metal, on CUDA, and on plain MLX.

A shape is a number of rows, a width and a number of targets. At most eight are chosen from the data, and a batch is
filled up to the first that holds it; the last one holds every batch, so none is ever without a shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PAD_TO = 8
"""Widths are multiples of this many tokens."""
MOST_SHAPES = 8
MOST_WIDTHS = 256
"""Widths that are told apart when shapes are chosen."""
TARGETS_TO = 16
"""Numbers of targets are multiples of this."""


class Shape(NamedTuple):
    """How much a batch has room for; 0 rows or targets: for as many as there are."""

    rows: int
    width: int
    targets: int


@dataclass(frozen=True)
class Shapes:
    """Shapes by rising width and targets."""

    shapes: tuple[Shape, ...]
    padding: float | None = None
    """Share of the first epochs' positions that hold no token; None where it is not known beforehand."""

    @property
    def rows(self) -> int:
        """Rows of every batch."""
        return self.shapes[0].rows

    def first(self, longest: int, targets: int) -> Shape:
        """The first shape that holds rows of `longest` tokens with so many targets."""
        fitting = (shape for shape in self.shapes if shape.width >= longest - 1 and shape.targets >= targets)
        shape = next(fitting, None)
        assert shape is not None, (longest, targets, self.shapes)
        return shape


def plain(longest: int) -> Shape:
    """What rows of `longest` tokens take where every batch may have a shape of its own."""
    return Shape(0, rounded(longest - 1, PAD_TO), 0)


def rounded(value: int, step: int) -> int:
    """The next multiple of `step`, at least one."""
    return max(1, -(-int(value) // step)) * step


def filled(values: NDArray[Any], size: int, filler: float) -> NDArray[Any]:
    """`values` with `filler` behind them, up to `size` in all."""
    missing = size - len(values)
    return values if missing <= 0 else np.concatenate([values, np.full(missing, filler, values.dtype)])


def choose(
    lengths: NDArray[np.int64],
    tokens: NDArray[np.int64],
    targets: NDArray[np.int64],
    batches: Sequence[NDArray[np.int64]],
    *,
    batch_size: int,
    rows_each: int = 1,
) -> Shapes:
    """The shapes with the least padding for these batches of rows, or of pairs.

    Args:
        lengths: tokens of each row, of the longer answer of each pair.
        tokens: tokens of each row, of both answers of each pair.
        targets: the most targets that each row, or pair, may have.
        batches: the rows of each batch of some epochs.
        batch_size: rows, or pairs, in a full batch.
        rows_each: lines of a batch that each of them takes: 2 for pairs.
    """
    widest = rounded(lengths.max() - 1, PAD_TO)
    step = PAD_TO * max(1, -(-widest // (MOST_WIDTHS * PAD_TO)))
    widths = np.array([rounded(lengths[rows].max() - 1, step) for rows in batches])
    wanted = np.array([targets[rows].sum() for rows in batches])
    ends = _ends(np.append(widths, rounded(widest, step)), MOST_SHAPES - 1)
    chosen: list[Shape] = []
    least = 0
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        inside = wanted[(widths > begin) & (widths <= end)]
        least = max(least, rounded(inside.max(initial=0), TARGETS_TO))
        chosen.append(Shape(batch_size * rows_each, end, least))
    # Batches of other epochs may need more: one more shape holds whatever can come together.
    most = rounded(np.sort(targets)[-batch_size:].sum(), TARGETS_TO)
    if most > least:
        chosen.append(Shape(batch_size * rows_each, ends[-1], most))
    shapes = Shapes(tuple(chosen))
    fitted = [shapes.first(int(lengths[rows].max()), int(targets[rows].sum())) for rows in batches]
    given = sum(shape.rows * shape.width for shape in fitted)
    used = sum(int(tokens[rows].sum()) - rows_each * len(rows) for rows in batches)
    return Shapes(tuple(chosen), 1 - used / given)


def ladder(longest: int, targets: int, *, batch_size: int) -> Shapes:
    """Shapes for rows whose lengths are not known yet: evenly spread widths; `targets` is the most of one row."""
    step = rounded(-(-(longest - 1) // MOST_SHAPES), PAD_TO)
    widths = range(step, rounded(longest - 1, step) + 1, step)
    return Shapes(tuple(Shape(batch_size, width, batch_size * min(targets, width)) for width in widths))


def _ends(widths: NDArray[np.int64], most: int) -> list[int]:
    """At most `most` of these widths, the largest among them, such that raising each to the next costs least."""
    values, counts = np.unique(widths, return_counts=True)
    number = len(values)
    if number <= most:
        return [int(value) for value in values]
    up_to = np.concatenate([[0], np.cumsum(counts)])
    costs = np.full((number + 1, number + 1), np.inf)  # of one group: widths begin … end - 1, raised to the last
    for end in range(1, number + 1):
        costs[:end, end] = (up_to[end] - up_to[:end]) * values[end - 1]
    best, choices = costs[0], []
    for _ in range(most - 1):
        whole = best[:, None] + costs
        choices.append(whole.argmin(axis=0))
        best = whole.min(axis=0)
    found, end = [int(values[-1])], number
    for choice in reversed(choices):
        end = int(choice[end])
        found.append(int(values[end - 1]))
    return sorted(found)

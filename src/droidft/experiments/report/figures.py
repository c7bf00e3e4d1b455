"""The plots of an experiment's report, with what they show in words."""

from __future__ import annotations

from droidft.experiments.findings.results import Analysis, CurvePoint
from droidft.reports.plot import Bar, Line, Words, best_so_far, curves, forest
from droidft.support.words import difference, loss, signed


def forest_of(analysis: Analysis) -> str:
    """Differences of the test loss with their intervals; empty while nothing can be compared."""
    compared = [(each, each.difference) for each in analysis.contrasts if each.difference is not None]
    if not compared:
        return ""
    floor = analysis.noise_floor
    return forest(
        [Bar(f"{each.first} − {each.second}", it.value, it.low, it.high, each.per_seed) for each, it in compared],
        margin=analysis.plan.plan.equivalence_margin,
        floor=floor.difference if floor is not None else None,
        left="first arm better",
        right="second arm better",
        words=Words(
            "differences",
            "Differences of the test loss in nats per token, with 95 % intervals",
            "; ".join(
                f"{each.first} − {each.second}: {difference(it)}, by seed {', '.join(map(signed, each.per_seed))}"
                for each, it in compared
            ),
        ),
    )


def curves_of(analysis: Analysis) -> str:
    """Test loss over the share of the training data; empty without shares."""
    lines = [
        Line(
            curve.arm,
            [point.share for point in curve.points],
            [point.loss.value for point in curve.points],
            [point.loss.low for point in curve.points],
            [point.loss.high for point in curve.points],
        )
        for curve in analysis.curves
    ]
    texts = [f"{curve.arm}: {', '.join(map(_point, curve.points))}" for curve in analysis.curves if curve.points]
    words = Words("efficiency", "Test loss over the share of the training data", "; ".join(texts))
    return curves(lines, x_title="share of the training data", words=words)


def _point(point: CurvePoint) -> str:
    return f"{loss(point.loss.value)} at {100 * point.share:.3g}%"


def sweep_of(analysis: Analysis) -> str:
    """Validation losses of a sweep in the order of its runs; empty with fewer than two."""
    rows = [row for row in analysis.sweep if row.validation_loss is not None]
    names = [row.arm for row in rows]
    values = [row.validation_loss.mean for row in rows if row.validation_loss is not None]
    lowest = [row.best_so_far for row in rows if row.best_so_far is not None]
    text = ", ".join(f"{name} {loss(value)}" for name, value in zip(names, values, strict=True))
    words = Words("sweep", "Validation loss of each combination, and the lowest so far", text)
    return best_so_far(names, values, lowest, words=words)

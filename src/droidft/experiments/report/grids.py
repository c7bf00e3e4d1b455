"""The figures of an experiment as grids of text: what the page and the Markdown of its report share.

Nothing is escaped here: that is each form's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from droidft.experiments.findings.account import settings
from droidft.experiments.findings.results import Analysis, ArmResult, ContrastResult, PerSeed, RunRow, Table
from droidft.experiments.plan.settled import FixedPlan
from droidft.support.words import (
    NOTHING,
    difference,
    duration,
    factor,
    loss,
    mean,
    p_value,
    percent,
    points,
    signed,
    size,
)

MOST_COLUMNS = 8
"""With more arms and contrasts than this, they become lines instead of columns."""


@dataclass(frozen=True)
class Grid:
    """Text in lines and columns; the first `names` columns say what a line is, the others hold figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1
    marked: frozenset[int] = frozenset()
    """Lines that stand out."""
    groups: Sequence[tuple[str, int]] = ()
    """Headings above those of the columns, each with how many it spans."""


def side_by_side(table: Table) -> Grid:
    """Arms as columns and contrasts as further ones; as lines where there are many."""
    rows = [row for row in table.rows if any(text != NOTHING for text in [*row.values, *row.differences])]
    columns = [*table.arms, *table.contrasts]
    if len(columns) <= MOST_COLUMNS:
        return Grid(
            ["", *columns],
            [[row.name, *row.values, *row.differences] for row in rows],
            groups=[("", 1), ("arms", len(table.arms))]
            + [("difference [95 %], or ×", len(table.contrasts))] * bool(table.contrasts),
        )
    texts = zip(*([*row.values, *row.differences] for row in rows), strict=True)
    return Grid(
        ["", *(row.name for row in rows)],
        [[name, *line] for name, line in zip(columns, texts, strict=True)],
    )


def comparisons(analysis: Analysis) -> Grid | None:
    """Every contrast with its interval, its p-values, and what its interval is made of."""
    head = ["contrast", "difference [95 %]", "p", "corrected p", "p of equivalence", "degrees of freedom"]
    head += ["sd between seeds", "variance from seeds", "perplexity [95 %]", "rows better"]
    return _grid(head, (_comparison(each) for each in _compared(analysis)))


def _comparison(each: ContrastResult) -> list[str]:
    parts = (each.variance_of_seeds, each.variance_of_examples)
    whole = None if parts[0] is None or parts[1] is None else parts[0] + parts[1]
    return [
        _pair(each),
        difference(each.difference),
        p_value(each.p),
        p_value(each.adjusted_p),
        p_value(each.equivalence_p),
        NOTHING if each.degrees_of_freedom is None else f"{each.degrees_of_freedom:.1f}",
        loss(each.seed_sd),
        f"{parts[0] / whole:.0%}" if whole and parts[0] is not None else NOTHING,
        factor(each.perplexity_ratio),
        NOTHING if each.examples_better is None else f"{each.examples_better:.0%}",
    ]


def by_seed(analysis: Analysis) -> Grid | None:
    """Each contrast's difference under each seed."""
    seeds = analysis.plan.plan.seeds
    done = {arm.arm: set(arm.seeds) for arm in analysis.arms}
    rows = []
    for each in _compared(analysis):
        both = done.get(each.first, set()) & done.get(each.second, set())
        values = dict(zip([seed for seed in seeds if seed in both], each.per_seed, strict=True))
        cells = [signed(values[seed]) if seed in values else NOTHING for seed in seeds]
        rows.append([_pair(each), *cells])
    return _grid(["contrast", *(f"seed {seed}" for seed in seeds)], rows)


def efficiency(analysis: Analysis) -> Grid | None:
    """Test loss of each arm at each share of the data."""
    points = {(curve.arm, point.share): point for curve in analysis.curves for point in curve.points}
    rows = []
    for share in sorted({share for _, share in points}):
        here = [points.get((curve.arm, share)) for curve in analysis.curves]
        counts = {point.rows for point in here if point is not None}
        cells = [NOTHING if point is None else mean(point.loss) for point in here]
        rows.append([percent(share), f"{max(counts):,}", *cells])
    return _grid(["share", "rows", *(curve.arm for curve in analysis.curves)], rows)


def forgetting(analysis: Analysis) -> Grid | None:
    """Loss on the general text, of the base model and of each arm, and how arms differ in it."""
    rows = [["base", loss(analysis.base.general_loss), NOTHING]] if analysis.base else []
    rows += [[arm.arm, loss(arm.general_loss.mean), difference(arm.forgetting)] for arm in analysis.arms]
    rows += [[_pair(each), NOTHING, difference(each.forgetting)] for each in analysis.contrasts if each.forgetting]
    head = ["", "general text, nats per token", "more than the base model; difference [95 %]"]
    return _grid(head, rows) if analysis.arms else None


def shares_right(analysis: Analysis) -> Grid | None:
    """Questions answered rightly by the base model and by each arm, seed by seed."""
    seeds = analysis.plan.plan.seeds
    rows = [
        [arm.arm, f"{arm.accuracy.mean:.1%}", *_at_seeds(arm, arm.accuracy, seeds)]
        for arm in analysis.arms
        if arm.accuracy is not None
    ]
    base = analysis.base
    if base is not None and base.accuracy is not None:
        rows.insert(0, ["base", f"{base.accuracy:.1%}", *[NOTHING] * len(seeds)])
    return _grid(["", "right", *(f"seed {seed}" for seed in seeds)], rows)


def answers(analysis: Analysis) -> Grid | None:
    """Scores of each contrast, with the counts of McNemar's test."""
    head = ["contrast", "task", "questions", "first", "second", "difference [95 %]"]
    head += ["only first right", "only second right", "McNemar's exact p", "corrected p"]
    rows = (
        [
            _pair(each),
            score.name,
            f"{score.questions:,}",
            f"{score.first:.1%}",
            f"{score.second:.1%}",
            points(score.difference),
            f"{score.only_first:,}",
            f"{score.only_second:,}",
            p_value(score.mcnemar_p),
            p_value(score.adjusted_p),
        ]
        for each in analysis.contrasts
        for score in each.scores
    )
    return _grid(head, rows, names=2)


def rates(analysis: Analysis) -> Grid | None:
    """Learning rates that were tried, and which was chosen for each arm."""
    rows: list[list[str]] = []
    chosen: list[int] = []
    for arm in analysis.arms:
        for rate in arm.rates:
            chosen += [len(rows)] * rate.chosen
            mark = "chosen" if rate.chosen else NOTHING
            rows.append([arm.arm, f"{rate.learning_rate:g}", *_or_diverged(rate.validation_loss), mark])
    head = ["arm", "learning rate", "validation loss", "sd between seeds", "chosen"]
    return _grid(head, rows, marked=chosen)


def sweep(analysis: Analysis) -> Grid | None:
    """Combinations in the order of their runs."""
    swept = analysis.sweep
    lowest = min((row.best_so_far for row in swept if row.best_so_far is not None), default=None)
    rows = [
        [row.arm, settings(row.settings), *_or_diverged(row.validation_loss), loss(row.best_so_far)] for row in swept
    ]
    best = [at for at, row in enumerate(swept) if row.validation_loss and row.validation_loss.mean == lowest]
    head = ["arm", "settings", "validation loss", "sd between seeds", "best so far"]
    return _grid(head, rows, names=2, marked=best)


def runs(analysis: Analysis) -> Grid | None:
    """Every run that is known to be needed."""
    head = ["run", "state", "seed", "share", "learning rate", "step", "validation", "test", "general", "right"]
    return _grid([*head, "training", "in all"], (_run(analysis.plan, row) for row in analysis.runs), names=2)


def _run(fixed: FixedPlan, row: RunRow) -> list[str]:
    step = NOTHING if row.step is None else str(row.step)
    return [
        row.run.removeprefix(f"{fixed.id}."),
        row.status,
        NOTHING if row.seed is None else str(row.seed),
        percent(row.share),
        NOTHING if row.learning_rate is None else f"{row.learning_rate:g}",
        f"{step} of {row.steps}" if row.steps is not None else step,
        loss(row.validation_loss),
        loss(row.test_loss),
        loss(row.general_loss),
        NOTHING if row.right is None else f"{row.right:,}",
        NOTHING if row.seconds is None else duration(row.seconds),
        NOTHING if row.whole_seconds is None else duration(row.whole_seconds),
    ]


def arms(fixed: FixedPlan) -> Grid:
    """The arms as they are trained."""
    return Grid(
        ["arm", "its own settings", "rank", "alpha", "scale", "trainable", "steps"],
        [
            [
                arm.name,
                (settings(arm.differs) or "none")
                + (f"; rank matched to the count of {arm.matched}" if arm.matched else ""),
                str(arm.rank),
                f"{arm.alpha:g}",
                f"{arm.scale:g}",
                f"{arm.trainable:,} ({arm.trainable / arm.total:.3%})",
                f"{arm.steps['1']:,}",
            ]
            for arm in fixed.arms
        ],
        names=2,
    )


def costs(analysis: Analysis) -> Grid | None:
    """What each arm was timed at beforehand, and what it took."""
    done = {arm.arm: arm for arm in analysis.arms}
    rows = []
    for cost in analysis.plan.costs:
        arm = done.get(cost.arm)
        speed = arm.tokens_per_second.mean if arm is not None else math.nan
        runs = [run.whole_seconds for run in analysis.runs if (run.arm, run.share) == (cost.arm, 1.0)]
        took = [seconds for seconds in runs if seconds is not None]
        rows.append(
            [
                cost.arm,
                f"{1000 * cost.seconds_per_token:.2f}",
                f"{1000 / speed:.2f}" if speed > 0 else NOTHING,
                duration(cost.seconds_per_run),
                duration(sum(took) / len(took)) if took else NOTHING,
                size(cost.peak_bytes),
                size(arm.peak_bytes) if arm is not None else NOTHING,
            ]
        )
    head = ["arm", "ms a token, timed", "it took", "a run, estimated, with loading", "it took, without"]
    head += ["memory, rehearsed, MLX's account", "the process took"]
    return _grid(head, rows)


def _grid(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, names: int = 1, marked: Iterable[int] = ()
) -> Grid | None:
    """None without any line."""
    lines = list(rows)
    return Grid(head, lines, names, frozenset(marked)) if lines else None


def _compared(analysis: Analysis) -> list[ContrastResult]:
    return [each for each in analysis.contrasts if each.difference is not None]


def _pair(contrast: ContrastResult) -> str:
    return f"{contrast.first} − {contrast.second}"


def _or_diverged(figure: PerSeed | None) -> list[str]:
    """Mean and standard deviation between seeds."""
    return ["diverged", NOTHING] if figure is None else [loss(figure.mean), loss(figure.sd)]


def _at_seeds(arm: ArmResult, figure: PerSeed, seeds: Sequence[int]) -> list[str]:
    values = dict(zip(arm.seeds, figure.values, strict=False))
    return [f"{values[seed]:.1%}" if seed in values else NOTHING for seed in seeds]

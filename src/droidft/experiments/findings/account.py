"""An experiment in words, for terminal and reports: its plan, its figures side by side, what limits its choices.

Nothing is escaped here: that is each form's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from droidft.experiments.findings.results import (
    Analysis,
    ArmResult,
    BaseResult,
    ContrastResult,
    RunRow,
    Table,
    TableRow,
)
from droidft.experiments.findings.stats import LEVEL
from droidft.experiments.plan.settled import FixedPlan
from droidft.experiments.plan.written import VERDICT_SEEDS
from droidft.runs.folder import RunStatus
from droidft.support.words import NOTHING, count, difference, duration, loss, moment, percent, plain, points, size


def question(fixed: FixedPlan) -> str:
    """What is compared, on what, in two sentences."""
    sizes = fixed.sizes
    if fixed.contrasts:
        pairs = [f"{_arm(fixed, first)} or {_arm(fixed, second)}" for first, second in fixed.contrasts]
        what = f"Which is better, and by how much: {'; '.join(pairs)}?"
    else:
        grid = " × ".join(f"{name} ({len(values)})" for name, values in fixed.plan.sweep.items())
        what = f"Which of {len(fixed.arms)} combinations of {grid} is best, and by how much better than the first?"
    return (
        f"{what} {fixed.model}, trained on {sizes.train_rows:,} rows with {count(len(fixed.plan.seeds), 'seed')} "
        f"and judged by its loss on {count(sizes.test_rows, 'test row')}."
    )


def criteria(fixed: FixedPlan) -> list[str]:
    """By what the verdict is given, as it was written down before the first step."""
    plan = fixed.plan
    weights = plan.measurement.weights.value
    tried = len(plan.learning_rates or [])
    rates = f" and for the {tried} learning rates that each arm's is chosen from" * (tried > 1)
    lines = [
        f"Fixed on {moment(fixed.created)}.",
        f"Seeds {', '.join(map(str, plan.seeds))}; a verdict takes {VERDICT_SEEDS}, fewer is exploratory.",
        "Contrasts: "
        + (
            ", ".join(f"{a} − {b}" for a, b in fixed.contrasts)
            or "the best of the sweep − its first, corrected for all arms against the first"
        )
        + ".",
        f"Different: p, corrected for all contrasts that are read (Holm){rates}, is below {1 - LEVEL:.0%}.",
        f"Equivalent: by two one-sided tests, corrected likewise, the difference lies within "
        f"±{plan.equivalence_margin:g} nats per token (× {math.exp(plan.equivalence_margin):.3f} of perplexity).",
        f"Measured are the {weights} weights of each run"
        + (", chosen by validation loss." * (weights == "best") or "."),
    ]
    if plan.learning_rates:
        values = ", ".join(f"{rate:g}" for rate in plan.learning_rates)
        lines.append(f"Learning rates {values}: chosen for each arm by mean validation loss, judged on the test set.")
    shares = ", ".join(map(percent, plan.shares))
    lines.append(
        f"Shares of the training data {shares}, each part of the next."
        if len(plan.shares) > 1
        else "Trained on all of the training data; no shares of it."
    )
    return lines


def unmeasured(analysis: Analysis) -> list[str]:
    """What the plan did not ask for, so that no figure is missed."""
    plan, missing = analysis.plan.plan, []
    if len(plan.shares) < 2:
        missing.append("sample efficiency (the plan has no shares of the data)")
    if plan.measurement.questions is None and plan.measurement.harness is None:
        missing.append("a task score (the plan asks no questions)")
    return missing


def facts(fixed: FixedPlan) -> dict[str, str]:
    """What was compared, on what, by what."""
    sizes = fixed.sizes
    return {
        "Experiment": fixed.id,
        "Model": fixed.model,
        "Weights": f"SHA-256 {fixed.base_hash}",
        "Training": f"{sizes.train_rows:,} rows, {sizes.train_tokens:,} tokens; {sizes.split}",
        "Validation": f"{sizes.validation_rows:,} rows, {sizes.validation_tokens:,} tokens",
        "Test": f"{sizes.test_rows:,} rows in {sizes.clusters:,} groups, {sizes.test_tokens:,} tokens",
        "Test rows also in training or validation": f"{sizes.seen_in_training:,}",
        "Test rows that belong together with such": NOTHING
        if sizes.opened_in_training is None
        else f"{sizes.opened_in_training:,}",
        "Questions": f"{sizes.questions:,} of the test rows",
        "General text": f"{sizes.general_rows:,} texts, {sizes.general_tokens:,} tokens",
        "Data hash": f"SHA-256 {fixed.data_hash} (training and validation)",
        "Test hash": f"SHA-256 {fixed.test_hash}",
        "General hash": f"SHA-256 {fixed.general_hash}",
        "Device": plain(fixed.device),
        "Versions": plain(fixed.versions),
    }


def spent(analysis: Analysis) -> str:
    """The estimate of the whole experiment, and what it has taken."""
    estimate = analysis.plan.estimate
    done = [run.whole_seconds for run in analysis.runs if run.whole_seconds is not None]
    took = "No run is done yet."
    if done:
        took = f"{count(len(done), 'run')} took {duration(sum(done))}, loading left out."
    if estimate is None:
        return f"Nothing was timed beforehand. {took}"
    return (
        f"Estimated from a few timed steps: {count(estimate.runs, 'run')} in {duration(estimate.seconds)}, "
        f"{size(estimate.peak_bytes)} of memory, {size(estimate.disk_bytes)} on disk. {took}"
    )


def settings(values: Mapping[str, Any]) -> str:
    """Settings under the names that a plan gives them."""
    return ", ".join(f"{name}: {plain(value)}" for name, value in values.items())


def _arm(fixed: FixedPlan, name: str) -> str:
    matched = fixed.arm(name).matched
    return f"{name} (as many trained parameters as {matched})" if matched else name


def notes(
    fixed: FixedPlan, arms: Sequence[ArmResult], runs: Sequence[RunRow], *, on_the_best: Sequence[str]
) -> list[str]:
    """What a reader should know before drawing conclusions; `on_the_best` is about the best arm of a sweep."""
    plan, sizes = fixed.plan, fixed.sizes
    lines = list(fixed.warnings)
    lines.append(
        f"It holds for this model, this data and these settings: {count(sizes.train_rows, 'row')} to train on, "
        f"{count(sizes.test_rows, 'test row')} in {count(sizes.clusters, 'group')}, {count(len(plan.seeds), 'seed')}."
    )
    if not plan.learning_rates and not plan.sweep:
        lines.append("All arms have the learning rate of the settings; another one may suit an arm better.")
    lines += rates_at_an_end(arms)
    if (choices := len(plan.learning_rates or [])) > 1:
        lines.append(
            f"Each arm's learning rate was chosen among {choices} by runs that it is judged by: p-values are "
            "corrected for that, intervals are not."
        )
    lines += on_the_best
    if diverged := [run.run.removeprefix(f"{fixed.id}.") for run in runs if run.status == "diverged"]:
        more = f" and {len(diverged) - 6:,} more" if len(diverged) > 6 else ""
        lines.append(f"Diverged, and not judged at what they were tried with: {', '.join(diverged[:6])}{more}.")
    if len(plan.shares) > 1:
        lines.append("All seeds see the same part of the data for a share; another may do better or worse.")
    lines += [
        f"Run {run.run} is finished, but what it measured is missing: it does not count."
        for run in runs
        if run.status == RunStatus.FINISHED and run.test_loss is None
    ]
    return [*lines, "Times are of this machine, together with whatever else it did."]


def rates_at_an_end(arms: Sequence[ArmResult]) -> list[str]:
    """Arms whose chosen learning rate is the largest or smallest that was tried: the best may lie beyond it."""
    names: dict[tuple[str, float], list[str]] = {}
    for arm in arms:
        rates = sorted(rate.learning_rate for rate in arm.rates)
        for end, at in (("smallest", 0), ("largest", -1)):
            if len(rates) > 1 and any(rate.chosen and rate.learning_rate == rates[at] for rate in arm.rates):
                names.setdefault((end, rates[at]), []).append(arm.arm)
    return [
        f"The learning rate chosen for {', '.join(those)} is the {end} that was tried, {rate:g}: one "
        f"{'below' if end == 'smallest' else 'above'} it may suit better."
        for (end, rate), those in names.items()
    ]


def best_at_an_end(fixed: FixedPlan, best: str) -> list[str]:
    """Numbers that a sweep's best arm has at an end of those that were tried."""
    notes = []
    for name, values in fixed.plan.sweep.items():
        numbers = [number for value in values if (number := _number(value)) is not None]
        chosen = _number(fixed.arm(best).differs[name])
        if chosen is None or len(numbers) < 2 or chosen not in (min(numbers), max(numbers)):
            continue
        end, beyond = ("smallest", "smaller") if chosen == min(numbers) else ("largest", "larger")
        notes.append(
            f"The best combination has the {end} {name} that was tried, {chosen:g}: a {beyond} one may be better."
        )
    return notes


def _number(value: object) -> float | None:
    """Also one that YAML takes for a text, such as `1e-4`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def table(
    base: BaseResult | None, arms: Sequence[ArmResult], contrasts: Sequence[ContrastResult], *, seeds: int
) -> Table:
    """Losses and scores with the difference and its interval; costs with their ratio.

    An arm that is not yet trained with all of the plan's `seeds` says with how many.
    """
    columns = _Columns(base, {arm.arm: arm for arm in arms}, contrasts)
    return Table(
        arms=["base", *(_titled(arm, seeds) for arm in arms)],
        contrasts=[f"{each.first} − {each.second}" for each in contrasts],
        rows=[*columns.losses(), *columns.costs(), *columns.scores(), *columns.efficiency()],
    )


def _titled(arm: ArmResult, seeds: int) -> str:
    done = len(arm.seeds)
    return arm.arm if done == seeds else f"{arm.arm} ({done} of {seeds} seeds)"


class _Columns:
    def __init__(
        self, base: BaseResult | None, arms: dict[str, ArmResult], contrasts: Sequence[ContrastResult]
    ) -> None:
        self._base, self._arms, self._contrasts = base, arms, contrasts

    def losses(self) -> list[TableRow]:
        base = self._base
        return [
            self._row("Validation loss", lambda arm: loss(arm.validation_loss.mean)),
            self._row(
                "Test loss, nats per token",
                lambda arm: loss(arm.test_loss.mean),
                base=loss(base.test_loss) if base else NOTHING,
                differences=[difference(each.difference) for each in self._contrasts],
            ),
            self._row(
                "General text, nats per token",
                lambda arm: loss(arm.general_loss.mean),
                base=loss(base.general_loss) if base else NOTHING,
                differences=[difference(each.forgetting) for each in self._contrasts],
            ),
        ]

    def costs(self) -> list[TableRow]:
        return [
            self._row("Rank", lambda arm: str(arm.rank)),
            self._row("Learning rate", lambda arm: f"{arm.learning_rate:g}"),
            self._cost(
                "Trainable parameters",
                lambda arm: f"{arm.trainable:,} ({arm.trainable / arm.total:.2%})",
                lambda arm: arm.trainable,
            ),
            self._cost("Training time", lambda arm: duration(arm.seconds.mean), lambda arm: arm.seconds.mean),
            self._cost(
                "Tokens per second",
                lambda arm: f"{arm.tokens_per_second.mean:,.0f}",
                lambda arm: arm.tokens_per_second.mean,
            ),
            self._cost("Peak memory", lambda arm: size(arm.peak_bytes), lambda arm: arm.peak_bytes),
            self._cost("Adapter on disk", lambda arm: size(arm.adapter_bytes), lambda arm: arm.adapter_bytes),
        ]

    def scores(self) -> list[TableRow]:
        if not any(arm.accuracy for arm in self._arms.values()):
            return []
        base = self._base
        return [
            self._row(
                "Questions answered rightly",
                lambda arm: f"{arm.accuracy.mean:.1%}" if arm.accuracy else NOTHING,
                base=f"{base.accuracy:.1%}" if base and base.accuracy is not None else NOTHING,
                differences=[
                    points(each.scores[0].difference) if each.scores else NOTHING for each in self._contrasts
                ],
            )
        ]

    def efficiency(self) -> list[TableRow]:
        if not any(each.reaches for each in self._contrasts):
            return []
        shares = [_reached(each) for each in self._contrasts]
        return [self._row("Share of the data for the other's loss", lambda _: NOTHING, differences=shares)]

    def _cost(self, name: str, shown: Callable[[ArmResult], str], figure: Callable[[ArmResult], float]) -> TableRow:
        """With the first arm's figure as a multiple of the second's."""
        ratios = []
        for each in self._contrasts:
            sides = [self._arms.get(name) for name in (each.first, each.second)]
            one, two = (figure(arm) if arm is not None else 0.0 for arm in sides)
            ratios.append(f"× {one / two:.2f}" if one and two else NOTHING)
        return self._row(name, shown, differences=ratios)

    def _row(
        self,
        name: str,
        shown: Callable[[ArmResult], str],
        *,
        base: str = NOTHING,
        differences: Sequence[str] | None = None,
    ) -> TableRow:
        blank = [NOTHING] * len(self._contrasts)
        values = [base, *map(shown, self._arms.values())]
        return TableRow(name=name, values=values, differences=blank if differences is None else list(differences))


def _reached(contrast: ContrastResult) -> str:
    reached = contrast.reaches
    if reached is None:
        return NOTHING
    low = f"below {percent(reached.smallest)}" if reached.low is None else f"{reached.low:.0%}"
    high = "above 100%" if reached.high is None else f"{reached.high:.0%}"
    share = f"{reached.share:.0%}" if reached.share is not None else f"{percent(reached.smallest)} or less"
    return f"{'not reached' if reached.share is None and not reached.below else share} [{low}, {high}]"

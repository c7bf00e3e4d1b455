"""An experiment in sentences: what the page and the Markdown of its report share.

Nothing is escaped here: that is each form's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from droidft.experiments.findings.results import Analysis
from droidft.experiments.findings.stats import LEVEL
from droidft.experiments.plan.settled import FixedPlan
from droidft.experiments.plan.written import VERDICT_SEEDS
from droidft.support.words import NOTHING, count, duration, moment, percent, plain, size


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
    found = [
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
        found.append(f"Learning rates {values}: chosen for each arm by mean validation loss, judged on the test set.")
    shares = ", ".join(map(percent, plan.shares))
    found.append(
        f"Shares of the training data {shares}, each part of the next."
        if len(plan.shares) > 1
        else "Trained on all of the training data; no shares of it."
    )
    return found


def unmeasured(analysis: Analysis) -> list[str]:
    """What the plan did not ask for, so that no figure is missed."""
    plan, found = analysis.plan.plan, []
    if len(plan.shares) < 2:
        found.append("sample efficiency (the plan has no shares of the data)")
    if plan.measurement.questions is None and plan.measurement.harness is None:
        found.append("a task score (the plan asks no questions)")
    return found


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

"""An experiment as one file: a page that needs no network, Markdown, or JSON from which each number can be checked.

A report is for showing around: it names files, not the folders that they lie in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from droidft import __version__
from droidft.experiment.fixed import FixedPlan
from droidft.experiment.plan import VERDICT_SEEDS, Plan
from droidft.experiment.results import Analysis, ContrastResult, Interval, Kind
from droidft.experiment.stats import LEVEL
from droidft.experiment.verdict import signed
from droidft.measured import Measurements
from droidft.plot import Bar, Line, best_so_far, curves, forest

CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
FORMAT = 1
"""Version of the JSON report."""


def render(analysis: Analysis, form: str, *, measured: Mapping[str, Measurements]) -> str:
    """The report in the form `html`, `md` or `json`; `measured` are the figures of every row, by run."""
    writers: Mapping[str, Callable[[Analysis, Mapping[str, Measurements]], str]] = {
        "html": _html,
        "md": _markdown,
        "json": _json,
    }
    return writers[form](_without_folders(analysis), measured)


def _without_folders(analysis: Analysis) -> Analysis:
    fixed = analysis.plan
    dumped: dict[str, Any] = _names_only(fixed.plan.model_dump(mode="json"))
    device: dict[str, Any] = _names_only(fixed.device)
    plan = fixed.model_copy(
        update={"plan": Plan.model_validate(dumped), "model": Path(fixed.model).name, "device": device}
    )
    return analysis.model_copy(update={"plan": plan})


def _names_only(value: Any) -> Any:
    match value:
        case dict():
            return {name: _names_only(part) for name, part in value.items()}
        case list():
            return [_names_only(part) for part in value]
        case str() if value.startswith(("/", "~/", "./", "../")):
            return Path(value).name
    return value


def _json(analysis: Analysis, measured: Mapping[str, Measurements]) -> str:
    found = {
        "format": FORMAT,
        "written": time.time(),
        "droidft": __version__,
        "analysis": analysis.model_dump(mode="json"),
        "measured": {run: each.model_dump(mode="json") for run, each in sorted(measured.items())},
    }
    return json.dumps(found, ensure_ascii=False, allow_nan=False, indent=1)


def _html(analysis: Analysis, measured: Mapping[str, Measurements]) -> str:
    del measured
    plan = analysis.plan.plan
    return _template().render(
        analysis=analysis,
        fixed=analysis.plan,
        plan=plan,
        title=plan.title or f"Experiment {analysis.plan.id}",
        forest=Markup(_forest(analysis)),
        curves=Markup(_curves(analysis)),
        sweep=Markup(_sweep(analysis)),
        criteria=criteria(analysis.plan),
        facts=_facts(analysis.plan),
        settings={**plan.settings},
        made=time.strftime("%Y-%m-%d %H:%M", time.localtime()),
        version=__version__,
        csp=CSP,
    )


def _forest(analysis: Analysis) -> str:
    compared = [each for each in analysis.contrasts if each.difference is not None]
    if not compared:
        return ""
    bars = [_bar(each, each.difference) for each in compared if each.difference is not None]
    return forest(
        bars,
        margin=analysis.plan.plan.equivalence_margin,
        title="Differences of the test loss with 95 % intervals: " + "; ".join(each.sentence for each in compared),
        left="first arm better",
        right="second arm better",
    )


def _bar(contrast: ContrastResult, found: Interval) -> Bar:
    return Bar(f"{contrast.first} − {contrast.second}", found.value, found.low, found.high, contrast.per_seed)


def _curves(analysis: Analysis) -> str:
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
    return curves(lines, title="Test loss over the share of the training data", x_title="share of the training data")


def _sweep(analysis: Analysis) -> str:
    return best_so_far(
        [row.validation_loss.mean for row in analysis.sweep],
        [row.best_so_far for row in analysis.sweep],
        title="Validation loss of each combination, and the best so far",
    )


def criteria(fixed: FixedPlan) -> list[str]:
    """By what the verdict is given, as it was written down before the first step."""
    plan = fixed.plan
    found = [
        f"Seeds {', '.join(map(str, plan.seeds))}; a verdict takes {VERDICT_SEEDS}, fewer is exploratory.",
        "Contrasts: "
        + (", ".join(f"{a} − {b}" for a, b in fixed.contrasts) or "the best of the sweep − its first")
        + ".",
        f"Different: Holm's p, corrected for all contrasts that are read, is below {1 - LEVEL:.0%}.",
        f"Equivalent: by two one-sided tests, corrected likewise, the difference lies within "
        f"±{plan.equivalence_margin:g} nats per token.",
        f"Measured are the {plan.measurement.weights.value} weights of each run"
        + (", chosen by validation loss." if plan.measurement.weights.value == "best" else "."),
    ]
    if plan.learning_rates:
        rates = ", ".join(f"{rate:g}" for rate in plan.learning_rates)
        found.append(f"Learning rates {rates}: chosen for each arm by mean validation loss, judged on the test set.")
    if len(plan.shares) > 1:
        shares = ", ".join(f"{share:.0%}" for share in plan.shares)
        found.append(f"Shares of the training data {shares}, each part of the next.")
    return found


def _facts(fixed: FixedPlan) -> dict[str, str]:
    """What was compared, on what, by what."""
    sizes = fixed.sizes
    return {
        "Experiment": fixed.id,
        "Plan fixed": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(fixed.created)),
        "Model": fixed.model,
        "Weights": f"SHA-256 {fixed.base_hash}",
        "Training": f"{sizes.train_rows:,} rows, {sizes.train_tokens:,} tokens; {sizes.split}",
        "Validation": f"{sizes.validation_rows:,} rows, {sizes.validation_tokens:,} tokens",
        "Test": f"{sizes.test_rows:,} rows in {sizes.clusters:,} groups, {sizes.test_tokens:,} tokens",
        "General text": f"{sizes.general_rows:,} texts, {sizes.general_tokens:,} tokens",
        "Test rows also in training": f"{sizes.seen_in_training:,}",
        "Data hash": f"SHA-256 {fixed.data_hash} (training and validation)",
        "Test hash": f"SHA-256 {fixed.test_hash}",
        "General hash": f"SHA-256 {fixed.general_hash}",
        "Device": _words(fixed.device),
        "Versions": _words(fixed.versions),
    }


def _words(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"{name.replace('_', ' ')} {_words(part)}" for name, part in value.items())
        case list():
            return ", ".join(map(_words, value)) or "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case None:
            return "–"
    return str(value)


def _markdown(analysis: Analysis, measured: Mapping[str, Measurements]) -> str:
    del measured
    return "\n".join(_paragraphs(analysis)) + "\n"


def _paragraphs(analysis: Analysis) -> Iterator[str]:
    plan = analysis.plan.plan
    yield f"# {_cell(plan.title or f'Experiment {analysis.plan.id}')}"
    yield ""
    yield f"**{_cell(analysis.verdict)}**"
    if not analysis.complete:
        yield ""
        yield "Not all runs are done yet."
    if (found := analysis.table) is not None:
        yield ""
        yield from _grid(["", *found.arms], [[row.name, *row.values] for row in found.rows])
        rows = [[row.name, *row.differences] for row in found.rows if any(cell != "–" for cell in row.differences)]
        if found.contrasts and rows:
            yield ""
            yield from _grid(["Difference [95 %] or ratio", *found.contrasts], rows)
    yield ""
    yield from _findings(analysis)
    yield ""
    yield "## The plan, as fixed before the first step"
    yield ""
    yield from (f"- {_cell(line)}" for line in criteria(analysis.plan))
    yield ""
    yield from _grid(["", ""], [[name, text] for name, text in _facts(analysis.plan).items()])
    yield ""
    yield from (f"- {_cell(note)}" for note in analysis.notes)


def _findings(analysis: Analysis) -> Iterator[str]:
    if analysis.noise_floor is not None:
        yield (
            f"- Noise floor: two means of one arm differ by up to {analysis.noise_floor.difference:.4f} "
            "nats per token (95 %) through their seeds alone."
        )
    for each in analysis.contrasts:
        if each.kind is Kind.PENDING:
            continue
        seeds = ", ".join(map(signed, each.per_seed))
        yield f"- {each.first} − {each.second}, seed by seed: {seeds}; Holm's p {each.adjusted_p:.3g}."
        for score in each.scores:
            yield (
                f"- {_cell(score.name)}: only {each.first} right {score.only_first}, only {each.second} "
                f"{score.only_second}, of {score.questions}; McNemar's exact p {score.mcnemar_p:.3g}."
            )
        if each.reaches is not None:
            yield f"- {each.reaches.sentence}"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(map(_cell, head)) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"


def _cell(text: str) -> str:
    """A text on one line that no Markdown table or page takes for more."""
    flat = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return flat.replace("<", "&lt;").replace(">", "&gt;")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("droidft"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"signed": signed, "words": _words}
    return environment.get_template("experiment.html")

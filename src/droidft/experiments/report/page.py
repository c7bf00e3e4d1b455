"""An experiment as one file: a page that needs no network, Markdown, or JSON from which each number can be checked.

A report is for showing around: it names files, not the folders that they lie in.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from functools import cache
from os.path import expanduser
from pathlib import Path
from typing import Any

from jinja2 import Template
from markupsafe import Markup, escape

from droidft import __version__
from droidft.config.measurement import Measurements
from droidft.experiments.findings import account
from droidft.experiments.findings.results import Analysis
from droidft.experiments.findings.stats import FEW
from droidft.experiments.plan.settled import FixedPlan
from droidft.experiments.report import figures, grids
from droidft.experiments.report.markdown import markdown
from droidft.home import REFERENCES
from droidft.reports import pages
from droidft.reports.plot import KINDS
from droidft.support.words import loss, plain

FORMAT = 1
"""Version of the JSON report."""
FOLDERS = ("/", "~/", "./", "../")
"""How a text begins that names a folder."""
PATHS = frozenset({*REFERENCES, "test_data_path", "general_data_path", "include"})
"""Parts of a plan that can be paths, however they begin."""
HUB = "hub:"
"""How the name of a data set on the hub begins."""


def render(analysis: Analysis, form: str, *, measured: Mapping[str, Measurements] | None = None) -> str:
    """The report in the form `html`, `md` or `json`; `measured` are the figures of every row, by run, for the JSON.

    Raises:
        ValueError: there is no such form.
    """
    shown = _without_folders(analysis)
    match form:
        case "html":
            return _page(shown)
        case "md":
            return markdown(shown)
        case "json":
            return _json(shown, measured or {})
    raise ValueError(f"a report has the form html, md or json, not {form!r}")


def _without_folders(analysis: Analysis) -> Analysis:
    names = _names(analysis.plan)
    if not names:
        return analysis
    # The longest first: a folder may be the beginning of a file in it.
    paths = sorted(names, key=len, reverse=True)
    # What goes on to the left of a match is another path.
    before = {path: r"(?<![\w.~-])" if path.startswith(FOLDERS) else r"(?<![\w./~:-])" for path in paths}
    pattern = re.compile("|".join(before[path] + re.escape(path) for path in paths))
    return Analysis.model_validate(_renamed(analysis.model_dump(), pattern, names))


def _names(fixed: FixedPlan) -> dict[str, str]:
    """Every path of the plan, as it may stand in a text, with what is shown instead."""
    model = str(fixed.plan.settings.get("model_path", ""))
    is_folder = Path(fixed.model).parts[-len(Path(model).parts) :] == Path(expanduser(model)).parts
    written = [fixed.plan.model_dump(exclude={"title"}), fixed.device, *(arm.config for arm in fixed.arms)]
    named = {*_texts(written), ("model_path", fixed.model)}
    names: dict[str, str] = {}
    for name, text in named:
        if text.startswith(FOLDERS) or (name in PATHS and not text.startswith(HUB) and (is_folder or text != model)):
            path = Path(text)
            names |= dict.fromkeys((text.rstrip("/"), str(path), expanduser(path)), path.name)
    if not is_folder and model:
        names[fixed.model] = model
    return {path: name for path, name in names.items() if "/" in path.removeprefix("/")}


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text, with the name that it stands under."""
    match value:
        case str():
            yield name, value
        case dict():
            for key, part in value.items():
                yield from _texts(part, key)
        case list() | tuple():
            for part in value:
                yield from _texts(part, name)


def _renamed(value: Any, paths: re.Pattern[str], names: Mapping[str, str]) -> Any:
    match value:
        case str():
            return paths.sub(lambda match: names[match[0]], value)
        case dict():
            return {key: _renamed(part, paths, names) for key, part in value.items()}
        case list() | tuple():
            return [_renamed(part, paths, names) for part in value]
    return value


def _json(analysis: Analysis, measured: Mapping[str, Measurements]) -> str:
    report = {
        "format": FORMAT,
        "written": time.time(),
        "droidft": __version__,
        "analysis": _finite(analysis.model_dump(mode="json")),
        "measured": {run: _finite(each.model_dump(mode="json")) for run, each in sorted(measured.items())},
    }
    return json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null says that there is no number."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _finite(part) for key, part in value.items()}
        case list():
            return [_finite(part) for part in value]
    return value


def _page(analysis: Analysis) -> str:
    fixed = analysis.plan
    return _template().render(
        analysis=analysis,
        fixed=fixed,
        plan=fixed.plan,
        title=fixed.plan.title or f"Experiment {fixed.id}",
        grids=grids,
        few=FEW,
        forest=Markup(figures.forest_of(analysis)),
        curves=Markup(figures.curves_of(analysis)),
        sweep=Markup(figures.sweep_of(analysis)),
        kinds=KINDS,
        question=account.question(fixed),
        unmeasured=account.unmeasured(analysis),
        criteria=account.criteria(fixed),
        spent=account.spent(analysis),
        facts=account.facts(fixed),
        settings={name: plain(value) for name, value in fixed.plan.settings.items()},
        written=time.strftime("%Y-%m-%d %H:%M", time.localtime()),
        version=__version__,
        csp=pages.CSP,
    )


def _stacked(text: str) -> Markup:
    """A figure, and below it what stands in brackets."""
    for opening in (" [", " ("):
        head, bracket, rest = text.partition(opening)
        if bracket:
            return Markup('{}<span class="below">{}</span>').format(head, bracket.strip() + rest)
    return escape(text)


@cache
def _template() -> Template:
    return pages.template("experiment.html", stacked=_stacked, loss=loss)

"""An experiment as one file: a page that needs no network, Markdown, or JSON from which each number can be checked.

A report is for showing around: it names files, not the folders that they lie in.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template
from markupsafe import Markup, escape

from droidft import __version__, pages
from droidft.experiment import account, figures, grids
from droidft.experiment.markdown import markdown
from droidft.experiment.numerals import loss
from droidft.experiment.results import Analysis
from droidft.experiment.stats import FEW
from droidft.measured import Measurements
from droidft.plot import KINDS

FORMAT = 1
"""Version of the JSON report."""
FOLDERS = ("/", "~/", "./", "../")
"""How a text begins that names a folder."""


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
    fixed = analysis.plan
    texts = set(_texts([fixed.plan.model_dump(exclude={"title"}), fixed.device, fixed.model]))
    paths = [text for text in texts if text.startswith(FOLDERS) and text.count("/") > 1]
    # The longest first: a folder may be the beginning of a file in it.
    names = {path: Path(path).name for path in sorted(paths, key=len, reverse=True)}
    return Analysis.model_validate(_renamed(analysis.model_dump(), names))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for part in value.values():
                yield from _texts(part)
        case list() | tuple():
            for part in value:
                yield from _texts(part)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case str():
            for path, name in names.items():
                value = value.replace(path, name)
            return value
        case dict():
            return {key: _renamed(part, names) for key, part in value.items()}
        case list() | tuple():
            return [_renamed(part, names) for part in value]
    return value


def _json(analysis: Analysis, measured: Mapping[str, Measurements]) -> str:
    found = {
        "format": FORMAT,
        "written": time.time(),
        "droidft": __version__,
        "analysis": _finite(analysis.model_dump(mode="json")),
        "measured": {run: _finite(each.model_dump(mode="json")) for run, each in sorted(measured.items())},
    }
    return json.dumps(found, ensure_ascii=False, allow_nan=False, indent=1)


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
        settings={name: account.in_words(value) for name, value in fixed.plan.settings.items()},
        written=time.strftime("%Y-%m-%d %H:%M", time.localtime()),
        version=__version__,
        csp=pages.CSP,
    )


def _stacked(text: str) -> Markup:
    """A figure, and below it what stands in brackets."""
    for opening in (" [", " ("):
        head, found, rest = text.partition(opening)
        if found:
            return Markup('{}<span class="below">{}</span>').format(head, found.strip() + rest)
    return escape(text)


@cache
def _template() -> Template:
    return pages.template("experiment.html", stacked=_stacked, loss=loss)

"""An experiment as Markdown, in short: tables as GitHub reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from droidft.experiments.findings.account import criteria, facts, question, settings, spent, unmeasured
from droidft.experiments.findings.results import Analysis
from droidft.experiments.report import grids
from droidft.experiments.report.grids import Grid
from droidft.support.words import loss

MEANING = re.compile(r"([\\`*\[\]~#|$&]|(?<!\w)_|_(?!\w))")
"""Characters that mean something to Markdown."""


def markdown(analysis: Analysis) -> str:
    """The report; what people wrote in a plan reads as they wrote it."""
    return "\n".join(_lines(analysis)).rstrip() + "\n"


def _lines(analysis: Analysis) -> Iterator[str]:
    fixed = analysis.plan
    title = fixed.plan.title or f"Experiment {fixed.id}"
    yield from _paragraphs(f"# {_foreign(title)}", _foreign(question(fixed)), f"**{_line(analysis.verdict)}**")
    if not analysis.complete:
        yield from _paragraphs("Not all runs are done yet.")
    if analysis.table is not None:
        yield from _table(grids.side_by_side(analysis.table))
    if missing := unmeasured(analysis):
        yield from _paragraphs(f"Not measured: {'; '.join(missing)}.")
    yield from _findings(analysis)
    yield from _paragraphs("## The plan, as fixed before the first step")
    yield from _items([*criteria(fixed), spent(analysis)])
    yield from _table(grids.arms(fixed))
    yield from _paragraphs(f"Settings that all arms share: {_foreign(settings(fixed.plan.settings))}")
    yield from _table(grids.costs(analysis))
    yield from _paragraphs("## Data and environment")
    yield from _table(Grid(["what", "value"], [[name, text] for name, text in facts(fixed).items()], names=2))
    if analysis.notes:
        yield from _paragraphs("## What limits this")
        yield from _items(analysis.notes)


def _findings(analysis: Analysis) -> Iterator[str]:
    parts = {
        "Differences of the test loss, nats per token": [grids.comparisons(analysis), grids.by_seed(analysis)],
        "Data efficiency": [grids.efficiency(analysis)],
        "Forgetting": [grids.forgetting(analysis)],
        "Answers": [grids.shares_right(analysis), grids.answers(analysis)],
        "Learning rates that were tried": [grids.rates(analysis)],
        "Sweep": [grids.sweep(analysis)],
    }
    for title, tables in parts.items():
        if not any(tables):
            continue
        yield from _paragraphs(f"## {title}")
        if title == "Data efficiency":
            yield from _items([each.reaches.sentence for each in analysis.contrasts if each.reaches is not None])
        for grid in tables:
            yield from _table(grid)
    if analysis.noise_floor is not None:
        yield from _paragraphs(
            f"Noise floor: two means of one arm differ by up to {loss(analysis.noise_floor.difference)} nats "
            "per token (95 %) through their seeds alone."
        )


def _paragraphs(*texts: str) -> Iterator[str]:
    for text in texts:
        yield text
        yield ""


def _items(texts: Sequence[str]) -> Iterator[str]:
    if texts:
        yield from (f"- {_foreign(text)}" for text in texts)
        yield ""


def _table(grid: Grid | None) -> Iterator[str]:
    if grid is None:
        return
    yield _row(grid.head)
    yield "|" + "---|" * grid.names + "---:|" * (len(grid.head) - grid.names)
    for row in grid.rows:
        yield _row([*map(literal, row[: grid.names]), *row[grid.names :]])
    yield ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_line, cells)) + " |"


def literal(text: str) -> str:
    """A text in which no character means anything to Markdown."""
    return MEANING.sub(r"\\\1", text)


def _foreign(text: str) -> str:
    """What people or files wrote, on one line."""
    return _line(literal(text))


def _line(text: str) -> str:
    """A text on one line, without HTML, with pipes that end no cell."""
    flat = re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))
    return flat.replace("<", "&lt;").replace(">", "&gt;")

"""The report of an experiment: every form of it, read by parsers that are not ours."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from html import escape
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from droidft.experiments.findings.results import Analysis, Interval, Kind, PerSeed
from droidft.experiments.report import grids
from droidft.experiments.report.page import render
from droidft.reports.plot import Bar, Words, forest
from tests.experiments import found
from tests.experiments.report.read_page import Page, flat

HOSTILE = "<script>alert(1)</script> | \"'><img src=x onerror=alert(2)> [a](javascript:b) `c` *d* &amp; \\"
FORMS = ("html", "md", "json")
SIX = [f"arm-{word}" for word in ("one", "two", "three", "four", "five", "six")]
HEADINGS = [
    "The answer",
    "Side by side",
    "Difference of the test loss",
    "Data efficiency",
    "Forgetting",
    "Answers",
    "Learning rates that were tried",
    "Every run",
    "The plan, as fixed before the first step",
    "What it was to cost, and what it took",
    "Data and environment",
    "What limits this",
    "How these numbers are computed",
]


def sweep(arms: int = 12) -> Analysis:
    names = [f"s{number + 1:02}" for number in range(arms)]
    settings = {"model_path": "/models/tiny", "train_data_path": "/data/mails.jsonl"}
    values = [1e-4 * (at + 1) for at in range(arms)]
    plan = found.plan(names, arms={}, sweep={"learning_rate": values}, settings=settings, shares=[1])
    return found.analysis(plan, effect=-0.01)


def alone(seeds: int = 1) -> Analysis:
    plan = found.plan(["a" * 24, "b" * 24], seeds=list(range(seeds)), shares=[1], measurement={})
    return found.analysis(plan, effect=98_765.4321)


SAMPLES = {
    "template": lambda: found.analysis(found.plan(learning_rates=[1e-4, 1e-3])),
    "six arms": lambda: found.analysis(found.plan(SIX, seeds=[3, 1, 4, 15, 9]), effect=0.013),
    "sweep": sweep,
    "largest sweep": lambda: sweep(64),
    "pending": found.pending,
    "one seed, far apart": alone,
}


def page_of(analysis: Analysis) -> Page:
    return Page(render(analysis, "html"))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_page_is_whole_and_needs_nothing_but_itself(name: str) -> None:
    page = page_of(SAMPLES[name]())
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "img", "a", "form", "base"} & set(page.tags)
    assert dict(page.attributes)["http-equiv"] == "Content-Security-Policy"
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes
    assert not [name for name, value in page.attributes if name.startswith("on") or "//" in value]
    assert not re.search(r"url\(|@import", page.text)
    identifiers = [value for name, value in page.attributes if name == "id"]
    assert len(set(identifiers)) == len(identifiers)
    assert "None" not in page.words
    assert "nan" not in page.words.lower().split()


def test_a_page_says_things_in_their_order() -> None:
    page = page_of(SAMPLES["template"]())
    assert page.headings == ["Is full-layer LoRA better on my support mails?", *HEADINGS]
    assert page.words.count("exploratory") == 1, "the criterion names it; no contrast is"
    assert "full-layer or attention-qv-matched (as many trained parameters as full-layer)" in page.words


def test_a_page_shows_the_figures_of_the_analysis() -> None:
    analysis = SAMPLES["template"]()
    page = page_of(analysis)
    assert analysis.table is not None
    shown = page.tables["Every arm's figures, and their differences"]
    assert shown[1] == ["", *analysis.table.arms, *analysis.table.contrasts]
    assert [[flat(text) for text in row] for row in shown[2:]] == [
        [flat(text) for text in [row.name, *row.values, *row.differences]] for row in analysis.table.rows
    ]
    contrasts = page.tables["Contrasts"]
    first = analysis.contrasts[0]
    assert first.difference is not None
    value, low, high = (f"{abs(part or 0):.4f}" for part in first.difference.model_dump().values())
    assert contrasts[1][1] == f"−{value}[−{low}, −{high}]"
    assert contrasts[1][2:] == [
        "< 0.0001", "< 0.0001", "0.97", "5.5", "0.0044", "25%", "× 0.961[0.942, 0.980]", "73%",
    ]  # fmt: skip
    right = page.tables["Answers of two arms compared"][1]
    assert right[2:] == ["100", "41.3%", "37.7%", "+3.7[−4.1, +11.4] points", "11", "7", "0.481", "0.962"]
    assert page.tables["Difference under each seed"][1][1:] == [f"−{-value:.4f}" for value in first.per_seed]
    assert len(page.tables["Every run"]) == 1 + len(analysis.runs)
    assert [row[-1] for row in page.tables["Validation loss of each learning rate"][1:]] == ["chosen", "–"] * 3


def test_what_it_took_stands_beside_what_was_estimated() -> None:
    page = page_of(SAMPLES["template"]())
    assert "37 runs in 2 h 25 min, 2.6 GB of memory, 700 MB on disk. 36 runs took 2 h 19 min" in page.words
    arm, timed, took, estimated, needed, rehearsed, peak = page.tables[
        "Costs measured beforehand, and what was needed"
    ][1]
    assert (arm, timed, estimated, needed) == ("full-layer", "4.00", "3 min 52 s", "3 min 51 s")
    assert (rehearsed, peak) == ("2.4 GB", "2.6 GB")
    speed = found.analysis().arms[0].tokens_per_second.mean
    assert float(took) == pytest.approx(1000 / speed, abs=0.005)


def test_fewer_seeds_are_flagged_in_words() -> None:
    page = page_of(alone(2))
    assert page.words.count("exploratory") == 2
    assert ("class", "chip exploratory") in page.attributes


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_answer_has_a_word_and_a_sign(kind: Kind) -> None:
    analysis = found.analysis()
    contrasts = [each.model_copy(update={"kind": kind}) for each in analysis.contrasts]
    page = page_of(analysis.model_copy(update={"contrasts": contrasts}))
    assert re.search(rf"\S {kind.value.replace('_', ' ')}full-layer against attention-qv\n", page.words)


@pytest.mark.parametrize("name", SAMPLES)
def test_plots_are_pictures_with_words_inside_their_frame(name: str) -> None:
    analysis = SAMPLES[name]()
    plots = re.findall(r"<svg.*?</svg>", render(analysis, "html"), flags=re.DOTALL)
    wanted = bool(analysis.arms and analysis.contrasts) + bool(analysis.curves) + bool(analysis.sweep)
    assert len(plots) == wanted
    for text in plots:
        svg = ET.fromstring(text)
        width, height = map(float, svg.attrib["viewBox"].split()[2:])
        assert svg.attrib["aria-labelledby"].split() == [child.attrib["id"] for child in svg[:2]]
        assert [child.tag for child in svg[:2]] == ["title", "desc"]
        assert all(child.text for child in svg[:2])
        for element in svg.iter():
            for key, value in element.attrib.items():
                if key in ("x", "x1", "x2", "cx"):
                    assert 0 <= float(value) <= width
                if key in ("y", "y1", "y2", "cy"):
                    assert 0 <= float(value) <= height


def test_a_forest_is_drawn_to_scale() -> None:
    words = Words("key", "a <title>", "b & c")
    text = forest(
        [Bar("one", -0.03, -0.05, -0.01, [-0.04, -0.02]), Bar("two", 0.0, None, None, [])],
        margin=0.02,
        floor=0.01,
        left="l",
        right="r",
        words=words,
    )
    svg = ET.fromstring(text)
    assert [child.text for child in svg[:2]] == ["a <title>", "b & c"]
    lines = [(line.attrib["class"], *(float(line.attrib[key]) for key in ("x1", "x2"))) for line in svg.iter("line")]
    zero = next(x for kind, x, _ in lines if kind == "zero")
    (bar,) = [(x1, x2) for kind, x1, x2 in lines if kind == "bar a"]
    unit = (bar[1] - bar[0]) / 0.04
    assert (bar[0] - zero) / unit == pytest.approx(-0.05, abs=2e-4)
    band = next(svg.iter("rect")).attrib
    assert (float(band["x"]) - zero) / unit == pytest.approx(-0.02, abs=2e-4)
    assert float(band["width"]) / unit == pytest.approx(0.04, abs=2e-4)
    assert [(x - zero) / unit for kind, x, _ in lines if kind == "floor"] == pytest.approx([-0.01, 0.01], abs=2e-4)
    dots = [(float(dot.attrib["cx"]) - zero) / unit for dot in svg.iter("circle")]
    assert dots == pytest.approx([-0.04, -0.02, -0.03, 0.0], abs=2e-4)


def hostile() -> Analysis:
    settings = {
        "model_path": f"/models/{HOSTILE.replace('/', '')}",
        "train_data_path": '/data/it\'s "so".jsonl',
        "system_prompt": HOSTILE,
    }
    fixed = found.plan(title=HOSTILE, settings=settings)
    fixed = fixed.model_copy(update={"model": settings["model_path"], "warnings": [HOSTILE]})
    return found.analysis(fixed, notes=[HOSTILE])


def test_what_people_wrote_is_text_in_the_page() -> None:
    page = page_of(hostile())
    assert page.headings[0] == HOSTILE
    assert not {"script", "img"} & set(page.tags)
    assert escape(HOSTILE) == escape(page.headings[0])
    settings = dict(page.tables["Settings that all share"])
    assert settings["system_prompt"] == HOSTILE
    assert settings["train_data_path"] == 'it\'s "so".jsonl'


def markdown_of(analysis: Analysis) -> tuple[str, list[Any]]:
    text = render(analysis, "md")
    return text, MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)


def content(token: Any) -> str:
    assert {part.type for part in token.children} <= {"text", "strong_open", "strong_close", "text_special"}
    return "".join(part.content for part in token.children)


@pytest.mark.parametrize("analysis", [hostile(), *(make() for make in SAMPLES.values())])
def test_markdown_is_what_it_says_and_its_tables_are_tables(analysis: Analysis) -> None:
    text, tokens = markdown_of(analysis)
    assert not [token for token in tokens if token.type in ("html_block", "code_block", "fence")]
    inline = [token for token in tokens if token.type == "inline"]
    assert content(inline[0]) == analysis.plan.plan.title
    assert [content(token) for token in inline if token.content.startswith("**")] == [f"{analysis.verdict}"]
    said = [content(token) for token in inline]
    assert all(note in said for note in analysis.notes)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = sum(token.type == "tr_open" for token in tokens)
    assert rows + sum(token.type == "table_open" for token in tokens) == len(lines), "every line is in a table"
    if analysis.table is not None:
        assert {row.name for row in analysis.table.rows} <= set(said)
        assert {cell for row in analysis.table.rows for cell in row.differences} <= set(said)


def test_markdown_has_the_verdict_before_the_table_and_the_plan_after() -> None:
    text, _ = markdown_of(found.analysis())
    order = [
        "# Is full-layer",
        "**full-layer is better",
        "| Test loss",
        "## Data efficiency",
        "## The plan",
        "| Versions",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_json_holds_all_of_it_with_every_row() -> None:
    analysis = found.analysis()
    measured = found.measured(analysis.plan)
    text = render(analysis, "json", measured=measured)
    report = json.loads(text)
    assert report["format"] == 1
    assert report["written"] > 1.7e9
    again = Analysis.model_validate(report["analysis"])
    changed = {"model": "tiny", "plan": again.plan.plan, "device": again.plan.device}
    assert again == analysis.model_copy(update={"plan": analysis.plan.model_copy(update=changed)})
    assert report["measured"] == {run: each.model_dump(mode="json") for run, each in measured.items()}
    assert json.loads(render(analysis, "json"))["measured"] == {}


def test_json_has_no_numbers_that_are_none() -> None:
    analysis = found.analysis()
    nothing = PerSeed(mean=math.nan, values=[], sd=None)
    arms = [arm.model_copy(update={"validation_loss": nothing}) for arm in analysis.arms]
    huge = Interval(value=math.inf, low=0.9, high=math.inf)
    contrasts = [each.model_copy(update={"perplexity_ratio": huge}) for each in analysis.contrasts]
    strange = analysis.model_copy(update={"arms": arms, "contrasts": contrasts})

    def refuse(name: str) -> None:
        raise AssertionError(name)

    report = json.loads(render(strange, "json"), parse_constant=refuse)["analysis"]
    assert report["arms"][0]["validation_loss"]["mean"] is None
    assert report["contrasts"][0]["perplexity_ratio"] == {"value": None, "low": 0.9, "high": None}
    for form in FORMS:
        assert render(strange, form)


@pytest.mark.parametrize("form", FORMS)
def test_no_form_names_a_folder(form: str) -> None:
    warning = "/data/mails.jsonl:3 is cut"
    fixed = found.plan(title="/x/ or not?").model_copy(update={"warnings": [warning]})
    analysis = found.analysis(fixed, notes=[warning])
    text = render(analysis, form, measured=found.measured(fixed))
    assert not re.search(r"/(models|data|opt)/", text)
    assert "mails.jsonl:3 is cut" in text
    assert "/x/ or not?" in text, "a title is not a path"


PRIVATE = {
    "settings": {"model_path": "private/models/tiny", "train_data_path": "private/data/mails.jsonl"},
    "measurement": {
        "test_data_path": "private//test.jsonl",
        "general_data_path": "~/private/general.jsonl",
        "harness": {"tasks": ["facts"], "include": "private/tasks/"},
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_no_form_names_the_folder_of_a_path_that_begins_with_a_name(form: str) -> None:
    warnings = ["private/data/mails.jsonl:3 is cut", "private/test.jsonl:4 too", "private/tasks/facts.yaml"]
    warnings.append(f"{Path.home()}/private/general.jsonl:5 too")
    changes = {"model": "/somewhere/private/models/tiny", "warnings": warnings}
    text = render(found.analysis(found.plan(**PRIVATE).model_copy(update=changes), notes=warnings), form)
    assert "private" not in text
    assert str(Path.home()) not in text
    for name in ("tiny", "mails.jsonl:3 is cut", "test.jsonl:4 too", "tasks/facts.yaml", "general.jsonl:5 too"):
        assert name in text


@pytest.mark.parametrize("form", FORMS)
def test_names_of_the_hub_are_no_paths(form: str) -> None:
    settings = {"model_path": "org/name", "train_data_path": "hub:org/data", "val_data_path": "org/name/v.jsonl"}
    fixed = found.plan(settings=settings).model_copy(
        update={"model": "/cache/models--org--name/snapshots/0123", "warnings": ["hub:org/name/v.jsonl is another"]}
    )
    text = render(found.analysis(fixed), form).replace("\\", "")
    assert "org/name, trained on 640 rows" in text or form == "json"
    assert "hub:org/data" in text
    assert "hub:org/name/v.jsonl is another" in text
    assert "0123" not in text
    assert "snapshots" not in text


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="html, md or json, not 'pdf'"):
        render(found.pending(), "pdf")


def test_what_was_not_asked_for_is_said_to_be_missing() -> None:
    page = page_of(alone(3))
    assert "Not measured: sample efficiency (the plan has no shares of the data); a task score" in page.words
    assert "Not measured" not in page_of(found.analysis()).words


def test_a_seed_that_is_not_done_leaves_a_gap() -> None:
    analysis = found.analysis()
    arms = [analysis.arms[0].model_copy(update={"seeds": [0, 2]}), *analysis.arms[1:]]
    contrasts = [each.model_copy(update={"per_seed": [-0.1, -0.3]}) for each in analysis.contrasts]
    grid = grids.by_seed(analysis.model_copy(update={"arms": arms, "contrasts": contrasts}))
    assert grid is not None
    assert grid.rows[0] == ["full-layer − attention-qv", "−0.1000", "–", "−0.3000"]


def test_many_arms_are_lines_and_few_are_columns() -> None:
    few, many = (found.analysis(found.plan(SIX[:count])).table for count in (4, 5))
    assert few is not None
    assert many is not None
    across, down = grids.side_by_side(few), grids.side_by_side(many)
    assert across.head[1:] == [*few.arms, *few.contrasts]
    assert [row[0] for row in down.rows] == [*many.arms, *many.contrasts]
    texts = {(name, row[0]): text for row in across.rows for name, text in zip(across.head[1:], row[1:], strict=True)}
    assert texts["arm-one − arm-two", "Trainable parameters"] == "× 1.00"
    place = down.head.index("Test loss, nats per token")
    assert [row[place] for row in down.rows[1:3]] == [f"{mean:.4f}" for mean in losses(2)]


def losses(arms: int) -> list[float]:
    return [arm.test_loss.mean for arm in found.analysis(found.plan(SIX[:5])).arms[:arms]]

"""The general text that comes along: short, varied, nothing twice, and part of what is installed."""

from __future__ import annotations

import json
import tomllib

from droidft.experiments.plan.written import GENERAL_TEXT
from tests.places import ROOT


def test_paragraphs_are_short_and_none_comes_twice() -> None:
    rows = [json.loads(line) for line in GENERAL_TEXT.read_text(encoding="utf-8").splitlines()]
    assert all(set(row) == {"text"} for row in rows)
    texts = [row["text"] for row in rows]
    words = [len(text.split()) for text in texts]
    assert len(set(texts)) == len(texts)
    assert len({" ".join(text.split()[:4]).lower() for text in texts}) == len(texts)
    assert min(words) >= 40
    assert max(words) <= 120
    assert len(texts) >= 40
    assert sum(words) > 2_500


def test_it_lies_in_the_package_that_a_wheel_holds() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        build = tomllib.load(file)["tool"]["hatch"]["build"]
    packages = [ROOT / package for package in build["targets"]["wheel"]["packages"]]
    assert any(GENERAL_TEXT.resolve().is_relative_to(package) for package in packages)

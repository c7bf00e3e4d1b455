"""A small version of bench/calibration.py: trained experiments in which nothing differs, and one in which it does."""

from __future__ import annotations

import pytest
from bench.calibration import Lab, false_verdicts_allowed

from droidft.experiments.findings.comparison import verdicts
from droidft.experiments.findings.results import Kind
from droidft.experiments.findings.stats import Paired

EXPERIMENTS = 4
SEEDS = 3


def said(found: Paired) -> Kind:
    return verdicts({("a", "b"): found}, 0.02)["a", "b"].kind


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def same(lab: Lab) -> list[list[float]]:
    """Losses of the test rows after training with the same settings, seed after seed."""
    return [lab.losses(seed) for seed in range(2 * SEEDS * EXPERIMENTS)]


def test_nothing_but_the_seed_is_seldom_a_difference(lab: Lab, same: list[list[float]]) -> None:
    sides = [same[at : at + SEEDS] for at in range(0, len(same), SEEDS)]
    found = [said(lab.compare(first, second)) for first, second in zip(sides[::2], sides[1::2], strict=True)]
    false = sum(kind in (Kind.BETTER, Kind.WORSE) for kind in found)
    assert false <= false_verdicts_allowed(EXPERIMENTS), found


def test_a_planted_difference_is_found(lab: Lab, same: list[list[float]]) -> None:
    slow = [lab.losses(seed, learning_rate=lab.rate / 3) for seed in range(SEEDS)]
    assert said(lab.compare(same[:SEEDS], slow)) is Kind.BETTER
    assert said(lab.compare(slow, same[:SEEDS])) is Kind.WORSE


def test_a_run_is_the_same_when_it_is_run_again(lab: Lab, same: list[list[float]]) -> None:
    assert lab.losses(0) == same[0]
    assert len(set(map(tuple, same))) == len(same), "another seed, another result"

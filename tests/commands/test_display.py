"""The loss curve in text."""

from __future__ import annotations

import pytest

from droidft.commands._display import CURVE_HEIGHT, lines_of_curve


@pytest.mark.parametrize("lowest", ["training", "validation"])
def test_a_step_with_both_losses_has_both_in_the_picture(lowest: str) -> None:
    """At an evaluation step the two losses differ, and either may be the lowest or highest of all."""
    train, evaluation = {5: 3.0, 10: 1.0}, {0: 4.0, 10: 1.5}
    if lowest == "validation":
        train[10], evaluation[10] = evaluation[10], train[10]
    lines = lines_of_curve(train, evaluation, width=20)
    assert len(lines) == CURVE_HEIGHT + 3
    picture = lines[:CURVE_HEIGHT]
    assert [sum(line.count(mark) for line in picture) for mark in "·●"] == [2, 2]
    assert lines[0].strip().startswith("4.000 ┤●")
    assert picture[-1].strip().startswith("1.000 ┤")
    assert picture[-1].endswith("·" if lowest == "training" else "●")


def test_one_point_is_no_curve() -> None:
    assert lines_of_curve({1: 2.0}, {}, width=20) == []
    assert lines_of_curve({1: 2.0}, {1: 3.0}, width=20) == []


def test_a_flat_curve() -> None:
    assert lines_of_curve({1: 2.0, 2: 2.0}, {}, width=20)[0].count("·") == 2

"""The score interval, against values published for it."""

from __future__ import annotations

import pytest

from droidft.support.shares import score_interval


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(right: int, total: int, low: float, high: float) -> None:
    assert score_interval(right, total) == pytest.approx((low, high), abs=5e-5)


def test_it_is_symmetric_and_without_votes_says_nothing() -> None:
    low, high = score_interval(3, 10)
    assert score_interval(7, 10) == pytest.approx((1 - high, 1 - low))
    assert score_interval(0, 0) == (0.0, 1.0)
    assert score_interval(5, 10, level=0.99)[0] < score_interval(5, 10)[0]

"""Numbers as people read them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from droidft.support import words


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float | None = None
    high: float | None = None


def test_counts_agree_with_their_nouns() -> None:
    counts = [words.count(number, "epoch") for number in (0, 1, 2, 9768960)]
    assert counts == ["0 epochs", "1 epoch", "2 epochs", "9,768,960 epochs"]
    assert [words.count(number, "epoch") for number in (1.0, 0.75)] == ["1 epoch", "0.75 epochs"]
    assert words.count(2, "row is", "rows are") == "2 rows are"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "–"),
        (12, "12 B"),
        (999.6, "1.0 kB"),
        (117_366_596, "117 MB"),
        (1_699_557_344, "1.7 GB"),
        (139e9, "139 GB"),
        (3e15, "3000 TB"),
    ],
)
def test_sizes(amount: float | None, text: str) -> None:
    assert words.size(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 s"),
        (0.42, "0.4 s"),
        (3.0, "3 s"),
        (9.97, "10 s"),
        (41.6, "42 s"),
        (59.7, "1 min"),
        (185, "3 min 5 s"),
        (3599.6, "1 h"),
        (7800, "2 h 10 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_losses_and_probabilities() -> None:
    assert [words.loss(value) for value in (None, float("nan"), 0.02768, 2e6)] == ["–", "–", "0.0277", "2e+06"]
    assert [words.p_value(value) for value in (None, 1e-9, 0.0123456)] == ["–", "< 0.0001", "0.0123"]
    assert [words.percent(share) for share in (0.25, 0.001, 1.0)] == ["25%", "0.1%", "100%"]


def test_differences_have_a_sign_and_their_interval() -> None:
    assert [words.signed(-0.0123), words.signed(0.0123), words.signed(1.26, 1)] == ["−0.0123", "+0.0123", "+1.3"]
    assert words.difference(None) == "–"
    assert words.difference(Estimate(-0.0123)) == "−0.0123"
    assert words.difference(Estimate(-0.0123, -0.02, -0.0046)) == "−0.0123 [−0.0200, −0.0046]"
    assert words.mean(Estimate(0.7865, 0.7012, 0.8718)) == "0.7865 [0.7012, 0.8718]"
    assert words.factor(Estimate(0.961, 0.942, 0.98)) == "× 0.961 [0.942, 0.980]"
    assert words.points(Estimate(0.015, 0.002, 0.028)) == "+1.5 [+0.2, +2.8] points"


def test_descriptions_without_brackets() -> None:
    device = {"kind": "cpu", "memory_bytes": 16_000_000_000, "blas": {"name": "OpenBLAS"}, "fused_kernels": True}
    assert words.described(device) == {
        "kind": "cpu",
        "memory": "16 GB",
        "blas": "name OpenBLAS",
        "fused kernels": "yes",
    }
    assert [words.plain(value) for value in (None, [], [1, 0.1], {})] == ["–", "–", "1, 0.1", ""]


def test_counts_are_whole_whatever_type_they_come_in() -> None:
    assert [words.count(number, "step") for number in (1000.0, 1500.0, 1.0)] == [
        "1,000 steps",
        "1,500 steps",
        "1 step",
    ]
    assert words.count(0.75, "epoch") == "0.75 epochs"


def test_a_difference_that_rounds_to_zero_has_no_minus() -> None:
    assert words.signed(-1e-6) == "+0.0000"

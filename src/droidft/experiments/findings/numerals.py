"""Figures as text: losses, differences with their intervals, times, sizes."""

from __future__ import annotations

import math
from collections.abc import Callable

from droidft.experiments.findings.results import Interval

NOTHING = "–"


def signed(value: float, digits: int = 4) -> str:
    """`−0.0123`, `+0.0123`: a difference."""
    return f"{'−' if value < 0 else '+'}{abs(value):.{digits}f}"


def loss(value: float | None) -> str:
    """Nats per token."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.4f}" if abs(value) < 1e5 else f"{value:.4g}"


def p_value(value: float | None) -> str:
    """A probability, small ones as a bound."""
    if value is None:
        return NOTHING
    return "< 0.0001" if value < 1e-4 else f"{value:.3g}"


def difference(found: Interval | None) -> str:
    """`−0.0123 [−0.0200, −0.0046]`."""
    return NOTHING if found is None else signed(found.value) + _ends(found, signed)


def mean(found: Interval) -> str:
    """`0.7865 [0.7012, 0.8718]`."""
    return loss(found.value) + _ends(found, loss)


def times(found: Interval | None) -> str:
    """`× 0.961 [0.942, 0.980]`: a factor."""
    return NOTHING if found is None else f"× {_ratio(found.value)}" + _ends(found, _ratio)


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 1e5 else f"{value:.3g}"


def points(found: Interval) -> str:
    """A difference of shares, in percentage points."""
    return f"{signed(100 * found.value, 1)}{_ends(found, lambda end: signed(100 * end, 1))} points"


def _ends(found: Interval, text: Callable[[float], str]) -> str:
    return "" if found.low is None or found.high is None else f" [{text(found.low)}, {text(found.high)}]"


def size(count: int) -> str:
    """Bytes: `2.64 GB`, `39.1 MB`."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """`2 h 5 min`, `3 min 9 s`, `4.2 s`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"

"""Plots as SVG text, for pages that need neither server nor network; `templates/style.css` colours them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
ROW = 58
LEFT, RIGHT, TOP, BOTTOM = 16, 16, 12, 40
KINDS = "abcd"
"""CSS classes that colour series, one after another."""


@dataclass(frozen=True)
class Bar:
    """A value with its interval, and the values that it is the mean of."""

    name: str
    value: float
    low: float | None
    high: float | None
    values: Sequence[float]


@dataclass(frozen=True)
class Line:
    """A curve whose points have intervals."""

    name: str
    xs: Sequence[float]
    values: Sequence[float]
    lows: Sequence[float | None]
    highs: Sequence[float | None]


def forest(bars: Sequence[Bar], *, margin: float, title: str, left: str, right: str) -> str:
    """Differences below one another: a dot with its interval, small dots for seeds; the margin is a band."""
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high, *bar.values) if end is not None]
    ticks = round_ticks(min([*ends, -margin]), max([*ends, margin]))
    height = TOP + ROW * len(bars) + BOTTOM
    x = _scale(ticks[0], ticks[-1], LEFT, WIDTH - RIGHT)
    base = height - BOTTOM
    parts = [
        f'<rect class="band" x="{x(-margin)}" y="{TOP}" '
        f'width="{round(x(margin) - x(-margin), 1)}" height="{base - TOP}"/>'
    ]
    for tick in ticks:
        kind = "zero" if tick == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{x(tick)}" x2="{x(tick)}" y1="{TOP}" y2="{base}"/>')
        parts.append(f'<text x="{x(tick)}" y="{base + 15}" text-anchor="middle">{_number(tick)}</text>')
    parts.append(f'<text x="{LEFT}" y="{height - 6}">← {escape(left)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{height - 6}" text-anchor="end">{escape(right)} →</text>')
    for number, bar in enumerate(bars):
        y = TOP + ROW * number + 36
        parts.append(f'<text class="name" x="{LEFT}" y="{y - 18}">{escape(bar.name)}</text>')
        if bar.low is not None and bar.high is not None:
            parts.append(f'<line class="bar a" x1="{x(bar.low)}" x2="{x(bar.high)}" y1="{y}" y2="{y}"/>')
        parts += [f'<circle class="b" cx="{x(value)}" cy="{y + 9}" r="2.5"/>' for value in bar.values]
        parts.append(f'<circle class="a" cx="{x(bar.value)}" cy="{y}" r="5"/>')
    return _svg(height, title, parts)


def curves(lines: Sequence[Line], *, title: str, x_title: str) -> str:
    """Losses over shares of the data, on a logarithmic axis, with intervals as bars."""
    drawn = [line for line in lines if line.xs]
    if not drawn:
        return ""
    height = 300
    ends = [end for line in drawn for end in (*line.values, *line.lows, *line.highs) if end is not None]
    ticks = round_ticks(min(ends), max(ends))
    shares = sorted({share for line in drawn for share in line.xs})
    base, margin = height - BOTTOM, 58
    y = _scale(ticks[0], ticks[-1], base, TOP)
    low = math.log(shares[0]) if len(shares) > 1 else -1.0
    across = _scale(low, 0.0, margin + 20, WIDTH - 40)
    parts = []
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{margin}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text x="{margin - 6}" y="{y(tick) + 4}" text-anchor="end">{_number(tick)}</text>')
    for share in shares:
        x = across(math.log(share))
        parts.append(f'<text x="{x}" y="{base + 16}" text-anchor="middle">{share:.3g}</text>'.replace(".0<", "<"))
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{height - 6}" text-anchor="end">{escape(x_title)}</text>')
    for number, line in enumerate(drawn):
        shift = 5 * (number - (len(drawn) - 1) / 2)
        points = [
            (round(across(math.log(x)) + shift, 1), y(value)) for x, value in zip(line.xs, line.values, strict=True)
        ]
        parts.append(f'<g class="{KINDS[number % len(KINDS)]}">')
        parts.append(f'<polyline points="{" ".join(f"{x},{v}" for x, v in points)}"/>')
        for (x, value), below, above in zip(points, line.lows, line.highs, strict=True):
            if below is not None and above is not None:
                parts.append(f'<line class="bar" x1="{x}" x2="{x}" y1="{y(below)}" y2="{y(above)}"/>')
            parts.append(f'<circle cx="{x}" cy="{value}" r="4"/>')
        parts.append("</g>")
    return _svg(height, title, parts)


def best_so_far(values: Sequence[float], best: Sequence[float], *, title: str) -> str:
    """Values one after another as dots, and the lowest so far as a line of steps."""
    if len(values) < 2:
        return ""
    height = 200
    ticks = round_ticks(min([*values, *best]), max([*values, *best]))
    base, margin = height - 24, 58
    y = _scale(ticks[0], ticks[-1], base, TOP)
    x = _scale(0, len(values) - 1, margin + 20, WIDTH - 40)
    parts = []
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{margin}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text x="{margin - 6}" y="{y(tick) + 4}" text-anchor="end">{_number(tick)}</text>')
    corners = [f"{x(0)},{y(best[0])}"]
    for at in range(1, len(best)):
        corners += [f"{x(at)},{y(best[at - 1])}", f"{x(at)},{y(best[at])}"]
    parts.append(f'<g class="a"><polyline points="{" ".join(corners)}"/></g>')
    parts += [f'<circle class="b" cx="{x(at)}" cy="{y(value)}" r="3.5"/>' for at, value in enumerate(values)]
    return _svg(height, title, parts)


def round_ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover `low` to `high`."""
    if high <= low:
        return [low]
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return round(begin + (end - begin) * (value - low) / span, 1)

    return at


def _number(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">\n{body}\n</svg>'

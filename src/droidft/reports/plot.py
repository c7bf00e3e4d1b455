"""Plots for pages that need neither server nor network; `templates/style.css` colours them.

Numbers must be finite. What a plot shows stands in words too, for readers who do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH = 760
KINDS = "abcdef"
"""CSS classes that colour series, one after another."""
HEIGHT, MARGIN = 240, 46
"""Of a chart of curves over steps."""
ROW = 58
LEFT, RIGHT, TOP, BOTTOM = 16, 16, 12, 40
AXIS = 66
"""Room for numbers at the left of a vertical axis."""
TEXTS_ACROSS = 16
"""As many names have room below a horizontal axis."""


@dataclass(frozen=True)
class Words:
    """What a plot is called and what it shows; `key` is its own within a page."""

    key: str
    title: str
    text: str


@dataclass(frozen=True)
class Series:
    """Values over steps; `kind` is the CSS class that colours it."""

    name: str
    kind: str
    steps: Sequence[int]
    values: Sequence[float]
    dots: bool = False
    mark: int | None = None
    """Step of a point worth a ring."""


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


def chart(title: str, series: Sequence[Series]) -> dict[str, Any] | None:
    """What the template of a run draws: axes with round numbers and a polyline per series; None without any value."""
    drawn = [each for each in series if each.steps]
    if not drawn:
        return None
    right = max(max(each.steps) for each in drawn) or 1
    ticks = _ticks_of(value for each in drawn for value in each.values)
    x = _scale(0, right, MARGIN, WIDTH - 10)
    y = _scale(ticks[0], ticks[-1], HEIGHT - 30, 10)
    return {
        "title": title,
        "width": WIDTH,
        "height": HEIGHT,
        "margin": MARGIN,
        "y_ticks": [{"y": y(value), "text": f"{value:.6g}"} for value in ticks],
        "x_ticks": [{"x": x(step), "text": f"{step:g}"} for step in round_ticks(0, right) if step <= right],
        "series": [
            {"name": each.name, "kind": each.kind, "points": " ".join(f"{x},{y}" for x, y in points)}
            | {"dots": points if each.dots or len(points) == 1 else [], "marks": marks}
            for each in drawn
            for points in [[(x(step), y(value)) for step, value in zip(each.steps, each.values, strict=True)]]
            for marks in [[point for point, step in zip(points, each.steps, strict=True) if step == each.mark]]
        ],
    }


def forest(
    bars: Sequence[Bar], *, margin: float, floor: float | None = None, left: str, right: str, words: Words
) -> str:
    """Differences below one another: a dot with its interval, small dots for seeds.

    The margin is a band, the noise floor a dashed line at both sides of zero.
    """
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high, *bar.values) if end is not None]
    reach = max(margin, floor or 0.0)
    ticks = round_ticks(min([*ends, -reach]), max([*ends, reach]))
    height = TOP + ROW * len(bars) + BOTTOM
    x = _scale(ticks[0], ticks[-1], LEFT + 12, WIDTH - RIGHT - 12)
    base = height - BOTTOM
    band = max(1.0, round(x(margin) - x(-margin), 1))
    parts = [f'<rect class="band" x="{x(-margin)}" y="{TOP}" width="{band}" height="{base - TOP}"/>']
    for tick in ticks:
        parts.append(_rule("zero" if tick == 0 else "grid", x(tick), x(tick), TOP, base))
        parts.append(_text(x(tick), base + 15, number(tick), "middle"))
    if floor is not None:
        parts += [_rule("floor", x(end), x(end), TOP, base) for end in (-floor, floor)]
    parts.append(_text(LEFT, height - 6, f"← {left}"))
    parts.append(_text(WIDTH - RIGHT, height - 6, f"{right} →", "end"))
    for place, bar in enumerate(bars):
        parts += _bar(bar, x, TOP + ROW * place + 36)
    return _svg(height, parts, words)


def _bar(bar: Bar, x: Callable[[float], float], y: float) -> Iterable[str]:
    yield f'<text class="name" x="{LEFT}" y="{y - 18}">{escape(bar.name)}</text>'
    if bar.low is not None and bar.high is not None:
        yield _rule("bar a", x(bar.low), x(bar.high), y, y)
    for value in bar.values:
        yield f'<circle class="b" cx="{x(value)}" cy="{y + 9}" r="2.5"/>'
    yield f'<circle class="a" cx="{x(bar.value)}" cy="{y}" r="5"/>'


def curves(lines: Sequence[Line], *, x_title: str, words: Words) -> str:
    """Losses over shares of the data, on a logarithmic axis, with intervals as bars; empty without any point."""
    drawn = [(KINDS[at % len(KINDS)], line) for at, line in enumerate(lines) if line.xs]
    if not drawn:
        return ""
    height = 300
    base = height - BOTTOM
    ends = [end for _, line in drawn for end in (*line.values, *line.lows, *line.highs) if end is not None]
    y, parts = _vertical(ends, base)
    shares = sorted({share for _, line in drawn for share in line.xs})
    low = math.log(shares[0]) if len(shares) > 1 else -1.0
    across = _scale(low, 0.0, AXIS + 20, WIDTH - 40)
    for share in shares:
        parts.append(_text(across(math.log(share)), base + 16, f"{100 * share:.3g}%", "middle"))
    parts.append(_text(WIDTH - RIGHT, height - 6, x_title, "end"))
    for place, (kind, line) in enumerate(drawn):
        shift = 5 * (place - (len(drawn) - 1) / 2)
        parts += _curve(kind, line, [round(across(math.log(share)) + shift, 1) for share in line.xs], y)
    return _svg(height, parts, words)


def _curve(kind: str, line: Line, xs: Sequence[float], y: Callable[[float], float]) -> Iterable[str]:
    points = " ".join(f"{x},{y(value)}" for x, value in zip(xs, line.values, strict=True))
    yield f'<g class="{kind}"><polyline points="{points}"/>'
    for x, value, low, high in zip(xs, line.values, line.lows, line.highs, strict=True):
        if low is not None and high is not None:
            yield _rule("bar", x, x, y(low), y(high))
        yield f'<circle cx="{x}" cy="{y(value)}" r="4"/>'
    yield "</g>"


def best_so_far(names: Sequence[str], values: Sequence[float], best: Sequence[float], *, words: Words) -> str:
    """Values one after another as dots, and the lowest so far as a line of steps; empty with fewer than two."""
    if len(values) < 2:
        return ""
    height = 220
    base = height - 28
    y, parts = _vertical([*values, *best], base)
    x = _scale(0, len(values) - 1, AXIS + 20, WIDTH - 40)
    corners = [f"{x(0)},{y(best[0])}"]
    for at in range(1, len(best)):
        corners += [f"{x(at)},{y(best[at - 1])}", f"{x(at)},{y(best[at])}"]
    parts.append(f'<g class="a"><polyline points="{" ".join(corners)}"/></g>')
    parts += [f'<circle class="b" cx="{x(at)}" cy="{y(value)}" r="3.5"/>' for at, value in enumerate(values)]
    every = -(-len(names) // TEXTS_ACROSS)
    parts += [_text(x(at), base + 18, names[at], "middle") for at in range(0, len(names), every)]
    return _svg(height, parts, words)


def round_ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover `low` to `high`."""
    if high <= low:
        return [low]
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(count * step, 12) for count in range(first, last + 1)]


def number(value: float) -> str:
    """A short number with a true minus."""
    return f"{value:.6g}".replace("-", "−")


def _ticks_of(values: Iterable[float]) -> list[float]:
    """Round numbers around `values`; where all are one, it stands in the middle."""
    drawn = list(values)
    low, top = min(drawn), max(drawn)
    if low == top:
        low, top = min(0.0, 2 * low), max(0.0, 2 * top)
    return round_ticks(low, top)


def _vertical(values: Sequence[float], base: float) -> tuple[Callable[[float], float], list[str]]:
    """A vertical axis from `base` to the top: its scale, and what is drawn of it."""
    ticks = _ticks_of(values)
    y = _scale(ticks[0], ticks[-1], base, TOP)
    parts = []
    for tick in ticks:
        parts.append(_rule("grid", AXIS, WIDTH - RIGHT, y(tick), y(tick)))
        parts.append(_text(AXIS - 6, y(tick) + 4, number(tick), "end"))
    return y, parts


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return round(begin + (end - begin) * (value - low) / span, 1)

    return at


def _rule(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1}" x2="{x2}" y1="{y1}" y2="{y2}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: int, parts: Iterable[str], words: Words) -> str:
    body = "\n".join(parts)
    names = f"{words.key}-title {words.key}-text"
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{names}">\n'
        f'<title id="{words.key}-title">{escape(words.title)}</title>\n'
        f'<desc id="{words.key}-text">{escape(words.text)}</desc>\n{body}\n</svg>'
    )

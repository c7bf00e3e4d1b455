"""A run as one HTML page that needs neither server nor network: settings, curves, evaluations, environment."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from droidft import __version__
from droidft.server.schemas.runs import Curves, RunDetail

POINTS = 1000
WIDTH, HEIGHT, MARGIN = 760, 240, 46
CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


@dataclass(frozen=True)
class Series:
    """Values over steps; `kind` is the CSS class that colours it."""

    name: str
    kind: str
    steps: Sequence[int]
    values: Sequence[float]
    dots: bool = False


def render(detail: RunDetail, curves: Curves) -> str:
    """The page. All that a run, a file or a model said is escaped."""
    train, validation = curves.train, curves.validation
    charts = [
        chart(
            "Loss, nats per token",
            [
                Series("training", "a", train.step, train.loss),
                Series("validation", "b", validation.step, validation.loss, dots=True),
            ],
        ),
        chart("Learning rate", [Series("learning rate", "a", train.step, train.learning_rate)]),
        chart("Gradient norm before clipping", [Series("gradient norm", "a", train.step, train.grad_norm)]),
    ]
    return _template().render(
        detail=detail,
        summary=detail.summary,
        charts=[made for made in charts if made],
        made=time.strftime("%Y-%m-%d %H:%M", time.localtime()),
        version=__version__,
        csp=CSP.removesuffix("; sandbox"),  # a meta element may not ask for a sandbox
    )


def chart(title: str, series: Sequence[Series]) -> dict[str, Any] | None:
    """What the template draws: axes with round numbers and a polyline per series; None without any value."""
    drawn = [each for each in series if each.steps]
    if not drawn:
        return None
    top = max(max(each.values) for each in drawn)
    low = min(min(each.values) for each in drawn)
    right = max(max(each.steps) for each in drawn) or 1
    ticks = round_ticks(low, top)
    low, top = min(low, ticks[0]), max(top, ticks[-1])
    height = top - low or 1.0

    def x(step: float) -> float:
        return round(MARGIN + (WIDTH - MARGIN - 10) * step / right, 1)

    def y(value: float) -> float:
        return round(10 + (HEIGHT - 40) * (top - value) / height, 1)

    return {
        "title": title,
        "width": WIDTH,
        "height": HEIGHT,
        "margin": MARGIN,
        "y_ticks": [{"y": y(value), "text": f"{value:.6g}"} for value in ticks],
        "x_ticks": [{"x": x(step), "text": f"{step:g}"} for step in round_ticks(0, right) if step <= right],
        "series": [
            {
                "name": each.name,
                "kind": each.kind,
                "dots": [(x(step), y(value)) for step, value in zip(each.steps, each.values, strict=True)]
                if each.dots or len(each.steps) == 1
                else [],
                "points": " ".join(
                    f"{x(step)},{y(value)}" for step, value in zip(each.steps, each.values, strict=True)
                ),
            }
            for each in drawn
        ],
    }


def round_ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover `low` to `high`."""
    if high <= low:
        return [low]
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _bytes(value: float | None) -> str:
    if value is None:
        return "–"
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _moment(seconds: float | None) -> str:
    return "–" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("droidft.server"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": _bytes, "duration": _duration, "loss": _loss, "moment": _moment}
    return environment.get_template("report.html")

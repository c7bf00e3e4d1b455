"""A run as one HTML page that needs neither server nor network: settings, curves, evaluations, environment."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Template

from droidft import __version__
from droidft.config import METHODS, Method
from droidft.reports import pages
from droidft.reports.plot import Series, chart
from droidft.server.schemas.runs import Curves, RunDetail
from droidft.support.words import described, duration, loss, moment, plain, size

POINTS = 1000
CSP = f"{pages.CSP}; sandbox"


def render(detail: RunDetail, curves: Curves) -> str:
    """The page. Text from a run, a file or a model is escaped."""
    train, validation = curves.train, curves.validation
    charts = [
        chart(
            "Mean reward",
            [
                _rewards("training", "a", train.step, train.metrics),
                _rewards("validation", "b", validation.step, validation.metrics, dots=True, mark=curves.best_step),
            ],
        ),
        chart(
            "Loss, nats per token" if detail.config.method is Method.SFT else "Loss",
            [
                Series("training", "a", train.step, train.loss),
                Series("validation", "b", validation.step, validation.loss, dots=True, mark=curves.best_step),
            ],
        ),
        chart("Learning rate", [Series("learning rate", "c", train.step, train.learning_rate)]),
        chart("Gradient norm before clipping", [Series("gradient norm", "d", train.step, train.grad_norm)]),
    ]
    return _template().render(
        detail=detail,
        summary=detail.summary,
        method=METHODS[detail.config.method].title.partition(":")[0],
        charts=[made for made in charts if made],
        made=time.strftime("%Y-%m-%d %H:%M", time.localtime()),
        version=__version__,
        csp=pages.CSP,  # a meta element may not ask for a sandbox
    )


def _rewards(
    name: str,
    kind: str,
    steps: Sequence[int],
    metrics: Mapping[str, Sequence[float | None]],
    *,
    dots: bool = False,
    mark: int | None = None,
) -> Series:
    """The reward where there is one; without any, an empty series, which is not drawn."""
    values = metrics.get("reward", ())
    points = [(step, value) for step, value in zip(steps, values, strict=False) if value is not None]
    return Series(name, kind, [step for step, _ in points], [value for _, value in points], dots=dots, mark=mark)


@cache
def _template() -> Template:
    return pages.template(
        "report.html", bytes=size, duration=duration, loss=loss, moment=moment, value=plain, described=described
    )

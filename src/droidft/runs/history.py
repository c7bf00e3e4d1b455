"""A run's reports in order of steps, out of its log; those that a resumed run does again replace the old ones.

A log can be long, most of it completions. So it is read line by line, of most lines only the beginning, and for a
curve only the reports that it shows are parsed.
"""

from __future__ import annotations

import math
import re
from array import array
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import isfinite
from operator import itemgetter
from pathlib import Path
from typing import Any

from droidft.events import EvalReport, RunStarted, TrainReport
from droidft.runs import log
from droidft.runs.folder import Run
from droidft.runs.log import rewound

_REPORT = re.compile(
    rb'\{"seq":[0-9]+,"time":[0-9.eE+-]+,"event":\{"type":"train_report","step":([0-9]{1,18}),"epoch":[0-9.eE+-]+,'
    rb'"loss":([0-9.eE+-]+),'
).match
_NO_METRICS = b'"metrics":{}}}\n'
_REWARD = re.compile(rb'"reward":(-?[0-9][0-9.eE+-]*)[,}]')


@dataclass
class Clock:
    """Seconds of work: the pauses between the workers of a run do not count."""

    _before: float = 0.0
    """Seconds of the workers that went before."""
    _began: float | None = None
    _last: float = 0.0

    def at(self, time: float, *, starts: bool) -> float:
        """Seconds of work until a record of this `time`, with which a worker `starts` or not."""
        if starts or self._began is None:
            if self._began is not None:
                self._before += self._last - self._began
            self._began = time
        self._last = time
        return self._before + time - self._began


@dataclass
class History:
    """Reports and evaluations as the fields of their events, with `time` and the `seconds` of work so far."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, run: Run) -> History:
        """All of `run` so far."""
        history, clock = cls(), Clock()
        for record in run.stream():
            event = record.event
            seconds = clock.at(record.time, starts=isinstance(event, RunStarted))
            at = {"time": record.time, "seconds": seconds}
            match event:
                case RunStarted():
                    history.reports = rewound(history.reports, event, step=itemgetter("step"))
                    history.evaluations = rewound(history.evaluations, event, step=itemgetter("step"))
                case TrainReport():
                    history.reports.append(vars(event) | at)
                case EvalReport():
                    history.evaluations.append(vars(event) | at)
        return history


@dataclass
class Positions:
    """Where in a log the reports that count stand, and what is needed to choose among them."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    heights: array[float] = field(default_factory=lambda: array("d"))
    """The loss, or the reward, where there is one."""
    offsets: array[int] = field(default_factory=lambda: array("q"))
    starts: list[tuple[int, Clock]] = field(default_factory=list)
    """Of each worker: the offset of its first line, and the clock as it stood then."""

    def begin(self, offset: int, time: float, before: log.Head | None) -> None:
        """A worker begins with the line at byte `offset`; `before` is the head of the line before it."""
        clock = replace(self.starts[-1][1]) if self.starts else Clock()
        if self.starts and before is not None:
            clock.at(before.time, starts=False)
        clock.at(time, starts=True)
        self.starts.append((offset, clock))

    def rewound(self, line: bytes, evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Drop what a worker that begins with this line does again, here and of the `evaluations`."""
        begun = log.started(line)
        if begun is None:
            return evaluations
        count = len(rewound(self.steps, begun[1], step=int))
        for column in (self.steps, self.heights, self.offsets):
            del column[count:]
        return rewound(evaluations, begun[1], step=itemgetter("step"))

    def evaluation(self, line: bytes, offset: int) -> list[dict[str, Any]]:
        """The evaluation on a line, as in `History`; none, if it is damaged."""
        record = log.parse_record(line)
        if record is None or not isinstance(record.event, EvalReport):
            return []
        return [vars(record.event) | {"time": record.time, "seconds": self.seconds(offset, record.time)}]

    def seconds(self, offset: int, time: float) -> float:
        """Seconds of work until the record of this `time` at byte `offset`."""
        clock = next(clock for first, clock in reversed(self.starts) if first <= offset)
        return replace(clock).at(time, starts=False)


def thinned(run: Run, *, points: int) -> History:
    """As `History.of`, with about `points` of the reports: of each stretch the lowest and the highest."""
    positions, evaluations = _surveyed(run.events_file)
    return History(_parsed(run.events_file, positions, chosen(positions.heights, points)), evaluations)


def _surveyed(path: Path) -> tuple[Positions, list[dict[str, Any]]]:
    """One pass over a log. A report, of which there are many, costs a microsecond; few other lines are parsed."""
    positions, evaluations = Positions(), list[dict[str, Any]]()
    step, height, place = positions.steps.append, positions.heights.append, positions.offsets.append
    offset, previous = 0, b""
    with log.opened(path) as file:
        for line in file or ():
            if not line.endswith(b"\n"):
                break
            match = _REPORT(line)
            if match is None or not positions.starts:
                start = log.head(line)
                if start is not None and (start.type == b"run_started" or not positions.starts):
                    positions.begin(offset, start.time, log.head(previous))
                    evaluations = positions.rewound(line[:-1], evaluations)
                elif start is not None and start.type == b"eval_report":
                    evaluations += positions.evaluation(line[:-1], offset)
            if match is not None:
                with suppress(ValueError):  # a damaged number
                    value = float(match[2] if line.endswith(_NO_METRICS) else _height(line, match[2]))
                    if isfinite(value):
                        step(int(match[1]))
                        height(value)
                        place(offset)
            offset += len(line)
            previous = line
    return positions, evaluations


def chosen(values: array[float] | list[float], points: int) -> list[int]:
    """Indices of about `points` of the values, ascending: first, last, and each stretch's lowest and highest."""
    count = len(values)
    if count <= points:
        return list(range(count))
    stretch = math.ceil(count / max(1, (points - 2) // 2))
    kept = {0, count - 1}
    for start in range(0, count, stretch):
        part = values[start : start + stretch]
        kept |= {start + part.index(min(part)), start + part.index(max(part))}
    return sorted(kept)


def metrics(reports: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """What the method measured besides, as columns by name, in the order in which they came up."""
    rows = [report.get("metrics", {}) for report in reports]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _height(line: bytes, loss: bytes) -> bytes:
    """The reward of a report, or its loss, where it has none."""
    match = _REWARD.search(line)
    return match[1] if match else loss


def _parsed(path: Path, positions: Positions, indices: list[int]) -> list[dict[str, Any]]:
    reports = []
    with log.opened(path) as file:
        for index in indices if file is not None else ():
            assert file is not None
            file.seek(positions.offsets[index])
            record = log.parse_record(file.readline())
            if record is not None and isinstance(record.event, TrainReport):
                seconds = positions.seconds(positions.offsets[index], record.time)
                reports.append(vars(record.event) | {"time": record.time, "seconds": seconds})
    return reports

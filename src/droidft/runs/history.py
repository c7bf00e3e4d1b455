"""A run's reports in order of steps, out of its log; those that a resumed run does again replace the old ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from pydantic_core import from_json

from droidft.events import RunStarted
from droidft.runs.folder import Run
from droidft.runs.log import all_lines, rewound


@dataclass
class History:
    """Reports and evaluations as the fields of their events, with `time` and the `seconds` of work so far."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    _before: float = 0.0
    """Seconds of the workers that went before."""
    _began: float | None = None
    _last: float = 0.0

    @classmethod
    def of(cls, run: Run) -> History:
        """All of `run` so far."""
        history = cls()
        for line in all_lines(run.events_file):
            history._add(line)
        return history

    def _add(self, line: bytes) -> None:
        record = from_json(line)
        event, time = record["event"], record["time"]
        if event.get("type") == "run_started" or self._began is None:
            self._begin(event, time)
        self._last = time
        at = {"time": time, "seconds": self._before + time - (self._began or time)}
        match event.get("type"):
            case "train_report":
                self.reports.append(event | at)
            case "eval_report":
                self.evaluations.append(event | at)

    def _begin(self, event: dict[str, Any], time: float) -> None:
        if self._began is not None:
            self._before += self._last - self._began
        self._began = time
        if event.get("type") == "run_started":
            start = RunStarted.model_validate(event)
            self.reports = rewound(self.reports, start, step=itemgetter("step"))
            self.evaluations = rewound(self.evaluations, start, step=itemgetter("step"))


def metrics(reports: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """What the method measured besides, as columns by name, in the order in which they came up."""
    rows = [report.get("metrics", {}) for report in reports]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}

"""What a run's log holds: reports as columns, completions by step, the end of its text; and how settings differ."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from droidft.config import TrainingConfig
from droidft.events import Completions, RunStarted
from droidft.runs.folder import Run
from droidft.runs.history import History, metrics
from droidft.runs.log import all_lines, parse_record, rewound
from droidft.server.schemas.runs import (
    CompletionsView,
    ConfigDiff,
    Curves,
    DiffRow,
    EvalCurve,
    LogText,
    TrainCurve,
)

_KIND = re.compile(rb'\{"seq":\d+,"time":[^,]+,"event":\{"type":"(run_started|completions)"(?:,"step":(\d+))?')
"""Recognises lines with completions, so that only those that are shown are parsed."""
COLUMNS = TrainCurve.model_fields.keys() - {"peak_memory", "metrics"}


def curves(run: Run, *, points: int) -> Curves:
    """The run's history with about `points` reports.

    Of each stretch those with the lowest and the highest loss are kept, or reward, where there is one.
    """
    history = History.of(run)
    heights = [it.get("metrics", {}).get("reward", it["loss"]) for it in history.reports]
    reports = [history.reports[index] for index in thinned(heights, points)]
    columns: dict[str, Any] = {name: [report[name] for report in reports] for name in COLUMNS}
    peak = [report["peak_memory_bytes"] for report in reports]
    evaluations = history.evaluations
    return Curves(
        run=run.id,
        train=TrainCurve(peak_memory=peak, metrics=metrics(reports), **columns),
        validation=EvalCurve(
            step=[it["step"] for it in evaluations],
            seconds=[it["seconds"] for it in evaluations],
            loss=[it["loss"] for it in evaluations],
            metrics=metrics(evaluations),
        ),
        best_step=evaluations[-1]["best_step"] if evaluations else None,
    )


def thinned(values: list[float], points: int) -> list[int]:
    """Indices of about `points` of the values, ascending: first, last, and each stretch's lowest and highest."""
    count = len(values)
    if count <= points:
        return list(range(count))
    stretch = math.ceil(count / max(1, (points - 2) // 2))
    kept = {0, count - 1}
    for start in range(0, count, stretch):
        indices = range(start, min(start + stretch, count))
        kept |= {min(indices, key=values.__getitem__), max(indices, key=values.__getitem__)}
    return sorted(kept)


def completions(run: Run, step: int | None) -> CompletionsView:
    """Completions of the last step up to `step`, or of the newest; those of steps done again replace the old ones."""
    lines = _completions(run)
    steps = sorted(lines)
    chosen = max((each for each in steps if step is None or each <= step), default=steps[0] if steps else None)
    record = None if chosen is None else parse_record(lines[chosen])
    rows = record.event.rows if record is not None and isinstance(record.event, Completions) else []
    return CompletionsView(steps=steps, step=chosen, rows=rows)


def _completions(run: Run) -> dict[int, bytes]:
    """The newest line for each step that still counts."""
    lines: dict[int, bytes] = {}
    for line in all_lines(run.events_file):
        kind = _KIND.match(line)
        if kind is None:
            continue
        if kind[1] == b"completions" and kind[2] is not None:
            lines[int(kind[2])] = line
        elif (record := parse_record(line)) is not None and isinstance(record.event, RunStarted):
            lines = {each: lines[each] for each in rewound(lines, record.event, step=int)}
    return lines


def log_text(path: Path, *, most: int) -> LogText:
    """The last `most` bytes of a log, from the beginning of a line on."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - most))
            content = file.read()
    except FileNotFoundError:
        return LogText(text="", truncated=False)
    if size > most:
        content = content[content.find(b"\n") + 1 :]
    return LogText(text=content.decode(errors="replace"), truncated=size > most)


def diff(configs: dict[str, TrainingConfig], groups: dict[str, str]) -> ConfigDiff:
    """Only the settings in which the runs differ, in the order of the configuration; `groups` names their groups."""
    values = {run: config.model_dump(mode="json") for run, config in configs.items()}
    rows = []
    for name in TrainingConfig.model_fields:
        row = [settings[name] for settings in values.values()]
        if any(value != row[0] for value in row):
            rows.append(DiffRow(name=name, group=groups.get(name, ""), values=row))
    return ConfigDiff(runs=list(configs), rows=rows)

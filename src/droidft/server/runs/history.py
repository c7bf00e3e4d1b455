"""What a run's log holds: reports as columns, completions by step, the end of its text; and how settings differ."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from droidft.config import TrainingConfig
from droidft.events import Completions
from droidft.runs.folder import Run
from droidft.runs.history import metrics, thinned
from droidft.runs.log import head, opened, parse_record, rewound, started, stream
from droidft.server.schemas.runs import (
    CompletionsView,
    ConfigDiff,
    Curves,
    DiffRow,
    EvalCurve,
    LogText,
    TrainCurve,
)

COLUMNS = TrainCurve.model_fields.keys() - {"peak_memory", "metrics"}


def curves(run: Run, *, points: int) -> Curves:
    """The run's history with about `points` reports.

    Of each stretch those with the lowest and the highest loss are kept, or reward, where there is one.
    """
    history = thinned(run, points=points)
    reports = history.reports
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


def completions(run: Run, step: int | None) -> CompletionsView:
    """Completions of the last step up to `step`, or of the newest; those of steps done again replace the old ones."""
    places = _completions(run)
    steps = sorted(places)
    wanted = max((each for each in steps if step is None or each <= step), default=steps[0] if steps else None)
    if wanted is None:
        return CompletionsView(steps=steps, step=None, rows=[])
    line, _ = next(stream(run.events_file, places[wanted]), (b"", 0))
    record = parse_record(line)
    rows = record.event.rows if record is not None and isinstance(record.event, Completions) else []
    return CompletionsView(steps=steps, step=wanted, rows=rows)


def _completions(run: Run) -> dict[int, int]:
    """Where the newest line stands for each step that still counts."""
    places: dict[int, int] = {}
    before = 0
    for line, after in stream(run.events_file):
        offset, before = before, after
        start = head(line)
        if start is None:
            continue
        if start.type == b"completions" and start.step is not None:
            places[start.step] = offset
        elif start.type == b"run_started" and (begun := started(line)) is not None:
            places = {each: places[each] for each in rewound(places, begun[1], step=int)}
    return places


def log_text(path: Path, *, most: int) -> LogText:
    """The last `most` bytes of a log, from the beginning of a line on."""
    if not os.path.lexists(path):
        return LogText(text="", truncated=False)
    with opened(path) as file:
        size = file.seek(0, 2) if file else 0
        content = b""
        if file:
            file.seek(max(0, size - most))
            content = file.read(most)
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

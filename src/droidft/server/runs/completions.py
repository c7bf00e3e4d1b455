"""Sampled completions of a run, step by step, out of its log: only what is shown is parsed."""

from __future__ import annotations

import re

from droidft.events import Completions, RunStarted
from droidft.runs.folder import Run
from droidft.runs.log import all_lines, parse_record, rewound
from droidft.server.schemas.runs import CompletionsView

KIND = re.compile(rb'\{"seq":\d+,"time":[^,]+,"event":\{"type":"(run_started|completions)"(?:,"step":(\d+))?')


def at_step(run: Run, step: int | None) -> CompletionsView:
    """Completions of the last step up to `step`, or of the newest; those of steps done again replace the old ones."""
    found = _lines(run)
    steps = sorted(found)
    chosen = max((each for each in steps if step is None or each <= step), default=steps[0] if steps else None)
    record = None if chosen is None else parse_record(found[chosen])
    rows = record.event.rows if record is not None and isinstance(record.event, Completions) else []
    return CompletionsView(steps=steps, step=chosen, rows=rows)


def _lines(run: Run) -> dict[int, bytes]:
    """The newest line for each step that still counts."""
    found: dict[int, bytes] = {}
    for line in all_lines(run.events_file):
        kind = KIND.match(line)
        if kind is None:
            continue
        if kind[1] == b"completions" and kind[2] is not None:
            found[int(kind[2])] = line
        elif (record := parse_record(line)) is not None and isinstance(record.event, RunStarted):
            found = {each: found[each] for each in rewound(found, record.event, step=int)}
    return found

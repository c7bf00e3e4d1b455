"""How often a run of an experiment is started without getting anywhere: a limit, where its log cannot give one.

A worker that cannot even write that it began, on a full disk for instance, leaves nothing in its log to count. So
whoever drives the experiment counts the starts after which the log had not grown.
"""

from __future__ import annotations

from droidft.experiments.runs.folder import Obstacle
from droidft.runs import log
from droidft.runs.folder import Run

MOST_STARTS = 3
TAIL_BYTES = 400


class Attempts:
    """Starts of runs by one driver, which forgets them when the experiment is started again."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[int, int]] = {}
        """Run -> starts in a row without progress, and the size of its log before the last of them."""

    def next(self, run: Run) -> Obstacle | None:
        """Count another start of `run`, or say why there is to be none.

        Raises:
            RunError: its log cannot be read.
        """
        starts, before = self._made.get(run.id, (0, -1))
        size = log.end(run.events_file)
        starts = starts if size == before else 0
        if starts < MOST_STARTS:
            self._made[run.id] = (starts + 1, size)
            return None
        reason = _last_line(run)
        return Obstacle(
            code="crashed",
            message=f"run {run.id}: its worker was started {starts} times and ended before it wrote an event{reason}",
            hint=f"see whether the disk is full, and the log {run.log_file}; then start the experiment again",
        )


def _last_line(run: Run) -> str:
    """What the worker printed last, as the end of a sentence."""
    with log.opened(run.log_file) as file:
        if file is None:
            return ""
        file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
        lines = [line.strip() for line in file.read(TAIL_BYTES).decode(errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    return f": {last}" if last else ""

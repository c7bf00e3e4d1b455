"""Show a run until it ends; Ctrl-C asks its worker for a checkpoint and a clean end."""

from __future__ import annotations

import signal
from contextlib import suppress
from types import FrameType
from typing import Self

from rich.console import Console
from rich.markup import escape

from droidft.commands._display import RunDisplay
from droidft.commands._terminal import line, marked, print_json, terminal, warn
from droidft.errors import RunError
from droidft.events import Failed, Finished, Stopped
from droidft.runs import log
from droidft.runs.folder import NO_ROOM, Run

DETACH_HELP = "start the run and return; watch it with `droidft runs watch`"
EVENTS_HELP = "print the run and its events, a JSON object each in a line"


def start_and_watch(run: Run, *, detach: bool, as_json: bool = False) -> int:
    """Start the run's worker and show what it reports; the exit status says how it ended."""
    console = terminal()
    offset = log.end(run.events_file)
    display = RunDisplay(console)
    display.collect(run.stream())
    worker = run.start()
    if as_json:
        print_json({"run": run.id, "adapter": run.adapter_name()}, indent=None)
    else:
        marked(console, f"run       [bold]{escape(run.id)}[/]")
    if detach:
        if not as_json:
            line(console, f"watch it with: droidft runs watch {run.id}")
        return 0
    status = watch(run, console, display=display, offset=offset, as_json=as_json)
    if worker.wait() == NO_ROOM:
        warn(terminal(errors=True), f"the disk took no more events of the run: free some space at {run.path}")
    return status


def watch(
    run: Run, console: Console, *, display: RunDisplay | None = None, offset: int = 0, as_json: bool = False
) -> int:
    """Show `run` from byte `offset` of its events on: 0 when it finished or was stopped, 1 otherwise.

    A `display` may hold losses from before that, which belong to the curve.
    """
    display = display or RunDisplay(console)
    presses = Presses()

    def stop_if_pressed() -> None:
        if presses.new():
            _interrupt(run, console, presses.count)

    if as_json:
        return _print_events(run, offset, presses)
    with display, presses:
        display.show(run.follow(offset, meanwhile=stop_if_pressed))
    match display.last:
        case Finished():
            display.show_curve()
            line(console, f"adapter   {run.home.adapter(run.adapter_name())}")
            return 0
        case Stopped():
            line(console, f"continue with: droidft resume {run.id}")
            return 0
        case Failed():
            return 1
    why = "killed" if presses.count > 1 else "the worker died without saying why (killed, or out of memory)"
    marked(console, f"[red]ended[/]     {why}; its log is {escape(str(run.log_file))}")
    line(console, f"continue with: droidft resume {run.id}")
    return 1


def _print_events(run: Run, offset: int, presses: Presses) -> int:
    """The events as JSON, a line each, until the run ends; Ctrl-C stops it, a second one kills it."""
    quiet, last = terminal(quiet=True), None

    def stop_if_pressed() -> None:
        if presses.new():
            _interrupt(run, quiet, presses.count)

    with presses:
        for record in run.follow(offset, meanwhile=stop_if_pressed):
            print_json(record.model_dump(mode="json"), indent=None)
            last = record.event
    return 0 if isinstance(last, Finished | Stopped) else 1


def _interrupt(run: Run, console: Console, count: int) -> None:
    if count > 1:
        console.print("killing the worker; the last checkpoint stays")
        run.kill()
    else:
        console.print("stopping: saving a checkpoint (Ctrl-C again kills the worker)")
        with suppress(RunError):  # it ended by itself in this very moment
            run.stop()


class Presses:
    """Counts Ctrl-C while it is open, instead of letting it interrupt whatever is being drawn."""

    def __init__(self) -> None:
        self.count = 0
        self._seen = 0

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def new(self) -> bool:
        """Whether it was pressed since this was last asked."""
        fresh, self._seen = self.count > self._seen, self.count
        return fresh

    def _press(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

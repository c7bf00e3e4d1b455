"""Show a run until it ends; Ctrl-C asks its worker for a checkpoint and a clean end."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from droidft.commands._display import RunDisplay
from droidft.events import Failed, Finished, Record, Stopped
from droidft.home import Home
from droidft.runs import Run


def start_and_watch(run: Run, *, detach: bool) -> int:
    """Start the run's worker and show what it says; the exit status says how it ended."""
    console = Console()
    _, offset = run.records()
    worker = run.start()
    console.print(f"run       [bold]{run.id}[/]", highlight=False)
    if detach:
        console.print(f"watch it with: droidft runs watch {run.id}", highlight=False)
        return 0
    status = watch(run, console, offset=offset)
    worker.wait()
    return status


def watch(run: Run, console: Console, *, offset: int = 0) -> int:
    """Show `run` from byte `offset` of its events on: 0 when it finished or was stopped, 1 otherwise."""
    with RunDisplay(console) as display:
        display.show(_follow_or_stop(run, console, offset))
    match display.last:
        case Finished():
            for line in display.curve():
                console.print(line, highlight=False)
            adapter = Home.find().adapter(run.adapter_name())
            console.print(f"adapter   {adapter}", highlight=False, soft_wrap=True)
            return 0
        case Stopped():
            console.print(f"continue with: droidft resume {run.id}", highlight=False)
            return 0
        case Failed():
            return 1
    console.print(
        f"[red]crashed[/]   the worker died without a word (killed, or out of memory); its log is {run.log_file}\n"
        f"continue with: droidft resume {run.id}",
        highlight=False,
        soft_wrap=True,
    )
    return 1


def _follow_or_stop(run: Run, console: Console, offset: int) -> Iterator[Record]:
    asked = False
    while True:
        try:
            for record, after in run.follow(offset):
                offset = after
                yield record
            return
        except KeyboardInterrupt:
            if run.worker_pid() is None:
                continue
            if asked:
                console.print("killing the worker; the last checkpoint stays")
                run.kill()
            else:
                console.print("stopping: saving a checkpoint (Ctrl-C again kills the worker)")
                run.stop()
            asked = True

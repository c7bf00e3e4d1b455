"""What commands print through: plain lines, tables, questions, progress, JSON.

Whatever is shown may hold what somebody else wrote, such as the name of a model: nothing in it is taken for markup,
and `Terminal` lets no control character through.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic_core import to_jsonable_python
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.segment import Segment
from rich.status import Status
from rich.table import Table
from rich.text import Text

from droidft.support.plain import json_safe, safe
from droidft.support.progress import Progress
from droidft.support.words import duration

AGAIN_SECONDS = 10.0
"""How often a log shows how far something is."""
GAP = 2
"""Blanks between two columns."""
RUN_HELP = "id of a run, the beginning of one, or `last`: the newest that no experiment made"
LEAST_FLOWING = 16
"""A column whose text may be broken into lines has at least so many characters."""


class Terminal(Console):
    """A console that takes nothing for markup or emoji unless it is told to, and shows no control characters."""

    def __init__(self, *, errors: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=errors, quiet=quiet, highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The parts of what is shown, made safe."""
        for part in super().render(renderable, options):
            yield part if part.control else Segment(safe(part.text), part.style)

    def on_broken_pipe(self) -> None:
        """Leave it to `cli.main`: the reader left, and the status of the process says so."""
        raise BrokenPipeError


def actions_of(parser: argparse.ArgumentParser, *, listing: str) -> Any:
    """The actions of a command that lists unless told otherwise; further ones are added with `add_parser`."""
    parser.set_defaults(action="list")
    add_json(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    add_json(actions.add_parser("list", help=f"{listing} (the default)"))
    return actions


def add_json(parser: argparse.ArgumentParser, help: str = "print JSON") -> None:
    """The flag `--json`, which every command has that shows something. `cli.main` gives it its default."""
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=help)


def terminal(*, errors: bool = False, quiet: bool = False) -> Console:
    """Standard output, or standard error; numbers and paths in it are not coloured."""
    return Terminal(errors=errors, quiet=quiet)


def consoles(*, as_json: bool) -> tuple[Console, Console]:
    """Consoles for answers and for everything else, which is left out beside JSON."""
    return terminal(), terminal(errors=True, quiet=as_json)


def line(console: Console, text: str, style: str | None = None) -> None:
    """A line as it is: without markup, and broken by the terminal alone."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def marked(console: Console, text: str) -> None:
    """A line with markup of ours; every value in it has been through `rich.markup.escape`."""
    console.print(text, markup=True, soft_wrap=True)


def spinner(console: Console, text: str) -> Status:
    """A sign that something is under way; `turn` changes its text."""
    return console.status(Text(text))


def turn(status: Status, text: str) -> None:
    """Show another text beside a spinner."""
    status.update(Text(text))


def warn(console: Console, message: str) -> None:
    """A warning in a line of its own."""
    line(console, f"warning: {message}", style="yellow")


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """A value for programs; objects that have `as_dict` give theirs with it.

    What the output's encoding has not, or a terminal would obey, is written as an escape: nothing is lost.
    """
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    try:
        text = json.dumps(value, default=_plain, ensure_ascii=ascii_only, indent=indent, allow_nan=False)
    except ValueError:  # NaN or infinity, which JSON has not
        finite = json.loads(json.dumps(value, default=_plain), parse_constant=lambda _: None)
        text = json.dumps(finite, ensure_ascii=ascii_only, indent=indent)
    print(json_safe(text), flush=True)


def _plain(part: Any) -> Any:
    return part.as_dict() if hasattr(part, "as_dict") else to_jsonable_python(part)


def show_table(
    console: Console,
    names: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    right: Sequence[str] = (),
    flowing: Sequence[str] = (),
) -> None:
    """Rows below the names of their columns. Nothing is ever cut.

    In a terminal the columns stand side by side; those named in `right` hold numbers, those in `flowing` may be
    broken into lines. In a pipe or a file each row is a line with tabs between its cells.
    """
    cells = [[part if isinstance(part, Text) else Text(safe(part)) for part in row] for row in rows]
    if not console.is_terminal:
        for row in ([Text(name) for name in names], *cells):
            print("\t".join(" ".join(cell.plain.split()) for cell in row), file=console.file)  # rich expands tabs
        return
    widths = [max(map(cell_len, (name, *(row[at].plain for row in cells)))) for at, name in enumerate(names)]
    least = [
        min(width, LEAST_FLOWING) if name in flowing else width for name, width in zip(names, widths, strict=True)
    ]
    if sum(least) + GAP * (len(names) - 1) > console.width:  # narrower than the names: the terminal breaks the lines
        for row in ([Text(name) for name in names], *cells):
            console.print(Text("  ").join(row), soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for name, width in zip(names, least, strict=True):
        whole = name not in flowing
        side: Any = "right" if name in right else "left"
        table.add_column(name, justify=side, no_wrap=whole, min_width=width, overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.print(table)


def none_yet(console: Console, text: str) -> None:
    """What stands for an empty list. In a pipe or a file, where each line is an entry, it goes to standard error."""
    line(console if console.is_terminal else terminal(errors=True), text)


def agreed(console: Console, question: str, *, otherwise: bool) -> bool:
    """Whether the user says yes; Enter means `otherwise`, and where nobody can answer it is a no."""
    try:
        answer = console.input(f"{question} [{'Y/n' if otherwise else 'y/N'}] ", markup=False).strip().lower()
    except (EOFError, KeyboardInterrupt):
        return False
    return answer in ("y", "yes") or (otherwise and answer == "")


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """A bar that appears with the first report."""
    shown = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    bar = Bar(*shown, console=console, transient=True, disable=not console.is_terminal)
    task = None

    def report(what: str, done: int, total: int) -> None:
        nonlocal task
        if task is None:
            bar.start()
            task = bar.add_task(what)
        bar.update(task, description=what, completed=done, total=total or None)

    try:
        yield report if console.is_terminal else _Lines(console).report
    finally:
        bar.stop()


class _Lines:
    """Progress where there is no terminal: a line for each thing that begins, and now and then how far it is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what = ""
        self._first = 0
        self._began = self._shown = 0.0

    def report(self, what: str, done: int, total: int) -> None:
        """So much of a whole is done; `total` 0: nobody knows the whole."""
        now = time.monotonic()
        if what != self._what:
            self._what, self._first, self._began, self._shown = what, done, now, now
            line(self._console, what)
        elif now - self._shown >= AGAIN_SECONDS and total:
            self._shown = now
            left = (now - self._began) / max(1, done - self._first) * (total - done)
            more = f", about {duration(left)} left" if self._first < done < total else ""
            line(self._console, f"{what}  {done / total:.0%}{more}")


def one_line(text: str, *, most: int) -> str:
    """At most `most` characters of a text on one line, without what would move a terminal's cursor."""
    plain = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    return plain if len(plain) <= most else f"{plain[:most]}…"

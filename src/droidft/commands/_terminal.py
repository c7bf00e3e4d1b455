"""What commands print through: plain lines, questions, progress, JSON."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from droidft.support.progress import Progress

# A model may write escape sequences; a terminal must not obey them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def actions_of(parser: argparse.ArgumentParser, *, listing: str) -> Any:
    """The actions of a command that lists unless told otherwise; further ones are added with `add_parser`."""
    parser.set_defaults(action="list", json=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    action = actions.add_parser("list", help=f"{listing} (the default)")
    action.add_argument("--json", action="store_true", help="print JSON")
    return actions


def terminal(*, errors: bool = False, quiet: bool = False) -> Console:
    """Standard output, or standard error; numbers and paths in it are not coloured."""
    return Console(stderr=errors, quiet=quiet, highlight=False)


def consoles(*, as_json: bool) -> tuple[Console, Console]:
    """Consoles for answers and for everything else, which is left out beside JSON."""
    return terminal(), terminal(errors=True, quiet=as_json)


def line(console: Console, text: str, style: str | None = None) -> None:
    """A line as it is: without markup, and broken by the terminal alone."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def warn(console: Console, message: str) -> None:
    """A warning in a line of its own."""
    line(console, f"warning: {message}", style="yellow")


def print_json(value: Any) -> None:
    """A value for programs; objects that have `as_dict` give theirs with it."""
    print(json.dumps(value, default=_plain, ensure_ascii=False, indent=1))


def _plain(part: Any) -> Any:
    return part.as_dict() if hasattr(part, "as_dict") else to_jsonable_python(part)


def columns(*left: str, right: Sequence[str] = ()) -> Table:
    """A table without lines; columns named in `right` hold numbers."""
    table = Table(box=None, pad_edge=False)
    for name in left:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def agreed(console: Console, question: str, *, otherwise: bool) -> bool:
    """Whether the user says yes; Enter means `otherwise`, and where nobody can answer it is a no."""
    try:
        answer = console.input(f"{question} \\[{'Y/n' if otherwise else 'y/N'}] ").strip().lower()
    except (EOFError, KeyboardInterrupt):
        return False
    return answer in ("y", "yes") or (otherwise and answer == "")


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """A bar that appears with the first report."""
    shown = (
        TextColumn("{task.description}"),
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
        yield report
    finally:
        bar.stop()


def safe(text: str) -> str:
    """`text` without control characters other than line breaks and tabs."""
    return _CONTROL.sub("�", text.replace("\r\n", "\n"))


def one_line(text: str, *, most: int) -> str:
    """At most `most` characters of a text on one line, without what would move a terminal's cursor."""
    plain = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    return plain if len(plain) <= most else f"{plain[:most]}…"

"""What the terminal shows of an export: its verdict first, then the figures; and what to type in other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from droidft.adapters.exports.certificate import Certificate, Verdict
from droidft.adapters.exports.usage import Way
from droidft.commands._terminal import line

COLOURS: Mapping[Verdict, str] = {"passed": "green", "unproven": "yellow", "failed": "red"}


def show_certificate(console: Console, made: Certificate) -> None:
    """The verdict, in its colour unless it passed, and the figures."""
    line(console, made.sentence, style=None if made.passed else f"bold {COLOURS[made.verdict]}")
    for name, text in made.lines():
        line(console, f"  {name:<10}{text}")


def show_usage(console: Console, usage: Sequence[Way]) -> None:
    """The code for each program."""
    for way in usage:
        console.print()
        line(console, f"in {way.program}:", style="dim")
        for each in way.code.splitlines():
            line(console, f"  {each}")

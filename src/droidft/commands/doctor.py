"""`droidft doctor`: what this machine has, what is missing, and how to fix it."""

from __future__ import annotations

import argparse

from rich.text import Text

from droidft.commands._terminal import add_json, print_json, show_table, terminal
from droidft.engine.machine.doctor import Report, examine
from droidft.home import Home
from droidft.support.plain import safe


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the form of the report."""
    add_json(parser, "print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the report; the status is 1 when something needs fixing."""
    report = examine(Home.find().root)
    if args.json:
        print_json(report)
    else:
        _show(report)
    return 0 if report.ok else 1


def _show(report: Report) -> None:
    console = terminal()
    good, bad = ("✓", "✗") if console.is_terminal else ("ok", "fix")
    rows = [
        (Text(bad, "yellow") if finding.fix else Text(good, "green"), Text(safe(finding.name), "bold"), finding.value)
        for finding in report.findings
    ]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    show_table(console, ("result", "checked", "value"), [*rows, ("", "versions", versions)], flowing=("value",))
    problems = [finding for finding in report.findings if finding.fix]
    console.print("\nTo fix:" if problems else "\nNothing to fix.")
    for problem in problems:
        console.print(Text.assemble("  ", (problem.name, "bold"), f": {problem.fix}"), soft_wrap=True)

"""`droidft doctor`: what this machine has, what is missing, and how to fix it."""

from __future__ import annotations

import argparse

from rich.table import Table

from droidft.commands._terminal import print_json, terminal
from droidft.engine.machine.doctor import Report, examine
from droidft.home import Home


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the form of the report."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


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
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in report.findings:
        table.add_row("[yellow]✗[/]" if finding.fix else "[green]✓[/]", finding.name, finding.value)
    table.add_row("", "versions", ", ".join(f"{name} {version}" for name, version in report.versions.items()))
    console.print(table)
    problems = [finding for finding in report.findings if finding.fix]
    console.print("\nTo fix:" if problems else "\nNothing to fix.")
    for problem in problems:
        console.print(f"  [bold]{problem.name}[/]: {problem.fix}")

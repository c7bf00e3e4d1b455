"""These tests need torch, PEFT and llama.cpp, which `make interop` brings; elsewhere they are skipped.

What the comparisons find is shown as a table at the end.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NEEDED = ("torch", "peft", "xllamacpp")
ROW = "interop"
"""The property under which a test leaves a row of the table."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder where a package is missing."""
    missing = [package for package in NEEDED if find_spec(package) is None]
    if not missing:
        return
    skip = pytest.mark.skip(reason=f"needs {', '.join(missing)}: run `make interop`")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of largest differences, for docs/export.md."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    rows = sorted(value for report in reports for name, value in report.user_properties if name == ROW)
    if not rows:
        return
    terminalreporter.section("largest difference of logits from ours")
    terminalreporter.write_line(
        "| form | architecture | adapter | difference | reader's noise on the base | adapter changes |"
    )
    terminalreporter.write_line("|---|---|---|---|---|---|")
    for row in rows:
        terminalreporter.write_line(row)

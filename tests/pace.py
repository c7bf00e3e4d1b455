"""How long each test takes, as it was measured: which files are begun first, and what `make quick` leaves out.

`times.json` holds the seconds of every test function that took `LISTED` or more, set-up and all its parameters
included, and under `REST` those of all others of its file together. `pytest --record-times` writes what it has
measured there; a test that is not listed counts as fast.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

TIMES = Path(__file__).with_name("times.json")
LISTED = 0.05
REST = "all others"
SHARE = 0.08
"""`--quick` takes the fastest functions that together take this share of the time of all, whatever the machine."""
Times = dict[str, dict[str, float]]
"""Seconds by file, relative to `tests`, and by function."""


def read() -> Times:
    """What was measured last."""
    times: Times = json.loads(TIMES.read_text(encoding="utf-8"))
    return times


def fast(times: Times) -> float:
    """Seconds up to which a function is fast."""
    left = SHARE * sum(seconds for known in times.values() for seconds in known.values())
    left -= sum(known.get(REST, 0.0) for known in times.values())
    longest = 0.0
    for seconds in sorted(seconds for known in times.values() for name, seconds in known.items() if name != REST):
        if (left := left - seconds) < 0:
            break
        longest = seconds
    return longest


def function_of(nodeid: str) -> tuple[str, str]:
    """File and function of a test, without its parameters and the folder `tests`."""
    file, _, name = nodeid.partition("::")
    return file.removeprefix("tests/"), name.partition("[")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options of our own."""
    group = parser.getgroup("pace")
    group.addoption("--quick", action="store_true", help="only tests that were fast when last measured")
    group.addoption("--record-times", action="store_true", help=f"write what each test takes to {TIMES.name}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of which every test is slow are not even imported."""
    if not config.option.quick or not collection_path.is_relative_to(TIMES.parent):
        return None
    times = read()
    known = times.get(collection_path.relative_to(TIMES.parent).as_posix())
    return True if known and REST not in known and min(known.values()) > fast(times) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first, so that no process is left with one at the end; without the slow tests, if asked."""
    times = read()
    if config.option.quick:
        longest = fast(times)
        slow = {item for item in items if _seconds(times, item) > longest or item.get_closest_marker("real")}
        config.hook.pytest_deselected(items=list(slow))
        items[:] = [item for item in items if item not in slow]
    totals = {file: sum(known.values()) for file, known in times.items()}
    items.sort(key=lambda item: -totals.get(function_of(item.nodeid)[0], 0.0))


def _seconds(times: Times, item: pytest.Item) -> float:
    file, name = function_of(item.nodeid)
    return times.get(file, {}).get(name, 0.0)


class Recorder:
    """Adds up what the tests of this run take, and writes it down in place of what was known of them."""

    def __init__(self) -> None:
        self._seconds: Counter[tuple[str, str]] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test."""
        self._seconds[function_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Merge, and forget files that are gone."""
        times = read()
        others: Counter[str] = Counter()
        for (file, name), seconds in self._seconds.items():
            known = times.setdefault(file, {})
            known.pop(name, None)
            if seconds >= LISTED:
                known[name] = round(seconds, 2)
            else:
                others[file] += seconds
        for file, seconds in others.items():
            times[file][REST] = round(seconds, 2)
        kept = {file: known for file, known in times.items() if known and (TIMES.parent / file).is_file()}
        TIMES.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Record in the process that hears of all tests."""
    if config.option.record_times and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(), "pace-recorder")

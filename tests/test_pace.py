from __future__ import annotations

import pytest

from tests import pace

pytest_plugins = ["pytester"]


def test_fast_is_what_takes_a_share_of_all() -> None:
    times = {"a.py": {"one": 1.0, "two": 3.0, pace.REST: 1.0}, "b.py": {"three": 3.5, "four": 91.5}}
    assert pace.fast(times) == 3.0  # 1 + 1 + 3 of 8, and 3.5 more is too much
    assert pace.fast({}) == 0


def test_the_longest_file_is_first_and_quick_leaves_out_what_is_slow(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pytester.mkdir("tests")
    for name, body in {
        "test_a.py": "def test_short(): pass\ndef test_new(): pass\n",
        "test_b.py": "import pytest\n@pytest.mark.parametrize('n', [1, 2])\ndef test_long(n): pass\n"
        "def test_c(): pass\n",
        "test_c.py": "raise ImportError('not even imported')\n",
    }.items():
        (folder / name).write_text(body)
    monkeypatch.setattr(pace, "TIMES", folder / "times.json")
    pace.TIMES.write_text('{"test_a.py": {"test_short": 0.1}, "test_b.py": {"test_long": 9, "all others": 0.1}}')
    found = pytester.inline_run("-p", "tests.pace", "--ignore", "tests/test_c.py", plugins=[])
    names = [report.nodeid.partition("::")[2] for report in found.getreports("pytest_runtest_logreport")
             if report.when == "call"]  # fmt: skip
    assert names == ["test_long[1]", "test_long[2]", "test_c", "test_short", "test_new"]
    pace.TIMES.write_text(
        '{"test_a.py": {"test_short": 0.1}, "test_b.py": {"test_long": 9, "all others": 0.1}, "test_c.py": {"x": 9}}'
    )
    found = pytester.inline_run("-p", "tests.pace", "--quick", "--record-times", plugins=[])
    found.assertoutcome(passed=3)
    assert pace.read()["test_b.py"]["test_long"] == 9, "what was not run is kept"

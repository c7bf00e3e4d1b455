"""The example that docs/python.md begins with, as it is written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT


@pytest.mark.real
@pytest.mark.slow
def test_the_example_runs_as_it_is_written(home: Path, smollm2: Path, tmp_path: Path) -> None:
    (home / "models").mkdir()
    (home / "models/smollm2-135m-instruct").symlink_to(smollm2, target_is_directory=True)
    rows = (ROOT / "examples/orders/train.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "orders.jsonl").write_text("".join(rows[:24]))
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), flags=re.S)
    assert example is not None
    done = subprocess.run([sys.executable, "-c", example[1]], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "type='finished'" in done.stdout
    assert "{" in done.stdout.splitlines()[-1], "it answers as the till wants it, or tries to"

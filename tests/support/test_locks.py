"""A lock proves that a process lives; the pid in the file alone does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from droidft.support import locks


def test_a_file_is_held_once_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert locks.holder(path) is None
    file = locks.hold(path)
    assert file is not None
    assert locks.holder(path) == os.getpid()
    assert locks.hold(path) is None
    file.close()
    assert locks.holder(path) is None


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    hold = "import sys, pathlib; from droidft.support import locks; locks.hold(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", hold, str(path)], check=True)
    assert path.read_text()
    assert locks.holder(path) is None

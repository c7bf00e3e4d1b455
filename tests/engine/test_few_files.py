"""Training where the system allows few open files."""

from __future__ import annotations

import subprocess
import sys


def test_mlx_lm_is_imported_under_a_low_hard_limit_that_stays() -> None:
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (512, 1024))\n"
        "import droidft.engine.model.loading\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "(512, 1024)", done.stderr

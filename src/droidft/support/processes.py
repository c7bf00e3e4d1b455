"""How this program starts Python again: every process of ours, and pip, begins with the command that `python` gives.

`python -m` puts the working directory first on the path, so a `json.py` in a folder of data would be run before the
library's own. `-P` leaves it out. `PYTHONPATH` is kept, as a checkout needs it; an empty part of it, which means the
working directory too and is nearly always an accident of `PYTHONPATH=$PYTHONPATH:…`, is not.
"""

from __future__ import annotations

import os
import sys

SHARES = "DROIDFT_SHARES"
"""Variable of the environment: how many processes share a GPU; see `engine.machine.limits`."""


def python(module: str, *words: str) -> list[str]:
    """The command that runs `module` with this interpreter and never imports from the working directory."""
    return [sys.executable, "-P", "-m", module, *words]


def environment(**changes: str) -> dict[str, str]:
    """The environment of such a process: what it starts in turn does not import from there either."""
    kept = os.environ | {"PYTHONSAFEPATH": "1"} | changes
    if "PYTHONPATH" in kept:
        parts = [part for part in kept["PYTHONPATH"].split(os.pathsep) if part]
        kept["PYTHONPATH"] = os.pathsep.join(parts)
        if not parts:
            del kept["PYTHONPATH"]
    return kept

"""`droidft` as it is typed, in the process of the tests: starting one for each command costs half a second."""

from __future__ import annotations

import io
import os
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from droidft.cli import main


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


def droidft(*words: str, folder: Path | None = None, **environment: str) -> Said:
    """Run a command into a pipe, in `folder` and with these variables, where they are given."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with (
        pytest.MonkeyPatch.context() as patch,
        chdir(folder or os.curdir),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            status = main(list(words))
        except SystemExit as ended:  # argparse has shown its help, or complained
            status = int(ended.code or 0)
    return Said(status, *(stream.buffer.getvalue().decode() for stream in (out, err)))

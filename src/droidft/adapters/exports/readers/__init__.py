"""Reads exported files back by programs that are not ours, each in a process of its own.

A reader that crashes, runs out of memory or refuses the files takes nobody along: what happened is a reason in words.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from droidft.adapters.exports.readers.reading import ANSWER, REQUEST, Answer, Fault, Reading, Request, Subject
from droidft.support import processes
from droidft.support.memory import names_memory
from droidft.support.progress import Progress

POLL_SECONDS = 0.2
"""How soon a reader ends after it is no longer wanted."""


@dataclass(frozen=True)
class Reader:
    """A program that reads model files: `module` is run as a process, and needs `packages`."""

    name: str
    module: str
    packages: tuple[str, ...]
    extra: str
    """What of droidft installs them."""

    @property
    def installed(self) -> bool:
        """Whether all its packages are here."""
        return all(importlib.util.find_spec(package) is not None for package in self.packages)


_ROOM = "droidft.adapters.exports.readers"
TRANSFORMERS = Reader("transformers", f"{_ROOM}.transformers", ("torch", "transformers"), "torch")
PEFT = Reader("transformers and PEFT", f"{_ROOM}.transformers", ("torch", "transformers", "peft"), "torch")
LLAMA_CPP = Reader("llama.cpp", f"{_ROOM}.llama_cpp", ("xllamacpp",), "gguf")
# By its name, since only the engine imports mlx.
MLX_LM = Reader("mlx-lm", "droidft.engine.evaluation.mlx_lm_reader", ("mlx_lm",), "")
READERS = {
    "peft": PEFT,
    "merged": TRANSFORMERS,
    "mlx": MLX_LM,
    "gguf": LLAMA_CPP,
    "gguf-adapter": LLAMA_CPP,
    "ollama": LLAMA_CPP,
}
"""Which reads each form."""


def choose(form: str) -> Reader | None:
    """The reader of a form that is not ours; None where its packages are not installed."""
    reader = READERS[form]
    return reader if reader.installed else None


def advice(form: str) -> str:
    """What installs the reader of a form, in a sentence."""
    reader = READERS[form]
    return f'`pip install "droidft[{reader.extra}]"` lets {reader.name} read it'


@dataclass(frozen=True)
class Outcome:
    """What a reader made of its `subjects`: their readings, up to the one where it could not go on."""

    readings: list[Reading]
    subjects: int
    fault: Fault | None = None

    @property
    def unfit(self) -> str | None:
        """Why this reader is no judge of the export, the last subject: memory, its version, or the base's files."""
        if self.fault is None or not (self.fault.unfit or self.fault.subject < self.subjects - 1):
            return None
        return self.fault.reason

    @property
    def refusal(self) -> str | None:
        """Why the export cannot be read by a reader that is fit to."""
        return None if self.fault is None or self.unfit is not None else self.fault.reason

    @property
    def exported(self) -> Reading | None:
        """The reading of the export."""
        return self.readings[-1] if len(self.readings) == self.subjects else None

    @property
    def base(self) -> Reading | None:
        """The reading of the base, where it was among the subjects."""
        return self.readings[0] if self.subjects > 1 and self.readings else None


class Stopped(Exception):
    """The readings are no longer wanted."""


def read(
    reader: Reader,
    subjects: Sequence[Subject],
    request: Request,
    *,
    scratch: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> Outcome:
    """Have `reader` read each subject, one after another, in a process of its own.

    Args:
        scratch: where a temporary folder may be made. Default: the system's place.
        progress: called with the reader's name, the rows and answers that are done, and their number.

    Raises:
        Stopped: `should_stop` returned True; the process has ended.
    """
    folder = Path(tempfile.mkdtemp(prefix="reading-", dir=scratch))
    try:
        asked = {"subjects": [it.model_dump(mode="json") for it in subjects], "request": request.model_dump()}
        (folder / REQUEST).write_text(json.dumps(asked))
        status = _run(reader, folder, request, should_stop, progress)
        return _outcome(folder, request, len(subjects), status)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    reader: Reader, folder: Path, request: Request, should_stop: Callable[[], bool], progress: Progress | None
) -> int:
    threads = {name: str(request.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            processes.python(reader.module, str(folder)),
            env=processes.environment(**threads, **offline),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        with process.stdin, process.stdout:
            pending = b""
            while True:
                if should_stop():
                    raise Stopped
                if not select.select([process.stdout], [], [], POLL_SECONDS)[0]:
                    continue
                if not (piece := os.read(process.stdout.fileno(), 1 << 16)):
                    return process.wait()
                *lines, pending = (pending + piece).split(b"\n")
                if lines and progress is not None:
                    report = json.loads(lines[-1])
                    progress(reader.name, report["done"], report["total"])
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _outcome(folder: Path, request: Request, subjects: int, status: int) -> Outcome:
    try:
        answer = Answer.model_validate_json((folder / ANSWER).read_bytes())
    except (OSError, ValidationError):
        return Outcome([], subjects, _death(folder, status))
    readings = [
        Reading(answer.reader, request, one, _array(folder / f"logits-{number}.npy"))
        for number, one in enumerate(answer.read)
    ]
    return Outcome(readings, subjects, answer.fault)


def _array(file: Path) -> NDArray[np.float32]:
    """An array of a `.npy` file; objects in it are refused, since reading them would run code."""
    with file.open("rb") as stream:
        found: NDArray[np.float32] = np.lib.format.read_array(stream, allow_pickle=False)
    return found


def _death(folder: Path, status: int) -> Fault:
    """Why a process ended without an answer, as far as its log and its status say."""
    finished = len(list(folder.glob("logits-*.npy")))
    log = (folder / "log.txt").read_bytes()[-20_000:].decode("utf-8", "replace")
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", log).splitlines() if line.strip()]
    if status == -signal.SIGKILL:
        return Fault(subject=finished, reason="it was killed, as happens where memory runs out", unfit=True)
    if names_memory(log):
        return Fault(subject=finished, reason="memory ran out", unfit=True)
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    last = f": {lines[-1].strip()[:300]}" if lines else ""
    return Fault(subject=finished, reason=f"it ended with {how}{last}")

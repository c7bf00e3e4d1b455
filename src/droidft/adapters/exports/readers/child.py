"""A reader's half of the exchange: its process reads the request, calls the framework, and writes its answer.

    python -P -m droidft.adapters.exports.readers.transformers FOLDER

Standard output carries one `{"done": 3, "total": 64}` a line; whatever libraries print goes to standard error. The
process ends with its parent, whose end of standard input closes then.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from droidft.adapters.exports.readers.reading import ANSWER, REQUEST, Answer, Fault, Read, Request, Subject
from droidft.support.memory import is_out_of_memory

Progress = Callable[[], None]
"""Called after each row, conversation set and answer."""
Result = tuple[Read, NDArray[np.float32]]
ReadAll = Callable[[list[Subject], Request, Progress], Iterable[Result]]
"""What a reader does: one result for each subject, in their order."""


class Unfit(Exception):
    """The reader cannot be used here, whatever the files are."""


class Asked(BaseModel):
    """The content of `request.json`."""

    subjects: list[Subject]
    request: Request


def serve(read_all: ReadAll, packages: list[str]) -> None:
    """Answer the request in the folder that the command line names."""
    folder = Path(sys.argv[1])
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asked = Asked.model_validate_json((folder / REQUEST).read_bytes())
    answer = _answered(folder, asked, read_all, reports, described(packages))
    temporary = folder / f"{ANSWER}.tmp"
    temporary.write_text(answer.model_dump_json())
    temporary.replace(folder / ANSWER)


def _answered(folder: Path, asked: Asked, read_all: ReadAll, reports: IO[str], reader: str) -> Answer:
    steps = len(asked.request.rows) + len(asked.request.prompts)
    done, total = 0, steps * len(asked.subjects)

    def progress() -> None:
        nonlocal done
        done += 1
        reports.write(json.dumps({"done": done, "total": total}) + "\n")
        reports.flush()

    read: list[Read] = []
    try:
        for number, (result, logits) in enumerate(read_all(asked.subjects, asked.request, progress)):
            np.save(folder / f"logits-{number}.npy", logits)
            read.append(result)
    except Exception as error:  # noqa: BLE001 - whatever a framework raises about files is what is to be known
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        unfit = isinstance(error, Unfit | ImportError) or is_out_of_memory(error)
        fault = Fault(subject=len(read), reason=reason, unfit=unfit)
        return Answer(reader=reader, read=read, fault=fault)
    return Answer(reader=reader, read=read)


def described(packages: list[str]) -> str:
    """`transformers 5.23.0 + peft 0.21.2`."""
    return " + ".join(f"{package} {metadata.version(package)}" for package in packages)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)

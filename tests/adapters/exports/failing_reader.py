"""A reader's process that ends in the way that the text of the first conversation says."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator

import numpy as np

from droidft.adapters.exports.readers.child import Progress, Result, Unfit, serve
from droidft.adapters.exports.readers.reading import Read, Request, Subject


def read_all(subjects: list[Subject], request: Request, progress: Progress) -> Iterator[Result]:
    for number, _ in enumerate(subjects):
        if number == len(subjects) - 1:
            end(request.conversations[0])
        progress()
        print("a library's own words")
        yield Read(losses=[1.0]), np.zeros((0, 5), np.float32)


def end(how: str) -> None:
    match how:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            print("something is broken", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "memory":
            raise MemoryError("Unable to allocate 90 GiB")
        case "version":
            raise Unfit("it has no llama_decode")
        case "files":
            raise ValueError("the files lack x")
        case "slow":
            time.sleep(60)


if __name__ == "__main__":
    serve(read_all, ["pydantic"])

"""Who reads the exported files: another program where it can, ours where it cannot, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from droidft.adapters.exports import readers
from droidft.adapters.exports.evidence import Evidence, collect
from droidft.adapters.exports.readers import Reader
from droidft.adapters.exports.readers.reading import Read, Reading, Request, Row, Subject
from droidft.errors import ModelError

ROW = Row(tokens=[1, 2, 3], targets=[1, 2])
BASE, EXPORT = Subject(model=Path("base")), Subject(model=Path("export"))
THEIRS = 0.5
"""Loss per token of whatever the reader of these tests reads."""


def ours(loss: float) -> Reading:
    request = Request(rows=[ROW])
    return Reading("droidft 1.0", request, Read(losses=[2 * loss]), np.zeros((0, 5), np.float32))


def collected(how: str, *, base: float = THEIRS, trained: float = 0.2) -> Evidence:
    request = Request(rows=[ROW], conversations=[how])
    return collect(
        "gguf", [BASE, EXPORT], request, base=ours(base), trained=ours(trained), read_back=lambda: ours(trained)
    )


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends as the text of the first conversation says."""
    failing = Reader("llama.cpp", "tests.adapters.exports.failing_reader", (), "gguf")
    monkeypatch.setitem(readers.READERS, "gguf", failing)


def test_a_reader_that_reads_the_base_as_we_do_judges_the_export() -> None:
    evidence = collected("")
    assert evidence.exported is not None
    assert evidence.exported.reader.startswith("pydantic")
    assert evidence.reader_base is not None
    assert evidence.note == ""


def test_without_a_reader_ours_reads_the_files_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(readers.READERS, "gguf", Reader("llama.cpp", "none", ("no_such_package",), "gguf"))
    evidence = collected("")
    assert evidence.exported is not None
    assert evidence.exported.reader == "droidft 1.0"
    assert evidence.note == '`pip install "droidft[gguf]"` lets llama.cpp read it'


def test_a_reader_that_runs_out_of_memory_is_replaced_by_ours() -> None:
    evidence = collected("memory")
    assert evidence.exported is not None
    assert evidence.exported.reader == "droidft 1.0"
    assert evidence.note == "llama.cpp is no judge of it: MemoryError: Unable to allocate 90 GiB"


def test_a_reader_that_misreads_the_base_is_replaced_by_ours() -> None:
    evidence = collected("", base=THEIRS + 0.2, trained=0.1)
    assert evidence.exported is not None
    assert evidence.exported.reader == "droidft 1.0"
    assert evidence.note == ("llama.cpp is no judge of it: on the base alone it has 0.5000 where droidft has 0.7000")
    assert collected("", base=THEIRS + 0.009, trained=0.4).note == ""


def test_files_that_the_reader_refuses_are_not_read_by_ours_instead() -> None:
    evidence = collected("files")
    assert evidence.exported is None
    assert (evidence.reader, evidence.refusal) == ("llama.cpp", "ValueError: the files lack x")
    assert evidence.reader_base is not None


def test_files_that_ours_cannot_read_either_are_refused_in_its_words() -> None:
    def fail() -> Reading:
        raise ModelError("model.safetensors is damaged")

    request = Request(rows=[ROW], conversations=["memory"])
    evidence = collect("gguf", [BASE, EXPORT], request, base=ours(0.5), trained=ours(0.2), read_back=fail)
    assert (evidence.exported, evidence.refusal) == (None, "model.safetensors is damaged")
    assert evidence.reader == "droidft 1.0"

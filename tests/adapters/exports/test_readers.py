"""Readers in processes of their own: what they answer, and what is known when one of them does not."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

from droidft.adapters.exports import readers
from droidft.adapters.exports.readers import MLX_LM, Outcome, Reader, Stopped
from droidft.adapters.exports.readers.reading import (
    CHUNK,
    SHOWN,
    Request,
    Row,
    Subject,
    largest_difference,
    nll,
    shown_of,
)
from tests import tiny

FAILING = Reader("failing", "tests.adapters.exports.failing_reader", (), "")
ROW = Row(tokens=[1, 2, 3], targets=[1, 2])
BASE, EXPORT = Subject(model=Path("base")), Subject(model=Path("export"))


def outcome(how: str, *subjects: Subject) -> Outcome:
    return readers.read(FAILING, subjects or (BASE, EXPORT), Request(rows=[ROW], conversations=[how]))


@pytest.mark.parametrize(
    ("how", "reason"),
    [("killed", "it was killed, as happens where memory runs out"),
     ("memory", "MemoryError: Unable to allocate 90 GiB"), ("version", "Unfit: it has no llama_decode")],
)  # fmt: skip
def test_a_reader_that_cannot_go_on_is_no_judge_of_the_files(how: str, reason: str) -> None:
    made = outcome(how)
    assert made.unfit == reason
    assert made.refusal is None
    assert made.exported is None


@pytest.mark.parametrize(
    ("how", "reason"),
    [("files", "ValueError: the files lack x"), ("segfault", "it ended with SIGSEGV: something is broken")],
)
def test_files_that_a_reader_refuses_after_the_base_are_at_fault(how: str, reason: str) -> None:
    made = outcome(how)
    assert made.refusal == reason
    assert made.unfit is None


def test_the_base_is_read_before_the_fault_of_the_export() -> None:
    made = outcome("files")
    assert made.base is not None
    assert made.base.mean == 0.5
    assert made.base.reader.startswith("pydantic 2.")


def test_files_that_are_the_only_subject_are_at_fault_too() -> None:
    assert outcome("files", EXPORT).refusal == "ValueError: the files lack x"


def test_a_reader_that_is_not_wanted_any_more_ends_at_once() -> None:
    began = time.monotonic()
    request = Request(rows=[ROW], conversations=["slow"])
    with pytest.raises(Stopped):
        readers.read(FAILING, [BASE, EXPORT], request, should_stop=lambda: time.monotonic() - began > 3)
    assert time.monotonic() - began < 20


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    readers.read(FAILING, [EXPORT], Request(rows=[ROW], conversations=[""]), scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_mlx_lm_reads_a_folder_by_itself(tmp_path: Path) -> None:
    """Its own losses, against a formula on our model's logits."""
    from droidft.engine.model import loading

    folder = tiny.write_model(tmp_path / "model")
    generator = np.random.default_rng(0)
    rows = [Row(tokens=generator.integers(0, 256, 30).tolist(), targets=list(range(9, 30))) for _ in range(3)]
    request = Request(rows=rows, shown=shown_of([21] * 3), conversations=["<|im_start|>user\nhé<|im_end|>"])
    steps: list[tuple[int, int]] = []
    made = readers.read(MLX_LM, [Subject(model=folder)], request, progress=lambda _, *done: steps.append(done))
    assert made.fault is None
    assert made.exported is not None
    assert steps[-1] == (3, 3)
    assert made.exported.conversations == [loading.load_tokenizer(folder).encode(request.conversations[0])]
    model, _ = loading.load_model(folder)
    import mlx.core as mx

    for row, loss in zip(rows, made.exported.losses, strict=True):
        logits = np.array(model(mx.array([row.tokens]))[0], np.float64)[8:29]
        expected = (logsumexp(logits, axis=-1) - logits[np.arange(21), row.tokens[9:]]).sum()
        assert loss == pytest.approx(expected, abs=1e-4)


def test_files_that_are_not_there_are_the_readers_refusal(tmp_path: Path) -> None:
    made = readers.read(MLX_LM, [Subject(model=tmp_path / "none")], Request(rows=[ROW]))
    assert made.refusal


def test_every_form_has_a_reader_and_one_that_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert readers.choose("mlx") is MLX_LM
    absent = Reader("absent", "none", ("no_such_package",), "gguf")
    monkeypatch.setitem(readers.READERS, "gguf", absent)
    assert readers.choose("gguf") is None
    assert readers.advice("gguf") == '`pip install "droidft[gguf]"` lets absent read it'


def test_losses_are_exact_for_large_logits() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0]], np.float32)
    expected = logsumexp(logits.astype(np.float64), axis=-1) - [999.0, 0.0]
    assert nll(logits, np.array([1, 2])) == pytest.approx(expected.sum(), abs=1e-6)


@pytest.mark.parametrize("counts", [[1], [3, 0, 5], [100] * 40, []])
def test_shown_positions_are_spread_over_all_rows(counts: list[int]) -> None:
    shown = shown_of(counts)
    assert len(shown) == min(SHOWN, sum(counts))
    assert all(0 <= place < counts[row] for row, place in shown)
    assert len(set(shown)) == len(shown)
    if sum(counts) > SHOWN:
        assert {row for row, _ in shown} == set(range(len(counts)))


def test_logits_are_compared_where_both_have_some() -> None:
    padded = np.zeros((2, CHUNK), np.float32)
    padded[:, -1] = 100
    assert largest_difference(padded, np.zeros((2, CHUNK - 1), np.float32)) == 0
    assert largest_difference(padded, np.zeros((2, 0), np.float32)) is None

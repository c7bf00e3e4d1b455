"""The verdict on an export: its rule at the limit, what it says where nothing can be told apart, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from droidft.adapters.exports import certificate
from droidft.adapters.exports.certificate import Certificate, Circumstances, Hashes, judge
from droidft.adapters.exports.evidence import Evidence
from droidft.adapters.exports.readers.reading import Read, Reading, Request, Row
from droidft.errors import DamagedFile

TOKENS = 10
ROWS = 4


def reading(*per_token: float, reader: str = "droidft 1.0", logits: float = 0.0, **more: Any) -> Reading:
    """A reading of rows of ten tokens, with the loss per token of each; one loss stands for all rows."""
    losses = per_token if len(per_token) > 1 else per_token * ROWS
    rows = [Row(tokens=[0] * (TOKENS + 1), targets=list(range(1, TOKENS + 1)))] * len(losses)
    known: dict[str, Any] = {"conversations": [[1, 2, 3]], "answers": [[7, 8]], "template": "T", **more}
    read = Read(losses=[loss * TOKENS for loss in losses], **known)
    return Reading(reader, Request(rows=rows), read, np.full((2, 5), logits, np.float32))


def certified(
    exported: Reading | None, *, quantisation: str | None = None, form: str = "merged", **changes: Any
) -> Certificate:
    evidence = {"base": reading(2.1), "trained": reading(1.2), "exported": exported, **changes}
    hashes = Hashes(base="b" * 64, adapter="a" * 64, data="d" * 64, files={})
    about = Circumstances(form, hashes, {"droidft": "1.0"}, "droidft export x", quantisation=quantisation)
    return judge(Evidence(**evidence), about)


@pytest.mark.parametrize(
    ("exported", "quantisation", "passed"),
    [(1.2899, None, True), (1.2901, None, False), (1.1101, None, True), (1.4249, "Q4_K_M", True),
     (1.4251, "Q4_K_M", False), (2.1, None, False), (2.1, "Q4_K_M", False)],
)  # fmt: skip
def test_a_tenth_of_what_the_adapter_changes_is_allowed_and_a_quarter_if_quantised(
    exported: float, quantisation: str | None, passed: bool
) -> None:
    made = certified(reading(exported), quantisation=quantisation)
    assert made.passed is passed
    assert made.tolerance.by == "loss"
    assert made.tolerance.plain_limit == pytest.approx(0.09)
    assert made.tolerance.limit == pytest.approx(0.225 if quantisation else 0.09)


def test_the_sentence_has_the_three_losses_and_what_is_allowed() -> None:
    assert certified(reading(1.2001)).sentence == (
        "passed: the exported files have a loss of 1.2001, the trained adapter 1.2000 and the base model 2.1000; "
        "a difference of up to 0.0900 is allowed"
    )
    assert certified(reading(1.3), quantisation="Q8_0").sentence.endswith(
        "a difference of up to 0.2250 is allowed: 25% of what the adapter changes, since the weights are quantised "
        "(0.0900 if they were not)"
    )


def test_other_tokens_fail_whatever_the_loss() -> None:
    made = certified(reading(1.2, conversations=[[1, 1, 2, 3]]))
    assert not made.passed
    assert made.sentence == "failed: 1 of 1 conversation become other tokens: conversation 1, token 2: 1, not 2"
    assert "4 tokens, not 3" in str(
        certified(reading(1.2, conversations=[[1, 2, 3, 4]])).tokens_equal.first_difference
    )


def test_other_answers_and_another_template_are_reported_and_no_gate() -> None:
    made = certified(reading(1.2, answers=[[7, 9]], template="U", logits=0.5))
    assert made.passed
    assert (made.greedy.equal, made.greedy.first_divergence) == (0, 2)
    assert made.tokens_equal.same_template is False
    assert made.logits is not None
    assert made.logits.largest == pytest.approx(0.5)


def test_rows_decide_where_the_means_are_equal() -> None:
    """The adapter makes half of the rows better and half worse by as much."""
    base, trained = reading(2.0, 2.0, 2.0, 2.0), reading(1.5, 2.5, 1.5, 2.5)
    left_out = certified(reading(2.0, 2.0, 2.0, 2.0), base=base, trained=trained)
    assert (left_out.passed, left_out.tolerance.by) == (False, "rows")
    assert left_out.tolerance.difference == pytest.approx(0.5)
    assert certified(reading(1.5, 2.5, 1.52, 2.48), base=base, trained=trained).passed


def test_an_adapter_that_changes_nothing_proves_nothing_and_the_sentence_says_so() -> None:
    made = certified(reading(2.0), base=reading(2.0), trained=reading(2.0))
    assert (made.verdict, made.passed, made.failed) == ("unproven", False, False)
    assert made.tolerance.by == "nothing"
    assert made.sentence == (
        "unproven: the adapter changes nothing: base and trained are the same, with a loss of 2.0000, "
        "so this shows only that the base was copied (the exported files have 2.0000)"
    )
    little = certified(reading(2.0), base=reading(2.0), trained=reading(2.0, logits=1e-3))
    assert little.verdict == "unproven"
    assert "these rows cannot show whether it is in the files" in little.sentence
    off = certified(reading(2.001), base=reading(2.0), trained=reading(2.0), quantisation="Q8_0")
    assert off.failed
    assert "changes next to nothing in these rows, and the files are off by 0.0010" in off.sentence
    assert "cannot show" not in off.sentence


def test_a_quantised_export_that_failed_names_what_to_try() -> None:
    off = certified(reading(2.1), quantisation="4 bits")
    assert off.sentence.endswith(
        "; rounding to so few bits may change more than this adapter does: a type with more bits, or none, shows "
        "whether it did"
    )
    gguf = certified(reading(2.1), quantisation="Q8_0", form="gguf")
    assert gguf.sentence.endswith(": try F16 or BF16, or gguf-adapter, which leaves the base as it is")
    assert "bits" not in certified(reading(2.1)).sentence


def test_what_the_reader_differs_by_on_the_base_bounds_what_it_can_show() -> None:
    """A change of 0.02 with a reader that is 0.01 off: a tenth of the change is below what the reader can show."""
    sides: dict[str, Any] = {
        "base": reading(2.0),
        "trained": reading(1.98),
        "reader_base": reading(2.01, logits=0.25),
    }
    made = certified(reading(1.99), **sides)
    assert made.verdict == "unproven"
    assert made.tolerance.by == "nothing"
    assert made.tolerance.limit == pytest.approx(0.01)
    assert made.noise is not None
    assert (made.noise.largest, made.noise.loss) == (pytest.approx(0.25), pytest.approx(0.01))


def test_files_that_cannot_be_read_fail_with_the_readers_reason() -> None:
    made = certified(None, refusal="tensor blk.0.attn_q.weight is missing", reader="llama.cpp")
    assert made.sentence == (
        "failed: llama.cpp cannot read the exported files: tensor blk.0.attn_q.weight is missing"
    )
    assert made.loss.exported is None
    assert dict(made.lines())["exported"] == "–"


def test_a_loss_that_is_not_finite_fails() -> None:
    made = certified(reading(float("nan")))
    assert (made.passed, made.sentence) == (False, "failed: the exported files give no finite loss")
    assert made.loss.exported is None


def test_it_is_kept_in_the_folder_and_read_again(tmp_path: Path) -> None:
    made = certified(reading(1.2))
    certificate.write(tmp_path, made)
    assert certificate.read(tmp_path) == made
    text = (tmp_path / certificate.FILE).read_text()
    (tmp_path / certificate.FILE).write_text(text.replace('"verdict": "passed"', '"verdict": "fine"'))
    with pytest.raises(DamagedFile, match="verdict"):
        certificate.read(tmp_path)


def test_files_are_hashed_by_their_place_and_the_certificate_is_not_one_of_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "model.gguf").write_bytes(b"abc")
    (tmp_path / certificate.FILE).write_text("{}")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert certificate.hash_files(tmp_path) == {"deep/model.gguf": expected}


def test_the_terminal_shows_the_three_losses_first() -> None:
    sides = {"trained": reading(1.2), "base": reading(2.1, logits=0.5)}
    made = certified(reading(1.25, logits=0.01), reader_base=reading(2.1, logits=0.501), **sides)
    lines = made.lines()
    assert lines[:3] == [("base", "2.1000"), ("trained", "1.2000"), ("exported", "1.2500")]
    assert dict(lines)["logits"] == (
        "differ by at most 0.01 at 2 positions; the adapter changes them by 0.5, the reader alone by 0.001"
    )

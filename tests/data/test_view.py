"""The token view shows what training will do, token for token."""

from pathlib import Path
from typing import Any

import pytest

from droidft.data.prepare import prepare
from droidft.data.view import view_rows
from droidft.errors import DataError
from droidft.support.faults import InvalidData
from tests.data import templates
from tests.data.helpers import make_tokenizer, settings, write_jsonl

ROWS = [{"prompt": f"q{index} 😀", "completion": f"é{index}" + "c" * index * 5} for index in range(5)]


def view(path: Path, **more: Any) -> list[Any]:
    options = {name: more.pop(name) for name in ("rows", "lines", "context_length") if name in more}
    return view_rows(settings(path, **more), make_tokenizer(templates.CHATML), **options)


def test_the_pieces_agree_with_what_is_trained(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", ROWS)
    options: dict[str, Any] = {"mask_prompt": True, "max_seq_length": 30}
    found = prepare(settings(path, **options), make_tokenizer(templates.CHATML))
    shown = {row.line: row for row in view(path, rows=range(5), **options)}
    for row in [*found.train, *found.validation]:
        pieces = shown[row.line].pieces
        kept = [(token, piece.state) for piece in pieces for token in piece.ids if piece.state != "cut"]
        assert [token for token, _ in kept] == row.tokens.tolist()
        assert [state == "trained" for _, state in kept] == row.supervised.tolist()


def test_letters_of_several_tokens_are_shown_whole(tmp_path: Path) -> None:
    (row,) = view(write_jsonl(tmp_path / "data.jsonl", ROWS), rows=[1], mask_prompt=True, max_seq_length=21)
    assert "".join(piece.text for piece in row.pieces) == "<|user|>\nq1 😀<|end|>\n<|assistant|>\né1ccccc<|end|>\n"
    by_state = {
        state: "".join(piece.text for piece in row.pieces if piece.state == state)
        for state in ("trained", "masked", "cut")
    }
    assert by_state["trained"] == "é1ccccc"
    assert by_state["cut"] == "<|end|>\n"
    assert (row.count("masked"), row.count("trained"), row.count("cut")) == (13, 8, 2)


def test_rows_by_number_and_by_line(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", ROWS)
    assert [(row.row, row.line) for row in view(path, rows=[3, 0], lines=[2])] == [(0, 1), (1, 2), (3, 4)]
    assert [row.row for row in view(path, rows=[2], lines=[3])] == [2]


def test_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", ROWS)
    with pytest.raises(DataError, match="there is no row 5, row on line 9") as caught:
        view(path, rows=[1, 5], lines=[9])
    assert "5 rows" in caught.value.hint


def test_a_faulty_row_is_refused_with_its_fault(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [*ROWS, {"prompt": "", "completion": "a"}])
    with pytest.raises(InvalidData, match="'prompt' is empty"):
        view(path, lines=[6])

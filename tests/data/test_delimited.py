"""CSV as Excel, pandas and databases write it: separators, encodings, headers in any case, printed lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from droidft.data.check import check_structure
from droidft.data.delimited import recognise
from droidft.data.lines import Reading
from droidft.data.readers import read_records
from tests.data.helpers import settings

ROW = {"prompt": "How much is a coffee?", "completion": "2,50 €"}


def rows_of(folder: Path, content: str | bytes, name: str = "data.csv", encoding: str = "utf-8") -> Any:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    reading = Reading()
    rows = [record.value for record in read_records(path, reading)]
    assert not reading.log.faults, reading.log.faults
    return rows, reading.notes


@pytest.mark.parametrize(
    ("content", "name", "note"),
    [
        ("prompt;completion\nHow much is a coffee?;2,50 €\n", "semicolons.csv", "separated by semicolons"),
        ("prompt\tcompletion\nHow much is a coffee?\t2,50 €\n", "tabs.csv", "separated by tabs"),
        ("prompt|completion\nHow much is a coffee?|2,50 €\n", "bars.csv", "separated by bars"),
        ('prompt,completion\nHow much is a coffee?,"2,50 €"\n', "commas.tsv", "separated by commas"),
        ("sep=;\r\nprompt;completion\r\nHow much is a coffee?;2,50 €\r\n", "declared.csv", "separated by semicolons"),
        ('"prompt";"completion"\n"How much is a coffee?";"2,50 €"\n', "quoted.csv", "separated by semicolons"),
    ],
)
def test_the_separator_is_recognised_and_named(content: str, name: str, note: str, tmp_path: Path) -> None:
    rows, notes = rows_of(tmp_path, content, name)
    assert rows == [ROW]
    assert [note in each for each in notes] == [True]


@pytest.mark.parametrize(
    ("sample", "delimiter"),
    [
        ("prompt,completion\na;b,c;d\n", ","),
        ("text\none; two; three\nfour, five\n", ","),
        ('prompt (short, plain);completion\na;b\n"c;d";e\n', ";"),
        ("id;text\n1;a, b\n2;c, d, e\n", ";"),
        ("text", ","),
        ("", ","),
    ],
)
def test_a_separator_inside_fields_does_not_mislead(sample: str, delimiter: str) -> None:
    assert recognise(sample, ",").delimiter == delimiter


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp1252", "Windows-1252"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-32", "UTF-32")],
)
@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_the_encoding_is_recognised_and_named(encoding: str, name: str, form: str, tmp_path: Path) -> None:
    separator = "\t" if form == "tsv" else ";"
    text = "\r\n".join(separator.join(pair) for pair in (ROW, ROW.values())) + "\r\n"
    rows, notes = rows_of(tmp_path, text, f"data.{form}", encoding)
    assert rows == [ROW]
    assert any(f"read as {name}" in note for note in notes)


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_utf_16_is_read_in_every_text_format(name: str, tmp_path: Path) -> None:
    text = json.dumps(ROW, ensure_ascii=False)
    rows, _ = rows_of(tmp_path, f"[{text}]" if name == "data.json" else text + "\n", name, "utf-16")
    assert rows == [ROW]


def test_a_fault_in_another_encoding_has_its_line_and_no_byte(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes("prompt;completion\nä;b\nc\n".encode("cp1252"))
    (fault,) = check_structure(settings(path)).faults
    assert (fault.kind, fault.line, fault.offset) == ("fields", 3, None)


def test_columns_that_excel_and_pandas_leave_without_a_name_are_not_used(tmp_path: Path) -> None:
    rows, _ = rows_of(tmp_path, ",prompt,completion,\n0,a,b,\n1,c,d,\n,,,\n")
    assert rows == [
        {"column 1": "0", "prompt": "a", "completion": "b", "column 4": ""},
        {"column 1": "1", "prompt": "c", "completion": "d", "column 4": ""},
    ]


def test_fifty_thousand_columns_are_read_at_once(tmp_path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(50_000))
    rows, _ = rows_of(tmp_path, f"prompt,completion,{names}\na,b,{names}\n")
    assert len(rows[0]) == 50_002


@pytest.mark.parametrize("header", ["Prompt;Completion", "PROMPT;COMPLETION", " prompt ; Answer", "Question;Output"])
def test_the_header_is_recognised_in_any_case(header: str, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(f"{header};Id\nWhat is 2 + 2?;4;7\n")
    report = check_structure(settings(path))
    assert (report.fault_count, report.structure.train.rows) == (0, 1)
    assert report.structure.notes[-1] == "data.csv: columns not used: Id"


def test_a_column_chosen_by_its_own_name_is_the_one_meant(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("Prompt,Completion\na,b\n")
    report = check_structure(settings(path, prompt_column="Prompt", completion_column="Completion"))
    assert (report.fault_count, report.structure.train.rows) == (0, 1)

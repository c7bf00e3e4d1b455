"""Every kind of broken file and row gives its line, byte, reason and fix; none crashes, none passes unseen."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from droidft.data.check import check_structure
from droidft.data.lines import Reading
from droidft.data.prepare import prepare
from droidft.data.readers import read_records
from droidft.support.faults import InvalidData
from tests.data.helpers import make_tokenizer, settings

GOOD = b'{"text": "good"}\n'
CHAT = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'


def chat(*turns: Any) -> bytes:
    first = CHAT + "\n"
    return (first + json.dumps({"messages": list(turns)}) + "\n").encode()


USER = {"role": "user", "content": "q"}
BOT = {"role": "assistant", "content": "a"}

# name: (content, kind, line, byte offset, a part of the reason)
ROWS: dict[str, tuple[bytes, str, int | None, int | None, str]] = {
    "empty file": (b"", "empty", None, None, "is empty"),
    "only newlines": (b"\n\n\n", "blank", None, None, "only blank lines"),
    "blank line inside": (GOOD + b"\n" + GOOD, "blank-line", 2, 17, "is blank"),
    "half a UTF-16 letter": ('{"text": "a"}\n'.encode("utf-16")[:-1], "encoding", None, None, "UTF-16"),
    "invalid UTF-8": (GOOD + b'{"text": "\xff"}\n', "utf-8", 2, 27, "0xff"),
    "NUL": (GOOD + b'{"text": "a\0b"}\n', "control", 2, 28, "NUL"),
    "NUL outside a string": (GOOD + b'{"text": \0"b"}\n', "nul", 2, 26, "NUL"),
    "NUL escaped": (GOOD + b'{"text": "a\\u0000b"}\n', "nul", 2, 17, "NUL"),
    "lone surrogate": (GOOD + b'{"text": "\\ud83d"}\n', "surrogate", 2, 17, "\\ud83d"),
    "lone surrogate in a key": (GOOD + b'{"text": "x", "\\udc00": 1}\n', "surrogate", 2, 17, "\\udc00"),
    "CR only": (b'{"text": "a"}\r{"text": "b"}\r', "cr-only", 1, 0, "CR"),
    "cut off": (GOOD + b'{"text": "aft', "cut-off", 2, 26, "cut off"),
    "cut off after the string": (GOOD + b'{"text": "aft"', "cut-off", 2, 31, "cut off"),
    "not closed on its line": (GOOD + b'{"text": "a\nb"}\n', "unclosed", 2, 26, "not closed"),
    "single quotes": (GOOD + b"{'text': 'a'}\n", "single-quotes", 2, 18, "single quotes"),
    "trailing comma": (GOOD + b'{"text": "a",}\n', "trailing-comma", 2, 29, "comma"),
    "two objects on a line": (GOOD + b'{"text": "a"} {"text": "b"}\n', "two-values", 2, 31, "second value"),
    "text after the object": (GOOD + b'{"text": "a"} // x\n', "extra", 2, 31, "goes on"),
    "array file": (b'[{"text": "a"},\n{"text": "b"}]\n', "array", 1, 0, "array"),
    "array file on one line": (b'[{"text": "a"}, {"text": "b"}]\n', "array", 1, 0, "array"),
    "pretty-printed": (b'{\n  "text": "a"\n}\n{\n  "text": "b"\n}\n', "pretty-printed", 1, 0, "several lines"),
    "top-level number": (GOOD + b"42\n", "not-object", 2, 17, "a number"),
    "top-level string": (GOOD + b'"text"\n', "not-object", 2, 17, "a string"),
    "top-level null": (GOOD + b"null\n", "not-object", 2, 17, "null"),
    "top-level true": (GOOD + b"true\n", "not-object", 2, 17, "true or false"),
    "top-level list": (GOOD + b'["text"]\n', "not-object", 2, 17, "a list"),
    "NaN": (GOOD + b'{"text": NaN}\n', "not-text", 2, 17, "null"),
    "-Infinity": (GOOD + b'{"text": -Infinity}\n', "nan", 2, 17, "Infinity"),
    "NaN inside": (CHAT.encode()[:-1] + b', "tools": [{"x": NaN}]}\n', "nan", 1, 0, "NaN"),
    "1e999": (GOOD + b'{"text": "a", "score": 1e999}\n', "overflow", 2, 17, "1e999"),
    "number of 5,000 digits": (GOOD + b'{"text": "a", "n": ' + b"9" * 5000 + b"}\n", "number", 2, 17, "too long"),
    "duplicate key": (GOOD + b'{"text": "a", "text": "b"}\n', "duplicate-key", 2, 17, "'text' twice"),
    "duplicate key inside": (GOOD + b'{"text": "a", "m": {"k": 1, "k": 1}}\n', "duplicate-key", 2, 17, "'k' twice"),
    "raw tab": (GOOD + b'{"text": "a\tb"}\n', "control", 2, 28, "tab"),
    "raw CR": (GOOD + b'{"text": "a\rb"}\n', "control", 2, 28, "U+000D"),
    "10 MB line": (GOOD + b'{"text": "' + b"x" * 10_000_000 + b'"}\n', "too-long", 2, 17, "8 MiB"),
    "nested 100,000 deep": (GOOD + b'{"text":' * 100_000 + b"1" + b"}" * 100_000 + b"\n", "depth", 2, 17, "nested"),
    "nested 200 deep": (GOOD + b'{"text": "a", "x": ' + b"[" * 200 + b"]" * 200 + b"}\n", "depth", 2, 17, "nested"),
    "no colon": (GOOD + b'{"text" "a"}\n', "json", 2, 25, "':' delimiter"),
    "bare word": (GOOD + b"text\n", "json", 2, 17, "not JSON"),
    "leading zero": (GOOD + b'{"text": "a", "n": 01}\n', "json", 2, 37, "delimiter"),
    "wrong key": (b'{"txet": "a"}\n', "unknown-fields", 1, 0, "did you mean 'text'"),
    "wrong key later": (GOOD + b'{"txet": "a"}\n', "missing-field", 2, 17, "did you mean 'txet'"),
    "empty object": (GOOD + b"{}\n", "missing-field", 2, 17, "no fields"),
    "mixed schemas": (GOOD + CHAT.encode() + b"\n", "mixed", 2, 17, "is a chat row"),
    "prompt without completion": (b'{"prompt": "a"}\n', "missing-field", 1, 0, "lacks 'completion'"),
    "prompt without completion later": (
        b'{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n',
        "missing-field",
        2,
        35,
        "lacks 'completion'",
    ),
    "empty text": (GOOD + b'{"text": ""}\n', "empty-text", 2, 17, "is empty"),
    "white space only": (GOOD + b'{"text": " \\n\\t "}\n', "empty-text", 2, 17, "only white space"),
    "text null": (GOOD + b'{"text": null}\n', "not-text", 2, 17, "null"),
    "text a number": (GOOD + b'{"text": 7}\n', "not-text", 2, 17, "a number"),
    "text a list": (GOOD + b'{"text": ["a"]}\n', "not-text", 2, 17, "a list"),
    "messages not a list": (CHAT.encode() + b'\n{"messages": {"role": "user"}}\n', "not-list", 2, 88, "an object"),
    "messages a word": (CHAT.encode() + b'\n{"messages": "hello"}\n', "not-list", 2, 88, "not a JSON list"),
    "empty messages": (chat(), "no-messages", 2, 88, "no messages"),
    "message not an object": (chat("hello"), "not-message", 2, 88, "turn 1"),
    "missing content": (chat(USER, {"role": "assistant"}), "no-content", 2, 88, "turn 2"),
    "content null": (chat(USER, {**BOT, "content": None}), "content", 2, 88, "null"),
    "content number": (chat(USER, {**BOT, "content": 5}), "content", 2, 88, "a number"),
    "content an image": (
        chat({**USER, "content": [{"type": "image_url", "image_url": {}}]}, BOT),
        "content-part",
        2,
        88,
        "a part of the type 'image_url'",
    ),
    "content empty": (chat(USER, {**BOT, "content": ""}), "empty-content", 2, 88, "turn 2 (assistant)"),
    "content white space": (chat({**USER, "content": "\n"}, BOT), "empty-content", 2, 88, "turn 1 (user)"),
    "unknown role": (chat({**USER, "role": "teacher"}, BOT), "role", 2, 88, "'teacher'"),
    "role missing": (chat({"content": "q"}, BOT), "role", 2, 88, "nobody"),
    "role a list": (chat({**USER, "role": ["user"]}, BOT), "role", 2, 88, "['user']"),
    "last turn not assistant": (chat(USER, BOT, USER), "last-turn", 2, 88, "user's turn"),
    "ShareGPT among messages": (chat({"from": "human", "value": "q"}), "mixed", 2, 88, "'from'"),
    "tools not a list": (CHAT.encode()[:-1] + b', "tools": 3}\n', "tools", 1, 0, "tools"),
    "gzip renamed": (gzip.compress(GOOD), "gzip", None, None, "gzip"),
    "ZIP renamed": (b"PK\x03\x04abc", "zip", None, None, "ZIP"),
    "Parquet renamed": (b"PAR1abc", "parquet", None, None, "Parquet"),
    "CSV renamed": (b"prompt,completion\na,b\n", "csv", 1, 0, "CSV"),
}


def faults_of(path: Path, **more: Any) -> list[Any]:
    report = check_structure(settings(path, **more))
    assert len(report.faults) == min(report.fault_count, 100)
    return report.faults


@pytest.mark.parametrize("name", ROWS)
def test_a_malformed_file_is_refused_with_place_reason_and_fix(name: str, tmp_path: Path) -> None:
    content, kind, line, offset, reason = ROWS[name]
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    fault = faults_of(path)[0]
    assert (fault.kind, fault.line, fault.offset) == (kind, line, offset), fault
    assert reason in fault.reason
    assert fault.fix
    assert fault.file == str(path)
    with pytest.raises(InvalidData, match=r"data\.jsonl"):
        prepare(settings(path), make_tokenizer())


def test_a_fault_reads_as_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + b'{"text": "a",}\n')
    text = str(faults_of(path)[0])
    assert text == f"{path}:2 (byte 29): has a comma before a closing bracket at column 13; remove the comma"


def test_what_is_tolerated_is_said(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD + b'{"text": "b"}\r\n' + GOOD + b"\n\n")
    report = check_structure(settings(path))
    assert (report.fault_count, report.structure.train.rows) == (0, 3)
    assert report.structure.notes == [
        "data.jsonl: the byte order mark at its start was skipped",
        "data.jsonl: 2 blank lines at the end skipped",
    ]
    path.write_bytes(GOOD + b'{"text": "no line break"}')
    report = check_structure(settings(path))
    assert (report.fault_count, report.structure.train.rows) == (0, 2)
    assert report.structure.notes == ["data.jsonl: the last line has no line break"]


def test_unused_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a", "id": 1, "source": "x"}\n{"text": "b"}\n')
    assert check_structure(settings(path)).structure.notes == ["data.jsonl: columns not used: id, source"]


def test_the_list_is_capped_and_the_count_is_not(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + b'{"text": 1}\n' * 250 + b"\n" * 250 + GOOD)
    report = check_structure(settings(path))
    assert (len(report.faults), report.fault_count) == (100, 500)
    with pytest.raises(InvalidData) as caught:
        prepare(settings(path), make_tokenizer())
    assert caught.value.message.startswith("500 faults")
    assert caught.value.message.endswith("… and 490 more")


def test_offsets_count_bytes_after_multibyte_lines_and_a_long_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    lines = ['{"text": "größe 😀"}\n'.encode(), b'{"text": "' + b"x" * 9_000_000 + b'"}\n', b'{"text": 1}\n', b"{]\n"]
    path.write_bytes(b"".join(lines))
    long, number, bracket = faults_of(path)
    starts = [sum(map(len, lines[:count])) for count in (1, 2, 3)]
    assert [long.offset, number.offset, bracket.offset] == [starts[0], starts[1], starts[2] + 1]
    assert [long.line, number.line, bracket.line] == [2, 3, 4]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root reads everything; take its rights away for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def unreadable(folder: Path) -> Path:
    path = folder / "data.jsonl"
    path.write_bytes(GOOD)
    path.chmod(0)
    return path


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "data.jsonl")
    return folder / "data.jsonl"


def link(folder: Path, target: Path) -> Path:
    (folder / "data.jsonl").symlink_to(target)
    return folder / "data.jsonl"


SPECIAL_FILES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "missing": (lambda folder: folder / "data.jsonl", "missing", "does not exist"),
    "FIFO": (fifo, "not-regular", "pipe"),
    "device": (lambda folder: link(folder, Path("/dev/zero")), "not-regular", "device"),
    "broken link": (lambda folder: link(folder, folder / "gone"), "missing", "gone"),
    "link to itself": (lambda folder: link(folder, folder / "data.jsonl"), "unreadable", "cannot be read"),
    "unreadable": (unreadable, "unreadable", "ermission"),
    "path through a file": (lambda folder: unreadable(folder) / "x.jsonl", "unreadable", "cannot be read"),
    "unknown suffix": (lambda folder: folder / "data.xlsx", "suffix", "'.xlsx'"),
    "no suffix": (lambda folder: folder / "data", "suffix", "''"),
}


@pytest.mark.parametrize("name", SPECIAL_FILES)
def test_what_is_no_readable_file_is_refused(name: str, tmp_path: Path) -> None:
    make, kind, reason = SPECIAL_FILES[name]
    path = make(tmp_path)
    with as_nobody() if name == "unreadable" else nullcontext():
        (fault,) = faults_of(path)
    assert (fault.kind, fault.line) == (kind, None)
    assert reason in fault.reason


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_bytes(GOOD * 2)
    assert check_structure(settings(link(tmp_path, tmp_path / "real.jsonl"))).structure.train.rows == 2


@pytest.mark.parametrize("change", ["append", "replace", "delete"])
def test_a_file_that_changes_while_it_is_read_is_refused(change: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD * 3)
    reading = Reading()
    records = read_records(path, reading)
    next(records)
    if change == "append":
        path.write_bytes(GOOD * 4)
    else:
        path.unlink()
        if change == "replace":
            path.write_bytes(GOOD * 3)
    list(records)
    assert [fault.kind for fault in reading.log.faults] == ["changed"]

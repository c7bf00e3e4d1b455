"""The file forms beside JSONL: JSON arrays, CSV, Parquet; folders; and flat memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from droidft.data import check
from droidft.data.check import check_structure
from droidft.data.lines import Reading
from droidft.data.readers import Record, read_records
from droidft.errors import DataError
from tests.data.helpers import settings, write_jsonl


def read(path: Path) -> tuple[list[Record], Reading]:
    reading = Reading()
    return list(read_records(path, reading)), reading


def test_an_array_gives_line_and_byte_of_each_element(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text('[\n  {"text": "größe"},\n  {"text":\n "b"}, {"text": "c"}\n]\n', encoding="utf-8")
    records, reading = read(path)
    content = path.read_bytes()
    assert [(record.value["text"], record.line) for record in records] == [("größe", 2), ("b", 3), ("c", 4)]
    assert all(content[record.offset or 0 :].startswith(b'{"text"') for record in records)
    assert reading.log.count == 0


def test_a_large_array_is_read_across_chunks(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    rows = [{"text": "é" * (index % 700) + str(index)} for index in range(2000)]
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    records, _ = read(path)
    assert [record.value for record in records] == rows
    content = path.read_bytes()
    assert all(content[record.offset or 0 :].startswith(b'{"text"') for record in records)


ARRAYS: dict[str, tuple[bytes, str, int | None, int | None]] = {
    "empty array": (b"[]", "blank", None, None),
    "only white space": (b" \n ", "json", None, None),
    "a word": (b"hello", "json", None, None),
    "not closed": (b'[{"text": "a"}', "cut-off", 1, 14),
    "cut inside": (b'[{"text": "a"},\n{"te', "cut-off", 2, 17),
    "comma at the end": (b'[{"text": "a"},]', "trailing-comma", 1, 14),
    "comma missing": (b'[{"text": "a"} {"text": "b"}]', "json", 1, 15),
    "goes on": (b'[{"text": "a"}]\n{"text": "b"}', "extra", 2, 16),
    "number inside": (b'[{"text": "a"},\n7]', "not-object", 2, 16),
    "duplicate key": (b'[{"text": "a", "text": "b"}]', "duplicate-key", 1, 1),
    "invalid UTF-8": (b'[{"text": "\xff"}]', "utf-8", 1, 11),
    "UTF-8 cut": (b'[{"text": "\xc3', "utf-8", 1, 11),
    "nested": (b'[{"a": ' + b"[" * 100_000, "depth", 1, 1),
    "one object over lines": (b'{\n"text": "a"}\n', "pretty-printed", 1, 0),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_malformed_array_is_refused(name: str, tmp_path: Path) -> None:
    content, kind, line, offset = ARRAYS[name]
    path = tmp_path / "data.json"
    path.write_bytes(content)
    _, reading = read(path)
    (fault,) = reading.log.faults
    assert (fault.kind, fault.line, fault.offset) == (kind, line, offset), fault


def test_json_that_is_jsonl_is_read_and_said(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.json", [{"text": "a"}, {"text": "b"}])
    records, reading = read(path)
    assert len(records) == 2
    assert reading.notes == ["data.json: read as JSONL, one object on each line"]


def test_csv_with_quotes_line_breaks_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    content = '\ufeffquestion,answer\n"a, ""b""","x\ny"\r\nc,d\n\n'.encode()
    path.write_bytes(content)
    records, reading = read(path)
    assert [(record.value, record.line) for record in records] == [
        ({"question": 'a, "b"', "answer": "x\ny"}, 2),
        ({"question": "c", "answer": "d"}, 4),
    ]
    assert content[records[1].offset or 0 :].startswith(b"c,d")
    assert len(reading.notes) == 2


def test_tsv(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_text("prompt\tcompletion\na,b\tc\n")
    assert [record.value for record in read(path)[0]] == [{"prompt": "a,b", "completion": "c"}]


def test_a_conversation_in_a_csv_field_is_read_as_json(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    turns = json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]).replace('"', '""')
    path.write_text(f'messages\n"{turns}"\n')
    report = check_structure(settings(path))
    assert (report.structure.train.format, report.structure.train.rows, report.fault_count) == ("chat", 1, 0)


CSVS: dict[str, tuple[bytes, str, int | None, int | None]] = {
    "header only": (b"prompt,completion\n", "blank", None, None),
    "nothing but a line break": (b"\n", "blank", None, None),
    "too few fields": (b"prompt,completion\na,b\nc\n", "fields", 3, 22),
    "too many fields": (b"prompt,completion\na,b,c\n", "fields", 2, 18),
    "two columns of one name": (b"prompt,prompt\na,b\n", "header", 1, None),
    "quote not closed": (b'prompt,completion\na,"b\n', "csv", 2, 18),
    "text after a quote": (b'prompt,completion\n"a"x,b\n', "csv", 2, 18),
    "invalid UTF-8": (b"prompt,completion\na,\x81\n", "utf-8", 2, 20),
    "UTF-8 with a damaged byte": ("prompt,completion\nä,b\na,".encode() + b"\xe9\n", "utf-8", 3, 25),
    "Russian in Windows-1251": ("prompt,completion\na,привет\n".encode("cp1251"), "utf-8", 2, 20),
    "Chinese in GBK": ("prompt,completion\na,你好吗\n".encode("gbk"), "utf-8", 2, 20),
    "NUL": (b"prompt,completion\na,\0\n", "nul", 2, 20),
    "blank line inside": (b"prompt,completion\na,b\n\nc,d\n", "blank-line", 3, 22),
}


@pytest.mark.parametrize("name", CSVS)
def test_malformed_csv_is_refused(name: str, tmp_path: Path) -> None:
    content, kind, line, offset = CSVS[name]
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    _, reading = read(path)
    (fault,) = reading.log.faults
    assert (fault.kind, fault.line, fault.offset) == (kind, line, offset), fault


def test_parquet_with_nested_messages(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    turns = [{"role": "user", "content": "q", "name": None}, {"role": "assistant", "content": "a", "name": "bot"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": turns}] * 600), path)
    report = check_structure(settings(path))
    assert (report.structure.train.format, report.structure.train.rows, report.fault_count) == ("chat", 600, 0)
    assert report.structure.train.duplicates.count == 599
    assert report.structure.train.duplicates.first[0] == "data.parquet:2"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"PAR1 damaged", "damaged"), (b"text", "not a Parquet"), (b"", "empty")]
)
def test_damaged_parquet_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(content)
    (fault,) = read(path)[1].log.faults
    assert reason in fault.reason


@pytest.mark.parametrize(
    ("values", "reason", "fix"),
    [
        ([b"x", b"\xff"], "has binary data in 'completion', not text", "store the column as text"),
        ([1, 2], "has a number in 'completion', not text", "write it as text"),
    ],
)
def test_a_parquet_column_without_text_is_refused(values: list[Any], reason: str, fix: str, tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["a", "b"], "completion": values}), path)
    fault = check_structure(settings(path)).faults[0]
    assert fault.reason == reason
    assert fix in fault.fix


def test_without_pyarrow_parquet_says_how_to_install_it(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"text": "a"}]), path)
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\n"
        "from droidft.data.lines import Reading\n"
        "from droidft.data.readers import read_records\n"
        f"reading = Reading(); list(read_records(Path({str(path)!r}), reading)); print(reading.log.faults[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'droidft[parquet]'" in done.stdout


def folder_with(folder: Path, *names: str) -> Path:
    for name in names:
        write_jsonl(folder / name, [{"text": name}, {"text": name + "!"}])
    return folder


def test_a_folder_in_mlx_lms_manner(tmp_path: Path) -> None:
    report = check_structure(settings(folder_with(tmp_path, "train.jsonl", "valid.jsonl", "test.jsonl")))
    assert [Path(file).name for file in report.structure.train.files] == ["train.jsonl"]
    assert report.structure.validation is not None
    assert [Path(file).name for file in report.structure.validation.files] == ["valid.jsonl"]


def test_a_folder_with_one_file_and_one_with_shards(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert check_structure(settings(folder_with(tmp_path / "one", "any.jsonl"))).structure.train.rows == 2
    (tmp_path / "two").mkdir()
    shards = folder_with(tmp_path / "two", "train-00001-of-00002.jsonl", "train-00000-of-00002.jsonl")
    assert [Path(file).name[:11] for file in check_structure(settings(shards)).structure.train.files] == [
        "train-00000",
        "train-00001",
    ]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "holds no data file"),
        (("a.jsonl", "b.jsonl"), "2 data files, none named train"),
        (("train.jsonl", "train.json"), "more than one training set"),
    ],
)
def test_an_unclear_folder_is_refused(names: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        check_structure(settings(folder_with(tmp_path, *names)))


def test_progress_counts_bytes_over_all_files(tmp_path: Path) -> None:
    for name in ("train.jsonl", "valid.jsonl"):
        write_jsonl(tmp_path / name, [{"text": "x" * 1000}] * 4000)
    told: list[tuple[int, Any]] = []
    check_structure(settings(tmp_path), progress=lambda done, total: told.append((done, total)))
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert len(told) >= size // (1 << 20)
    assert told == sorted(told)
    assert told[-1] == (size, size)


MEMORY = """
import resource, sys
from droidft.config import parse_config
from droidft.data import check
from droidft.data.check import check_structure
import numpy
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
def check(path):
    report = check_structure(parse_config({"model_path": "x", "train_data_path": path}))
    assert report.fault_count == 0
check(sys.argv[1])
before = peak()
check(sys.argv[2])
print(peak() - before)
"""


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_memory_stays_flat_on_a_large_file(suffix: str, tmp_path: Path) -> None:
    small, large = tmp_path / f"small{suffix}", tmp_path / f"large{suffix}"
    row = {"prompt": "p" * 500, "completion": "c" * 1500}
    for path, count in ((small, 10), (large, 25_000)):
        if suffix == ".csv":
            path.write_text("prompt,completion\n" + (",".join(row.values()) + "\n") * count)
        elif suffix == ".json":
            path.write_text("[" + ",".join([json.dumps(row)] * count) + "]")
        else:
            path.write_text((json.dumps(row) + "\n") * count)
    assert large.stat().st_size > 49_000_000
    command = [sys.executable, "-c", MEMORY, str(small), str(large)]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 10_000_000


def test_beyond_the_limit_rows_are_checked_but_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "COMPARED_ROWS", 3)
    path = write_jsonl(tmp_path / "data.jsonl", [{"text": text} for text in "aabbb"])
    report = check_structure(settings(path))
    assert (report.structure.train.rows, report.structure.train.duplicates.first) == (5, ["data.jsonl:2"])
    assert report.structure.notes == ["data.jsonl: only the first 3 rows were compared for repeated ones"]

"""Every shape of row, under its usual names and under names of the user's own."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from droidft.data.check import check_structure
from droidft.data.formats import recognise
from droidft.data.lines import Reading
from droidft.data.rows import Columns, Row, RowReader
from droidft.data.sources import Meter
from droidft.errors import ConfigError
from droidft.support.faults import InvalidData
from tests.data.helpers import settings, write_jsonl

USER, BOT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
TOOL_TURNS = [
    USER,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],
    },
    {"role": "tool", "content": "3", "name": "f"},
    BOT,
]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
CHAT = Row(None, [USER, BOT])
PAIR = Row(None, [USER, BOT], joinable=True)


def rows_of(path: Path, **more: Any) -> tuple[str, list[Row]]:
    reading = Reading()
    reader = RowReader(partial(recognise, columns=Columns.of(settings(path, **more))), reading)
    rows = [located.row for located in reader.rows([path], Meter(None, [path]))]
    assert not reading.log.count, reading.log.faults
    assert reader.schema
    return str(reader.schema.format), rows


FORMATS: dict[str, tuple[dict[str, Any], dict[str, str], str, Row]] = {
    "text": ({"text": "t"}, {}, "text", Row("t", [])),
    "text_column": ({"body": "t", "text": "no"}, {"text_column": "body"}, "text", Row("t", [])),
    "prompt, completion": ({"prompt": "q", "completion": "a"}, {}, "completion", PAIR),
    "prompt, answer": ({"prompt": "q", "answer": "a"}, {}, "completion", PAIR),
    "question, answer": ({"question": "q", "answer": "a", "id": 7}, {}, "completion", PAIR),
    "prompt, response": ({"prompt": "q", "response": "a"}, {}, "completion", PAIR),
    "own pair": (
        {"ask": "q", "tell": "a"},
        {"prompt_column": "ask", "completion_column": "tell"},
        "completion",
        PAIR,
    ),
    "half own pair": ({"ask": "q", "answer": "a"}, {"prompt_column": "ask"}, "completion", PAIR),
    "pair before text": ({"text": "no", "prompt": "q", "completion": "a"}, {}, "completion", PAIR),
    "pair with system": (
        {"prompt": "q", "completion": "a", "system": "s"},
        {},
        "completion",
        Row(None, [{"role": "system", "content": "s"}, USER, BOT]),
    ),
    "instruction, output": ({"instruction": "q", "output": "a"}, {}, "instruction", PAIR),
    "instruction, empty input": ({"instruction": "q", "input": "", "output": "a"}, {}, "instruction", PAIR),
    "instruction, input": (
        {"instruction": "do", "input": "this", "output": "a"},
        {},
        "instruction",
        Row(None, [{"role": "user", "content": "do\n\nthis"}, BOT], joinable=True),
    ),
    "instruction, context": (
        {"instruction": "do", "context": "this", "response": "a"},
        {},
        "instruction",
        Row(None, [{"role": "user", "content": "do\n\nthis"}, BOT], joinable=True),
    ),
    "messages": ({"messages": [USER, BOT]}, {}, "chat", CHAT),
    "messages and others": ({"messages": [USER, BOT], "prompt": "q", "answer": "a", "text": "t"}, {}, "chat", CHAT),
    "messages_column": ({"dialog": [USER, BOT]}, {"messages_column": "dialog"}, "chat", CHAT),
    "messages as JSON": ({"messages": json.dumps([USER, BOT])}, {}, "chat", CHAT),
    "null fields": ({"messages": [{**USER, "name": None}, {**BOT, "tool_calls": None}]}, {}, "chat", CHAT),
    "no tools": ({"messages": [USER, BOT], "tools": None}, {}, "chat", CHAT),
    "tools": ({"messages": TOOL_TURNS, "tools": TOOLS}, {}, "chat", Row(None, TOOL_TURNS, TOOLS)),
    "tools as JSON": ({"messages": TOOL_TURNS, "tools": json.dumps(TOOLS)}, {}, "chat", Row(None, TOOL_TURNS, TOOLS)),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {},
        "sharegpt",
        CHAT,
    ),
    "ShareGPT with system": (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"},
        {},
        "sharegpt",
        Row(None, [{"role": "system", "content": "s"}, USER, BOT]),
    ),
    "ShareGPT turns in messages": (
        {"messages": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]},
        {},
        "sharegpt",
        CHAT,
    ),
    "messages in conversations": ({"conversations": [USER, BOT]}, {}, "chat", CHAT),
    "format chosen": ({"text": "t", "prompt": "q", "completion": "a"}, {"data_format": "text"}, "text", Row("t", [])),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_recognised_and_read(name: str, tmp_path: Path) -> None:
    value, options, form, row = FORMATS[name]
    path = write_jsonl(tmp_path / "data.jsonl", [value, value])
    assert rows_of(path, **options) == (form, [row, row])


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_reads_the_same_from_a_json_array(name: str, tmp_path: Path) -> None:
    value, options, form, row = FORMATS[name]
    path = tmp_path / "data.json"
    path.write_text(json.dumps([value, value], indent=2))
    assert rows_of(path, **options) == (form, [row, row])


def test_columns_of_two_formats_are_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"text": "t", "q": "q"}])
    with pytest.raises(ConfigError, match="text_column and prompt_column") as caught:
        rows_of(path, text_column="text", prompt_column="q")
    assert caught.value.field == "text_column"


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"question_text": "q", "b": "a"}])
    config = settings(path, prompt_column="question_txt", completion_column="b")
    (fault,) = check_structure(config).faults
    assert fault.reason == (
        "lacks 'question_txt': it has the fields 'question_text', 'b'; did you mean 'question_text'?"
    )


def test_shards_of_another_format_are_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train-00000-of-00002.jsonl", [{"text": "t"}])
    write_jsonl(tmp_path / "train-00001-of-00002.jsonl", [{"prompt": "q", "completion": "a"}])
    (fault,) = check_structure(settings(tmp_path)).faults
    assert (fault.kind, Path(fault.file).name, fault.line) == ("mixed", "train-00001-of-00002.jsonl", 1)


def test_the_whole_message_lists_faults(tmp_path: Path) -> None:
    from droidft.data.prepare import prepare
    from tests.data.helpers import make_tokenizer

    path = write_jsonl(tmp_path / "data.jsonl", [{"text": "t"}, {"text": ""}, {"prompt": "q"}])
    with pytest.raises(InvalidData) as caught:
        prepare(settings(path), make_tokenizer())
    assert caught.value.message.splitlines() == [
        "2 faults in the training data:",
        f"  {path}:2 (byte 14): 'text' is empty; fill it or remove the row",
        f"  {path}:3 (byte 27): is a completion row (has the fields 'prompt') where text rows with 'text' are "
        "expected; keep one format in a file, or choose it with data_format",
    ]
    assert caught.value.as_dict()["code"] == "data"


def test_nan_in_a_column_that_nobody_reads_is_no_fault(tmp_path: Path) -> None:
    rows = '{"text": "a", "score": NaN, "more": {"x": [-Infinity]}}\n'
    for name, content in (("a.jsonl", rows), ("a.json", f"[{rows}]")):
        (tmp_path / name).write_text(content)
        assert rows_of(tmp_path / name) == ("text", [Row("a", [])])


def test_nan_in_a_column_that_is_read_is_a_missing_value(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"instruction": "q", "input": NaN, "output": "a"}\n')
    assert rows_of(path) == ("instruction", [PAIR])


@pytest.mark.parametrize("wrap", [json.dumps, repr, str], ids=["json", "repr", "str"])
def test_messages_written_as_text_are_read_as_json_and_as_python(wrap: Any, tmp_path: Path) -> None:
    for row in (
        {"messages": [USER, {"role": "assistant", "content": 'it\'s "a"', "name": None}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": 'it\'s "a"'}]},
    ):
        (name, turns) = next(iter(row.items()))
        path = write_jsonl(tmp_path / "data.jsonl", [{name: wrap(turns)}])
        _, (read,) = rows_of(path)
        assert read.messages == [USER, {"role": "assistant", "content": 'it\'s "a"'}]


def test_messages_that_numpy_printed_get_a_remedy_that_works(tmp_path: Path) -> None:
    printed = "[{'role': 'user', 'content': 'q'}\n {'role': 'assistant', 'content': 'a'}]"
    path = write_jsonl(tmp_path / "data.jsonl", [{"messages": printed}])
    (fault,) = check_structure(settings(path)).faults
    assert "json.dumps" in fault.fix


@pytest.mark.parametrize(
    ("value", "fix"),
    [(7, "quotes"), (True, "quotes"), (None, "fill it"), (["a"], "one text"), ({"a": "b"}, "one text")],
)
def test_the_remedy_fits_what_stands_where_text_should(value: Any, fix: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"text": "a"}, {"text": value}])
    (fault,) = check_structure(settings(path)).faults
    assert fix in fault.fix
    assert ("quotes" in fault.fix) == (fix == "quotes")


@pytest.mark.parametrize("column", ["label", "kto_tag"])
@pytest.mark.parametrize("bad", [False, "False", "false"])
def test_answers_that_are_marked_as_bad_are_refused(column: str, bad: Any, tmp_path: Path) -> None:
    chat = {"messages": [USER, BOT]}
    for row in ({"prompt": "q", "completion": "a"}, chat):
        good = write_jsonl(tmp_path / "good.jsonl", [row | {column: True}])
        assert len(rows_of(good)[1]) == 1
        path = write_jsonl(tmp_path / "data.jsonl", [row | {column: True}, row | {column: bad}])
        (fault,) = check_structure(settings(path)).faults
        assert (fault.kind, fault.line) == ("bad-answer", 2)
        assert "dpo" in fault.fix


def test_a_label_that_is_a_number_says_nothing_about_the_answer(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"prompt": "q", "completion": "a", "label": 0}])
    assert len(rows_of(path)[1]) == 1


@pytest.mark.parametrize(
    ("column", "content"), [("images", ["a"]), ("image", "a.png"), ("videos", "a"), ("audio", {"path": "a"})]
)
def test_what_is_no_text_is_never_left_out_in_silence(column: str, content: Any, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"messages": [USER, BOT], column: content}])
    (fault,) = check_structure(settings(path)).faults
    assert fault.kind == "media"
    path = write_jsonl(tmp_path / "data.jsonl", [{"messages": [{**USER, column: content}, BOT]}])
    (fault,) = check_structure(settings(path)).faults
    assert fault.kind == "media"
    assert "turn 1 (user) has" in fault.reason
    path = write_jsonl(tmp_path / "data.jsonl", [{"messages": [{**USER, column: None}, BOT], column: None}])
    assert len(rows_of(path)[1]) == 1

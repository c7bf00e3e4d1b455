"""Prompts for methods that learn from rewards: what is asked, what rewards see, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from droidft.data.check import check_data, check_structure
from droidft.data.prompts import PreparedPrompts, prepare_prompts
from droidft.data.view import view_rows
from droidft.errors import ConfigError
from droidft.support.faults import InvalidData
from tests.data import templates
from tests.data.helpers import make_tokenizer, settings, write_jsonl
from tests.places import GSM8K

METHOD: dict[str, Any] = {"method": "grpo", "rewards": [{"kind": "length_window"}], "max_completion_length": 16}
USER, BOT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
SYSTEM = {"role": "system", "content": "s"}


def run(
    path: Path, template: str | None = templates.CHATML, context_length: int | None = None, **more: Any
) -> PreparedPrompts:
    return prepare_prompts(settings(path, **METHOD, **more), make_tokenizer(template), context_length=context_length)


def one(folder: Path, record: dict[str, Any], template: str | None = templates.CHATML, **more: Any) -> Any:
    """The prompt of a record; a second file serves for validation."""
    path = write_jsonl(folder / "train.jsonl", [record])
    other = write_jsonl(folder / "other.jsonl", [record])
    return run(path, template, val_data_path=str(other), **more).train[0]


def fault(folder: Path, *records: dict[str, Any], **more: Any) -> Any:
    with pytest.raises(InvalidData) as caught:
        run(write_jsonl(folder / "data.jsonl", list(records)), **more)
    (found,) = caught.value.faults
    return found


FORMATS: dict[str, tuple[dict[str, Any], dict[str, str], list[dict[str, Any]], Any]] = {
    "prompt": ({"prompt": "q"}, {}, [USER], None),
    "prompt and completion": ({"prompt": "q", "completion": "a"}, {}, [USER], "a"),
    "prompt, completion and answer": ({"prompt": "q", "completion": "a", "answer": 3}, {}, [USER], 3),
    "prompt as messages": ({"prompt": [SYSTEM, USER], "answer": "a"}, {}, [SYSTEM, USER], "a"),
    "prompt as JSON": ({"prompt": json.dumps([USER]), "answer": "a"}, {}, [USER], "a"),
    "question": ({"question": "q", "answer": "a"}, {}, [USER], "a"),
    "prompt_column": ({"body": "q", "prompt": "no"}, {"prompt_column": "body"}, [USER], None),
    "completion_column": ({"prompt": "q", "gold": "a"}, {"completion_column": "gold"}, [USER], "a"),
    "messages": ({"messages": [USER, BOT]}, {}, [USER], "a"),
    "messages without answer": ({"messages": [USER, BOT, USER]}, {}, [USER, BOT, USER], None),
    "messages with a column": ({"messages": [USER, BOT], "answer": "b"}, {}, [USER], "b"),
    "messages_column": ({"turns": [USER, BOT]}, {"messages_column": "turns"}, [USER], "a"),
    "instruction": (
        {"instruction": "i", "input": "j", "output": "a"},
        {},
        [{"role": "user", "content": "i\n\nj"}],
        "a",
    ),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {},
        [USER],
        "a",
    ),
    "system column": ({"prompt": "q", "system": "s"}, {}, [SYSTEM, USER], None),
    "system_prompt": ({"prompt": "q"}, {"system_prompt": "s"}, [SYSTEM, USER], None),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_gives_its_prompt_and_its_answer(name: str, tmp_path: Path) -> None:
    record, options, messages, answer = FORMATS[name]
    row = one(tmp_path, record, **options)
    assert row.messages == messages
    assert row.text is None
    assert row.columns == record | ({"answer": answer} if answer is not None else {})
    assert row.place == "train.jsonl:1"
    assert row.asked == messages[-1]["content"]
    tokenizer = make_tokenizer(templates.CHATML)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert row.tokens.tolist() == tokenizer.encode(text, add_special_tokens=False)


def test_csv_gives_prompts_and_columns_as_text(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text('question,answer,level\n"a, b?",4,hard\nc?,5,\n')
    found = run(tmp_path / "data.csv")
    rows = sorted([*found.train, *found.validation], key=lambda row: row.line)
    assert [(row.asked, row.place) for row in rows] == [("a, b?", "data.csv:2"), ("c?", "data.csv:3")]
    assert rows[0].columns == {"question": "a, b?", "answer": "4", "level": "hard"}


def test_without_a_template_the_prompt_is_the_text(tmp_path: Path) -> None:
    row = one(tmp_path, {"prompt": "two words"}, None)
    assert (row.messages, row.text, row.asked) == (None, "two words", "two words")
    assert row.tokens.tolist() == make_tokenizer(None).encode("two words")
    report = run(
        tmp_path / "train.jsonl", None, val_data_path=str(tmp_path / "other.jsonl"), system_prompt="x"
    ).report
    assert "system_prompt has no effect" in report.warnings[-1]


@pytest.mark.parametrize(
    ("records", "kind", "reason"),
    [
        ([{"text": "t"}], "unknown-fields", "there is no prompt"),
        ([{"promt": "t"}], "unknown-fields", "did you mean 'prompt' for 'promt'"),
        ([{"prompt": "q"}, {"question": "q"}], "missing-field", "lacks 'prompt'"),
        ([{"prompt": "q"}, {"prompt": " "}], "empty-text", "holds only white space"),
        ([{"prompt": "q"}, {"prompt": 3}], "not-text", "not text"),
        ([{"prompt": [USER]}, {"prompt": [USER, BOT]}], "last-turn", "ends with the assistant's turn"),
        ([{"messages": [USER]}, {"messages": [BOT]}], "no-prompt", "asks nothing"),
        ([{"messages": [USER]}, {"messages": [SYSTEM, BOT]}], "no-prompt", "asks nothing"),
    ],
)
def test_what_is_no_prompt_is_refused(records: list[dict[str, Any]], kind: str, reason: str, tmp_path: Path) -> None:
    found = fault(tmp_path, *records)
    assert (found.kind, found.line) == (kind, len(records))
    assert reason in found.reason
    assert found.fix


def test_a_prompt_beyond_the_setting_is_refused_with_its_length(tmp_path: Path) -> None:
    rows = [{"prompt": "q"}, {"prompt": "q" * 30}]
    length = len(one(tmp_path, rows[1]).tokens)
    found = fault(tmp_path, *rows, max_prompt_length=length - 1)
    assert (found.kind, found.line) == ("prompt-too-long", 2)
    assert found.reason == f"has a prompt of {length} tokens, beyond max_prompt_length {length - 1}"
    assert f"raise max_prompt_length to {length} or more" in found.fix
    path = tmp_path / "data.jsonl"
    assert len(run(path, max_prompt_length=length).train) == 1


def test_a_prompt_that_leaves_no_room_for_its_completion_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "q"}, {"prompt": "q" * 30}]
    length = len(one(tmp_path, rows[1]).tokens)
    found = fault(tmp_path, *rows, context_length=length + 15)
    assert f"beyond {length - 1}: the model's {length + 15} less max_completion_length 16" in found.reason
    assert "lower max_completion_length to 15 or less" in found.fix
    report = run(tmp_path / "data.jsonl", context_length=length + 16).report
    assert report.max_seq_length == length + 16
    with pytest.raises(ConfigError, match="leaves no room for a prompt") as caught:
        run(tmp_path / "data.jsonl", context_length=16)
    assert caught.value.field == "max_completion_length"


def test_plain_text_and_two_places_for_a_prompt_are_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"text": "a"}, {"text": "b"}])
    with pytest.raises(ConfigError, match="has no prompt"):
        run(path, data_format="text")
    with pytest.raises(ConfigError, match="both say where the prompt is"):
        run(path, prompt_column="a", messages_column="b")


def test_the_split_keeps_a_prompt_on_one_side_and_the_report_says_what_is_there(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{index % 20}", "answer": index} for index in range(40)]
    found = run(write_jsonl(tmp_path / "data.jsonl", rows), validation_fraction=0.25, seed=3)
    sides = [{row.asked for row in part} for part in (found.train, found.validation)]
    assert not sides[0] & sides[1]
    assert len(found.train) + len(found.validation) == 40
    event = found.report.event()
    assert (event.train_supervised_tokens, event.val_supervised_tokens, event.truncated_rows) == (0, 0, 0)
    assert event.train_tokens == sum(len(row.tokens) for row in found.train)
    assert found.train.lengths.tolist() == [len(row.tokens) for row in found.train]
    assert found.report.train.duplicates.count == len(found.train) - len(sides[0])
    assert all("repeat" in text for text in found.report.warnings)


def test_the_hash_follows_tokens_and_columns(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{index}", "answer": index} for index in range(10)]
    changed = [{**row, "answer": -1} for row in rows]
    first = run(write_jsonl(tmp_path / "a.jsonl", rows)).report.data_hash
    assert run(write_jsonl(tmp_path / "b.jsonl", rows)).report.data_hash == first
    assert run(write_jsonl(tmp_path / "c.jsonl", changed)).report.data_hash != first
    assert run(tmp_path / "a.jsonl", system_prompt="s").report.data_hash != first


def test_columns_of_parquet_are_json_values(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import datetime

    from pyarrow import parquet

    table = pyarrow.table(
        {
            "prompt": [[USER], [USER]],
            "when": [datetime.date(2026, 1, 2)] * 2,
            "share": [float("nan"), 0.5],
            "raw": [b"ab", b"\xff"],
        }
    )
    parquet.write_table(table, tmp_path / "data.parquet")
    found = run(tmp_path / "data.parquet")
    rows = sorted([*found.train, *found.validation], key=lambda row: row.line)
    assert rows[0].columns == {"prompt": [USER], "when": "2026-01-02", "share": None, "raw": "ab"}
    assert rows[1].columns["share"] == 0.5


def test_the_check_and_the_view_see_prompts(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{index}", "answer": index} for index in range(10)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    config = settings(path, **METHOD, prompts_per_step=2, num_iterations=2)
    checked = check_structure(config)
    assert (checked.structure.train.format, checked.structure.train.rows, checked.fault_count) == ("prompt", 10, 0)
    assert not checked.structure.notes
    tokenizer = make_tokenizer(templates.CHATML)
    found = check_data(config, lambda: (tokenizer, 1000))
    assert found.tokens is not None
    assert found.plan is not None
    assert found.tokens.data_hash == run(path).report.data_hash
    assert (found.plan.steps_per_epoch, found.plan.steps) == (9, 9)
    (view,) = view_rows(config, tokenizer, rows=[3])
    assert (view.part, view.line) == ("prompt", 4)
    assert "".join(piece.text for piece in view.pieces) == "<|user|>\nq3<|end|>\n<|assistant|>\n"
    with pytest.raises(InvalidData, match="beyond max_prompt_length 3"):
        view_rows(settings(path, **METHOD, max_prompt_length=3), tokenizer, rows=[3])


@pytest.mark.skipif(not GSM8K.is_dir(), reason="the GSM8K files are not beside the checkout")
def test_gsm8k_works_as_it_is() -> None:
    found = run(GSM8K / "gsm8k_test.jsonl")
    assert (len(found.train), len(found.validation)) == (1187, 132)
    assert all("####" in row.columns["answer"] for row in found.train)
    assert found.report.warnings == []

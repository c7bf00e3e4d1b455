"""Pairs of answers: every shape of row, what is marked, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from droidft.data.check import check_data, check_structure
from droidft.data.preferences import PreparedPairs, prepare_pairs
from droidft.data.view import view_rows
from droidft.errors import ConfigError
from droidft.support.faults import InvalidData
from tests.data import templates
from tests.data.helpers import make_tokenizer, settings, write_jsonl

USER, GOOD, BAD = (
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "yes"},
    {"role": "assistant", "content": "no"},
)
MORE = {"role": "user", "content": "more"}
SYSTEM = {"role": "system", "content": "s"}
PLAIN = {"prompt": "q", "chosen": "yes", "rejected": "no"}


def run(
    path: Path, template: str | None = templates.CHATML, context_length: int | None = None, **more: Any
) -> PreparedPairs:
    config = settings(path, **{"method": "dpo", **more})
    return prepare_pairs(config, make_tokenizer(template), context_length=context_length)


def one(folder: Path, record: dict[str, Any], template: str | None = templates.CHATML, **more: Any) -> list[str]:
    """The prompt with each answer of a record, and what is marked of both, as texts."""
    path = write_jsonl(folder / "train.jsonl", [record])
    found = run(path, template, val_data_path=str(write_jsonl(folder / "other.jsonl", [record])), **more)
    tokenizer = make_tokenizer(template)
    rows = found.train[0]
    return [tokenizer.decode(part) for row in rows for part in (row.tokens, row.tokens[row.supervised])]


def fault(folder: Path, *records: dict[str, Any], **more: Any) -> Any:
    with pytest.raises(InvalidData) as caught:
        run(write_jsonl(folder / "data.jsonl", list(records)), **more)
    (found,) = caught.value.faults
    return found


def rendered(*turns: tuple[str, str]) -> str:
    return "".join(f"<|{role}|>\n{text}<|end|>\n" for role, text in turns)


ASKED = ("user", "q")
SHORT = [rendered(ASKED, ("assistant", "yes")), "yes<|end|>", rendered(ASKED, ("assistant", "no")), "no<|end|>"]
FORMATS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "texts": (PLAIN, {}),
    "question": ({"question": "q", "chosen": "yes", "rejected": "no"}, {}),
    "prompt_column": ({"body": "q", "chosen": "yes", "rejected": "no"}, {"prompt_column": "body"}),
    "prompt as messages": ({"prompt": [USER], "chosen": "yes", "rejected": "no"}, {}),
    "all as messages": ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, {}),
    "single messages": ({"prompt": [USER], "chosen": GOOD, "rejected": BAD}, {}),
    "as JSON": ({"prompt": json.dumps([USER]), "chosen": json.dumps([GOOD]), "rejected": json.dumps([BAD])}, {}),
    "whole conversations": ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, {}),
    "whole conversations beside a prompt": ({"prompt": "q", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, {}),
    "prompt and whole conversations": ({"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]}, {}),
    "ShareGPT": (
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "yes"},
            "rejected": {"from": "gpt", "value": "no"},
        },
        {},
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_gives_its_pair(name: str, tmp_path: Path) -> None:
    record, options = FORMATS[name]
    assert one(tmp_path, record, **options) == SHORT


def test_csv_and_parquet_give_the_same_pairs_as_jsonl(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet

    rows = [PLAIN, {"prompt": 'two\nlines, "quoted"', "chosen": "yes, and more", "rejected": "no"}]
    wanted = run(write_jsonl(tmp_path / "data.jsonl", rows)).report
    table = pyarrow.Table.from_pylist(rows)
    csv.write_csv(table, tmp_path / "data.csv")
    parquet.write_table(table, tmp_path / "data.parquet")
    for name in ("data.csv", "data.parquet"):
        found = run(tmp_path / name).report
        assert (found.format, found.data_hash) == ("preference", wanted.data_hash), name


@pytest.mark.parametrize("mask_prompt", [True, False])
def test_only_the_answer_is_marked_whatever_mask_prompt_says(mask_prompt: bool, tmp_path: Path) -> None:
    assert one(tmp_path, PLAIN, method="orpo", mask_prompt=mask_prompt) == SHORT


def test_earlier_answers_are_part_of_the_prompt(tmp_path: Path) -> None:
    before = [SYSTEM, USER, GOOD, MORE]
    whole = one(tmp_path, {"chosen": [*before, GOOD], "rejected": [*before, BAD]})
    assert whole[1::2] == ["yes<|end|>", "no<|end|>"]
    assert one(tmp_path, {"prompt": before, "chosen": [GOOD], "rejected": [BAD]}) == whole


def test_of_answers_that_go_on_only_the_assistants_turns_are_marked(tmp_path: Path) -> None:
    found = one(tmp_path, {"chosen": [USER, GOOD, MORE, GOOD], "rejected": [USER, BAD, MORE, BAD]})
    assert found[1::2] == ["yes<|end|>yes<|end|>", "no<|end|>no<|end|>"]


def test_a_system_prompt_comes_first(tmp_path: Path) -> None:
    for record in (PLAIN, {"chosen": [USER, GOOD], "rejected": [USER, BAD]}):
        assert one(tmp_path, record, system_prompt="s")[0] == rendered(("system", "s"), ASKED, ("assistant", "yes"))
        assert one(tmp_path, record | {"system": "t"}, system_prompt="s")[0].startswith("<|system|>\nt")


def test_without_a_template_prompt_and_answer_are_joined(tmp_path: Path) -> None:
    assert one(tmp_path, PLAIN, None) == ["qyes<|end|>", "yes<|end|>", "qno<|end|>", "no<|end|>"]
    with pytest.raises(InvalidData, match="no chat template"):
        one(tmp_path, {"prompt": [SYSTEM, USER], "chosen": "yes", "rejected": "no"}, None)


@pytest.mark.parametrize("template", [templates.CHATML, None])
def test_whole_texts_are_parted_where_they_differ_and_no_template_touches_them(
    template: str | None, tmp_path: Path
) -> None:
    start = "\n\nHuman: really?\n\nAssistant:"
    found = one(tmp_path, {"chosen": f"{start} It is.", "rejected": f"{start} Is it?"}, template)
    assert found[0] == f"{start} It is.<|end|>"
    assert found[1::2] == [" It is.<|end|>", " Is it?<|end|>"]


@pytest.mark.parametrize(
    ("record", "kind", "reason"),
    [
        (PLAIN | {"rejected": "yes"}, "no-preference", "are the same"),
        (PLAIN | {"chosen": ""}, "empty-text", "'chosen' is empty"),
        (PLAIN | {"rejected": "  "}, "empty-text", "'rejected' holds only white space"),
        (PLAIN | {"prompt": ""}, "empty-text", "'prompt' is empty"),
        (PLAIN | {"chosen": 3}, "not-text", "has a number in 'chosen'"),
        (PLAIN | {"chosen": [GOOD]}, "mixed", "has messages in 'chosen' where the first row has text"),
        ({"prompt": "q", "chosen": "yes"}, "missing-field", "lacks 'rejected'"),
        ({"chosen": "yes", "rejected": "no"}, "missing-field", "lacks 'prompt'"),
    ],
)
def test_texts_with_a_fault_are_refused(record: dict[str, Any], kind: str, reason: str, tmp_path: Path) -> None:
    found = fault(tmp_path, PLAIN, record)
    assert (found.kind, found.line) == (kind, 2)
    assert reason in found.reason
    assert found.fix


@pytest.mark.parametrize(
    ("chosen", "rejected", "kind", "reason"),
    [
        ([USER, GOOD], [USER, GOOD], "no-preference", "are the same"),
        ([USER, GOOD], [MORE, BAD], "different-prompts", "begin with different turns"),
        ([USER, GOOD, USER, GOOD], [USER, GOOD, MORE, BAD], "different-prompts", "differ in turn 3"),
        ([USER, GOOD, USER, GOOD], [USER, GOOD], "different-prompts", "only the beginning of the other"),
        ([USER, GOOD], [USER], "last-turn", "no answer at the end of 'rejected'"),
        ([USER, GOOD], [], "no-messages", "no messages in 'rejected'"),
        ([USER, GOOD], [USER, {"role": "assistant", "content": ""}], "empty-content", "(in 'rejected')"),
        ([GOOD], [BAD], "no-prompt", "answers and no prompt"),
        ([USER, GOOD], "no", "not-list", "not a JSON list"),
    ],
)
def test_conversations_with_a_fault_are_refused(
    chosen: Any, rejected: Any, kind: str, reason: str, tmp_path: Path
) -> None:
    good = {"chosen": [USER, GOOD], "rejected": [USER, BAD]}
    found = fault(tmp_path, good, {"chosen": chosen, "rejected": rejected})
    assert (found.kind, found.line) == (kind, 2)
    assert reason in found.reason


def test_a_prompt_that_answers_do_not_begin_with_is_refused(tmp_path: Path) -> None:
    good = {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]}
    assert "do not both begin with the prompt" in fault(tmp_path, good, good | {"prompt": [MORE]}).reason
    text = good | {"prompt": USER["content"]}
    assert "do not both begin with the prompt" in fault(tmp_path, text, text | {"prompt": MORE["content"]}).reason
    found = fault(tmp_path, good, good | {"prompt": [USER, GOOD]})
    assert found.reason == "has a prompt that ends with the assistant's turn (in 'prompt')"


def test_whole_texts_without_a_beginning_or_an_end_are_refused(tmp_path: Path) -> None:
    good = {"chosen": "a b", "rejected": "a c"}
    assert fault(tmp_path, good, {"chosen": "x y", "rejected": "z y"}).kind == "different-prompts"
    assert fault(tmp_path, good, {"chosen": "a b", "rejected": "a b"}).kind == "no-preference"
    assert "says nothing after" in fault(tmp_path, good, {"chosen": "a b", "rejected": "a "}).reason


def test_the_first_row_has_to_be_a_preference(tmp_path: Path) -> None:
    found = fault(tmp_path, {"prompt": "q", "completion": "a"})
    assert (found.kind, found.line) == ("unknown-fields", 1)
    assert "'chosen' is not among them" in found.reason


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"completion_column": "chosen"}, "completion_column"),
        ({"text_column": "prompt"}, "text_column"),
        ({"prompt_column": "prompt", "messages_column": "chosen"}, "prompt_column"),
    ],
)
def test_settings_about_other_data_are_refused(more: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        run(write_jsonl(tmp_path / "data.jsonl", [PLAIN, PLAIN]), **more)
    assert caught.value.field == field


def test_a_cut_that_takes_an_answer_or_the_difference_is_a_fault(tmp_path: Path) -> None:
    rows = [PLAIN, {"prompt": "q" * 40, "chosen": "yes", "rejected": "no"}]
    found = fault(tmp_path, *rows, max_seq_length=30)
    assert (found.kind, found.line) == ("all-cut", 2)
    assert "(in 'chosen')" in found.reason
    rows[1] = {"prompt": "q", "chosen": "x" * 40 + "a", "rejected": "x" * 40 + "b"}
    found = fault(tmp_path, *rows, max_seq_length=30)
    assert found.reason == "has answers that differ from token 48 on, beyond the limit of 30"
    assert "raise max_seq_length to 48" in found.fix
    assert len(run(tmp_path / "data.jsonl", max_seq_length=48).train) == 1


def test_the_report_counts_pairs_and_the_split_keeps_a_prompt_on_one_side(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{index % 10}", "chosen": "yes" * (1 + index % 7), "rejected": f"no{index % 20}"}
        for index in range(40)
    ]
    found = run(write_jsonl(tmp_path / "data.jsonl", [*rows, rows[0]]), validation_fraction=0.2, max_seq_length=24)
    tokenizer = make_tokenizer(templates.CHATML)
    sides = [
        {tokenizer.decode(chosen.tokens).split("<|end|>")[0] for chosen, _ in part}
        for part in (found.train, found.validation)
    ]
    assert not sides[0] & sides[1]
    report = found.report
    assert report.train.rows + report.validation.rows == 41
    for part, measured in ((found.train, report.train), (found.validation, report.validation)):
        answers = [row for pair in part for row in pair]
        assert measured.tokens == sum(len(row.tokens) for row in answers)
        assert measured.supervised_tokens == sum(int(row.supervised.sum()) for row in answers)
        assert part.lengths.tolist() == [max(len(one.tokens), len(other.tokens)) for one, other in part]
    # 8 tokens around prompt and answer, and the prompt's two letters.
    longer = sum(max(len(row["chosen"]), len(row["rejected"])) + 10 > 24 for row in [*rows, rows[0]])
    assert report.event().truncated_rows == longer
    assert report.train.duplicates.count + report.validation.duplicates.count == 1
    assert report.max_seq_length == 24


def test_the_hash_follows_both_answers(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{index}", "chosen": "yes", "rejected": "no"} for index in range(6)]
    turned = [{**row, "chosen": "no", "rejected": "yes"} for row in rows]
    first, again, other = (
        run(write_jsonl(tmp_path / f"{name}.jsonl", content)).report.data_hash
        for name, content in (("a", rows), ("b", rows), ("c", turned))
    )
    assert first == again
    assert first != other


def test_the_check_and_the_view_see_both_answers(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{index}", "chosen": "yes", "rejected": "no", "source": "x"} for index in range(10)]
    config = settings(write_jsonl(tmp_path / "data.jsonl", rows), method="dpo", batch_size=2, max_seq_length=12)
    checked = check_structure(config)
    assert (checked.structure.train.format, checked.structure.train.rows) == ("preference", 10)
    assert checked.structure.notes == ["data.jsonl: columns not used: source"]
    tokenizer = make_tokenizer(templates.CHATML)
    found = check_data(config, lambda: (tokenizer, 1000))
    assert found.plan is not None
    assert (found.plan.steps, found.plan.effective_batch) == (5, 2)
    chosen, rejected = view_rows(config, tokenizer, rows=[2])
    assert (chosen.part, rejected.part, chosen.line, rejected.line) == ("chosen", "rejected", 3, 3)
    for view, trained, cut in ((chosen, "yes<|end|>", "\n"), (rejected, "no<|end|>", "")):
        for state, text in (("trained", trained), ("cut", cut)):
            assert "".join(piece.text for piece in view.pieces if piece.state is state) == text

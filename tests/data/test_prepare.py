"""Both sets: the split, the cut, the report, the refusals, and the hash."""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from droidft.config import TrainingConfig
from droidft.data.batches import divide, rows_of_share
from droidft.data.prepare import Prepared, prepare, read_set
from droidft.data.statistics import histogram
from droidft.data.tokens import Encoded, TokenSet, windows
from droidft.errors import ConfigError, DataError
from droidft.support.faults import InvalidData
from tests.data import templates
from tests.data.helpers import make_tokenizer, settings, write_jsonl
from tests.places import GSM8K


def pairs(count: int, prefix: str = "") -> list[dict[str, Any]]:
    return [{"prompt": f"{prefix}{index}", "completion": f"answer {index}"} for index in range(count)]


def run(
    path: Path, template: str | None = templates.CHATML, context_length: int | None = None, **more: Any
) -> Prepared:
    return prepare(settings(path, **more), make_tokenizer(template), context_length=context_length)


def lines(rows: TokenSet) -> list[int]:
    return [row.line for row in rows]


# -- the split


def test_a_split_says_so_and_loses_no_row(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", pairs(40))
    found = run(path, seed=7, validation_fraction=0.2)
    assert (len(found.train), len(found.validation)) == (32, 8)
    assert sorted(lines(found.train) + lines(found.validation)) == list(range(1, 41))
    assert lines(found.validation) == sorted(lines(found.validation))
    assert found.report.split == "8 of 40 rows held out for validation at random (seed 7, fraction 0.2)"


def test_the_split_depends_on_the_seed_and_nothing_else(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", pairs(40))
    first, again, other = (run(path, seed=seed) for seed in (1, 1, 2))
    assert lines(first.validation) == lines(again.validation)
    assert first.report.data_hash == again.report.data_hash
    assert lines(first.validation) != lines(other.validation)
    changed = run(path, seed=1, max_seq_length=12, mask_prompt=True)
    assert lines(changed.validation) == lines(first.validation)


SHARES = st.floats(0.001, 0.999)


@given(st.integers(2, 60), st.integers(0, 2**32 - 1), SHARES, st.integers(1, 60))
def test_both_sides_have_rows_and_equal_rows_stay_together(rows: int, seed: int, fraction: float, kinds: int) -> None:
    digests = np.array([index * 7919 % kinds for index in range(rows)], dtype=np.uint64)
    found = divide(digests, split(seed=seed, validation_fraction=fraction))
    chosen, rest = found.validation, found.train
    assert np.array_equal(np.sort(np.concatenate([chosen, rest])), np.arange(rows))
    assert 0 < len(chosen) < rows
    assert len(found.test) == 0
    if len(set(digests.tolist())) > 1:
        assert not set(digests[chosen].tolist()) & set(digests[rest].tolist())
    if kinds >= rows:
        assert len(chosen) == min(max(1, round(rows * fraction)), rows - 1)


@given(st.integers(3, 60), st.integers(0, 2**32 - 1), SHARES, SHARES, st.integers(3, 60), st.booleans())
def test_three_parts_have_rows_and_share_none(
    rows: int, seed: int, validation: float, test: float, kinds: int, hold_out: bool
) -> None:
    digests = np.array([index * 7919 % kinds for index in range(rows)], dtype=np.uint64)
    config = split(split_seed=seed, validation_fraction=validation, test_fraction=test)
    found = divide(digests, config, hold_out=hold_out)
    parts = [found.train, found.test, *([found.validation] if hold_out else [])]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    assert all(len(part) for part in parts)
    if kinds >= rows:
        sets = [set(digests[part].tolist()) for part in parts]
        assert sum(map(len, sets)) == len(set.union(*sets))


@given(st.integers(4, 80), st.integers(0, 2**32 - 1), SHARES, SHARES, st.integers(1, 80))
def test_a_smaller_share_is_part_of_a_larger_one(rows: int, seed: int, one: float, two: float, kinds: int) -> None:
    digests = np.array([index * 7919 % kinds for index in range(rows)], dtype=np.uint64)
    small, large, whole = (
        divide(digests, split(seed=seed, test_fraction=0.2, train_fraction=share))
        for share in (min(one, two), max(one, two), 1.0)
    )
    assert 0 < len(small.train) <= len(large.train) <= len(whole.train)
    assert set(small.train.tolist()) <= set(large.train.tolist()) <= set(whole.train.tolist())
    for each in (small, large):
        assert np.array_equal(each.test, whole.test)
        assert np.array_equal(each.validation, whole.validation)
    if kinds >= rows:
        assert len(small.train) == max(1, round(len(whole.train) * min(one, two)))


@pytest.mark.parametrize("how", [{"split_by": "conversation"}, {"split_column": "topic"}])
def test_rows_that_belong_together_are_on_one_side(tmp_path: Path, how: dict[str, Any]) -> None:
    asked = [{"role": "user", "content": f"question {number // 3}"} for number in range(90)]
    given = [{"role": "assistant", "content": f"answer {number}"} for number in range(90)]
    rows = [
        {"messages": list(turns), "topic": f"t{number // 5}"}
        for number, turns in enumerate(zip(asked, given, strict=True))
    ]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    size = 3 if "split_by" in how else 5
    parts = {"test_fraction": 0.2, "validation_fraction": 0.2, "train_fraction": 0.5}
    found = run(path, **parts, **how)
    sides = [{(line - 1) // size for line in lines(rows)} for rows in (found.train, found.validation, found.test)]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert not any("open with the same messages" in text for text in found.report.warnings)
    assert "stay together" in found.report.split
    apart = run(path, **parts)
    [warning] = [text for text in apart.report.warnings if "open with the same messages as training rows" in text]
    assert warning.endswith("split_by conversation keeps such rows together")
    assert "stay together" not in apart.report.split
    assert re.match(r"([2-9]|\d\d+) rows of the validation set open with", warning)


def test_one_row_that_belongs_with_training_rows_is_told_in_the_singular(tmp_path: Path) -> None:
    rows = [{"prompt": "Same?", "completion": f"answer {number}", "book": "a"} for number in range(5)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    [warning] = [text for text in run(path).report.warnings if "training rows" in text]
    assert warning.startswith("1 row of the validation set opens with the same messages as training rows")


def test_fields_of_turns_that_the_template_does_not_read_are_noted(tmp_path: Path) -> None:
    said = {"role": "assistant", "content": "a", "refusal": "I will not.", "mood": None, "id": "m1"}
    rows = [{"messages": [{"role": "user", "content": f"q{number}"}, said]} for number in range(4)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    assert run(path).report.notes == ["turns have fields that the chat template does not read: refusal"]
    reads = templates.CHATML.replace("<|end|>", "{{ message.refusal }}<|end|>", 1)
    assert not prepare(settings(path), make_tokenizer(reads)).report.notes


def test_a_split_column_that_a_row_lacks_is_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"text": "one", "book": "a"}, {"text": "two"}])
    with pytest.raises(ConfigError, match=r"data\.jsonl:2 has no column 'book' \(it has text\)"):
        run(path, split_column="book")


@given(st.integers(1, 80), st.integers(0, 2**32 - 1), SHARES, st.integers(1, 80))
def test_the_rows_of_a_share_are_known_beforehand(rows: int, seed: int, share: float, kinds: int) -> None:
    digests = np.array([index * 7919 % kinds for index in range(rows + 2)], dtype=np.uint64)
    whole = divide(digests, split(seed=seed)).train
    part = divide(digests, split(seed=seed, train_fraction=share)).train
    assert rows_of_share(digests[whole], split(seed=seed), share) == len(part)


def test_the_parts_follow_split_seed_alone(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", pairs(40))
    settings = {"test_fraction": 0.2, "train_fraction": 0.5}
    first, again, other = (
        run(path, seed=seed, split_seed=chosen, **settings) for seed, chosen in ((1, 3), (2, 3), (1, 4))
    )
    for name in ("train", "validation", "test"):
        assert lines(getattr(first, name)) == lines(getattr(again, name))
        assert lines(getattr(first, name)) != lines(getattr(other, name))
    assert first.report.split == (
        "4 of 40 rows held out for validation at random (seed 3, fraction 0.1); 8 set aside as a test; "
        "14 of the other 28 are trained on"
    )


def split(**settings: Any) -> TrainingConfig:
    return TrainingConfig(model_path="m", train_data_path="d", **settings)


def test_one_row_cannot_be_split_but_can_be_validated_on(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", pairs(1))
    with pytest.raises(DataError, match="1 row is too few"):
        run(path)
    other = write_jsonl(tmp_path / "other.jsonl", pairs(1, "other "))
    found = run(path, val_data_path=str(other))
    assert (len(found.train), len(found.validation)) == (1, 1)
    assert found.report.split == "validation rows come from other.jsonl"


def test_a_folders_validation_file_is_used_unless_one_is_given(tmp_path: Path) -> None:
    for name, count in (("train", 5), ("valid", 3)):
        write_jsonl(tmp_path / f"{name}.jsonl", pairs(count, name))
    other = write_jsonl(tmp_path / "other.jsonl", pairs(2, "other"))
    assert len(run(tmp_path).validation) == 3
    assert len(run(tmp_path, val_data_path=str(other)).validation) == 2


# -- the cut


def test_a_test_set_is_a_file_or_the_test_split_of_a_folder(tmp_path: Path) -> None:
    def read(name: str) -> int:
        return len(read_set(settings("unused"), str(tmp_path / name), make_tokenizer(), called="the test data"))

    for folder in ("all", "one", "two"):
        (tmp_path / folder).mkdir()
    for rows, name in enumerate(("train", "valid", "test"), start=1):
        write_jsonl(tmp_path / "all" / f"{name}.jsonl", [{"text": f"a {at}"} for at in range(rows)])
    write_jsonl(tmp_path / "two" / "train.jsonl", [{"text": "a"}])
    write_jsonl(tmp_path / "one" / "questions.jsonl", [{"text": "a"}] * 4)
    assert [read("all"), read("all/train.jsonl"), read("one")] == [3, 1, 4]
    with pytest.raises(DataError, match="two: holds 1 data file, none named test"):
        read("two")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="empty"):
        read("empty.jsonl")
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(InvalidData, match=r"^1 fault in the test data:") as caught:
        read("bad.jsonl")
    assert caught.value.count == len(caught.value.faults) == 1


def test_counts_of_the_cut_equal_brute_force_on_5000_rows(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [
        {"prompt": "p" * draw.randint(1, 20), "completion": f"{index} " + "c" * draw.randint(1, 80)}
        for index in range(5000)
    ]
    limit = 64
    found = run(write_jsonl(tmp_path / "data.jsonl", rows), mask_prompt=True, max_seq_length=limit)
    # One token a byte: <|user|> \n prompt <|end|> \n <|assistant|> \n completion <|end|> \n
    full = [len(row["prompt"]) + len(row["completion"]) + 8 for row in rows]
    answers = [len(row["prompt"]) + 6 for row in rows]
    sets = (found.report.train, found.report.validation)
    assert sum(part.truncated.count for part in sets) == sum(length > limit for length in full)
    assert sum(part.cut_tokens for part in sets) == sum(max(0, length - limit) for length in full)
    # The end-of-turn token is the last but one.
    assert sum(part.lost_end_of_turn.count for part in sets) == sum(length - 1 > limit for length in full)
    assert sum(part.tokens for part in sets) == sum(min(length, limit) for length in full)
    assert sum(part.supervised_tokens for part in sets) == sum(
        min(length - 1, limit) - start for length, start in zip(full, answers, strict=True)
    )
    for row in [*found.train, *found.validation]:
        start, length = answers[row.line - 1], full[row.line - 1]
        expected = [start <= position < length - 1 for position in range(min(length, limit))]
        assert row.supervised.tolist() == expected
    for part, whole in ((found.train, sets[0]), (found.validation, sets[1])):
        assert part.supervised_counts.sum() == whole.supervised_tokens
        assert part.lengths.sum() == whole.tokens


def test_rows_whose_answer_is_cut_off_are_refused_with_the_length_they_need(tmp_path: Path) -> None:
    rows = [*pairs(3), {"prompt": "x" * 100, "completion": "lost"}]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    with pytest.raises(InvalidData) as caught:
        run(path, mask_prompt=True, max_seq_length=50)
    (fault,) = caught.value.faults
    assert (fault.kind, fault.line) == ("all-cut", 4)
    assert fault.reason == "has its answer at token 107 of 112, beyond the limit of 50"
    assert "raise max_seq_length to 108 or more" in fault.fix
    assert len(run(path, mask_prompt=True, max_seq_length=108).train) == 3


def test_the_length_is_that_of_the_longest_row_up_to_the_models_limit(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [*pairs(3), {"prompt": "p", "completion": "c" * 50}])
    assert run(path).report.max_seq_length == 59
    assert run(path, context_length=1000).report.max_seq_length == 59
    cut = run(path, context_length=40).report
    assert (cut.max_seq_length, cut.event().truncated_rows) == (40, 1)
    assert run(path, max_seq_length=45, context_length=40).report.max_seq_length == 45


def test_a_limit_above_the_models_is_warned_about(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", pairs(3))
    assert run(path, max_seq_length=50, context_length=40).report.warnings == [
        "max_seq_length 50 exceeds the model's limit of 40 tokens"
    ]


# -- the report


def test_the_event_counts_what_is_there(tmp_path: Path) -> None:
    found = run(write_jsonl(tmp_path / "data.jsonl", pairs(20)), mask_prompt=True)
    event = found.report.event()
    assert (event.train_rows, event.val_rows, event.dropped_rows) == (18, 2, 0)
    assert event.train_tokens == sum(len(row.tokens) for row in found.train)
    assert event.val_supervised_tokens == sum(int(row.supervised.sum()) for row in found.validation)
    assert event.format == "completion"
    assert found.report.warnings == []
    assert found.report.train.ends_in_eos == 18


def test_duplicates_and_overlap_are_found_with_their_lines(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", [*pairs(5), *pairs(2)])
    valid = write_jsonl(tmp_path / "valid.jsonl", [*pairs(1, "new "), *pairs(6)])
    report = run(tmp_path).report
    assert report.train.duplicates.first == ["train.jsonl:6", "train.jsonl:7"]
    assert report.overlap.first == [f"valid.jsonl:{line}" for line in (2, 3, 4, 5, 6)]
    assert any("5 rows of the validation set are in the training set too" in text for text in report.warnings)
    assert train.exists()
    assert valid.exists()


def test_a_template_without_end_of_turn_is_warned_about(tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    report = run(write_jsonl(tmp_path / "data.jsonl", pairs(5)), template).report
    assert report.train.ends_in_eos == 0
    assert "only 0 % of the training rows end in an end-of-sequence token" in report.warnings[0]


def test_flags_become_warnings_that_name_lines(tmp_path: Path) -> None:
    rows = [*pairs(4), {"prompt": "say <|end|>", "completion": "no"}]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "valid.jsonl", pairs(2, "v"))
    report = run(tmp_path).report
    assert report.warnings == [
        "1 row of the training set: the text itself spells out special tokens, "
        "which act as if the template wrote them (train.jsonl:5)"
    ]
    assert path.exists()


def test_the_hash_follows_tokens_and_masks(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", pairs(10))
    hashes = {
        run(path).report.data_hash,
        run(path, mask_prompt=True).report.data_hash,
        run(path, max_seq_length=15).report.data_hash,
        run(path, templates.LLAMA).report.data_hash,
    }
    assert len(hashes) == 4
    copy = write_jsonl(tmp_path / "copy.jsonl", pairs(10))
    assert run(copy).report.data_hash in hashes


def test_plain_text_cannot_be_masked(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"text": "a"}, {"text": "b"}])
    with pytest.raises(ConfigError) as caught:
        run(path, mask_prompt=True)
    assert caught.value.field == "mask_prompt"


@pytest.mark.parametrize(("rows", "template"), [([{"text": "a"}, {"text": "b"}], templates.CHATML), (pairs(2), None)])
def test_a_system_prompt_without_effect_is_said(
    rows: list[dict[str, Any]], template: str | None, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    assert "system_prompt has no effect" in run(path, template, system_prompt="x").report.warnings[-1]


def test_faults_of_both_files_are_reported_together(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", [*pairs(2), {"prompt": "", "completion": "x"}])
    write_jsonl(tmp_path / "valid.jsonl", [*pairs(2), {"prompt": "x"}])
    with pytest.raises(InvalidData) as caught:
        run(tmp_path)
    assert [Path(fault.file).name for fault in caught.value.faults] == ["train.jsonl", "valid.jsonl"]


# -- the arrays


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=40), min_size=1, max_size=12), st.randoms())
def test_a_set_gives_back_what_was_put_in(masks: list[list[bool]], draw: random.Random) -> None:
    from droidft.data.tokens import Encoded, TokenSetBuilder

    builder = TokenSetBuilder(limit=30)
    for line, mask in enumerate(masks, start=1):
        tokens = np.array([draw.randrange(1000) for _ in mask], dtype=np.int32)
        builder.add(Encoded(tokens, np.array(mask)), "a.jsonl", line)
    rows = builder.build()
    assert len(rows) == len(masks)
    assert [row.supervised.tolist() for row in rows] == [mask[:30] for mask in masks]
    assert rows.lengths.tolist() == [min(30, len(mask)) for mask in masks]
    order = np.array(draw.sample(range(len(masks)), len(masks)))
    taken = rows.take(order)
    for new, old in enumerate(order):
        assert taken[new].tokens.tolist() == rows[int(old)].tokens.tolist()
        assert taken[new].supervised.tolist() == rows[int(old)].supervised.tolist()
        assert taken[new].line == rows[int(old)].line
    with pytest.raises(IndexError):
        rows[len(rows)]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=50))
def test_a_histogram_holds_every_row_in_few_bins(lengths: list[int]) -> None:
    bins = histogram(np.array(lengths, dtype=np.int32))
    assert sum(part.rows for part in bins) == len(lengths)
    assert len(bins) <= 13
    for part in bins:
        assert part.rows == sum(part.low <= length < part.high for length in lengths)


@pytest.mark.skipif(not GSM8K.is_dir(), reason="the GSM8K files are not beside the checkout")
def test_gsm8k_works_as_it_is() -> None:
    tokenizer = make_tokenizer(templates.CHATML)
    config = settings(GSM8K / "gsm8k_test.jsonl", mask_prompt=True)
    found = prepare(config, tokenizer)
    assert (len(found.train), len(found.validation)) == (1187, 132)
    assert found.report.format == "completion"
    row = found.train[0]
    text = tokenizer.decode(row.tokens[row.supervised])
    assert "####" in text
    assert text.endswith("<|end|>")
    assert found.report.warnings == []


# -- rows longer than the limit


@given(st.integers(2, 200), st.integers(8, 40))
def test_each_token_of_a_split_text_is_a_target_once(length: int, limit: int) -> None:
    whole = Encoded(np.arange(length, dtype=np.int32), np.arange(length) > 0)
    parts = windows(whole, limit)
    assert all(2 <= len(part.tokens) <= limit and not part.supervised[0] for part in parts)
    targets = np.concatenate([part.tokens[part.supervised] for part in parts])
    assert targets.tolist() == list(range(1, length))


def test_a_long_text_is_split_and_its_parts_stay_together(tmp_path: Path) -> None:
    texts = [{"text": f"{index} " + "word " * 20} for index in range(6)]
    path = write_jsonl(tmp_path / "data.jsonl", texts)
    found = run(path, max_seq_length=16, long_rows="split", validation_fraction=0.4)
    whole = run(path, validation_fraction=0.4)
    targets = sum(int(part.supervised_counts.sum()) for part in (found.train, found.validation))
    assert targets == sum(int(part.supervised_counts.sum()) for part in (whole.train, whole.validation))
    assert max(found.train.lengths) == 16
    assert not set(lines(found.train)) & set(lines(found.validation))
    rows = len(found.train) + len(found.validation)
    assert found.report.notes[-1] == f"6 rows longer than 16 tokens split into {rows}"
    assert found.report.train.truncated.count == 0
    assert found.report.train.ends_in_eos == len(found.train)


def test_a_long_row_is_refused_where_the_settings_ask_for_it(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [*pairs(3), {"prompt": "a", "completion": "word " * 20}])
    with pytest.raises(InvalidData) as caught:
        run(path, max_seq_length=60, long_rows="refuse")
    (fault,) = caught.value.faults
    assert (fault.kind, fault.line) == ("long", 4)
    needed = int(fault.fix.split("raise max_seq_length to ")[1].split(",")[0])
    assert len(run(path, max_seq_length=needed, long_rows="refuse").train)
    with pytest.raises(InvalidData) as caught:
        run(path, context_length=60, long_rows="refuse")
    assert "raise" not in caught.value.faults[0].fix


def test_a_long_conversation_is_never_split(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [*pairs(3), {"prompt": "a", "completion": "word " * 20}])
    with pytest.raises(InvalidData, match="only plain text can be split"):
        run(path, max_seq_length=60, long_rows="split")


# -- no validation set


def test_a_run_may_have_no_validation_set(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_jsonl(folder / "train.jsonl", pairs(1))
    write_jsonl(folder / "valid.jsonl", pairs(3, prefix="v"))
    found = run(folder, validation="none")
    assert (len(found.train), len(found.validation)) == (1, 0)
    assert found.report.split == "no rows held out for validation"
    assert "not read, with validation 'none': valid.jsonl" in found.report.notes

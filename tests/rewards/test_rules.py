"""Rewards: values worked out by hand, ranges, and what they do not depend on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from droidft.config import Reward
from droidft.errors import RewardError
from droidft.rewards.numbers import final_number
from droidft.rewards.rules import ToScore
from droidft.rewards.scorer import Scorer
from droidft.support.faults import InvalidData

NOWHERE = Path("nowhere")
BUILT_IN = [
    {"kind": "lexical_f1"},
    {"kind": "length_window", "minimum": 2, "maximum": 5, "falloff": 3},
    {"kind": "keyword_coverage", "keywords": ["alpha", "New York", "c++"]},
    {"kind": "exact_answer"},
    {"kind": "numeric_answer"},
    {"kind": "tag_format"},
]
ANY_TEXT = st.text(max_size=80) | st.sampled_from(
    ["<think>a</think><answer>5</answer>", "#### 1,234", "alpha new  york C++", "<answer>", "</think><think>"]
)


def scorer(*specs: dict[str, Any], folder: Path = NOWHERE) -> Scorer:
    adapter: TypeAdapter[Reward] = TypeAdapter(Reward)
    return Scorer([adapter.validate_python(spec) for spec in specs], folder)


def item(completion: str, *, tokens: int = 3, place: str = "rows.jsonl:1", **columns: Any) -> ToScore:
    return ToScore("asked", completion, tokens, columns, place)


def one(spec: dict[str, Any], completion: str, **columns: Any) -> float:
    return float(scorer(spec).score([item(completion, **columns)])[0, 0])


@pytest.mark.parametrize(
    ("completion", "answer", "wanted"),
    [
        ("The cat sat.", "a cat sat", 1.0),
        ("the CAT", "cat dog", 2 / 3),  # precision 1, recall 1/2
        ("cat cat dog", "cat bird", 2 / 5),  # one of three, one of two: a repeated word counts once
        ("cat cat", "cat cat", 1.0),
        ("don’t", "don't", 1.0),
        ("", "cat", 0.0),
        ("the", "cat", 0.0),
        ("cafe\u0301", "café", 1.0),
        ("dog", ["cat", "dog"], 1.0),
        ("12", 12, 1.0),
        ("true", True, 1.0),
    ],
)
def test_lexical_f1(completion: str, answer: Any, wanted: float) -> None:
    assert one({"kind": "lexical_f1"}, completion, answer=answer) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("words", "wanted"), [(0, 1 - 2 / 4), (1, 0.75), (2, 1), (5, 1), (6, 0.75), (8, 0.25), (9, 0), (50, 0)]
)
def test_length_window_falls_along_a_line(words: int, wanted: float) -> None:
    spec = {"kind": "length_window", "minimum": 2, "maximum": 5, "falloff": 4}
    assert one(spec, " w" * words) == pytest.approx(wanted)


def test_length_window_counts_what_it_is_told() -> None:
    window = {"kind": "length_window", "minimum": 4, "maximum": 4}
    assert one({**window, "unit": "characters"}, "a  b") == 1
    assert one({**window, "unit": "words"}, "a b c d") == 1
    assert one({**window, "unit": "tokens"}, "a b c d") == 0
    assert scorer({**window, "unit": "tokens"}).score([item("x", tokens=4)])[0, 0] == 1


@pytest.mark.parametrize(
    ("completion", "wanted"),
    [
        ("ALPHA beta in new\n york, c++.", 1.0),
        ("alphabet", 0.0),
        ("alpha alpha", 1 / 3),
        ("I know C+ and C++", 1 / 3),
    ],
)
def test_keyword_coverage(completion: str, wanted: float) -> None:
    spec = {"kind": "keyword_coverage", "keywords": ["alpha", "New York", "c++", "ALPHA"]}
    assert one(spec, completion) == pytest.approx(wanted)


def test_keywords_of_a_row_and_of_languages_without_spaces() -> None:
    spec = {"kind": "keyword_coverage", "column": "words"}
    assert one(spec, "a pear", words="pear, apple") == 0.5
    assert one(spec, "a pear", words=["pear"]) == 1
    assert one(spec, "我住在东京。", words="东京") == 0
    assert one({**spec, "whole_words": False}, "我住在东京。", words="东京") == 1


@pytest.mark.parametrize(
    ("more", "completion", "wanted"),
    [
        ({}, " new   YORK\n", 1),
        ({}, "New York.", 0),
        ({"after": "Answer:"}, "hm. answer: Paris\nANSWER: New York\nbye", 1),
        ({"after": "Answer:"}, "New York", 0),
        ({"tag": "answer"}, "<answer>Paris</answer> no: <answer> New York </answer>.", 1),
        ({"tag": "answer"}, "New York", 0),
    ],
)
def test_exact_answer(more: dict[str, Any], completion: str, wanted: float) -> None:
    assert one({"kind": "exact_answer", **more}, completion, answer=["New York", "NYC"]) == wanted


def test_numeric_answer_with_the_form_of_gsm8k() -> None:
    answer = "Natalia sold 48/2 = 24 clips in May.\n#### 1,072"
    spec = {"kind": "numeric_answer"}
    assert one(spec, "So she sold $1,072.00 in all", answer=answer) == 1
    assert one({**spec, "strict": True}, "So she sold 1072 in all", answer=answer) == 0
    assert one({**spec, "strict": True}, "#### 1072", answer=answer) == 1
    assert one(spec, "1073", answer=answer) == 0
    assert one({**spec, "tolerance": 1}, "1073", answer=answer) == 1
    assert one({**spec, "tolerance": 0.1}, "0.3", answer=0.2) == 1  # exact decimals: the difference is 0.1
    assert one({**spec, "tag": "answer"}, "<answer>1072</answer> 5", answer=answer) == 1


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "{:,}", "the answer is {:,}.", "#### {}", "**{:,}**"]))
def test_a_number_is_found_however_it_is_written(number: int, form: str) -> None:
    assert final_number(form.format(number)) == number


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("<think>a</think>\n<answer>b</answer>\n", 4),
        ("<think></think><answer></answer>", 4),
        ("Well. <think>a</think><answer>b</answer>", 3),
        ("<answer>b</answer><think>a</think>", 2),
        ("<think>a<answer>b</answer></think>", 2),
        ("<think>a</think>", 1),
        ("<think>a</think><think>a</think><answer>b</answer>", 1),
        ("</think>a<think><answer>b</answer>", 1),
        ("<Think>a</Think>", 0),
        ("", 0),
    ],
)
def test_tag_format_gives_points(text: str, points: int) -> None:
    assert one({"kind": "tag_format"}, text) == points / 4


@given(st.lists(ANY_TEXT, min_size=1, max_size=4), st.randoms())
def test_ranges_and_independence_of_the_others_and_of_order(texts: list[str], random: Any) -> None:
    found = scorer(*BUILT_IN)
    items = [item(text, answer="New York 5") for text in texts]
    scores = found.score(items)
    assert scores.shape == (len(texts), len(BUILT_IN))
    assert ((scores >= 0) & (scores <= 1)).all()
    order = list(range(len(texts)))
    random.shuffle(order)
    assert np.array_equal(found.score([items[index] for index in order]), scores[order])
    assert np.array_equal(np.vstack([found.score([each]) for each in items]), scores)


@given(st.text("abcdeABCDE \n", max_size=40))
def test_case_and_white_space_do_not_count(text: str) -> None:
    spaced = "  ".join(text.split())
    for kind in ({"kind": "lexical_f1"}, {"kind": "exact_answer"}, {"kind": "keyword_coverage", "keywords": ["abc"]}):
        assert one(kind, text, answer="abc d") == one(kind, spaced.upper(), answer="abc d")


def test_the_weighted_sum() -> None:
    found = scorer({"kind": "length_window", "weight": 0.5}, {"kind": "tag_format", "weight": -2})
    assert found.names == ["length_window", "tag_format"]
    scores = np.array([[1.0, 0.25], [0.0, 1.0]])
    assert found.total(scores).tolist() == [0.0, -2.0]
    assert found.score([]).shape == (0, 2)
    with pytest.raises(RewardError, match="too large"):
        found.total(np.array([[1e308, -1e308]]))


def test_every_row_that_lacks_what_a_reward_needs_is_named() -> None:
    found = scorer({"kind": "exact_answer"}, {"kind": "numeric_answer", "column": "n"}, {"kind": "lexical_f1"})
    rows: list[tuple[str, dict[str, Any]]] = [
        ("a.jsonl:1", {"answer": "x y", "n": "#### 3"}),
        ("a.jsonl:2", {"answer": None, "n": 3}),
        ("a.jsonl:3", {"anser": "x", "n": "none"}),
        ("b.jsonl:7", {"answer": {"x": 1}, "n": [1, 2]}),
        ("b.jsonl:8", {"answer": "the", "n": []}),
    ]
    with pytest.raises(InvalidData) as caught:
        found.check(rows)
    assert caught.value.count == 9
    told = [(fault.file, fault.line, fault.reason.partition(":")[0]) for fault in caught.value.faults]
    assert told == [
        ("a.jsonl", 2, "reward exact_answer"), ("a.jsonl", 2, "reward lexical_f1"),
        ("a.jsonl", 3, "reward exact_answer"), ("a.jsonl", 3, "reward numeric_answer"),
        ("a.jsonl", 3, "reward lexical_f1"), ("b.jsonl", 7, "reward exact_answer"),
        ("b.jsonl", 7, "reward lexical_f1"), ("b.jsonl", 8, "reward numeric_answer"),
        ("b.jsonl", 8, "reward lexical_f1"),
    ]  # fmt: skip
    assert "the row has anser, n" in caught.value.faults[2].reason
    found.check(rows[:1])
    with pytest.raises(RewardError, match="column 'answer' is missing"):
        scorer({"kind": "exact_answer"}).score([item("x")])


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "length_window", "minimum": 5, "maximum": 4},
        {"kind": "keyword_coverage"},
        {"kind": "keyword_coverage", "keywords": [" "]},
        {"kind": "tag_format", "tags": ["a", "a"]},
        {"kind": "tag_format", "tags": ["a b"]},
        {"kind": "lexical_f1", "weight": float("nan")},
        {"kind": "lexical_f1", "weight": True},
        {"kind": "lexical_f1", "column": "\ud800"},
        {"kind": "python", "file": "../mine.py"},
        {"kind": "python", "file": "/tmp/mine.py"},
        {"kind": "python", "file": "mine.txt"},
        {"kind": "python", "file": "mine.py", "function": "a.b"},
        {"kind": "unheard"},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Reward).validate_python(wrong)


def test_nothing_here_imports_mlx(tmp_path: Path) -> None:
    import subprocess

    code = "import sys, droidft.rewards.scorer; sys.exit(any(name.split('.')[0] == 'mlx' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0

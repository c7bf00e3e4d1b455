"""Rewards of the user's own: how they are called, and every way in which they go wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from droidft.config.rewards import PythonReward
from droidft.errors import RewardError
from droidft.rewards import calls, own
from droidft.rewards.rules import ToScore
from droidft.rewards.scorer import Scorer
from droidft.support.faults import InvalidData

ITEMS = [
    ToScore("p1", "one", 3, {"answer": "a", "n": 1}, "rows.jsonl:4"),
    ToScore("p2", "", 3, {"answer": "b", "completion": "x"}, "rows.jsonl:9"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "rewards"
    made.mkdir()
    return made


def scorer(folder: Path, text: str, function: str = "reward") -> Scorer:
    (folder / "mine.py").write_text(text)
    return Scorer([PythonReward(file="mine.py", function=function)], folder)


def returning(folder: Path, value: str) -> Scorer:
    return scorer(folder, f"import numpy as np\ndef reward(prompts, completions, **columns):\n    return {value}\n")


def test_it_is_given_prompts_completions_and_columns(folder: Path) -> None:
    text = (
        "def reward(prompts, completions, **columns):\n"
        "    assert prompts == ['p1', 'p2'] and completions == ['one', ''], (prompts, completions)\n"
        "    assert columns == {'answer': ['a', 'b'], 'n': [1, None]}, columns\n"
        "    return [1, 2.5]\n"
    )
    found = scorer(folder, text)
    assert found.names == ["mine.reward"]
    assert found.score(ITEMS).tolist() == [[1.0], [2.5]]


def test_it_may_ask_for_some_columns_only(folder: Path) -> None:
    text = "def reward(completions, answer, spare=None):\n    return [float(a == 'b') for a in answer]\n"
    found = scorer(folder, text)
    assert found.score(ITEMS).tolist() == [[0.0], [1.0]]
    found.check([("rows.jsonl:1", {"answer": None})])  # null is a value: the function may know what to do
    with pytest.raises(InvalidData, match="column 'answer' is missing, which reward"):
        found.check([("rows.jsonl:1", {})])


@pytest.mark.parametrize(
    "value", ["[True, False]", "(1, 0)", "np.array([1, 0])", "[np.float32(1), np.int64(0)]", "iter([1, 0])"]
)
def test_numbers_of_any_kind(folder: Path, value: str) -> None:
    assert returning(folder, value).score(ITEMS).tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("[float('nan'), 0]", "returned nan for row rows.jsonl:4, which is not finite"),
        ("[0, -float('inf')]", "returned -inf for row rows.jsonl:9, which is not finite"),
        ("[0, 10**400]", "returned inf for row rows.jsonl:9"),
        ("[1]", "returned 1 numbers for 2 completions"),
        ("[1, 2, 3]", "returned 3 numbers for 2 completions"),
        ("[[None], 1]", "returned a list for row rows.jsonl:4, not a number"),
        ("['1', 1]", "returned a str for row rows.jsonl:4, not a number"),
        ("None", "returned None, not a list of numbers"),
        ("0.5", "returned a float, not a list of numbers"),
        ("'ab'", "returned a str, not a list"),
        ("{1: 2}", "returned a dict, not a list"),
    ],
)
def test_wrong_answers_have_messages_of_their_own(folder: Path, value: str, told: str) -> None:
    with pytest.raises(RewardError, match=r"mine\.reward") as caught:
        returning(folder, value).score(ITEMS)
    assert told in caught.value.message
    assert "one finite number for each of 2" in caught.value.hint


def test_an_exception_is_told_with_line_and_row(folder: Path) -> None:
    text = "def helper(c):\n    return 1 / len(c)\ndef reward(completions):\n    return [*map(helper, completions)]\n"
    with pytest.raises(RewardError) as caught:
        scorer(folder, text).score(ITEMS)
    assert "mine.py:2: ZeroDivisionError: division by zero (row rows.jsonl:9)" in caught.value.message


def test_an_exception_of_all_together_and_of_a_library(folder: Path) -> None:
    text = "import json\ndef reward(completions):\n    if completions[1:]:\n        json.loads('{')\n    return [0]\n"
    with pytest.raises(RewardError, match=r"mine.py:4: JSONDecodeError.*2 completions were scored together"):
        scorer(folder, text).score(ITEMS)
    with pytest.raises(RewardError, match=r"mine.py:2: SystemExit: 5"):
        scorer(folder, "def reward(**_):\n    raise SystemExit(5)\n").score(ITEMS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1 / 0\n", "mine.py failed when it was run: mine.py:1: ZeroDivisionError"),
        ("import nothing_of_this_name\n", "mine.py:1: ModuleNotFoundError"),
        ("import sys; sys.exit(3)\n", "mine.py:1: SystemExit"),
        ("reward = 5\n", "has no function 'reward'"),
        ("def other(): pass\n", "has no function 'reward'"),
        ("async def reward(**_): return []\n", "is async"),
    ],
)
def test_files_that_fail_when_they_are_run(folder: Path, text: str, told: str) -> None:
    found = scorer(folder, text)
    with pytest.raises(RewardError) as caught:
        found.prepare()
    assert told in caught.value.message


def test_a_file_is_run_once_for_all_its_functions_and_not_before(folder: Path, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    text = (
        f"with open({str(noted)!r}, 'a') as file:\n    file.write('x')\n"
        "def a(completions): return [1, 1]\n"
        "def b(completions): return [2, 2]\n"
    )
    (folder / "mine.py").write_text(text)
    rewards = [PythonReward(file="mine.py", function=name) for name in "ab"]
    found = Scorer(rewards, folder)
    found.check([("rows.jsonl:1", {})])
    assert not noted.exists()
    found.prepare()
    assert found.score(ITEMS).tolist() == [[1.0, 2.0], [1.0, 2.0]]
    assert noted.read_text() == "x"


def test_only_plain_files_of_the_folder(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("def reward(completions): return [0 for _ in completions]\n")
    (folder / "link.py").symlink_to(outside)
    (folder / "real.py").write_text(outside.read_text())
    (folder / "inner.py").symlink_to(folder / "real.py")
    (folder / "folder.py").mkdir()
    (folder / "dangling.py").symlink_to(tmp_path / "nothing.py")
    wrong: dict[str, Any] = {
        "link.py": "a link out of its folder", "folder.py": "is not a file", "dangling.py": "does not exist",
        "none.py": "does not exist", "../outside.py": "not the name", "sub/x.py": "not the name",
    }  # fmt: skip
    for name, told in wrong.items():
        with pytest.raises(RewardError, match=told):
            own.source(folder, name)
    for name in ("real.py", "inner.py"):
        assert Scorer([PythonReward(file=name)], folder).score(ITEMS).tolist() == [[0.0], [0.0]]


def test_files_are_listed_without_being_run(folder: Path, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    (folder / "a.py").write_text(
        f"open({str(noted)!r}, 'w')\n"
        "def short(completions, answer, *, n, k=3):\n    '''Short ones.\n\n    More.'''\n"
        "def _private(): pass\nclass C: pass\ndef wide(prompts, **columns): pass\n"
    )
    (folder / "b.py").write_text("def broken(:\n")
    (folder / "c.py").write_bytes(b"\xff\xfe")
    (folder / "d.py").write_bytes(b"x" * (own.LARGEST + 1))
    (folder / "e.py").write_text("x = " + "(" * 5000)
    (folder / "f.py").write_bytes(b"x = '\0'")
    (folder / "notes.txt").write_text("not Python")
    found = {each.file: each for each in own.listed(folder)}
    assert sorted(found) == ["a.py", "b.py", "c.py", "d.py", "e.py", "f.py"]
    short, wide = found["a.py"].functions
    assert (short.name, short.line, short.help) == ("short", 2, "Short ones.")
    assert (short.required, short.takes_all) == (("answer", "n"), False)
    assert (wide.required, wide.takes_all) == ((), True)
    assert "b.py:1" in found["b.py"].problem
    assert "UTF-8" in found["c.py"].problem
    assert "larger than 1 MiB" in found["d.py"].problem
    assert found["e.py"].problem
    assert found["f.py"].problem
    assert not noted.exists()


def test_none_leaves_a_row_out(folder: Path) -> None:
    both = scorer(folder, "def reward(completions):\n    return [None, 2]\n")
    scores = both.score(ITEMS)
    assert np.isnan(scores[0, 0])
    assert scores[1, 0] == 2
    totals = both.total(scores)
    assert np.isnan(totals[0])
    assert totals[1] == 2
    assert both.named(scores[0]) == {}
    assert both.named(scores[1]) == {"mine.reward": 2.0}
    assert [(name, column.tolist()) for name, column in both.columns(scores)] == [("mine.reward", [2.0])]


def test_another_reward_counts_where_one_leaves_a_row_out(folder: Path) -> None:
    (folder / "two.py").write_text(
        "def some(completions, **columns): return [None, 2]\ndef all(completions, **columns): return [1, 1]\n"
    )
    specs = [PythonReward(file="two.py", function="some", weight=3), PythonReward(file="two.py", function="all")]
    both = Scorer(specs, folder)
    assert both.total(both.score(ITEMS)).tolist() == [1.0, 7.0]


TRL = {
    "contents": "def reward(completions, **kwargs):\n    return [len(c[0]['content']) for c in completions]\n",
    "last": "def reward(completions, **kwargs):\n    return [len(c[-1]['content']) for c in completions]\n",
    "get": "def reward(prompts, completions):\n    return [len(c[0].get('content', '')) for c in completions]\n",
    "roles": "def reward(completions, **_):\n"
    "    return [len(c[0]['content']) if c[0]['role'] == 'assistant' else 9 for c in completions]\n",
    "either": "def reward(completions, **_):\n"
    "    return [len(c if isinstance(c, str) else c[0]['content']) for c in completions]\n",
    "spare": "def reward(completions, trainer_state=None, log_metric=None, **_):\n"
    "    assert trainer_state is None\n    return [len(c[0]['content']) for c in completions]\n",
    "ids": "def reward(prompts, completions, completion_ids, **_):\n    return [len(i) for i in completion_ids]\n",
}
"""Functions as TRL's documents and its conversational examples have them."""


@pytest.mark.parametrize("name", TRL)
def test_functions_of_trl_work_as_they_are(folder: Path, name: str) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "p1"}]
    items = [
        ToScore("p1", "four", 4, {"answer": "a"}, "rows.jsonl:4", messages=messages, ids=[1, 2, 3, 4]),
        ToScore("p2", "", 0, {"answer": "b"}, "rows.jsonl:9"),
    ]
    found = scorer(folder, TRL[name])
    found.check([("rows.jsonl:4", {"answer": "a"})])
    assert found.score(items).tolist() == [[4.0], [0.0]]


def test_a_conversation_is_its_messages_and_its_last_text(folder: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    text = (
        "import re\n"
        "def reward(prompts, completions):\n"
        "    (p,), (c,) = prompts, completions\n"
        "    assert p == 'Why?' and p.endswith('?') and re.search('W', p) and p[1:] == 'hy?', p\n"
        "    assert p[0]['content'] == 'Be brief.' and p[-1]['content'] == 'Why?' and p[1]['role'] == 'user'\n"
        "    assert c[0] == 'B' and c[0].isupper() and c[0]['role'] == 'assistant' and list(c) == [*'Because']\n"
        "    return [1]\n"
    )
    item = ToScore("Why?", "Because", 1, {}, "rows.jsonl:1", messages=messages)
    assert scorer(folder, text).score([item]).tolist() == [[1.0]]


@pytest.mark.parametrize("name", ["trainer_state", "log_extra", "log_metric", "environments"])
def test_what_only_trls_trainer_has_is_refused_by_name(folder: Path, name: str) -> None:
    found = scorer(folder, f"def reward(completions, {name}, **_):\n    return [0 for _ in completions]\n")
    with pytest.raises(InvalidData, match=rf"asks for {name}, .*TRL"):
        found.check([("rows.jsonl:1", {"answer": "a"})])
    found.check([("rows.jsonl:1", {name: 1})])  # a column of the user's own of that name


def test_a_call_that_does_not_return_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LONGEST_SECONDS", 0.1)
    text = (
        "import time\ndef reward(completions):\n"
        "    try:\n        time.sleep(60)\n    except Exception:\n        pass\n"
    )
    with pytest.raises(RewardError, match=r"mine\.reward: it had not returned after 0.1 seconds .*rows.jsonl:4"):
        scorer(folder, text).score(ITEMS)
    with pytest.raises(RewardError, match=r"mine.py was still not read after 0.1 seconds"):
        scorer(folder, "while True:\n    pass\n").score(ITEMS)
    assert not calls.overdue()


def test_a_call_is_abandoned_from_a_signal_handler(folder: Path) -> None:
    calls.abandon()  # nothing is under way
    text = (
        "import time\nfrom droidft.rewards import calls\n"
        "def reward(completions):\n    try:\n        calls.abandon()\n    except Exception:\n        pass\n"
    )
    with pytest.raises(calls.Abandoned):
        scorer(folder, text).score(ITEMS)
    calls.abandon()


def test_a_long_call_makes_its_run_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not calls.overdue()
    with calls.limited():
        assert not calls.overdue()
        monkeypatch.setattr(calls, "STALLED_SECONDS", -1.0)
        assert calls.overdue()
        monkeypatch.setattr(calls, "STALLED_SECONDS", 60.0)
        with pytest.raises(calls.Abandoned):
            calls.abandon()
        assert not calls.overdue()
        monkeypatch.setattr(calls, "PATIENCE_SECONDS", -1.0)
        assert calls.overdue()
    assert not calls.overdue()

"""`droidft data`: exit status, JSON, and what a person reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from droidft import cli
from tests.data import templates
from tests.data.helpers import make_tokenizer, write_jsonl
from tests.tiny import LLAMA

ROWS = [{"prompt": f"q{index}", "completion": f"a{index}" + "x" * index} for index in range(40)]


@pytest.fixture
def model(tmp_path: Path, home: Path) -> Path:
    """A model folder as far as the data commands read it: settings and tokenizer, no weights."""
    folder = home / "models" / "tiny"
    folder.mkdir(parents=True)
    make_tokenizer(templates.CHATML).save_pretrained(folder)
    config = {**LLAMA, "vocab_size": 1024, "max_position_embeddings": 48, "eos_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def droidft(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    status = cli.main(["data", *map(str, words)])
    return status, capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any]:
    status, out = droidft(capsys, *words, "--json")
    return status, json.loads(out)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "good.jsonl", ROWS)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b",}\n\n{"prompt": "c"}\n')
    return path


def test_check_without_a_model(capsys: pytest.CaptureFixture[str], home: Path, good: Path) -> None:
    status, out = droidft(capsys, "check", good)
    assert status == 0
    assert "40 completion rows" in out
    assert "no faults" in out


def test_check_lists_faults_and_fails(capsys: pytest.CaptureFixture[str], home: Path, bad: Path) -> None:
    status, out = droidft(capsys, "check", bad)
    assert status == 1
    assert out.splitlines()[:3] == [
        f"{bad}:2 (byte 26)",
        "  has a comma before a closing bracket at column 13",
        "  remove the comma",
    ]
    assert out.splitlines()[-1] == "3 faults: this data cannot be trained on"


def test_check_as_json(capsys: pytest.CaptureFixture[str], home: Path, good: Path, bad: Path) -> None:
    status, found = as_json(capsys, "check", bad)
    assert (status, found["ok"], found["fault_count"]) == (1, False, 3)
    assert [fault["line"] for fault in found["faults"]] == [2, 3, 4]
    status, found = as_json(capsys, "check", good)
    assert (status, found["ok"], found["report"]["train"]["rows"]) == (0, True, 40)


def test_check_with_a_model_finds_what_only_tokens_show(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "long.jsonl", [*ROWS, {"prompt": "p" * 60, "completion": "cut"}])
    assert as_json(capsys, "check", path)[0] == 0
    status, found = as_json(capsys, "check", path, "--model", "tiny", "--mask-prompt")
    assert (status, found["faults"][0]["kind"], found["faults"][0]["line"]) == (1, "all-cut", 41)
    status, found = as_json(capsys, "check", path, "--model", "tiny", "--mask-prompt", "--max-seq-length", 80)
    assert (status, found["report"]["max_seq_length"]) == (0, 80)


def test_stats_shows_counts_histogram_and_warnings(
    capsys: pytest.CaptureFixture[str], model: Path, good: Path
) -> None:
    status, out = droidft(capsys, "stats", good, "--model", "tiny")
    assert status == 0
    assert "4 of 40 rows held out" in out.replace("\n", " ")
    assert "are cut at 48 tokens" in out
    assert "█" in out
    assert "rows\t36\t4" in out.splitlines()
    status, found = as_json(capsys, "stats", good, "--model", "tiny")
    assert sum(part["rows"] for part in found["train"]["histogram"]) == found["train"]["rows"] == 36


def test_stats_of_bad_data_lists_the_faults(capsys: pytest.CaptureFixture[str], model: Path, bad: Path) -> None:
    status, out = droidft(capsys, "stats", bad, "--model", "tiny")
    assert status == 1
    assert "is blank" in out


def test_show_marks_tokens_where_there_is_no_colour(
    capsys: pytest.CaptureFixture[str], model: Path, good: Path
) -> None:
    status, out = droidft(
        capsys, "show", good, "--model", "tiny", "--line", 3, "--mask-prompt", "--max-seq-length", 13
    )
    assert status == 0
    assert out.splitlines() == [
        "tokens: [+] trained  [ ] masked  [x] cut",
        "",
        f"row 2, {good}:3: 5 trained, 8 masked, 1 cut",
        "[ ] <|user|>│↵│q│2│<|end|>│↵│<|assistant|>│↵",
        "[+] a│2│x│x│<|end|>",
        "[x] ↵",
    ]


def test_show_as_json_gives_every_token(capsys: pytest.CaptureFixture[str], model: Path, good: Path) -> None:
    status, (row,) = as_json(capsys, "show", good, "--model", "tiny", "--mask-prompt")
    assert (status, row["row"], row["line"]) == (0, 0, 1)
    assert "".join(piece["text"] for piece in row["pieces"] if piece["state"] == "trained") == "a0<|end|>"


def test_control_characters_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"text": "a\x1b[31mred\x07"}, {"text": "b\x1b"}])
    out = droidft(capsys, "show", path, "--model", "tiny")[1]
    assert "\x1b" not in out
    assert "\x07" not in out


@pytest.mark.parametrize(
    ("words", "status"),
    [(("--rows", "a"), 2), (("--rows", "1,"), 2), (("--line", "0"), 2), (("--rows", "99"), 1)],
)
def test_numbers_that_are_none_are_refused(
    words: tuple[str, str], status: int, capsys: pytest.CaptureFixture[str], model: Path, good: Path
) -> None:
    assert cli.main(["data", "show", str(good), "--model", "tiny", *words]) == status
    assert "hint" in capsys.readouterr().err


def test_prompts_and_preferences_are_checked_by_method(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    rows = [{"prompt": f"q{index}", "chosen": "yes", "rejected": "no"} for index in range(10)]
    path = write_jsonl(tmp_path / "pairs.jsonl", rows)
    more = ("--method", "grpo", "--max-completion-length", 8, "--model", model.name)
    status, report = as_json(capsys, "check", path, *more, "--max-prompt-length", 4)
    assert (status, report["fault_count"], report["faults"][0]["kind"]) == (1, 10, "prompt-too-long")
    status, report = as_json(capsys, "stats", path, *more)
    assert (status, report["format"], report["train"]["supervised_tokens"]) == (0, "prompt", 0)
    assert "trained tokens" not in droidft(capsys, "stats", path, *more)[1]
    status, report = as_json(capsys, "check", path, "--method", "dpo")
    assert (status, report["report"]["train"]["format"]) == (0, "preference")
    assert droidft(capsys, "check", path, "--method", "orpo", "--model", model.name)[0] == 0
    shown = droidft(capsys, "show", path, "--method", "dpo", "--model", model.name, "--line", 3)[1]
    assert "row 2 (chosen)" in shown
    assert "row 2 (rejected)" in shown


def test_rewards_say_which_columns_they_miss(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> None:
    path = write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": f"q{index}"} for index in range(10)])
    more = ("--method", "grpo", "--max-completion-length", 8, "--model", model.name)
    rewards = json.dumps([{"kind": "numeric_answer"}])
    status, report = as_json(capsys, "check", path, *more, "--rewards", rewards)
    assert status == 1
    assert "answer" in report["faults"][0]["reason"]

from __future__ import annotations

import json
from pathlib import Path

import pytest

from droidft.cli import main
from tests.adapters.files import write_adapter
from tests.tiny import llama, write_model


@pytest.fixture(autouse=True)
def arms(home: Path) -> None:
    write_model(home / "models" / "tiny")
    write_adapter(home / "adapters" / "poet", llama(), strength=1.0)
    write_adapter(home / "adapters" / "poet", llama(), name="best_adapters.safetensors", strength=3.0)
    write_adapter(home / "adapters" / "idle", llama(), strength=0.0)


WORDS = ["compare", "--model", "tiny", "--max-tokens", "6"]


def test_answers_are_those_of_each_arm_alone(capsys: pytest.CaptureFixture[str]) -> None:
    adapters = ["poet", "idle", "poet@latest"]
    asked = [word for adapter in adapters for word in ("--adapter", adapter)]
    assert main([*WORDS, *asked, "--prompt", "hello", "--prompt", "abc", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [arm["arm"] for arm in found["arms"]] == ["base", *adapters]
    assert "no_effect" in [warning["code"] for warning in found["arms"][2]["adapter"]["warnings"]]
    assert [prompt["prompt"] for prompt in found["prompts"]] == ["hello", "abc"]
    for prompt in found["prompts"]:
        answers = {answer["arm"]: answer["response"] for answer in prompt["answers"]}
        assert answers["idle"] == answers["base"]
        assert len(set(answers.values())) == 3
        for arm, text in answers.items():
            extra = [] if arm == "base" else ["--adapter", arm]
            words = ["chat", "--model", "tiny", "--max-tokens", "6", "--temperature", "0", *extra]
            assert main([*words, "--prompt", prompt["prompt"], "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["response"] == text


@pytest.mark.parametrize("width", ["80", "120"])
def test_a_terminal_or_a_pipe_of_any_width(
    width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert main([*WORDS, "--adapter", "poet", "--prompt", "hello"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert "> hello" in captured.out
    assert max(map(len, lines)) <= int(width)
    headings = [line for line in lines if "base" in line or "poet" in line]
    assert len(headings) == (2 if width == "80" else 1), "stacked, or side by side"
    assert "poet (best): lora, rank 4" in " ".join(captured.err.split())


def test_prompts_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, rows = tmp_path / "prompts.txt", tmp_path / "prompts.jsonl"
    text.write_text("hello\n\nabc\n")
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "known"}]
    rows.write_text(json.dumps({"messages": messages}) + "\n" + json.dumps({"prompt": "abc"}) + "\n")
    results = []
    for file in (text, rows):
        assert main([*WORDS, "--adapter", "poet", "--prompts", str(file), "--json"]) == 0
        results.append([prompt["answers"] for prompt in json.loads(capsys.readouterr().out)["prompts"]])
    assert results[0] == results[1]


@pytest.mark.parametrize("content", ["", "\n\n", "{", '{"text": "x"}', '{"messages": [{"role": "user"}]}', "[]"])
def test_prompt_files_that_hold_none(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(content)
    assert main([*WORDS, "--adapter", "poet", "--prompts", str(file)]) == 1
    assert "prompts.jsonl" in capsys.readouterr().err


def test_a_missing_adapter_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--adapter", "poet", "--adapter", "pot", "--prompt", "hello"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "there is no adapter 'pot'" in captured.err
    assert "poet" in captured.err


def test_an_adapter_is_never_written(home: Path) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        files = sorted((home / "adapters").rglob("*.*"))
        return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}

    before = state()
    assert main([*WORDS, "--adapter", "poet", "--adapter", "poet@best", "--prompt", "hello"]) == 0
    assert state() == before

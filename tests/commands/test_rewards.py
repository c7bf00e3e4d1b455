"""`droidft rewards`: every kind is explained, own files are found, and a trial shows what completions earn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from droidft import cli
from droidft.config.rewards import REWARDS
from tests import tiny

OWN = "def short(completions, **columns):\n    '''Shorter is better.'''\n    return [-len(c) for c in completions]\n"


def test_every_kind_and_own_file_is_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "rewards").mkdir()
    (home / "rewards" / "mine.py").write_text(OWN + "raise SystemExit('it was run')\n")
    (home / "rewards" / "broken.py").write_text("def f(:\n")
    assert cli.main(["rewards"]) == 0
    text = capsys.readouterr().out
    for reward in REWARDS:
        assert f"{reward.model_fields['kind'].default}  {reward.scale}" in text
        assert all(f"    {name} [" in text for name in reward.model_fields if name != "kind")
    assert "short (Shorter is better.)" in text
    assert "broken.py" in text
    assert cli.main(["rewards", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["kinds"]) == len(REWARDS)
    assert [file["file"] for file in found["files"]] == ["broken.py", "mine.py"]


def test_a_trial(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write_model(home / "models" / "tiny")
    tiny.write_chat(home / "chat.jsonl")
    (home / "rewards").mkdir()
    (home / "rewards" / "mine.py").write_text(OWN)
    rewards = [{"kind": "python", "file": "mine.py", "function": "short", "weight": 0.5}, {"kind": "tag_format"}]
    (home / "c.yaml").write_text(
        f"method: grpo\nmodel_path: tiny\ntrain_data_path: {home / 'chat.jsonl'}\nmax_completion_length: 12\n"
        f"rewards: {json.dumps(rewards)}\n"
    )
    words = ["rewards", "try", str(home / "c.yaml"), "--prompts", "3", "--completions", "2", "--json"]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rewards"] == ["mine.short", "tag_format"]
    assert len(found["rows"]) == 6
    assert len({row["place"] for row in found["rows"]}) == 3
    for row in found["rows"]:
        assert row["rewards"]["mine.short"] == -len(row["completion"])
        assert row["reward"] == pytest.approx(0.5 * row["rewards"]["mine.short"] + row["rewards"]["tag_format"])
        assert row["tokens"] == 12 or not row["truncated"]
    for first, second in zip(found["rows"][::2], found["rows"][1::2], strict=True):
        assert first["place"] == second["place"]
        assert first["advantage"] == pytest.approx(-second["advantage"])

    assert cli.main(words[:-1]) == 0
    text = capsys.readouterr().out
    assert "mine.short" in text
    assert "6 completions" in text
    assert cli.main(["rewards", "try", str(home / "c.yaml"), "--method", "sft"]) == cli.MISUSED
    assert "has no rewards to try" in capsys.readouterr().err

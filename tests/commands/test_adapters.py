from __future__ import annotations

import json
from pathlib import Path

import pytest

from droidft.cli import main
from tests.adapters.files import ATTENTION_QV, edit_weights, write_adapter
from tests.tiny import llama, write_model


def test_list(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters"]) == 0
    assert "no adapters yet" in capsys.readouterr().out
    write_adapter(home / "adapters" / "poet", llama(), config={"model": "/somewhere/acme"})
    (home / "adapters" / "empty").mkdir()
    assert main(["adapters"]) == 0
    out = capsys.readouterr().out
    assert "poet" in out
    assert "acme" in out
    assert "has no adapter_config.json" in " ".join(out.split())
    assert main(["adapters", "list", "--json"]) == 0
    empty, poet = json.loads(capsys.readouterr().out)
    assert (poet["rank"], poet["blocks"], poet["problem"]) == (4, 2, None)
    assert empty["problem"]


def test_show_judges_against_a_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_adapter(home / "adapters" / "poet", llama(), keys=ATTENTION_QV)
    write_model(home / "models" / "tiny")
    assert main(["adapters", "show", "poet", "--model", "tiny"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "2 of the 7 projections" in out
    assert main(["adapters", "show", "poet", "--model", "tiny", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [warning["code"] for warning in found["warnings"]] == ["base_unknown", "attention_only", "no_best"]
    write_model(home / "models" / "wide", hidden_size=64)
    assert main(["adapters", "show", "poet", "--model", "wide"]) == 1
    assert "does not fit this model" in capsys.readouterr().err


def test_show_a_damaged_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_adapter(home / "adapters" / "poet", llama())
    edit_weights(folder, lambda arrays: arrays.update({name: array * float("inf") for name, array in arrays.items()}))
    assert main(["adapters", "show", "poet"]) == 1
    assert "NaN or infinite" in capsys.readouterr().err


def test_delete(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_adapter(home / "adapters" / "poet", llama())
    assert main(["adapters", "delete", "poet"]) == 0
    assert not folder.exists()
    assert main(["adapters", "delete", "poet"]) == 1
    assert main(["adapters", "delete", "../models"]) == 2


def test_several_are_deleted_at_once_or_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write_adapter(home / "adapters" / name, llama()) for name in ("a", "b")]
    assert main(["adapters", "delete", "a", "b", "c"]) == 1
    assert all(folder.exists() for folder in folders)
    capsys.readouterr()
    assert main(["adapters", "delete", "a", "b", "a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": ["a", "b"]}
    assert not any(folder.exists() for folder in folders)

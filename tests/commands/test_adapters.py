from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from droidft.adapters.formats import PEFT_WEIGHTS
from droidft.cli import main
from droidft.models.fingerprint import fingerprint
from tests.adapters.files import ATTENTION_QV, edit_weights, write_adapter
from tests.tiny import llama, write_model


def test_list(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters"]) == 0
    assert "no adapters yet" in capsys.readouterr().err
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


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another user's home folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no_cache"))
    return folder


def trained(home: Path) -> Path:
    """An adapter in this home, on a base that its record knows by hash."""
    base = write_model(home / "models" / "tiny")
    section = {"run": "r1", "alpha": 4.0, "base": {**fingerprint(base), "path": str(base)}}
    return write_adapter(home / "adapters" / "poet", llama(), config={"droidft": section, "model": str(base)})


def test_packed_here_and_imported_elsewhere(
    home: Path, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(home)
    file = tmp_path / "out" / "poet.adapter.zip"
    file.parent.mkdir()
    assert main(["adapters", "pack", "poet", "-o", str(file.parent)]) == 0
    out = capsys.readouterr().out
    assert "holds poet@latest; `droidft adapters import poet.adapter.zip` adds it" in out
    assert "it needs tiny, whose weights have the SHA-256 " in out
    assert main(["adapters", "pack", "poet", "-o", str(file)]) == 1
    assert "already" in capsys.readouterr().err

    monkeypatch.setenv("DROIDFT_HOME", str(elsewhere))
    assert main(["adapters", "import", str(file)]) == 0
    shown = capsys.readouterr()
    assert "poet is imported" in shown.out
    assert "its base is not on this machine, so it was not checked against one: it needs tiny" in shown.err
    assert (elsewhere / "adapters/poet/adapters.safetensors").read_bytes() == (
        folder / "adapters.safetensors"
    ).read_bytes()

    assert main(["adapters", "import", str(file)]) == 1
    assert "there is an adapter 'poet' already" in capsys.readouterr().err
    here = write_model(elsewhere / "models" / "renamed")
    assert main(["adapters", "import", str(file), "--name", "second", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["adapter"], facts["checked_against"]) == ("second", "renamed")
    assert [warning["code"] for warning in facts["warnings"]] == ["no_best"]
    assert main(["adapters", "show", "second", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert (second["base"], second["run"]) == (str(here), None)


def test_an_import_that_does_not_fit_leaves_nothing(
    home: Path, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(home)
    file = tmp_path / "poet.zip"
    assert main(["adapters", "pack", "poet", "-o", str(file)]) == 0
    monkeypatch.setenv("DROIDFT_HOME", str(elsewhere))
    write_model(elsewhere / "models" / "wide", hidden_size=64)
    write_model(elsewhere / "models" / "same", seed=3)
    assert main(["adapters", "import", str(file), "--model", "wide"]) == 1
    assert "adapter poet does not fit this model" in capsys.readouterr().err
    assert not list((elsewhere / "adapters").iterdir())
    assert main(["adapters", "import", str(file), "--model", "same"]) == 0
    assert "trained on other weights" in capsys.readouterr().err


def test_a_base_that_is_known_by_its_name_alone_is_no_warning(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(home / "models" / "tiny")
    folder = write_adapter(tmp_path / "poet", llama(), config={"model": "tiny"})
    assert main(["adapters", "import", str(folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["checked_against"] == "tiny"
    assert [warning["code"] for warning in facts["warnings"]] == ["no_best"]


def test_a_folder_is_imported_too_and_what_is_none_is_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_adapter(tmp_path / "my poet", llama())
    assert main(["adapters", "import", str(folder)]) == 0
    assert "my-poet is imported" in capsys.readouterr().out
    assert main(["adapters", "import", str(tmp_path / "none")]) == 1
    assert "there is no " in capsys.readouterr().err
    assert main(["adapters", "import", str(folder), "--name", "../x"]) == 2
    edit_weights(folder, lambda arrays: arrays.popitem())
    assert main(["adapters", "import", str(folder), "--name", "half"]) == 1
    assert "is incomplete" in capsys.readouterr().err
    assert not (home / "adapters" / "half").exists()


def test_an_adapter_of_peft_comes_in_with_the_model_that_it_is_for(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    factor = np.ones((2, 32), np.float32)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file({f"{name}.lora_A.weight": factor, f"{name}.lora_B.weight": factor.T.copy()}, folder / PEFT_WEIGHTS[0])
    config = {"peft_type": "LORA", "lora_alpha": 4, "base_model_name_or_path": "org/elsewhere"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert main(["adapters", "import", str(folder)]) == 1
    refused = capsys.readouterr().err
    assert "theirs was trained on org/elsewhere, which is not on this machine" in refused
    assert "--base MODEL" in refused
    base = write_model(home / "models" / "tiny")
    # Every entrance names the command.
    assert main(["adapters", "show", str(folder)]) == 1
    assert f"droidft adapters import {folder} --base MODEL" in " ".join(capsys.readouterr().err.split())
    assert main(["adapters", "import", str(folder), "--base", "tiny", "--name", "ours"]) == 0
    assert "ours is imported; it fits tiny" in capsys.readouterr().out
    assert main(["adapters", "show", "ours", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["rank"], facts["alpha"], facts["base"]) == (2, 4, str(base))

"""Folders that are whole but no adapters in mlx-lm's format are called what they are, listed and opened alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from droidft.adapters.folder import find_adapter, list_adapters, read_adapter
from droidft.errors import AdapterError

FOLDERS = {
    "peft": (
        {"adapter_config.json": '{"peft_type": "LORA", "r": 8}', "adapter_model.safetensors": ""},
        "in PEFT's f",
    ),
    "peft-bin": ({"adapter_model.bin": ""}, r"in PEFT's format \(adapter_model.bin\)"),
    "peft-config": ({"adapter_config.json": '{"peft_type": "IA3"}'}, r"in PEFT's format \(peft_type IA3\)"),
    "model": ({"config.json": "{}", "model.safetensors": ""}, r"is a whole model \(model.safetensors\)"),
    "other": ({"adapter_config.json": "{}", "lora.npz": ""}, "has no adapters.safetensors; it holds lora.npz"),
    "empty": ({"adapter_config.json": json.dumps({"num_layers": 2, "lora_parameters": {}})}, "no adapters.safeten"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_called_what_it_is(tmp_path: Path, name: str) -> None:
    files, told = FOLDERS[name]
    (tmp_path / name).mkdir()
    for file, text in files.items():
        (tmp_path / name / file).write_text(text)
    with pytest.raises(Exception, match=told):
        read_adapter(*find_adapter(name, adapters_dir=tmp_path))
    [listed] = list_adapters(tmp_path)
    assert listed.info is None
    assert listed.problem


@pytest.mark.parametrize("name", ["poet (1)", "-x", "ü", "a" * 65])
def test_a_name_is_refused_where_it_is_listed_and_where_it_is_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterError, match="a name that no adapter can have") as caught:
        find_adapter(name, adapters_dir=tmp_path)
    assert "rename it" in caught.value.hint
    [listed] = list_adapters(tmp_path)
    assert "a name that no adapter can have" in listed.problem


def test_a_folder_elsewhere_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "poet (1)").mkdir()
    folder, _ = find_adapter(str(tmp_path / "poet (1)"), adapters_dir=tmp_path / "adapters")
    assert folder == tmp_path / "poet (1)"

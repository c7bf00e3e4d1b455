from __future__ import annotations

from pathlib import Path

import pytest

import droidft
from droidft.api import answering
from tests.adapters.exports.trained import adapted
from tests.tiny import write_chat, write_model


@pytest.fixture
def home(tmp_path: Path) -> Path:
    base = write_model(tmp_path / "home" / "models" / "tiny")
    adapted(base, tmp_path / "home" / "adapters" / "poet")
    write_chat(tmp_path / "rows.jsonl", rows=12)
    return tmp_path / "home"


def test_an_adapter_leaves_with_its_certificate(home: Path) -> None:
    reports: list[str] = []
    try:
        done = droidft.export(
            "poet",
            "merged",
            home=home,
            rows=str(home.parent / "rows.jsonl"),
            row_count=4,
            progress=lambda what, done, total: reports.append(what),
        )
    finally:
        answering._release()
    assert done.certificate.passed
    assert (done.path, done.name) == (home / "exports" / "poet-merged", "poet-merged")
    assert "merging" in reports


def test_every_fault_of_a_request_is_named(home: Path) -> None:
    with pytest.raises(droidft.DroidError, match=r"form: must be 'peft', .* got 'onnx'.*row_count"):
        droidft.export("poet", "onnx", home=home, row_count=0)
    with pytest.raises(droidft.DroidError, match="quantize"):
        droidft.export("poet", "gguf", home=home, quantize="Q4_K_M")

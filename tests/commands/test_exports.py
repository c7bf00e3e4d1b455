"""`droidft exports`: what is there, damaged or failed, shown and deleted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from droidft.adapters.exports.certificate import FILE
from droidft.adapters.exports.forms import ExportRequest
from droidft.cli import main
from droidft.home import Home
from droidft.workers import export_plan
from droidft.workers.export import export, plan_export
from tests.adapters.exports.trained import adapted
from tests.tiny import write_chat, write_model


@pytest.fixture
def exports(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good export, a failed one whose files lack the adapter, and a damaged one."""
    place = Home(home)
    write_model(place.models / "tiny")
    adapted(place.models / "tiny", place.adapters / "poet")
    rows = str(write_chat(place.data / "rows.jsonl", rows=8))
    for name in ("good", "bad"):
        if name == "bad":
            monkeypatch.setattr(export_plan, "updates", lambda info, origins: [])
        request = {"adapter": "poet", "form": "merged", "rows": rows, "row_count": 4, "name": name}
        export(plan_export(ExportRequest.model_validate(request), place), place, lambda what, done, total: None)
    shutil.copytree(place.exports / "good", place.exports / "cut")
    (place.exports / "cut" / FILE).write_text("{")
    return place.exports


def test_without_exports_the_list_says_how_to_make_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exports"]) == 0
    assert "no exports yet" in capsys.readouterr().err


def test_list_show_and_delete(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exports"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.index("bad merged failed") < out.index("good merged passed"), "the newest is first"
    assert "cut cannot be used" in out
    assert main(["exports", "list", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert {name: entry["problem"] == "" for name, entry in entries.items()} == {
        "good": True,
        "bad": True,
        "cut": False,
    }
    assert main(["exports", "show", "good"]) == 0
    assert "vllm serve" in capsys.readouterr().out
    assert main(["exports", "show", "bad"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("failed: ")
    assert "vllm serve" not in shown
    assert main(["exports", "show", "good", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == entries["good"]
    assert main(["exports", "delete", "cut", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": ["cut"]}
    assert not (exports / "cut").exists()
    assert main(["exports", "show", "cut"]) == 1
    assert "there is no export 'cut'" in capsys.readouterr().err

from __future__ import annotations

import json
from pathlib import Path

import pytest

from droidft.cli import main
from droidft.home import Home
from droidft.workers import export_plan
from tests.adapters.exports.trained import adapted
from tests.tiny import write_chat, write_model


@pytest.fixture
def rows(home: Path, tmp_path: Path) -> str:
    """Rows for the certificate of `poet`, an adapter of a tiny model."""
    place = Home(home)
    adapted(write_model(place.models / "tiny"), place.adapters / "poet")
    return str(write_chat(tmp_path / "rows.jsonl", rows=12))


def test_the_verdict_comes_first_then_how_to_use_it(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "poet", "--to", "merged", "--rows", rows]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("passed: the exported files have a loss of ")
    assert [line.split()[0] for line in shown[1:4]] == ["base", "trained", "exported"]
    assert any("poet-merged is done" in line for line in shown)
    assert any("vllm serve" in line for line in shown)


def test_a_failed_certificate_is_never_announced_as_done(
    rows: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_plan, "updates", lambda info, origins: [])
    assert main(["export", "poet", "--to", "merged", "--rows", rows]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("poet-merged is not what was trained")
    assert "is done" not in shown
    assert "vllm" not in shown


def test_json_has_all_of_it(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "poet", "--to", "mlx", "--rows", rows, "--row-count", "4", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["certificate"]["verdict"] == "passed"
    assert values["certificate"]["rows"] == 4
    assert Path(values["path"]).is_dir()
    assert values["usage"][0]["program"] == "mlx-lm"


def test_a_type_that_is_none_is_refused_with_those_that_are(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "poet", "--to", "mlx", "--type", "Q8_0"]) == 2
    assert "type is 'Q8_0'; for mlx it can be one of 4, 8" in capsys.readouterr().err


def test_what_is_out_of_range_is_called_as_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "poet", "--to", "mlx", "--row-count", "0"]) == 2
    assert "error: --row-count: must be at least 1, got 0" in capsys.readouterr().err

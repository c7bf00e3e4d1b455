"""`--push`: found before the work, asked about after it, never sent without an answer."""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from droidft.adapters.exports import certificate
from droidft.cli import main
from droidft.commands import _push
from droidft.errors import ConfigError, UploadError
from droidft.home import Home
from tests.adapters.exports.test_pushing import export
from tests.adapters.exports.trained import adapted
from tests.models.hub_uploads import TOKEN, UploadServer, serve_uploads
from tests.tiny import write_chat, write_model

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadServer]:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serve_uploads() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    _push.add_push(parser)
    return parser.parse_args(words)


def answering(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)


@pytest.mark.parametrize(("answer", "sent"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_the_answer_decides(
    server: UploadServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    sent: bool,
) -> None:
    answering(monkeypatch, answer)
    repository = _push.reached(arguments("--push", "acme/tiny"))
    assert repository is not None
    assert not server.repositories
    folder = export(tmp_path / "x")
    pushed = _push.push(folder, repository, Home.find(), yes=False, as_json=False)
    out = capsys.readouterr().out
    assert re.search(r"Push 4 files \([\d.]+ kB\) as maria to acme/tiny, a new private repository\? \[y/N\]", out)
    assert (pushed is not None) is sent is ("acme/tiny" in server.repositories)
    assert (f"to {server.url}/acme/tiny" in out) is sent
    assert ("not pushed" in out) is not sent


def test_yes_answers_beforehand_and_public_is_a_flag(
    server: UploadServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    repository = _push.reached(arguments("--push", "acme/tiny", "--public", "--yes"))
    assert repository is not None
    _push.push(export(tmp_path / "x"), repository, Home.find(), yes=True, as_json=False)
    assert server.private == {"acme/tiny": False}
    assert "[y/N]" not in capsys.readouterr().out


def test_in_a_pipe_it_is_refused_before_anything_is_done(
    server: UploadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(ConfigError, match="nobody can be asked") as caught:
        _push.reached(arguments("--push", "acme/tiny"))
    assert "--yes" in caught.value.hint
    assert not server.requests


def test_what_cannot_be_pushed_to_is_told_before_the_work(
    server: UploadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UploadError, match="does not belong to other"):
        _push.reached(arguments("--push", "other/tiny", "--yes"))
    with pytest.raises(ConfigError, match="--public says nothing without --push"):
        _push.reached(arguments("--public"))
    assert _push.reached(arguments()) is None


@pytest.fixture
def words(home: Path) -> list[str]:
    """An export of a tiny adapter, as it is typed."""
    write_model(home / "models" / "tiny")
    adapted(home / "models" / "tiny", home / "adapters" / "poet")
    rows = write_chat(home / "rows.jsonl", rows=12)
    return ["export", "poet", "--to", "merged", "--rows", str(rows), "--row-count", "4"]


def test_an_export_is_pushed_and_the_same_command_goes_on_after_a_lost_connection(
    server: UploadServer, home: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.refusing["/commit/"] = (503, "busy")
    pushing = [*words, "--push", "acme/poet", "--yes"]
    assert main(pushing) == 1
    assert "the hub answered 503 for acme/poet" in capsys.readouterr().err
    folder = home / "exports" / "poet-merged"
    made = (folder / "certificate.json").stat().st_mtime_ns
    server.refusing.clear()
    sent = sum(server.received.values())
    assert main([*pushing, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (folder / "certificate.json").stat().st_mtime_ns == made, "it was exported once"
    assert sum(server.received.values()) == sent, "nothing was sent twice"
    assert answer["pushed"]["url"] == f"{server.url}/acme/poet"
    held = server.repositories["acme/poet"]
    assert held["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert str(home) not in held["certificate.json"].decode() + held["README.md"].decode()
    assert b"acme/poet" in held["README.md"]
    assert certificate.Certificate.model_validate_json(held["certificate.json"]).passed
    assert main(words) == 2, "without --push the name is taken"


def test_an_export_that_failed_is_not_pushed(
    server: UploadServer,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("droidft.workers.export_plan.updates", lambda info, origins: [])
    assert main([*words, "--push", "acme/poet", "--yes"]) == 1
    shown = capsys.readouterr()
    assert "nothing was pushed: the export is not what was trained" in shown.err
    assert not server.repositories
    monkeypatch.undo()


def test_one_that_changes_nothing_says_so_and_is_pushed_with_that_sentence(
    server: UploadServer,
    home: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An adapter as it is before the first step."""
    weights = home / "adapters" / "poet" / "adapters.safetensors"
    arrays = mx.load(str(weights))
    assert isinstance(arrays, dict)
    mx.save_safetensors(str(weights), {name: value * name.endswith("lora_a") for name, value in arrays.items()})
    answering(monkeypatch, "n\n")
    assert main([*words, "--push", "acme/poet"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("unproven: the adapter changes nothing: base and trained are the same")
    assert "repository? Its certificate is unproven: the adapter changes nothing" in out
    assert main([*words, "--push", "acme/poet", "--yes"]) == 0
    assert "warning: unproven: the adapter changes nothing" in " ".join(capsys.readouterr().err.split())
    assert "The check of this export proves nothing." in server.repositories["acme/poet"]["README.md"].decode()
    assert main(["exports"]) == 0
    assert "poet-merged merged unproven" in " ".join(capsys.readouterr().out.split())


def test_after_a_no_the_export_is_there(
    server: UploadServer, home: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "n\n")
    assert main([*words, "--push", "acme/poet"]) == 1
    assert (home / "exports" / "poet-merged" / "certificate.json").is_file()
    assert not server.repositories
    answering(monkeypatch, "y\n")
    assert main([*words, "--push", "acme/poet"]) == 0
    assert "acme/poet" in server.repositories


def test_a_folder_of_the_home_in_the_config_is_not_told(server: UploadServer, home: Path, words: list[str]) -> None:
    config = home / "models" / "tiny" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_name_or_path": f"{home}/models/tiny"}))
    assert main([*words, "--push", "acme/poet", "--yes"]) == 1
    assert not server.repositories


def test_the_licence_of_a_base_without_a_card_is_asked_of_the_hub(
    server: UploadServer, home: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The adapter says that it was trained on a model of the hub."""
    server.repositories["acme/base"] = {"README.md": b"---\nlicense: gemma\n---\n"}
    server.private["acme/base"] = False
    assert main([*words, "--model", "tiny"]) == 0
    folder = home / "exports" / "poet-merged"
    command = certificate.read(folder).command.replace("--model tiny", "--model acme/base")
    certificate.write(folder, certificate.read(folder).model_copy(update={"command": command}))
    (folder / "README.md").write_text("no metadata")
    repository = _push.reached(arguments("--push", "acme/tiny", "--yes"))
    assert repository is not None
    _push.push(folder, repository, Home.find(), yes=True, as_json=False)
    card = server.repositories["acme/tiny"]["README.md"].decode()
    assert "base_model: acme/base\nbase_model_relation: finetune\nlicense: gemma\n" in card


def test_an_export_whose_adapter_is_gone_goes_with_the_card_it_was_made_with(
    server: UploadServer, home: Path, words: list[str]
) -> None:
    assert main(words) == 0
    shutil.rmtree(home / "adapters" / "poet")
    repository = _push.reached(arguments("--push", "acme/tiny", "--yes"))
    assert repository is not None
    folder = home / "exports" / "poet-merged"
    assert _push.push(folder, repository, Home.find(), yes=True, as_json=False) is not None
    assert server.repositories["acme/tiny"]["README.md"] == (folder / "README.md").read_bytes()

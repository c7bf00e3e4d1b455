"""`--push`: found before the work, asked about after it, never sent without an answer."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from droidft.commands import _push
from droidft.commands._terminal import terminal
from droidft.errors import ConfigError, UploadError
from droidft.home import Home
from tests.adapters.exports.test_pushing import export
from tests.models.hub_uploads import TOKEN, UploadServer, serve_uploads

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
    pushed = _push.push(folder, repository, Home.find(), terminal(), yes=False)
    out = capsys.readouterr().out
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert f"Push 4 files ({size / 1000:.1f} kB) as maria to acme/tiny, a new private repository? [y/N]" in out
    assert (pushed is not None) is sent is ("acme/tiny" in server.repositories)
    assert (f"to {server.url}/acme/tiny" in out) is sent
    assert ("not pushed" in out) is not sent


def test_yes_answers_beforehand_and_public_is_a_flag(
    server: UploadServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    repository = _push.reached(arguments("--push", "acme/tiny", "--public", "--yes"))
    assert repository is not None
    _push.push(export(tmp_path / "x"), repository, Home.find(), terminal(), yes=True)
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

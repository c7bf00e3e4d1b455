"""The token, launch codes and sessions: private, one-time, and lasting over a restart."""

from __future__ import annotations

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from droidft.errors import DroidError
from droidft.server import access as module
from droidft.server.access import Access
from droidft.server.errors import Busy, Unauthorized


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "server"


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_the_token_is_long_random_and_private_under_any_umask(folder: Path, umask: int) -> None:
    folder.parent.chmod(0o700)
    before = os.umask(umask)
    try:
        token = Access(folder, 1).token
    finally:
        os.umask(before)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["token"]
    assert Access(folder, 2).token == token


def test_many_servers_at_once_agree_on_one_token(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: Access(folder, 1).token, range(40)))) == 1


@pytest.mark.parametrize("kind", ["readable", "short", "empty", "link", "binary"])
def test_a_token_file_that_cannot_be_trusted_is_replaced(folder: Path, tmp_path: Path, kind: str) -> None:
    file = folder / "token"
    good = Access(folder, 1).token
    if kind == "readable":
        file.chmod(0o644)
    elif kind == "link":
        aside = tmp_path / "aside"
        file.rename(aside)
        file.symlink_to(aside)
    else:
        file.write_bytes({"short": b"abc", "empty": b"", "binary": b"\xff" * 50}[kind])
    token = Access(folder, 1).token
    assert token != good
    assert len(token) == 43
    assert not file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_launch_code_works_once_and_not_for_long(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = Access(folder, 1)
    code = access.launch_code()
    assert len(code) >= 22  # 128 bits
    assert access.is_session(access.sign_in(code))
    with pytest.raises(Unauthorized):
        access.sign_in(code)
    late = access.launch_code()
    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.CODE_SECONDS + 1)
    assert not access.redeem(late)


def test_codes_and_sessions_do_not_pile_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CODES", 5)
    monkeypatch.setattr(module, "MOST_SESSIONS", 5)
    access = Access(folder, 1)
    codes = [access.launch_code() for _ in range(9)]
    assert [access.redeem(code) for code in codes] == [False] * 4 + [True] * 5
    sessions = [access.sign_in(access.token) for _ in range(9)]
    assert sum(map(access.is_session, sessions)) == 5
    assert access.is_session(sessions[-1])


def test_sessions_last_over_a_restart_and_end_with_signing_out_or_a_new_token(folder: Path) -> None:
    access = Access(folder, 1)
    kept, ended = access.sign_in(access.token), access.sign_in(access.token)
    access.sign_out(ended)
    again = Access(folder, 1)
    assert again.is_session(kept)
    assert not again.is_session(ended)
    text = (folder / "sessions.json").read_text()
    assert kept not in text
    assert access.token not in text
    assert stat.S_IMODE((folder / "sessions.json").stat().st_mode) == 0o600
    (folder / "token").unlink()
    assert not Access(folder, 1).is_session(kept)


def test_a_session_ends_after_a_month(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = Access(folder, 1)
    cookie = access.sign_in(access.token)
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + module.SESSION_SECONDS + 1)
    assert not access.is_session(cookie)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"token": 1}', '{"token": "x", "sessions": []}', "\x00", "{"]
)
def test_a_damaged_file_of_sessions_signs_out_and_harms_nothing(folder: Path, text: str) -> None:
    access = Access(folder, 1)
    cookie = access.sign_in(access.token)
    (folder / "sessions.json").write_text(text)
    again = Access(folder, 1)
    assert not again.is_session(cookie)
    assert again.is_session(again.sign_in(again.token))


@pytest.mark.parametrize("given", ["", "x", "\ud800", "é" * 43, "x" * 10_000, "\0"])
def test_wrong_secrets_of_any_kind_are_refused(folder: Path, given: str) -> None:
    access = Access(folder, 1)
    assert not access.is_token(given)
    assert not access.is_session(given)
    assert not access.redeem(given)
    access.sign_out(given)


def test_a_server_proves_itself_at_its_own_port_only(folder: Path) -> None:
    access = Access(folder, 4000)
    shown = access.proof("a nonce of some length")
    assert shown == module.proof(access.token, 4000, "a nonce of some length")
    assert len({shown, access.proof("another"), Access(folder, 4001).proof("a nonce of some length")}) == 3
    assert access.token not in shown


def test_guessing_is_slowed_down_and_only_for_a_minute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = Access(folder, 1)
    for _ in range(module.FAILURES):
        with pytest.raises(Unauthorized):
            access.sign_in("wrong")
    with pytest.raises(Busy):
        access.sign_in("wrong")
    # Those who have a right one are not kept out.
    assert access.is_session(access.sign_in(access.token))
    assert access.is_session(access.sign_in(access.launch_code()))
    with pytest.raises(Busy):
        access.sign_in("wrong")
    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 61)
    with pytest.raises(Unauthorized):
        access.sign_in("wrong")


def test_a_folder_that_cannot_be_written_is_an_error_for_the_user(tmp_path: Path) -> None:
    (tmp_path / "server").write_text("a file where the folder should be")
    with pytest.raises(DroidError, match="cannot write"):
        _ = Access(tmp_path / "server", 1).token

"""Folders that appear under their names when they are whole, and what killed processes leave of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from droidft.errors import StorageError
from droidft.support.durable import STALE_SECONDS, commit_folder, folder_hidden_until_whole


def filled(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "text").write_text(text)
    return folder


def test_a_folder_that_is_written_for_hours_is_left_alone_and_a_dead_one_removed(tmp_path: Path) -> None:
    final = tmp_path / "one"
    dead, other = filled(tmp_path / ".one.dead.part", "x"), filled(tmp_path / ".two.dead.part", "x")
    with folder_hidden_until_whole(final) as slow:
        os.utime(slow, (0, time.time() - 2 * STALE_SECONDS))
        with folder_hidden_until_whole(final) as quick:
            (quick / "text").write_text("quick")
            assert slow.is_dir()
            assert not dead.exists(), "no process holds it, so it is of no use to anybody"
            assert other.exists(), "of another name"
        (slow / "text").write_text("slow")
    assert (final / "text").read_text() == "slow"


def test_a_replacement_that_was_killed_halfway_hinders_no_later_one(tmp_path: Path) -> None:
    final = filled(tmp_path / "one", "second")
    filled(tmp_path / ".one.old.tmp", "first")
    commit_folder(filled(tmp_path / "new", "third"), final)
    assert (final / "text").read_text() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_is_there_is_replaced_only_where_that_is_wanted(tmp_path: Path) -> None:
    final = filled(tmp_path / "one", "old")
    with pytest.raises(StorageError, match="is there already"):
        commit_folder(filled(tmp_path / "new", "new"), final, replace=False)
    assert (final / "text").read_text() == "old"

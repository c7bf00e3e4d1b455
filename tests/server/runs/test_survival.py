"""The queue goes on, whatever befalls one of its runs, its database or the disk."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from droidft.errors import StorageError
from droidft.server.runs import store as stores
from droidft.server.runs.store import Store
from tests.server.live import LiveServer


def test_a_locked_database_is_a_sentence_and_the_queue_recovers(server: LiveServer, settings: dict[str, Any]) -> None:
    database = sqlite3.connect(server.home / "server" / "server.sqlite", isolation_level=None, timeout=5)
    database.execute("BEGIN EXCLUSIVE")
    folders = set((server.home / "runs").iterdir())
    status, answer = server.request("POST", "/api/runs", settings)
    assert (status, answer["error"]["code"]) == (507, "storage")
    assert "server.sqlite" in answer["error"]["message"]
    assert "locked" in answer["error"]["message"]
    assert set((server.home / "runs").iterdir()) == folders, "half a run waits for nobody"
    assert server.get("/api/queue") == {"running": [], "waiting": [], "limit": 1}
    database.execute("ROLLBACK")
    database.close()
    made = server.post("/api/runs", settings)
    server.until(f"/api/runs/{made['id']}", lambda found: found["summary"]["state"] == "finished")


def test_a_run_that_cannot_be_started_waits_and_the_next_has_its_turn(
    server: LiveServer, settings: dict[str, Any]
) -> None:
    first = server.post("/api/runs", settings | {"iterations": 400})
    second = server.post("/api/runs", settings)
    third = server.post("/api/runs", settings)
    log = server.home / "runs" / second["id"] / "log.txt"
    log.mkdir()
    server.post(f"/api/runs/{first['id']}/stop")
    server.until(f"/api/runs/{third['id']}", lambda found: found["summary"]["state"] == "finished")
    held = server.get(f"/api/runs/{second['id']}")["summary"]
    assert held["state"] == "queued"
    assert "log.txt" in held["problem"]["message"]
    assert "tried again" in held["problem"]["message"]
    log.rmdir()
    server.until(f"/api/runs/{second['id']}", lambda found: found["summary"]["state"] == "finished")


def test_odd_folders_and_files_among_the_runs_stop_nothing(server: LiveServer, settings: dict[str, Any]) -> None:
    runs = server.home / "runs"
    for name in ("r1 copy", "ü" * 30, "y" * 200):
        (runs / name).mkdir(parents=True)
        (runs / name / "config.json").write_text("{}")
    (runs / "deep").mkdir()
    (runs / "deep" / "config.json").write_text("[" * 200_000)
    (runs / "log").mkdir()
    (runs / "log" / "config.json").write_text("{}")
    (runs / "log" / "events.jsonl").mkdir()
    (runs / "a file").write_text("x")
    made = server.post("/api/runs", settings)
    server.until(f"/api/runs/{made['id']}", lambda found: found["summary"]["state"] == "finished")
    states = {run["id"]: run["state"] for run in server.get("/api/runs")}
    assert {name for name, state in states.items() if state == "unreadable"} == states.keys() - {made["id"]}
    assert len(states) == 6


def test_a_run_whose_folder_is_removed_while_it_trains_leaves_no_ghost(
    server: LiveServer, settings: dict[str, Any]
) -> None:
    made = server.post("/api/runs", settings | {"iterations": 100_000, "save_every": 20})
    found = server.until(f"/api/runs/{made['id']}", lambda found: found["summary"]["step"] > 5)
    folder = server.home / "runs" / found["summary"]["id"]
    folder.rename(server.home / "elsewhere")
    server.until("/api/queue", lambda queue: queue["running"] == [])
    assert not folder.exists()
    again = server.post("/api/runs", settings | {"adapter_name": "again"})
    server.until(f"/api/runs/{again['id']}", lambda found: found["summary"]["state"] == "finished")


class TestStore:
    def test_a_damaged_file_is_put_aside(self, tmp_path: Path) -> None:
        path = tmp_path / "server.sqlite"
        path.write_bytes(b"no database" * 1000)
        store = Store(path)
        store.enqueue("r", "start")
        assert [waiting.run for waiting in store.waiting()] == ["r"]
        store.close()
        assert (tmp_path / "server.sqlite.damaged").read_bytes().startswith(b"no database")

    def test_a_folder_in_its_place_is_a_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "server.sqlite").mkdir()
        with pytest.raises(StorageError, match=r"server\.sqlite cannot be used"):
            Store(tmp_path / "server.sqlite")

    def test_a_locked_file_is_read_and_refuses_writes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stores, "LOCKED_SECONDS", 0.1)
        store = Store(tmp_path / "server.sqlite")
        store.enqueue("one", "start")
        other = sqlite3.connect(tmp_path / "server.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        for write in (
            lambda: store.enqueue("two", "start"),
            lambda: store.dequeue("one"),
        ):
            with pytest.raises(StorageError, match="locked"):
                write()
        assert [waiting.run for waiting in store.waiting()] == ["one"]
        other.execute("ROLLBACK")
        store.enqueue("two", "start")
        assert [waiting.run for waiting in store.waiting()] == ["one", "two"]
        other.close()
        store.close()

    def test_rows_that_were_edited_are_read(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "server.sqlite")
        store.close()
        other = sqlite3.connect(tmp_path / "server.sqlite", isolation_level=None)
        other.execute("INSERT INTO queue VALUES ('r', 'start', 'yesterday', 1)")
        other.execute("INSERT INTO endings VALUES ('r', ?, 0)", (json.dumps({"x": 1}),))
        other.close()
        store = Store(tmp_path / "server.sqlite")
        assert [(it.run, it.added) for it in store.waiting()] == [("r", 0.0)]
        store.close()

    def test_many_threads_may_write(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "server.sqlite")
        threads = [threading.Thread(target=store.enqueue, args=(str(number), "start")) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.waiting()) == 20
        store.close()

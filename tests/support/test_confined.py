"""Data is read from the server's folders only, wherever a path leads by the time it is opened."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from droidft.data.lines import Reading
from droidft.data.readers import read_records
from droidft.support import confined
from tests.server import live

ROW = '{"text": "a"}\n'


def reasons(path: Path) -> list[str]:
    reading = Reading()
    list(read_records(path, reading))
    return [fault.kind for fault in reading.log.faults]


def test_a_link_that_is_put_in_the_way_later_is_not_followed_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, secret, outside = tmp_path / "in", tmp_path / "in" / "server", tmp_path / "out"
    for folder in (inside, secret, outside):
        folder.mkdir()
        (folder / "data.jsonl").write_text(ROW)
    for name in (confined.ALLOWED, confined.DENIED):
        monkeypatch.setenv(name, "")
    assert reasons(outside / "data.jsonl") == []
    confined.confine([inside], [secret])
    assert reasons(inside / "data.jsonl") == []
    assert reasons(outside / "data.jsonl") == reasons(secret / "data.jsonl") == ["outside"]
    (inside / "data.jsonl").unlink()
    (inside / "data.jsonl").symlink_to(outside / "data.jsonl")
    assert reasons(inside / "data.jsonl") == ["outside"]
    (inside / "folder").symlink_to(outside)
    assert reasons(inside / "folder" / "data.jsonl") == ["outside"]


def test_the_servers_processes_are_confined(home: Path) -> None:
    (home / "data").mkdir(exist_ok=True)
    (home / "data" / "rows.jsonl").write_text(ROW * 2)
    with live.running(home) as server:
        server.post("/api/data/check", {"train_data_path": str(home / "data" / "rows.jsonl")})
        workers = psutil.Process(server.process.pid).children(recursive=True)
        allowed = [worker.environ()[confined.ALLOWED] for worker in workers if worker.is_running()]
    assert allowed
    assert all(str(home) in each for each in allowed)

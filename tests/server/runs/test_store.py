"""The server's database: what it has acknowledged is there, however it was ended."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from droidft.server.runs.store import Store

KILLS = 12
WRITER = """
import sys
from pathlib import Path
from droidft.server.runs.store import Store
store = Store(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 10**9):
    store.enqueue(f"run-{number}", "start")
    print(number, flush=True)
"""


def test_no_acknowledged_row_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    path, generator, acknowledged = tmp_path / "server.sqlite", random.Random(0), -1
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(acknowledged + 1)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(generator.uniform(0, 0.15))
        writer.kill()
        numbers = [int(line) for line in [first, *writer.stdout.read().splitlines()] if line.strip()]
        writer.stdout.close()
        writer.wait()
        acknowledged = numbers[-1]
        with closing(Store(path)) as store:
            runs = [waiting.run for waiting in store.waiting()]
        assert runs[: acknowledged + 1] == [f"run-{number}" for number in range(acknowledged + 1)]
        acknowledged = len(runs) - 1  # one more may have been written than was told
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert acknowledged > KILLS


def test_order_moves_and_keys(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "server.sqlite")) as store:
        for run in "abcd":
            store.enqueue(run, "start")
        store.enqueue("a", "resume")  # it waits already
        assert store.move("d", 1)
        assert not store.move("x", 0)
        assert [(it.run, it.action) for it in store.waiting()] == [(run, "start") for run in "adbc"]
        assert store.dequeue("d")
        assert not store.dequeue("d")
        store.enqueue("d", "resume")
        assert [it.run for it in store.waiting()] == list("abcd")
        assert store.run_of_key("k") is None
        store.keep_key("k", "body", "a")
        assert store.run_of_key("k") == ("body", "a")
        store.keep_ending("a", "{}")
        store.forget("a")
        assert store.endings() == {}
        assert [it.run for it in store.waiting()] == list("bcd")

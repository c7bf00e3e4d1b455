"""The server is killed again and again while a run trains: the run does not notice, and nothing is lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from droidft.home import Home
from droidft.runs.folder import Run
from tests import tiny
from tests.server import live

KILLS = 5


@pytest.mark.alone
def test_a_run_outlives_its_servers(home: Path, settings: dict[str, Any]) -> None:
    tiny.write_model(home / "models" / "tiny")
    (home / "data").mkdir()
    tiny.write_chat(home / "data" / "chat.jsonl")
    pids: set[int | None] = set()
    with live.running(home) as first:
        run = first.post("/api/runs", settings | {"iterations": 100_000, "steps_per_eval": 1000})["id"]
        queued = first.post("/api/runs", settings)["id"]
        first.until(f"/api/runs/{run}", lambda found: found["summary"]["step"] > 5)
        first.kill()
        folder = Run(Home(home).run(run))
        for _ in range(KILLS):
            began = time.monotonic()
            with_server = live.start(home)
            found = with_server.until(f"/api/runs/{run}", lambda found: found["summary"]["state"] == "running")
            assert time.monotonic() - began < 8, "start of the process included"
            pids.add(folder.worker_pid())
            step = found["summary"]["step"]
            with_server.until(f"/api/runs/{run}", lambda found, step=step: found["summary"]["step"] > step)
            assert with_server.get("/api/queue")["waiting"][0]["run"] == queued
            with_server.kill()
            assert with_server.process.stdout is not None
            with_server.process.stdout.close()
        with live.running(home) as last:
            last.post(f"/api/runs/{run}/stop", {})
            last.until(f"/api/runs/{run}", lambda found: found["summary"]["state"] == "stopped")
            last.until(f"/api/runs/{queued}", lambda found: found["summary"]["state"] == "finished")
    assert len(pids) == 1, "one worker, found again each time"
    records, _ = folder.records()
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    steps = [record.event.step for record in records if record.event.type == "train_report"]
    assert steps == list(range(1, len(steps) + 1))

"""Jobs: two at once, called off within a second, progress all the while, and a server that is never blocked."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from droidft.config import TrainingConfig
from droidft.errors import NotFound
from droidft.home import Home
from droidft.server.asking import inspect, jobs
from droidft.server.asking.inspect import Inspector
from droidft.server.asking.jobs import Jobs
from droidft.server.schemas.jobs import Job
from tests import tiny
from tests.server.live import LiveServer

LARGE = 500_000_000
"""Bytes of the file that is checked while the server is asked for its health."""
CLIENTS, POLL_SECONDS, BEFORE_SECONDS, LONGEST_SECONDS = 20, 0.1, 4.0, 20.0
LIMIT_SECONDS = 0.1
ROW = json.dumps({"messages": [{"role": "user", "content": "x" * 400}, {"role": "assistant", "content": "y" * 500}]})


def write_large(path: Path, size: int) -> Path:
    """A JSONL file of about `size` bytes, every row the same."""
    block = (ROW + "\n").encode() * 1000
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    return path


@asynccontextmanager
async def parts(home: Path) -> AsyncIterator[tuple[Inspector, Jobs]]:
    inspector = Inspector(Home(home))
    found = Jobs(inspector, Home(home))
    try:
        yield inspector, found
    finally:
        await inspector.close()
        await found.close()


def computed(pid: int | None) -> float:
    """Processor seconds that a process has used: what it does is measured, not how busy the machine is."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def config(path: Path, **settings: Any) -> TrainingConfig:
    return TrainingConfig(model_path="tiny", train_data_path=str(path), **settings)


async def until(of: Jobs, job: Job, wanted: Any, *, seconds: float = 60.0) -> Job:
    """The job when `wanted(job)` is true."""
    end = time.monotonic() + seconds
    while not wanted(job := of.get(job.id)):
        assert time.monotonic() < end, job
        await asyncio.sleep(0.02)
    return job


@pytest.mark.skipif(sys.platform != "linux", reason="processor time is read from /proc")
def test_a_check_is_called_off_within_a_second(home: Path, tmp_path: Path) -> None:
    large = write_large(tmp_path / "large.jsonl", 100_000_000)
    tiny.write_model(home / "models" / "tiny")

    async def scenario() -> None:
        async with parts(home) as (inspector, found):
            for phase, with_model in (("checking rows", False), ("counting tokens", True)):
                job = await found.check(config(large, seed=with_model), with_model=with_model)
                await until(found, job, lambda job, phase=phase: job.phase == phase and job.done)
                (busy,) = [child for child in inspector._children if child.busy]
                before = computed(busy.pid)
                ended = found.cancel(job.id)
                assert (ended.state, ended.error) == ("cancelled", None)
                task = found._works[job.id].task
                assert task is not None
                await asyncio.wait({task}, timeout=10)
                assert not busy.busy
                assert computed(busy.pid) - before < 1.0, f"the process itself let go of it while {phase}"
                assert found.cancel(job.id).state == "cancelled", "again changes nothing"
            pids = {child.pid for child in inspector._children if child.pid}
            small = tiny.write_chat(tmp_path / "small.jsonl")
            done = await until(
                found, await found.check(config(small), with_model=True), lambda job: job.state == "done"
            )
            assert done.check is not None
            assert done.check.ok
            assert {child.pid for child in inspector._children if child.pid} == pids, "no process was lost"

    asyncio.run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="processor time is read from /proc")
def test_progress_comes_at_least_once_a_second(home: Path, tmp_path: Path) -> None:
    large = write_large(tmp_path / "large.jsonl", 150_000_000)

    async def scenario() -> list[tuple[float, int]]:
        async with parts(home) as (inspector, found):
            job = await found.check(config(large), with_model=False)
            await until(found, job, lambda job: job.done)
            (busy,) = [child for child in inspector._children if child.busy and child is not inspector._quick]
            seen: list[tuple[float, int]] = []

            def look(job: Job) -> bool:
                if not seen or job.done != seen[-1][1]:
                    seen.append((computed(busy.pid), job.done))
                return job.state != "running"

            assert (await until(found, job, look)).state == "done"
            return seen

    seen = asyncio.run(scenario())
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    gaps = [after - before for (before, _), (after, _) in itertools.pairwise(seen)]
    assert len(gaps) >= 3
    assert max(gaps) < 1.0


def test_two_at_once_the_others_wait(home: Path, tmp_path: Path) -> None:
    large = write_large(tmp_path / "large.jsonl", 60_000_000)

    async def scenario() -> None:
        async with parts(home) as (inspector, found):
            begun = [await found.check(config(large, seed=number), with_model=False) for number in range(4)]
            assert await found.check(config(large, seed=0), with_model=False) == found.get(begun[0].id), (
                "it is one job"
            )
            await until(found, begun[1], lambda job: not job.waiting)
            views = [found.get(job.id) for job in begun]
            assert [view.waiting for view in views] == [False, False, True, True]
            assert {view.state for view in views} == {"running"}
            assert [job.id for job in found.all()] == [job.id for job in reversed(begun)]
            assert found.cancel(begun[3].id).state == "cancelled", "one that waits can be called off too"
            for job in begun[:3]:
                assert (await until(found, job, lambda job: job.state != "running")).state == "done"
            assert sum(child.pid is not None for child in inspector._children) <= 2 + jobs.AT_ONCE

    asyncio.run(scenario())


def test_a_process_that_dies_fails_its_job_and_the_next_one_works(home: Path, tmp_path: Path) -> None:
    large = write_large(tmp_path / "large.jsonl", 60_000_000)

    async def scenario() -> None:
        async with parts(home) as (inspector, found):
            job = await found.check(config(large), with_model=False)
            await until(found, job, lambda job: job.done)
            (busy,) = [child for child in inspector._children if child.busy]
            assert busy._child is not None
            busy._child.process.kill()
            failed = await until(found, job, lambda job: job.state != "running")
            assert (failed.state, failed.error.code if failed.error else None) == ("failed", "worker_died")
            again = await found.check(config(large), with_model=False)
            assert (await until(found, again, lambda job: job.state != "running")).state == "done"

    asyncio.run(scenario())


def test_questions_survive_the_death_of_the_process(home: Path) -> None:
    async def scenario() -> None:
        async with parts(home) as (inspector, _):
            assert (await inspector.ask("models"))[0]["source"] == "embedded"
            assert inspector._quick._child is not None
            asking = asyncio.create_task(inspector.ask("models"))
            await asyncio.sleep(0)
            inspector._quick._child.process.kill()
            assert (await asking)[0]["source"] == "embedded"

    asyncio.run(scenario())


def test_old_jobs_are_forgotten(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 3)
    small = tiny.write_chat(tmp_path / "small.jsonl")

    async def scenario() -> None:
        async with parts(home) as (_, found):
            begun = []
            for number in range(6):
                job = await found.check(config(small, seed=number), with_model=False)
                begun.append(await until(found, job, lambda job: job.state == "done"))
            assert [job.id for job in found.all()] == [job.id for job in reversed(begun[2:])]
            with pytest.raises(NotFound):
                found.get(begun[0].id)

    asyncio.run(scenario())


@pytest.mark.alone
def test_closing_ends_every_process_at_once(home: Path, tmp_path: Path) -> None:
    large = write_large(tmp_path / "large.jsonl", 100_000_000)

    async def scenario() -> None:
        async with parts(home) as (inspector, found):
            job = await found.check(config(large), with_model=False)
            await until(found, job, lambda job: job.done)
            start = time.monotonic()
            await inspector.close()
            await found.close()
            assert time.monotonic() - start < 1
            assert all(child.pid is None for child in inspector._children)
            assert found.get(job.id).state in ("cancelled", "failed")
            with pytest.raises(Exception, match="the server is ending"):
                await inspector.ask("models")

    asyncio.run(scenario())


def test_a_process_that_has_nothing_to_do_ends(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "IDLE_SECONDS", 0.1)
    small = tiny.write_chat(tmp_path / "small.jsonl")

    async def scenario() -> None:
        async with parts(home) as (inspector, found):
            job = await found.check(config(small), with_model=False)
            await until(found, job, lambda job: job.state == "done")
            await asyncio.sleep(0.5)
            assert [child for child in inspector._children if child.pid] == [inspector._quick]

    asyncio.run(scenario())


class Poller(threading.Thread):
    """A client that asks for the server's health again and again."""

    def __init__(self, server: LiveServer, stop: threading.Event) -> None:
        super().__init__()
        self.server, self.stop, self.seconds = server, stop, list[float]()

    def run(self) -> None:
        while not self.stop.wait(POLL_SECONDS):
            start = time.perf_counter()
            status, _ = self.server.request("GET", "/api/health")
            self.seconds.append(time.perf_counter() - start)
            assert status == 200


@contextmanager
def polled(server: LiveServer) -> Iterator[list[float]]:
    """How long each answer took while the block lasted, ascending."""
    stop, found = threading.Event(), list[float]()
    pollers = [Poller(server, stop) for _ in range(CLIENTS)]
    for poller in pollers:
        poller.start()
    try:
        yield found
    finally:
        stop.set()
        for poller in pollers:
            poller.join()
        found += sorted(second for poller in pollers for second in poller.seconds)


@pytest.mark.alone
def test_the_server_is_never_blocked(server: LiveServer, settings: dict[str, Any]) -> None:
    """A4: health within 100 ms at the 99th percentile while a large file is checked and a run starts.

    Where the machine is so busy otherwise that this cannot be had, at most twice what it is without either.
    """
    if os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
        pytest.skip("the machine is busy with other work: how long answers take says nothing about the server")
    write_large(server.home / "data" / "large.jsonl", LARGE)
    with polled(server) as before:
        time.sleep(BEFORE_SECONDS)
    with polled(server) as seconds:
        job = server.post("/api/data/check", {"train_data_path": "large.jsonl", "model_path": "tiny"})
        server.post("/api/runs", settings)
        end = time.monotonic() + LONGEST_SECONDS
        while job["state"] == "running" and time.monotonic() < end:
            time.sleep(0.5)
            job = server.get(f"/api/jobs/{job['id']}")
    usual, p99 = (values[int(len(values) * 0.99)] for values in (before, seconds))
    print(f"p99 {p99 * 1e3:.1f} ms of {len(seconds)}, {usual * 1e3:.1f} ms before; {job['phase']} {job['done']:,}")
    assert job["done"] > 0
    assert len(seconds) > CLIENTS * 10
    assert p99 < max(LIMIT_SECONDS, 2 * usual)
    assert server.request("DELETE", f"/api/jobs/{job['id']}")[0] == 200

"""What readers of a run's events get: everything, once, in order, whatever happens to them or to the server."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from droidft.config import parse_config
from droidft.events import TrainReport
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.runs.folder import Run
from droidft.runs.writer import EventLog
from tests.server import live
from tests.server.live import LiveServer

CLIENTS = 100
EVENTS, PER_SECOND = 150, 10
CUT_SHARE = 0.02


def open_socket(server: LiveServer, path: str) -> connect:
    return connect(
        f"ws://127.0.0.1:{server.port}{path}",
        additional_headers={"Authorization": f"Bearer {server.token}"},
        max_size=None,
        proxy=None,
    )


async def frames_until(socket: ClientConnection, last: int) -> list[dict[str, Any]]:
    """Records from frames until number `last` has come."""
    records: list[dict[str, Any]] = []
    while not records or records[-1]["seq"] < last:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 30))
        assert frame["type"] == "records", frame
        records += frame["records"]
        assert frame["last"] == (records[-1]["seq"] if records else frame["last"])
    return records


def report(step: int) -> TrainReport:
    return TrainReport(
        step=step, epoch=0.1, loss=1.0 / step, learning_rate=1e-4, grad_norm=1.0, tokens_per_second=1.0,
        supervised_tokens_per_second=1.0, tokens=step, supervised_tokens=step, peak_memory_bytes=1, rss_bytes=1,
        seconds_left=None,
    )  # fmt: skip


@pytest.fixture
def written(server: LiveServer, settings: dict[str, Any]) -> tuple[Run, EventLog]:
    """A run whose events this test writes itself, holding the run's lock as a worker does."""
    run = runs.create(Home(server.home), parse_config(settings))
    return run, EventLog(run)


def test_a_hundred_clients_that_are_cut_off_miss_nothing_and_get_nothing_twice(
    server: LiveServer, written: tuple[Run, EventLog]
) -> None:
    run, log = written
    server.until("/api/runs", lambda found: any(it["id"] == run.id for it in found))
    delays: list[float] = []
    generator = random.Random(0)

    def write() -> None:
        for step in range(1, EVENTS + 1):
            log.append(report(step))
            time.sleep(1 / PER_SECOND / 2)

    async def client() -> list[int]:
        seen: list[int] = []
        while len(seen) < EVENTS:
            try:
                async with open_socket(
                    server, f"/api/runs/{run.id}/events?after={seen[-1] if seen else 0}"
                ) as socket:
                    live_now = False
                    while len(seen) < EVENTS:
                        frame = json.loads(await socket.recv())
                        now = time.time()
                        for record in frame["records"]:
                            seen.append(record["seq"])
                            if live_now:
                                delays.append(now - record["time"])
                        live_now = True
                        if generator.random() < CUT_SHARE:
                            break
            except (ConnectionClosed, OSError):
                continue
        return seen

    async def all_clients() -> list[list[int]]:
        return await asyncio.gather(*(client() for _ in range(CLIENTS)))

    writer = threading.Thread(target=write)
    writer.start()
    found = asyncio.run(all_clients())
    writer.join()
    log.close()
    assert all(seen == list(range(1, EVENTS + 1)) for seen in found)
    delays.sort()
    print(
        f"{len(delays)} deliveries, p50 {delays[len(delays) // 2]:.3f} s, p99 {delays[len(delays) * 99 // 100]:.3f} s"
    )


def test_events_survive_a_restart_of_the_server(home: Path, settings: dict[str, Any]) -> None:
    from tests import tiny

    tiny.write_model(home / "models" / "tiny")
    (home / "data").mkdir()
    tiny.write_chat(home / "data" / "chat.jsonl")
    with live.running(home) as first:
        run = first.post("/api/runs", settings | {"iterations": 400, "early_stop": False})["id"]
        first.until(f"/api/runs/{run}", lambda found: found["summary"]["step"] > 20)

        async def some() -> list[dict[str, Any]]:
            async with open_socket(first, f"/api/runs/{run}/events") as socket:
                return await frames_until(socket, 10)

        before = asyncio.run(some())
        first.kill()
        with live.running(home) as second:
            done = second.until(f"/api/runs/{run}", lambda found: found["summary"]["state"] == "finished")

            async def rest() -> list[dict[str, Any]]:
                async with open_socket(second, f"/api/runs/{run}/events?after={before[-1]['seq']}") as socket:
                    return await frames_until(socket, last)

            last = second.get(f"/api/runs/{run}/events?limit=10000")["last"]
            after = asyncio.run(rest())
            numbers = [record["seq"] for record in before + after]
            assert numbers == list(range(1, last + 1))
            everything = second.get(f"/api/runs/{run}/events?limit=10000")["records"]
            assert everything == before + after
            assert done["summary"]["step"] == 400


def test_a_position_that_does_not_exist_is_reset(server: LiveServer, written: tuple[Run, EventLog]) -> None:
    run, log = written
    for step in range(1, 4):
        log.append(report(step))
    log.close()
    server.until("/api/runs", lambda found: any(it["id"] == run.id for it in found))

    async def scenario() -> None:
        async with open_socket(server, f"/api/runs/{run.id}/events?after=3") as socket:
            assert json.loads(await socket.recv()) == {
                "type": "records",
                "records": [],
                "rewinds": [],
                "last": 3,
                "caught_up": True,
            }
        async with open_socket(server, f"/api/runs/{run.id}/events?after=4000") as socket:
            assert json.loads(await socket.recv()) == {"type": "reset"}
            assert [record["seq"] for record in await frames_until(socket, 3)] == [1, 2, 3]
        for wrong in ("-1", "x", "1e3", "99999999999999999999", ""):
            with pytest.raises(InvalidStatus) as refused:
                async with open_socket(server, f"/api/runs/{run.id}/events?after={wrong}"):
                    pass
            assert refused.value.response.status_code in (400, 403, 422)
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(server, "/api/runs/nothing/events"):
                pass
        assert refused.value.response.status_code in (403, 404)

    asyncio.run(scenario())


def test_half_a_line_is_never_sent_and_a_damaged_one_is_left_out(
    server: LiveServer, written: tuple[Run, EventLog]
) -> None:
    run, log = written
    log.append(report(1))
    server.until("/api/runs", lambda found: any(it["id"] == run.id for it in found))

    async def scenario() -> None:
        async with open_socket(server, f"/api/runs/{run.id}/events") as socket:
            assert [record["seq"] for record in await frames_until(socket, 1)] == [1]
            with run.events_file.open("ab") as file:
                file.write(b'{"seq":2,"time":1.0,"event":{"type":')
                file.flush()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(socket.recv(), 0.5)
                file.write(b'#\n{"seq":3,"time":1.0,"event":{"type":"phase","name":"training","detail":""}}\n')
            assert [record["seq"] for record in await frames_until(socket, 3)] == [3]

    asyncio.run(scenario())
    log.close()


def test_updates_tell_of_runs_and_queue(server: LiveServer, settings: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with open_socket(server, "/api/updates") as socket:
            first = json.loads(await socket.recv())
            assert (first["type"], first["runs"]) == ("update", [])
            run = (await asyncio.to_thread(server.post, "/api/runs", settings))["id"]
            states: list[str] = []
            while not states or states[-1] != "finished":
                frame = json.loads(await asyncio.wait_for(socket.recv(), 60))
                states += [found["state"] for found in frame["runs"] if found["id"] == run]
            assert list(dict.fromkeys(states)) == ["queued", "running", "finished"]
            status, _ = await asyncio.to_thread(server.request, "DELETE", f"/api/runs/{run}?files=true")
            assert status == 204
            removed: list[str] = []
            while not removed:
                removed = json.loads(await asyncio.wait_for(socket.recv(), 10))["removed"]
            assert removed == [run]
            job = await asyncio.to_thread(server.post, "/api/data/check", {"train_data_path": "chat.jsonl"})
            found: dict[str, Any] = {}
            while found.get("state") != "done":
                frame = json.loads(await asyncio.wait_for(socket.recv(), 30))
                assert not frame["runs"]
                found = next((it for it in frame["jobs"] if it["id"] == job["id"]), found)
            assert found["check"]["ok"]

    asyncio.run(scenario())


def test_the_server_ends_within_three_seconds_with_a_hundred_sockets_open(server: LiveServer) -> None:
    async def scenario() -> float:
        sockets = await asyncio.gather(*(open_socket(server, "/api/updates") for _ in range(CLIENTS)))
        seconds = await asyncio.to_thread(server.stop)
        await asyncio.gather(*(socket.close() for socket in sockets))
        return seconds

    assert asyncio.run(scenario()) < 3

"""The supervisor with real workers on a tiny model: queue, stop, resume, and every way in which a worker can end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from droidft.config import TrainingConfig, parse_config
from droidft.errors import ConfigError, NotFound, RunError
from droidft.events import Stopped, TrainReport
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.server.errors import Conflict
from droidft.server.runs import endings
from droidft.server.runs.store import Store
from droidft.server.runs.supervisor import Supervisor
from droidft.server.schemas.runs import RunState, RunSummary

LONG = 100_000


def config(material: dict[str, str], **changes: Any) -> TrainingConfig:
    settings = {"batch_size": 4, "iterations": 6, "steps_per_report": 1, "save_every": 5, "lora_rank": 4}
    return parse_config(settings | {"lora_alpha": 4, "steps_per_eval": 50} | material | changes)


@asynccontextmanager
async def supervised(*, parallel: int = 1) -> AsyncIterator[Supervisor]:
    """A supervisor at work, as the server has it."""
    home = Home.find()
    with closing(Store(home.server / "server.sqlite")) as store:
        supervisor = Supervisor(home, store, parallel=parallel)
        supervisor.load_endings()
        await supervisor.tick()
        watching = asyncio.create_task(supervisor.watch())
        try:
            yield supervisor
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            for run in runs.all_runs(home):
                run.kill()
            for worker in supervisor._workers.values():
                if worker.process is not None:
                    worker.process.wait()


async def until(
    supervisor: Supervisor, run: str, wanted: Callable[[RunSummary], bool], *, seconds: float = 60
) -> RunSummary:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if wanted(view := supervisor.views[run]):
            return view
        await asyncio.sleep(0.05)
    raise AssertionError(f"in {seconds} s it came to {supervisor.views[run]}")


def state(*wanted: RunState) -> Callable[[RunSummary], bool]:
    return lambda view: view.state in wanted


def training(view: RunSummary) -> bool:
    return view.state is RunState.RUNNING and view.step >= 3


def processes_of_group(group: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_runs_train_one_after_another_and_the_list_tells_all(home: Path, material: dict[str, str]) -> None:
    async def scenario() -> None:
        async with supervised() as supervisor:
            first = (await supervisor.create(config(material))).id
            second = (await supervisor.create(config(material, lora_targets="attention-qv"))).id
            assert supervisor.views[second].queue_position in (0, 1)
            seen: set[tuple[RunState, RunState]] = set()
            while supervisor.views[second].state is not RunState.FINISHED:
                seen.add((supervisor.views[first].state, supervisor.views[second].state))
                await asyncio.sleep(0.02)
            assert (RunState.RUNNING, RunState.RUNNING) not in seen
            done = supervisor.views[first]
            assert (done.step, done.steps, done.state) == (6, 6, RunState.FINISHED)
            assert done.best_loss is not None
            assert done.first_loss is not None
            assert len(done.sparkline) == 6
            assert not done.can_resume
            assert not done.can_stop
            assert supervisor.queue.waiting == []

    asyncio.run(scenario())


def test_the_queue_can_be_reordered_and_left(home: Path, material: dict[str, str]) -> None:
    async def scenario() -> None:
        async with supervised(parallel=0) as supervisor:
            names = [(await supervisor.create(config(material))).id for _ in range(4)]
            await supervisor.move(names[3], 0)
            await supervisor.move(names[0], 99)
            order = [entry.run for entry in supervisor.queue.waiting]
            assert order == [names[3], names[1], names[2], names[0]]
            queue = await supervisor.cancel(names[1])
            assert [entry.run for entry in queue.waiting] == [names[3], names[2], names[0]]
            assert supervisor.views[names[1]].state is RunState.CREATED
            with pytest.raises(RunError, match="not in the queue"):
                await supervisor.move(names[1], 0)
            with pytest.raises(NotFound):
                await supervisor.cancel("nothing")
        async with supervised(parallel=0) as again:
            assert [entry.run for entry in again.queue.waiting] == [names[3], names[2], names[0]]
            await again.resume(names[1])
            assert again.queue.waiting[-1].run == names[1]

    asyncio.run(scenario())


def test_fifty_identical_starts_make_one_run(home: Path, material: dict[str, str]) -> None:
    async def scenario() -> None:
        async with supervised(parallel=0) as supervisor:
            views = await asyncio.gather(*(supervisor.create(config(material), "key") for _ in range(50)))
            assert len({view.id for view in views}) == 1
            assert len(supervisor.views) == 1
            with pytest.raises(Conflict):
                await supervisor.create(config(material, seed=1), "key")
        async with supervised(parallel=0) as again:
            assert (await again.create(config(material), "key")).id == views[0].id

    asyncio.run(scenario())


def test_stop_saves_and_resume_goes_on(home: Path, material: dict[str, str]) -> None:
    async def scenario() -> None:
        async with supervised() as supervisor:
            run = (await supervisor.create(config(material, iterations=LONG))).id
            await until(supervisor, run, training)
            await supervisor.stop(run, force=False)
            stopped = await until(supervisor, run, state(RunState.STOPPED), seconds=10)
            assert stopped.checkpoint_step == stopped.step
            assert stopped.problem is None
            await supervisor.stop(run, force=False)  # harmless
            await supervisor.resume(run)
            going = await until(supervisor, run, lambda view: view.step > stopped.step)
            assert going.state is RunState.RUNNING
            await supervisor.resume(run)  # harmless
            with pytest.raises(RunError, match="running"):
                await supervisor.delete(run, files=True)
            await supervisor.stop(run, force=False)
            await until(supervisor, run, state(RunState.STOPPED), seconds=10)
            await supervisor.delete(run, files=True)
            assert run not in supervisor.views
            assert list(Home.find().adapters.iterdir()) == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, "killed"), (signal.SIGABRT, "killed"), (signal.SIGSEGV, "killed"), (signal.SIGBUS, "killed")],
)
@pytest.mark.alone
def test_a_worker_that_is_killed_is_noticed_with_its_signal(
    home: Path, material: dict[str, str], number: signal.Signals, code: str
) -> None:
    async def scenario() -> None:
        async with supervised() as supervisor:
            run = (await supervisor.create(config(material, iterations=LONG))).id
            await until(supervisor, run, training)
            pid = supervisor.entry(run).run.worker_pid()
            assert pid is not None
            os.kill(pid, number)
            began = time.monotonic()
            view = await until(supervisor, run, state(RunState.CRASHED), seconds=5)
            assert time.monotonic() - began < 2
            assert view.problem is not None
            assert (view.problem.code, view.problem.signal) == (code, number.name)
            assert view.can_resume
            assert processes_of_group(pid) == []
        async with supervised() as again:  # another server knows it too
            assert again.views[run].problem == view.problem

    asyncio.run(scenario())


def test_a_suspended_worker_is_stalled_and_can_still_be_stopped(home: Path, material: dict[str, str]) -> None:
    async def scenario() -> None:
        async with supervised() as supervisor:
            run = (await supervisor.create(config(material, iterations=LONG))).id
            await until(supervisor, run, training)
            pid = supervisor.entry(run).run.worker_pid()
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            stalled = await until(supervisor, run, state(RunState.STALLED), seconds=10.5)
            assert stalled.problem is not None
            await supervisor.stop(run, force=False)
            await until(supervisor, run, state(RunState.STOPPED), seconds=15)
            for _ in range(100):  # it has said its last word and let go of the run; now it exits
                if not processes_of_group(pid):
                    break
                await asyncio.sleep(0.1)
            assert processes_of_group(pid) == []

    asyncio.run(scenario())


def test_force_kills_the_whole_group_at_once(home: Path, material: dict[str, str]) -> None:
    async def scenario() -> None:
        async with supervised() as supervisor:
            run = (await supervisor.create(config(material, iterations=LONG))).id
            await until(supervisor, run, training)
            pid = supervisor.entry(run).run.worker_pid()
            assert pid is not None
            await supervisor.stop(run, force=True)
            view = await until(supervisor, run, state(RunState.CRASHED), seconds=5)
            assert view.problem is not None
            assert "on request" in view.problem.message
            assert processes_of_group(pid) == []

    asyncio.run(scenario())


def test_another_server_finds_a_living_worker_and_a_reused_pid_deceives_nobody(
    home: Path, material: dict[str, str]
) -> None:
    async def scenario() -> None:
        async with supervised() as first:
            run = (await first.create(config(material, iterations=LONG))).id
            await until(first, run, training)
            pid = first.entry(run).run.worker_pid()
            async with supervised() as second:
                view = await until(second, run, training, seconds=3)
                assert view.state is RunState.RUNNING
                assert second.entry(run).run.worker_pid() == pid
                await second.stop(run, force=False)
                await until(second, run, state(RunState.STOPPED), seconds=10)
            await until(first, run, state(RunState.STOPPED), seconds=10)
            forged = first.entry(run).run.worker_file
            forged.write_text(json.dumps({"pid": os.getpid(), "started": time.time()}))
            await first.stop(run, force=True)
            assert first.views[run].state is RunState.STOPPED

    asyncio.run(scenario())


@pytest.mark.alone
def test_a_stop_during_preparation_is_immediate(home: Path, material: dict[str, str], tmp_path: Path) -> None:
    many = tmp_path / "many.jsonl"
    many.write_text(Path(material["train_data_path"]).read_text() * 2000)

    async def scenario() -> None:
        async with supervised() as supervisor:
            run = (await supervisor.create(config(material | {"train_data_path": str(many)}))).id
            await until(supervisor, run, lambda view: view.phase == "preparing data")
            await supervisor.stop(run, force=False)
            began = time.monotonic()
            await until(supervisor, run, state(RunState.STOPPED), seconds=10)
            assert time.monotonic() - began < 3
            last = supervisor.entry(run).summary.last
            assert last == Stopped(step=0)

    asyncio.run(scenario())


@pytest.mark.parametrize("moment", [0.0, 0.4, 0.9, 1.3, 1.8, 2.4])
def test_a_run_that_is_stopped_at_any_moment_ends_soon_and_can_go_on(
    home: Path, material: dict[str, str], moment: float
) -> None:
    async def scenario() -> None:
        async with supervised() as supervisor:
            run = (await supervisor.create(config(material, iterations=LONG, save_every=2))).id
            await asyncio.sleep(moment)
            views = await asyncio.gather(supervisor.stop(run, force=False), supervisor.stop(run, force=False))
            assert len(views) == 2
            view = await until(supervisor, run, state(RunState.STOPPED, RunState.CREATED), seconds=5)
            await supervisor.stop(run, force=True)  # harmless
            await supervisor.resume(run)
            await until(supervisor, run, lambda now: now.state is RunState.RUNNING and now.step > view.step)

    asyncio.run(scenario())


def test_a_run_of_the_command_line_is_seen_and_its_worker_counts(home: Path, material: dict[str, str]) -> None:
    async def scenario() -> None:
        async with supervised() as supervisor:
            other = runs.create(Home.find(), config(material, iterations=LONG))
            worker = await asyncio.to_thread(other.start)
            await asyncio.sleep(2.5)
            assert supervisor.views[other.id].state is RunState.RUNNING
            waiting = (await supervisor.create(config(material))).id
            await asyncio.sleep(1)
            assert supervisor.views[waiting].state is RunState.QUEUED
            other.stop()
            await asyncio.to_thread(worker.wait)
            await until(supervisor, waiting, state(RunState.FINISHED))

    asyncio.run(scenario())


def test_a_resumed_run_continues_bit_for_bit_under_supervision(home: Path, material: dict[str, str]) -> None:
    async def scenario() -> None:
        async with supervised(parallel=2) as supervisor:
            settings = {"iterations": 400, "early_stop": False}
            straight = (await supervisor.create(config(material, **settings))).id
            broken = (await supervisor.create(config(material, **settings))).id
            await until(supervisor, broken, lambda view: view.step > 20)
            await supervisor.stop(broken, force=True)
            await until(supervisor, broken, state(RunState.CRASHED))
            await supervisor.resume(broken)
            for run in (straight, broken):
                await until(supervisor, run, state(RunState.FINISHED))
            losses = [
                {
                    record.event.step: record.event.loss
                    for record in supervisor.entry(run).run.records()[0]
                    if isinstance(record.event, TrainReport)
                }
                for run in (straight, broken)
            ]
            assert losses[0] == losses[1]
            assert len(losses[0]) == 400

    asyncio.run(scenario())


def test_a_worker_that_dies_while_it_is_being_started_does_not_stop_the_supervisor(
    home: Path, material: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with supervised() as supervisor:
            with monkeypatch.context() as broken:
                broken.setattr("sys.executable", "/bin/false")
                run = (await supervisor.create(config(material))).id
                view = await until(supervisor, run, state(RunState.CRASHED), seconds=10)
            assert view.problem is not None
            assert view.problem.code == "worker_exit"
            await supervisor.resume(run)
            await until(supervisor, run, state(RunState.FINISHED))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "kills", "log", "asked", "code"),
    [
        (-9, 0, "", False, "killed"),
        (-9, 1, "", False, "out_of_memory"),
        (-6, 0, "libc++abi: [METAL] Command buffer execution failed: Insufficient Memory", False, "out_of_memory"),
        (-6, 0, "Assertion failed", False, "killed"),
        (-11, 3, "", False, "killed"),
        (-9, 0, "", True, "killed"),
        (1, 0, "Traceback", False, "worker_exit"),
        (1, 0, "MemoryError: std::bad_alloc", False, "out_of_memory"),
        (0, 0, "", False, "worker_exit"),
        (None, 0, "", False, "worker_gone"),
        (None, 1, "", False, "out_of_memory"),
    ],
)
def test_endings_are_told_apart(
    tmp_path: Path, status: int | None, kills: int, log: str, asked: bool, code: str
) -> None:
    (tmp_path / "log.txt").write_text(f"first\n{log}\n")
    found = endings.explain(status, log=tmp_path / "log.txt", memory_kills=kills, asked=asked)
    assert found.code == code
    assert found.signal == (signal.Signals(-status).name if status is not None and status < 0 else None)
    assert found.message
    assert found.hint
    assert found.log_tail[0] == "first"


def test_a_finished_run_is_made_longer(home: Path, material: dict[str, str]) -> None:
    async def scenario() -> None:
        async with supervised() as supervisor:
            run = (await supervisor.create(config(material, iterations=3))).id
            await until(supervisor, run, state(RunState.FINISHED))
            with pytest.raises(RunError, match="nothing to resume"):
                await supervisor.resume(run)
            with pytest.raises(ConfigError, match="seed cannot change"):
                await supervisor.resume(run, {"iterations": 5, "seed": 7})
            with pytest.raises(RunError, match="has done all 3 steps"):
                await supervisor.resume(run, {"iterations": 3})
            queued = await supervisor.resume(run, {"iterations": 5})
            assert queued.state in (RunState.QUEUED, RunState.RUNNING)
            done = await until(supervisor, run, lambda view: view.steps == 5 and view.state is RunState.FINISHED)
            assert done.step == 5
            entry = supervisor.entry(run)
            assert entry.config is not None
            assert entry.config.iterations == entry.run.config().iterations == 5
            assert [it.code for it in entry.summary.warnings if it.code == "settings_changed"] == ["settings_changed"]

    asyncio.run(scenario())

"""Runs under supervision: the queue, one worker process per run, and what becomes of each.

A worker is recognised by the lock it holds on its run folder, so one that was started by an earlier server, or from
a terminal, is recognised like any other, and a reused pid is not mistaken for one. Workers outlive the server. How
they ended is judged by exit status, by the kernel's count of processes killed for memory, and by their log.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from pydantic import ValidationError

from droidft.config import TrainingConfig
from droidft.errors import DroidError, NotFound, RunError, StorageError
from droidft.home import Home
from droidft.runs import continuation
from droidft.runs import folder as runs
from droidft.server.errors import Conflict
from droidft.server.runs import endings
from droidft.server.runs.index import LIVING, RESUMABLE, Entry, Known, folders, open_entry, state_of, summarise
from droidft.server.runs.store import Action, Store
from droidft.server.runs.workers import Worker, bury, has_ended
from droidft.server.schemas.runs import Problem, QueueEntry, QueueView, RunState, RunSummary

TICK_SECONDS = 0.25
SCAN_SECONDS = 2.0
STOP_SECONDS = 300.0
"""How long a worker may take for its last checkpoint; a step on a slow machine takes minutes."""
READ_SECONDS = 0.2
"""Of every look, for logs that have not been read to their end."""
HELD_SECONDS = 5.0
"""How long a run that could not be started waits until it is tried again."""
STALLED_STOP_SECONDS = 5.0
"""How long one that has stopped reporting may take."""

logger = logging.getLogger(__name__)


class Supervisor:
    """Owns the queue and watches the run folders. `views` is what the list shows, by id."""

    def __init__(self, home: Home, store: Store, *, parallel: int) -> None:
        self.views: dict[str, RunSummary] = {}
        self.version = 0
        self._home, self._store, self._parallel = home, store, parallel
        self._entries: dict[str, Entry] = {}
        self._endings: dict[str, Problem] = {}
        self._workers: dict[str, Worker] = {}
        self._stopping: dict[str, float] = {}
        self._killed: set[str] = set()
        self._starting: set[str] = set()
        self._versions: dict[str, int] = {}
        self._basis: dict[str, tuple[int, Known]] = {}
        self._gone: dict[str, int] = {}
        self._held: dict[str, tuple[float, Problem]] = {}
        self._complaints: dict[str, str] = {}
        self._behind = False
        self._queue = QueueView(running=[], waiting=[], limit=parallel)
        self._readers: set[asyncio.Event] = set()
        self._lock = asyncio.Lock()
        self._scanned = 0.0

    async def watch(self) -> None:
        """Look after runs and the queue until cancelled."""
        while True:
            await self.look()
            with self._surviving("the queue"):
                await self._start_next()
            await asyncio.sleep(TICK_SECONDS)

    async def look(self) -> None:
        """`tick`, which whatever it meets cannot end."""
        with self._surviving("the run folders"):
            await self.tick()

    @contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """Let an error of `what` (a run, the queue) keep nothing else from being done: it is logged, once, and what
        failed is tried again at the next look."""
        try:
            yield
            self._complaints.pop(what, None)
        except Exception as error:
            if self._complaints.get(what) != str(error):
                self._complaints[what] = str(error)
                logger.error("%s: %s; the rest goes on", what, error, exc_info=not isinstance(error, DroidError))

    async def tick(self) -> None:
        """Notice what has changed in the run folders and among the workers."""
        async with self._lock:
            await asyncio.to_thread(self._look)
            self._publish()

    # What clients ask for

    async def create(self, config: TrainingConfig, key: str | None = None) -> RunSummary:
        """A new run at the end of the queue. The same `key` and configuration give the same run.

        Raises:
            ConfigError: the adapter's name is taken.
            Conflict: the key was used for another configuration.
        """
        body = hashlib.sha256(config.model_dump_json().encode()).hexdigest()
        async with self._lock:
            if key is not None and (known := self._store.run_of_key(key)) is not None:
                if known[0] != body:
                    hint = "send a new key with a new request"
                    raise Conflict("this Idempotency-Key was used for another request", hint=hint)
                if known[1] in self._entries:
                    return self.views[known[1]]
                raise Conflict(f"run {known[1]}, which this Idempotency-Key made, is deleted", hint="send a new key")
            run = await asyncio.to_thread(runs.create, self._home, config)
            try:
                await asyncio.to_thread(self._store.enqueue, run.id, "start")
                if key is not None:
                    await asyncio.to_thread(self._store.keep_key, key, body, run.id)
            except DroidError:  # half a run would wait for nobody
                with suppress(DroidError):
                    await asyncio.to_thread(self._store.forget, run.id)
                await asyncio.to_thread(run.delete, self._home, files=True)
                raise
            self._entries[run.id] = await asyncio.to_thread(open_entry, run.path)
            self._publish()
            return self.views[run.id]

    def knows(self, key: str) -> bool:
        """Whether this key has made a run."""
        return self._store.run_of_key(key) is not None

    async def resume(self, run_id: str, changes: Mapping[str, Any] | None = None) -> RunSummary:
        """Queue a run that has ended early or never begun; one that waits or runs already stays as it is.

        With `changes` in its settings a finished run goes on too, where they leave something to do.

        Raises:
            NotFound: there is no such run.
            ConfigError: a setting cannot change.
            RunError: it has finished, runs while it is to change, or cannot be read.
        """
        async with self._settled(run_id):
            entry = await self._fresh(run_id)
            state = state_of(entry, self._known(run_id))
            longer = state is RunState.FINISHED and bool(changes)
            if changes and state is not RunState.UNREADABLE:
                entry.config = await asyncio.to_thread(continuation.prepare, entry.run, changes)
                entry.revision += 1
            if state in RESUMABLE or longer:
                began = entry.last is not None
                await asyncio.to_thread(self._store.enqueue, run_id, "resume" if began else "start")
            elif state is not RunState.QUEUED and state not in LIVING:
                hint = entry.problem
                if state is RunState.FINISHED:
                    hint = "resume it with more epochs or iterations, clone it, or start a run from its adapter"
                raise RunError(f"run {run_id} is {state}: there is nothing to resume", hint=hint)
            self._publish()
            return self.views[run_id]

    async def stop(self, run_id: str, *, force: bool) -> RunSummary:
        """Ask a run to save and end, or with `force` kill it; one that waits leaves the queue.

        Raises:
            NotFound: there is no such run.
        """
        async with self._settled(run_id):
            entry = await self._fresh(run_id)
            await asyncio.to_thread(self._store.dequeue, run_id)
            if entry.alive:
                self._stopping.setdefault(run_id, time.monotonic())
                if force:
                    self._kill(entry)
                else:
                    with suppress(RunError, ProcessLookupError):  # it has just ended
                        entry.run.stop()
            self._publish()
            return self.views[run_id]

    async def delete(self, run_id: str, *, files: bool) -> None:
        """Remove a run, and with `files` its adapter.

        Raises:
            NotFound: there is no such run.
            RunError: it is running.
        """
        async with self._settled(run_id):
            entry = await self._fresh(run_id)
            await asyncio.to_thread(self._store.forget, run_id)  # first: a row without a run would stay for ever
            await asyncio.to_thread(entry.run.delete, self._home, files=files)
            self._forget(run_id)
            self._publish()

    async def delete_adapter(self, name: str) -> None:
        """Remove an adapter's folder.

        Raises:
            NotFound: there is no such adapter.
            RunError: its run is under way or queued.
        """
        async with self._lock:
            for run_id, entry in self._entries.items():
                if entry.config is None or name != (entry.config.adapter_name or run_id):
                    continue
                if state_of(entry, self._known(run_id)) in {RunState.QUEUED, *LIVING}:
                    raise RunError(f"run {run_id} writes to the adapter {name!r}", hint="stop the run first")
            await asyncio.to_thread(runs.delete_adapter, self._home, name)

    async def move(self, run_id: str, position: int) -> QueueView:
        """Put a waiting run at another position.

        Raises:
            RunError: it does not wait.
        """
        async with self._lock:
            if not await asyncio.to_thread(self._store.move, run_id, position):
                raise RunError(f"run {run_id} is not in the queue", hint="it may have begun already")
            self._publish()
            return self._queue

    async def cancel(self, run_id: str) -> QueueView:
        """Take a run out of the queue, if it is there."""
        async with self._lock:
            self.entry(run_id)
            await asyncio.to_thread(self._store.dequeue, run_id)
            self._publish()
            return self._queue

    def entry(self, run_id: str) -> Entry:
        """The run `run_id` as it was last seen.

        Raises:
            NotFound: there is no such run.
        """
        if run_id not in self._entries:
            raise NotFound(f"there is no run {run_id!r}", hint="it may have been deleted")
        return self._entries[run_id]

    @property
    def queue(self) -> QueueView:
        """The queue in order."""
        return self._queue

    async def changes(self) -> AsyncGenerator[tuple[list[RunSummary], list[str]]]:
        """All runs, then those that changed and the ids of those that are gone, whenever something did."""
        changed = asyncio.Event()
        self._readers.add(changed)
        try:
            seen = -1
            while True:
                changed.clear()
                new = [self.views[run_id] for run_id, version in self._versions.items() if version > seen]
                gone = [run_id for run_id, version in self._gone.items() if version > seen >= 0]
                seen = self.version
                yield new, gone
                await changed.wait()
        finally:
            self._readers.discard(changed)

    def wake(self) -> None:
        """Let every reader of `changes` look again."""
        for reader in self._readers:
            reader.set()

    # Looking

    def _look(self) -> None:
        now = time.monotonic()
        self._reap()
        scanning = now - self._scanned >= SCAN_SECONDS
        if scanning or self._behind:
            self._scan(until=now + READ_SECONDS)
            self._scanned = now if scanning else self._scanned
        for run_id, entry in self._entries.items():
            if entry.alive or run_id in self._workers:
                with self._surviving(f"run {run_id}"):
                    entry.refresh()
                    self._note_worker(run_id, entry)
        self._enforce_stops(now)

    def _scan(self, *, until: float | None = None) -> None:
        """Look for runs that came and went. Long logs are read for a while at every look, so that none takes long."""
        present = folders(self._home)
        for run_id in self._entries.keys() - present.keys():
            self._forget(run_id)
        for run_id in present.keys() - self._entries.keys():
            with self._surviving(f"run {run_id}"):
                self._entries[run_id] = open_entry(present[run_id], until=until)
        for run_id, entry in self._entries.items():
            with self._surviving(f"run {run_id}"):
                if not entry.alive and entry.refresh(until=until):
                    self._note_worker(run_id, entry)
        self._behind = any(entry.behind for entry in self._entries.values())

    def _note_worker(self, run_id: str, entry: Entry) -> None:
        """Begin or end the account of a run's worker."""
        if entry.alive:
            self._workers.setdefault(run_id, Worker(None, endings.kills_for_memory()))
        elif (worker := self._workers.get(run_id)) is not None and worker.process is None:
            self._ended(run_id, entry, worker, None)

    def _reap(self) -> None:
        """Notice children that have ended, and end what they left running."""
        for run_id, worker in list(self._workers.items()):
            if worker.process is not None and has_ended(worker.process):
                with self._surviving(f"run {run_id}"):
                    self._account_for(run_id, worker, worker.process)

    def _account_for(self, run_id: str, worker: Worker, process: subprocess.Popen[bytes]) -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # its group, while its pid is still taken
                os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        if (entry := self._entries.get(run_id)) is None:
            del self._workers[run_id]  # the run was deleted meanwhile
            return
        entry.refresh()
        self._ended(run_id, entry, worker, status)

    def _ended(self, run_id: str, entry: Entry, worker: Worker, status: int | None) -> None:
        del self._workers[run_id]
        self._stopping.pop(run_id, None)
        asked = run_id in self._killed
        self._killed.discard(run_id)
        if state_of(entry, Known()) not in (RunState.CRASHED, RunState.CREATED):
            return  # its last event gives the reason
        kills = endings.kills_for_memory() - worker.memory_kills
        problem = endings.explain(status, log=entry.run.log_file, memory_kills=kills, asked=asked)
        self._endings[run_id] = problem
        self._store.keep_ending(run_id, problem.model_dump_json())
        logger.warning("run %s: %s", run_id, problem.message)

    def _enforce_stops(self, now: float) -> None:
        for run_id, asked in list(self._stopping.items()):
            entry = self._entries.get(run_id)
            if entry is None or not entry.alive:
                self._stopping.pop(run_id, None)
                continue
            patience = STALLED_STOP_SECONDS if entry.stalled(time.time()) else STOP_SECONDS
            if now - asked > patience:
                with self._surviving(f"run {run_id}"):
                    self._kill(entry)

    def _kill(self, entry: Entry) -> None:
        self._killed.add(entry.run.id)
        with suppress(ProcessLookupError):
            entry.run.kill()

    async def _fresh(self, run_id: str) -> Entry:
        """The run as it is now, even if another program has just made it."""
        if run_id not in self._entries:
            await asyncio.to_thread(self._scan)
        entry = self.entry(run_id)
        await asyncio.to_thread(entry.refresh)
        self._note_worker(run_id, entry)
        return entry

    def _forget(self, run_id: str) -> None:
        self._entries.pop(run_id, None)
        self._endings.pop(run_id, None)
        self._held.pop(run_id, None)
        self._stopping.pop(run_id, None)

    # Starting

    async def _start_next(self) -> None:
        """Start waiting runs while there is room."""
        while (run_id := self._next()) is not None:
            self._starting.add(run_id)
            try:
                await self._start(run_id)
            except (DroidError, OSError) as error:
                self._hold(run_id, error)
            finally:
                self._starting.discard(run_id)
            await self.tick()

    def _next(self) -> str | None:
        if sum(entry.alive for entry in self._entries.values()) >= self._parallel:
            return None
        now = time.monotonic()
        held = {run_id for run_id, (until, _) in self._held.items() if until > now}
        ready = (waiting.run for waiting in self._store.waiting() if waiting.run not in held)
        return next((run for run in ready if run in self._entries and not self._entries[run].problem), None)

    async def _start(self, run_id: str) -> None:
        entry = self._entries[run_id]
        action: Action = next((waiting.action for waiting in self._store.waiting() if waiting.run == run_id), "start")
        await asyncio.to_thread(self._store.dequeue, run_id)
        try:
            await asyncio.to_thread(self._store.drop_ending, run_id)
            self._endings.pop(run_id, None)
            if (earlier := self._workers.pop(run_id, None)) is not None and earlier.process is not None:
                await asyncio.to_thread(bury, earlier.process)  # it has let go of the run and is about to exit
            kills = endings.kills_for_memory()
            if entry.run.worker_pid() is None:
                process = await asyncio.to_thread(entry.run.start, shares=self._parallel)
                self._workers[run_id] = Worker(process, kills)
        except (DroidError, OSError):
            await asyncio.to_thread(self._store.enqueue, run_id, action)
            raise
        self._held.pop(run_id, None)
        await asyncio.to_thread(entry.refresh)

    def _hold(self, run_id: str, error: DroidError | OSError) -> None:
        """Let a run that could not be started wait a while, so that the next has its turn."""
        code = error.code if isinstance(error, DroidError) else StorageError.code
        hint = error.hint if isinstance(error, DroidError) else ""
        problem = Problem(code=code, message=f"it could not be started: {error}; it is tried again", hint=hint)
        if run_id not in self._held or self._held[run_id][1] != problem:
            logger.error("run %s: %s", run_id, problem.message)
        self._held[run_id] = (time.monotonic() + HELD_SECONDS, problem)

    @asynccontextmanager
    async def _settled(self, run_id: str) -> AsyncIterator[None]:
        """The lock, while this run is not being started."""
        while True:
            async with self._lock:
                if run_id not in self._starting:
                    yield
                    return
            await asyncio.sleep(0.02)

    # Publishing

    def _known(self, run_id: str, places: Mapping[str, int] | None = None) -> Known:
        if places is None:
            places = self._places()
        return Known(
            position=places.get(run_id),
            stopping=run_id in self._stopping,
            starting=run_id in self._starting,
            ending=self._endings.get(run_id),
            held=self._held[run_id][1] if run_id in self._held else None,
        )

    def _places(self) -> dict[str, int]:
        """Position of each waiting run."""
        return {entry.run: place for place, entry in enumerate(self._store.waiting())}

    def _publish(self) -> None:
        """Work out what the list shows, and wake the readers if it has changed."""
        places = self._places()
        self.version += 1
        changed = False
        for run_id, entry in self._entries.items():
            known = self._known(run_id, places)
            if self._basis.get(run_id) == (basis := (entry.revision, known)) and not entry.alive:
                continue
            self._basis[run_id] = basis
            view = summarise(entry, known)
            if self.views.get(run_id) != view:
                self.views[run_id], self._versions[run_id] = view, self.version
                changed = True
        for run_id in self.views.keys() - self._entries.keys():
            del self.views[run_id], self._versions[run_id], self._basis[run_id]
            self._gone[run_id] = self.version
            changed = True
        queue = QueueView(
            running=[run_id for run_id, view in self.views.items() if view.state in LIVING],
            waiting=[QueueEntry(run=it.run, action=it.action, added=it.added) for it in self._store.waiting()],
            limit=self._parallel,
        )
        if queue != self._queue or changed:
            self._queue = queue
            self.wake()

    def load_endings(self) -> None:
        """Recall how workers ended under an earlier server."""
        for run, text in self._store.endings().items():
            with suppress(ValidationError):  # of another version
                self._endings[run] = Problem.model_validate_json(text)

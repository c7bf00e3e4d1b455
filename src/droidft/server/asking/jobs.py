"""Work that takes a while: data checks, downloads and imports, at most two at once; trials, exports, pushes."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from droidft.adapters.exports.catalog import ExportEntry, sweep_exports
from droidft.adapters.exports.forms import ExportRequest
from droidft.adapters.exports.pushing import PushRequest
from droidft.config import TrainingConfig
from droidft.errors import DroidError, NotFound, RewardError
from droidft.home import Home
from droidft.models.upload import Pushed
from droidft.rewards.scorer import Trial
from droidft.server.asking.inspect import NICENESS, Inspector
from droidft.server.errors import Conflict
from droidft.server.schemas.base import ErrorBody
from droidft.server.schemas.data import DataCheck
from droidft.server.schemas.jobs import Job
from droidft.support.channel import Child, ChildError

AT_ONCE = 2
KEPT = 100
"""Ended jobs that are remembered."""
KEPT_CHECKS = 32
KEPT_TRIALS = 5
TRIAL = "droidft.workers.trial"
EXPORT = "droidft.workers.export_job"
PUSH = "droidft.workers.push"
PATIENCE = 2.0
"""Seconds that an export or a push which is called off has to clear up after itself."""
TRIAL_SECONDS = 600.0
"""A trial that has not ended by then is."""
QUICK_SECONDS = 0.25
"""How long a request waits for its job, so that the answer for a small file comes with it."""

TRIALS = TypeAdapter(Trial)
ENTRIES = TypeAdapter(ExportEntry)
PUSHED = TypeAdapter(Pushed)

Kind = Literal["check", "pull", "import", "try", "export", "push"]
NEW: dict[str, Any] = {
    "state": "running", "waiting": True, "phase": "", "done": 0, "total": None,
    "error": None, "check": None, "model": None, "trial": None, "export": None, "pushed": None,
}  # fmt: skip


@dataclass(eq=False)
class Work:
    """A job while it is done. `job` is what clients see; equal requests are one job while it runs."""

    job: Job
    request: str
    task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.job.state == "running"

    def change(self, **fields: Any) -> None:
        """Set fields of the job."""
        self.job = self.job.model_copy(update=fields)

    def end(self, state: Literal["done", "failed", "cancelled"], error: ErrorBody | None = None) -> None:
        """End the job, unless it has ended already."""
        if self.running:
            self.change(state=state, error=error)

    def note(self, event: dict[str, Any]) -> None:
        """Take over how far the work is: phase, done and total."""
        self.change(**event)


class Jobs:
    """All jobs of this server, and their results."""

    def __init__(self, inspector: Inspector, home: Home) -> None:
        self._inspector, self._home = inspector, home
        self._works: dict[str, Work] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._exporting, self._pushing = asyncio.Lock(), asyncio.Lock()
        self._checks: OrderedDict[str, DataCheck] = OrderedDict()
        self.trial_seconds = TRIAL_SECONDS

    def all(self) -> list[Job]:
        """Newest first."""
        return [work.job for work in reversed(self._works.values())]

    def get(self, job: str) -> Job:
        """One job.

        Raises:
            NotFound: there is none, or it ended long ago.
        """
        return self._work(job).job

    def cancel(self, job: str) -> Job:
        """End a job at once; one that has ended stays as it is."""
        work = self._work(job)
        if work.running and work.task is not None:
            work.task.cancel()
        work.end("cancelled")
        return work.job

    async def check(self, config: TrainingConfig, *, with_model: bool) -> Job:
        """Check the data of `config`; an equal check of unchanged files is not repeated."""
        params = self._inspector.params(config=config.model_dump(mode="json"), with_model=with_model)
        return await self._start("check", config.train_data_path, params, lambda work: self._check(work, params))

    async def pull(self, model: str) -> Job:
        """Fetch a model."""
        params = self._inspector.params(model=model)
        return await self._start("pull", model, params, lambda work: self._pull(work, params))

    async def take(self, path: str, name: str) -> Job:
        """Import a model folder or a GGUF file under a name."""
        params = self._inspector.params(path=path, name=name)
        return await self._start("import", f"{path} as {name}", params, lambda work: self._import(work, params))

    async def try_rewards(self, config: TrainingConfig, *, prompts: int, completions: int, seed: int | None) -> Job:
        """Score a few completions of the model that `config` names.

        Raises:
            Conflict: another trial is going on.
        """
        params = self._inspector.params(
            config=config.model_dump(mode="json"), prompts=prompts, completions=completions, seed=seed
        )
        other = next((work for work in self._works.values() if work.job.kind == "try" and work.running), None)
        if other is not None and other.request != _request("try", params):
            raise Conflict("rewards are being tried already", hint="wait for that trial, or cancel it")
        asked = params | {"seed": secrets.randbits(32) if seed is None else seed}
        return await self._start("try", config.model_path, params, lambda work: self._try(work, asked))

    async def export(self, request: ExportRequest) -> Job:
        """Make an export; one at a time, since each holds a model."""
        params = self._inspector.params(request=request.model_dump(mode="json"))
        title = f"{request.adapter} as {request.form.value}"
        return await self._start("export", title, params, lambda work: self._export(work, params))

    def exporting(self, request: ExportRequest) -> Job | None:
        """The job that makes this very export at this moment."""
        wanted = _request("export", self._inspector.params(request=request.model_dump(mode="json")))
        return next((work.job for work in self._works.values() if work.running and work.request == wanted), None)

    async def push(self, name: str, request: PushRequest, agreed: str) -> Job:
        """Push an export to a hub, if that would still do what was `agreed` to; one at a time, as the line is one."""
        params = self._inspector.params(name=name, request=request.model_dump(mode="json"), agreed=agreed)
        title = f"{name} to {request.repo_id}"
        return await self._start("push", title, params, lambda work: self._push(work, params))

    async def close(self) -> None:
        """Call everything off; the inspector is closed, so nothing blocks."""
        tasks = [work.task for work in self._works.values() if work.task is not None and not work.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(
        self, kind: Kind, title: str, params: dict[str, Any], steps: Callable[[Work], Coroutine[Any, Any, None]]
    ) -> Job:
        request = _request(kind, params)
        work = next((one for one in self._works.values() if one.running and one.request == request), None)
        if work is None:
            job = Job(id=secrets.token_hex(8), kind=kind, title=title, started=time.time(), **NEW)
            work = self._works[job.id] = Work(job, request)
            work.task = asyncio.create_task(self._run(work, steps))
            self._forget_old()
        assert work.task is not None
        await asyncio.wait({work.task}, timeout=QUICK_SECONDS)
        return work.job

    async def _run(self, work: Work, steps: Callable[[Work], Coroutine[Any, Any, None]]) -> None:
        try:
            await steps(work)
            work.end("done")
        except DroidError as error:
            work.end("failed", ErrorBody(**error.as_dict()))
        finally:
            work.end("cancelled")  # the server is ending
            work.change(waiting=False)

    async def _check(self, work: Work, params: dict[str, Any]) -> None:
        # Small files are read while large ones wait, so the look at their stamps takes no slot.
        stamps = await self._inspector.ask("data_key", **params)
        key = json.dumps([work.request, stamps])
        if stamps is not None and key in self._checks:
            self._checks.move_to_end(key)
            work.change(check=self._checks[key])
            return

        def note(event: dict[str, Any]) -> None:
            if "check" in event:
                work.change(check=DataCheck.model_validate(event["check"]))
            else:
                work.note(event)

        check = DataCheck.model_validate(await self._do(work, "check_data", params, note))
        work.change(check=check)
        if stamps is not None:
            self._checks[key] = check
            while len(self._checks) > KEPT_CHECKS:
                self._checks.popitem(last=False)

    async def _pull(self, work: Work, params: dict[str, Any]) -> None:
        existed = True

        def note(event: dict[str, Any]) -> None:
            nonlocal existed
            if "existed" in event:
                existed = event["existed"]
            else:
                work.note(event)

        try:
            work.change(model=await self._do(work, "pull", params, note))
        except asyncio.CancelledError:
            if not existed:
                await self._inspector.ask("forget", **params)
            raise

    async def _import(self, work: Work, params: dict[str, Any]) -> None:
        done = await self._do(work, "import_model", params, work.note)
        work.change(model=done["model"], warnings=done["warnings"])

    async def _do(self, work: Work, name: str, params: dict[str, Any], note: Callable[[Any], None]) -> Any:
        """The result of a request to a process of the job's own, once there is a slot for it."""
        async with self._slots, self._inspector.worker() as child:
            work.change(waiting=False)
            return await child.call(name, params, note)

    async def _try(self, work: Work, params: dict[str, Any]) -> None:
        """In a process for this alone, which is ended at once when the trial is called off or takes too long."""
        work.change(waiting=False)
        child = Child(TRIAL, niceness=NICENESS, patience=0)
        try:
            async with asyncio.timeout(self.trial_seconds):
                work.change(trial=TRIALS.validate_python(await child.call("try", params, work.note)))
        except TimeoutError:
            raise RewardError(
                f"trying the rewards took longer than {self.trial_seconds:g} s and was ended while {work.job.phase}",
                hint="try fewer prompts, lower max_completion_length, or look for a reward that never returns",
            ) from None
        except ChildError as error:
            if error.code != "worker_died":
                raise
            raise RewardError(
                f"the process ended while {work.job.phase or 'starting'}: {error.message}",
                hint="if it was killed for memory, use a smaller model; a reward of your own may have ended it",
            ) from None
        finally:
            await child.close()

    async def _export(self, work: Work, params: dict[str, Any]) -> None:
        """In a process for this alone. Called off, it is ended, and nothing half-made is left."""
        async with self._exporting:
            work.change(waiting=False)
            child = Child(EXPORT, niceness=NICENESS, patience=PATIENCE)
            try:
                done = await child.call("export", params, work.note)
                work.change(export=ENTRIES.validate_python(done["entry"]), warnings=done["warnings"])
            finally:
                await child.close()
                await asyncio.to_thread(sweep_exports, self._home.root / "exports")

    async def _push(self, work: Work, params: dict[str, Any]) -> None:
        """In a process for this alone, which is ended when it is called off: the hub then shows nothing of it."""
        async with self._pushing:
            work.change(waiting=False)
            child = Child(PUSH, niceness=NICENESS, patience=PATIENCE)
            try:
                work.change(pushed=PUSHED.validate_python(await child.call("push", params, work.note)))
            finally:
                await child.close()

    def _work(self, job: str) -> Work:
        if job not in self._works:
            raise NotFound(f"there is no job {job!r}", hint="jobs are kept for a while after they ended")
        return self._works[job]

    def _forget_old(self) -> None:
        ended = [work for work in self._works.values() if not work.running]
        trials = [work for work in ended if work.job.kind == "try"]
        for work in [*ended[: max(0, len(ended) - KEPT)], *trials[: max(0, len(trials) - KEPT_TRIALS)]]:
            self._works.pop(work.job.id, None)


def _request(kind: Kind, params: dict[str, Any]) -> str:
    return json.dumps([kind, params], sort_keys=True)

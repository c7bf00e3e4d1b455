"""Work that takes a while: data checks, downloads, imports, two at once, the others wait; and trials of rewards."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from droidft.channel import Child, ChildError
from droidft.config import TrainingConfig
from droidft.errors import DroidError, NotFound, RewardError
from droidft.rewards.scorer import Trial
from droidft.server.asking.inspect import NICENESS, Inspector
from droidft.server.errors import Conflict
from droidft.server.schemas.base import ErrorBody
from droidft.server.schemas.data import DataCheck
from droidft.server.schemas.jobs import Job

AT_ONCE = 2
KEPT = 100
"""Ended jobs that are remembered."""
KEPT_CHECKS = 32
KEPT_TRIALS = 5
TRIAL = "droidft.workers.trial"
TRIAL_SECONDS = 600.0
"""A trial that has not ended by then is."""
QUICK_SECONDS = 0.25
"""How long a request waits for its job, so that the answer for a small file comes with it."""

TRIALS = TypeAdapter(Trial)

Kind = Literal["check", "pull", "import", "try"]


@dataclass(eq=False)
class Work:
    """One job while it is done."""

    kind: Kind
    title: str
    request: str
    """Equal requests are one job while it runs."""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: Literal["running", "done", "failed", "cancelled"] = "running"
    waiting: bool = True
    phase: str = ""
    done: int = 0
    total: int | None = None
    started: float = field(default_factory=time.time)
    error: ErrorBody | None = None
    check: DataCheck | None = None
    model: str | None = None
    trial: Trial | None = None
    task: asyncio.Task[None] | None = None

    def view(self) -> Job:
        """The job as it is now."""
        return Job.model_validate({name: getattr(self, name) for name in Job.model_fields})

    def note(self, event: dict[str, Any]) -> None:
        """Take over how far the work is."""
        self.phase, self.done, self.total = event["phase"], event["done"], event["total"]


class Jobs:
    """All jobs of this server, and what they found."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._works: dict[str, Work] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._checks: OrderedDict[str, DataCheck] = OrderedDict()
        self.trial_seconds = TRIAL_SECONDS

    def all(self) -> list[Job]:
        """Newest first."""
        return [work.view() for work in reversed(self._works.values())]

    def get(self, job: str) -> Job:
        """One job.

        Raises:
            NotFound: there is none, or it ended long ago.
        """
        return self._work(job).view()

    def cancel(self, job: str) -> Job:
        """End a job at once; one that has ended stays as it is."""
        work = self._work(job)
        if work.state == "running":
            work.state = "cancelled"
            if work.task is not None:
                work.task.cancel()
        return work.view()

    async def check(self, config: TrainingConfig, *, with_model: bool) -> Job:
        """Check the data of `config`; what is known from an equal check of unchanged files is not done again."""
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
        other = next((work for work in self._works.values() if work.kind == "try" and work.state == "running"), None)
        if other is not None and other.request != _request("try", params):
            raise Conflict("rewards are being tried already", hint="wait for that trial, or cancel it")
        asked = params | {"seed": secrets.randbits(32) if seed is None else seed}
        return await self._start("try", config.model_path, params, lambda work: self._try(work, asked))

    async def close(self) -> None:
        """Call everything off; the inspector is closed, so nothing has to be waited for."""
        tasks = [work.task for work in self._works.values() if work.task is not None and not work.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(
        self, kind: Kind, title: str, params: dict[str, Any], steps: Callable[[Work], Coroutine[Any, Any, None]]
    ) -> Job:
        request = _request(kind, params)
        work = next((one for one in self._works.values() if one.state == "running" and one.request == request), None)
        if work is None:
            work = Work(kind, title, request)
            self._works[work.id] = work
            work.task = asyncio.create_task(self._run(work, steps))
            self._forget_old()
        assert work.task is not None
        await asyncio.wait({work.task}, timeout=QUICK_SECONDS)
        return work.view()

    async def _run(self, work: Work, steps: Callable[[Work], Coroutine[Any, Any, None]]) -> None:
        try:
            await steps(work)
        except DroidError as error:
            if work.state == "running":
                work.state, work.error = "failed", ErrorBody(**error.as_dict())
        else:
            if work.state == "running":
                work.state = "done"
        finally:
            work.waiting = False
            if work.state == "running":  # the server is ending
                work.state = "cancelled"

    async def _check(self, work: Work, params: dict[str, Any]) -> None:
        # Small files are read while large ones are waited for, so the look at their stamps takes no slot.
        stamp = await self._inspector.ask("data_key", **params)
        key = json.dumps([work.request, stamp])
        if stamp is not None and key in self._checks:
            self._checks.move_to_end(key)
            work.check = self._checks[key]
            return
        async with self._steps(work, "check_data", params) as steps:
            async for kind, value in steps:
                if kind == "result" or "check" in value:
                    work.check = DataCheck.model_validate(value if kind == "result" else value["check"])
                else:
                    work.note(value)
        if stamp is not None and work.check is not None:
            self._checks[key] = work.check
            while len(self._checks) > KEPT_CHECKS:
                self._checks.popitem(last=False)

    async def _pull(self, work: Work, params: dict[str, Any]) -> None:
        existed = True
        try:
            async with self._steps(work, "pull", params) as steps:
                async for kind, value in steps:
                    if kind == "result":
                        work.model = value["model"]
                    elif "existed" in value:
                        existed = value["existed"]
                    else:
                        work.note(value)
        except asyncio.CancelledError:
            if not existed:
                await self._inspector.ask("forget", **params)
            raise

    async def _import(self, work: Work, params: dict[str, Any]) -> None:
        async with self._steps(work, "import_model", params) as steps:
            async for kind, value in steps:
                if kind == "event":
                    work.note(value)
                else:
                    work.model = value["model"]

    async def _try(self, work: Work, params: dict[str, Any]) -> None:
        """In a process for this alone, which is ended at once when the trial is called off or takes too long."""
        work.waiting = False
        child = Child(TRIAL, niceness=NICENESS)
        try:
            async with asyncio.timeout(self.trial_seconds), aclosing(child.stream("try", params)) as steps:
                try:
                    async for kind, value in steps:
                        if kind == "event":
                            work.note(value)
                        else:
                            work.trial = TRIALS.validate_python(value)
                except asyncio.CancelledError:
                    await child.close()
                    raise
        except TimeoutError:
            raise RewardError(
                f"trying the rewards took longer than {self.trial_seconds:g} s and was ended while {work.phase}",
                hint="try fewer prompts, lower max_completion_length, or look for a reward that never returns",
            ) from None
        except ChildError as error:
            if error.code != "worker_died":
                raise
            raise RewardError(
                f"the process ended while {work.phase or 'starting'}: {error.message}",
                hint="if it was killed for memory, use a smaller model; a reward of your own may have ended it",
            ) from None
        finally:
            await child.close()

    @asynccontextmanager
    async def _steps(
        self, work: Work, name: str, params: dict[str, Any]
    ) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        """What a process of the job's own says, once there is a slot for it."""
        async with self._slots, self._inspector.worker() as child:
            work.waiting = False
            async with aclosing(child.stream(name, params)) as steps:
                yield steps

    def _work(self, job: str) -> Work:
        if job not in self._works:
            raise NotFound(f"there is no job {job!r}", hint="jobs are kept for a while after they ended")
        return self._works[job]

    def _forget_old(self) -> None:
        ended = [work for work in self._works.values() if work.state != "running"]
        trials = [work for work in ended if work.kind == "try"]
        for work in [*ended[: max(0, len(ended) - KEPT)], *trials[: max(0, len(trials) - KEPT_TRIALS)]]:
            self._works.pop(work.id, None)


def _request(kind: Kind, params: dict[str, Any]) -> str:
    return json.dumps([kind, params], sort_keys=True)

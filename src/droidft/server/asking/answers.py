"""Prompts and answers: one inference worker for the whole server, which answers many questions side by side.

The worker keeps its model loaded until it is asked for another, told to unload, or idle for long. A question whose
client goes is called off; one that comes when there are too many is refused.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from droidft.errors import DroidError, InternalError
from droidft.server import paths
from droidft.server.errors import Busy, Conflict
from droidft.server.schemas.inference import InferenceState, SamplingFields
from droidft.support.channel import Child, ChildError

if TYPE_CHECKING:
    from droidft.server.options import Options

IDLE_SECONDS = 600.0
MOST_ASKED = 128
"""Questions that are answered or wait; the worker answers as many rows at once as its memory allows."""
MOST_UNREAD = 5_000
"""Events that a client may lag behind before its question is called off."""
SEED_BITS = 32

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """One prompt for several sides. `messages` stand in for `prompt` and `system`."""

    model: str
    adapters: Sequence[str | None]
    """A side each: an adapter, possibly with `@best` or the like, or None for the base alone."""
    sampling: dict[str, Any]
    """Fields of `engine.generation.generate.Sampling`; they include a seed."""
    prompt: str | None = None
    system: str | None = None
    messages: Sequence[dict[str, str]] | None = None
    prompts: Sequence[str | Sequence[int]] | None = None
    """Texts, or tokens, to continue as they are; they stand in for `prompt` too. Each side then answers each."""
    use_chat_template: bool = True
    chat_template_kwargs: Mapping[str, Any] | None = None
    """Variables for the chat template, over those that the adapter was trained with."""
    template_date: str | None = None
    """The day for templates that write the date; None: today."""
    stop: tuple[str, ...] = ()
    allow_mismatch: bool = False
    """Whether an adapter may be used on a base with other weights than those it was trained on."""
    choices: int = 1
    """How many answers each side gives to each prompt."""
    top_logprobs: int | None = None
    """Whether tokens come with their likelihood, and how many of the likeliest in their place."""
    echo: bool = False
    only_echo: bool = False
    """The prompts are wanted back, before their continuation or in place of one."""
    fields: tuple[str, str] = ("model_name", "adapter_name")
    """What the client calls model and adapter."""


def sampling_of(request: SamplingFields) -> dict[str, Any]:
    """The sampling fields of a request, with a seed drawn where none was given."""
    fields = {name: getattr(request, name) for name in SamplingFields.model_fields}
    return {**fields, "seed": draw_seed() if request.seed is None else request.seed}


def draw_seed() -> int:
    """A seed for an answer whose request named none, short enough to be typed again."""
    return secrets.randbits(SEED_BITS)


class Asked:
    """A question on its way to the worker: iterate over its events, `cancel` when nobody waits for them.

    The iteration raises the `DroidError` that ended the question.
    """

    def __init__(self, answers: Answers, params: dict[str, Any], first: Sequence[dict[str, Any]]) -> None:
        self._answers = answers
        self._params = params
        self._queue: asyncio.Queue[dict[str, Any] | DroidError | None] = asyncio.Queue()
        for event in first:
            self._queue.put_nowait(event)
        # A task of its own: however a request is cancelled, the worker is called off in an orderly way.
        self._task = asyncio.create_task(self._ask())
        self._task.add_done_callback(self._ended)
        answers.keep(self, self._task)
        self._peeked: list[dict[str, Any] | DroidError | None] = []
        self.begun = False
        """Whether a side has begun to answer."""

    def cancel(self) -> None:
        """Call the question off, if it is not answered."""
        self._task.cancel()

    async def peek(self) -> None:
        """Wait for the first event; raises if there is none but an error."""
        first = await self._queue.get()
        self._peeked.append(first)
        if isinstance(first, DroidError):
            raise first

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while (event := self._peeked.pop() if self._peeked else await self._queue.get()) is not None:
            if isinstance(event, DroidError):
                raise event
            yield event

    async def started(self) -> None:
        """Wait until the first side begins to answer; raises what keeps it from that."""
        while True:
            event = await self._queue.get()
            if isinstance(event, DroidError):
                raise event
            if event is not None and event["type"] == "error":
                raise ChildError(**event["error"])
            if event is None or event["type"] == "start":
                self._peeked.append(event)
                return

    async def good(self) -> AsyncIterator[dict[str, Any]]:
        """Events of the sides, without phases; the error of one is raised."""
        async for event in self:
            if event["type"] == "error":
                raise ChildError(**event["error"])
            if event["type"] != "phase":
                yield event

    async def whole(self) -> dict[str, Any]:
        """The only side's answer, as the fields of `InferenceAnswer`.

        Raises:
            DroidError: also that of the side.
        """
        (answer,) = await self.all_whole()
        del answer["type"], answer["side"], answer["described"]
        return answer

    async def all_whole(self) -> list[dict[str, Any]]:
        """Every side's answer, in order; `described` are its tokens, where their likelihoods were asked for.

        Raises:
            DroidError: also that of the first side that cannot answer.
        """
        answers: dict[int, dict[str, Any]] = {}
        texts: dict[int, list[str]] = {}
        async for event in self.good():
            answer = answers.setdefault(event["side"], {"described": []})
            match event["type"]:
                case "text":
                    texts.setdefault(event["side"], []).append(event["text"])
                    answer["described"] += event.get("described", [])
                case "start" | "end":
                    answer |= event
        return [{**answers[side], "response": "".join(texts.get(side, []))} for side in sorted(answers)]

    def _ended(self, task: asyncio.Task[None]) -> None:
        """However the task ended, a reader must not wait any longer."""
        if task.cancelled():
            self._queue.put_nowait(ChildError("cancelled", "the question was called off"))
        elif error := task.exception():
            logger.error("asking the inference worker failed", exc_info=error)
            self._queue.put_nowait(InternalError(str(error)))

    async def _ask(self) -> None:
        if not self._params["sides"]:
            self._queue.put_nowait(None)
            return
        try:
            async with aclosing(self._answers.child.stream("answer", self._params)) as steps:
                async for kind, value in steps:
                    if kind == "event" and value["type"] == "loaded":
                        self._answers.note_model(value["model"])
                    elif kind == "event":
                        self.begun = self.begun or value["type"] == "start"
                        self._queue.put_nowait(value)
                    if self._queue.qsize() > MOST_UNREAD:
                        raise Conflict("the answer was not read, so it was stopped", hint="ask again")
            self._queue.put_nowait(None)
        except DroidError as error:
            self._queue.put_nowait(error)
        finally:
            self._answers.touch()


class Live(StreamingResponse):
    """An answer as it is made; the question is called off when the client goes."""

    def __init__(self, asked: Asked, text: AsyncIterator[str], *, media_type: str) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(text, media_type=media_type, headers=headers)
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._asked.cancel()


async def unless_gone(request: Request, asked: Asked, result: Coroutine[None, None, T]) -> T:
    """What `result` gives; when the client goes before that, the question is called off.

    Raises:
        ClientDisconnect: the client has gone.
    """
    waiting = asyncio.create_task(result)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientDisconnect
        return await waiting
    except BaseException:
        asked.cancel()
        raise
    finally:
        for task in (waiting, gone):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _gone(request: Request) -> None:
    """Return when the client has closed the connection. The body has been read by then."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Answers:
    """Owns the inference worker."""

    def __init__(self, options: Options, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self.options = options
        self.child = Child("droidft.workers.answer", at_once=MOST_ASKED)
        self._loaded: tuple[int | None, str] = (None, "")
        """The worker's process, and the model that it reported as loaded."""
        self._idle_seconds = idle_seconds
        self._used = 0.0
        self._tasks: dict[asyncio.Task[None], Asked] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch over the worker; at the end, stop it in the middle of its work if need be."""
        watch = asyncio.create_task(self._unload_when_idle())
        try:
            yield
        finally:
            watch.cancel()
            for task in self._tasks:
                task.cancel()
            await self.child.close()
            await asyncio.gather(watch, *self._tasks, return_exceptions=True)

    @property
    def asked(self) -> int:
        """Questions that are not answered."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """Questions that nothing was answered to yet."""
        return sum(not asked.begun for asked in self._tasks.values())

    def ask(self, question: Question) -> Asked:
        """Put a question to the worker. A side whose adapter cannot be used has an `error` event of its own.

        Raises:
            Busy: there are too many already.
            NotFound, ConfigError, ForbiddenPath: the model's name or path.
        """
        if len(self._tasks) >= MOST_ASKED:
            raise Busy(
                f"{len(self._tasks)} questions are being answered or wait already; the limit is {MOST_ASKED}",
                hint="try again when some of them are answered",
            )
        ref = paths.model_ref(self.options, question.model, field=question.fields[0])
        sides, refused = self._sides(question)
        params = {
            "home": str(self.options.home.root),
            "model": ref,
            "sides": sides,
            "prompt": question.prompt,
            "system": question.system,
            "messages": None if question.messages is None else list(question.messages),
            "use_chat_template": question.use_chat_template,
            "chat_template_kwargs": None
            if question.chat_template_kwargs is None
            else dict(question.chat_template_kwargs),
            "template_date": question.template_date,
            "sampling": question.sampling,
            "stop": list(question.stop),
            "prompts": None if question.prompts is None else list(question.prompts),
            "allow_mismatch": question.allow_mismatch,
            "top_logprobs": question.top_logprobs,
            "echo": question.echo,
            "only_echo": question.only_echo,
        }
        return Asked(self, params, refused)

    async def state(self) -> InferenceState:
        """What the worker holds and does."""
        pid = self.child.pid
        return InferenceState(
            model=self._loaded[1] if pid is not None and pid == self._loaded[0] else None,
            busy=self.child.busy,
            waiting=self.waiting,
            memory=None if pid is None else await asyncio.to_thread(resident_bytes, pid),
        )

    async def unload(self) -> InferenceState:
        """End the worker, so that its memory is free.

        Raises:
            Conflict: it is answering.
        """
        if self._tasks:
            raise Conflict("the model is answering", hint="stop the answer first, or wait for its end")
        await self.child.close()
        return await self.state()

    def note_model(self, ref: str) -> None:
        """The worker has loaded this model in place of the one before."""
        self._loaded = (self.child.pid, ref)

    def touch(self) -> None:
        """The worker was used just now."""
        self._used = asyncio.get_running_loop().time()

    def keep(self, asked: Asked, task: asyncio.Task[None]) -> None:
        """Hold on to a question's task until it has ended."""
        self._tasks[task] = asked
        task.add_done_callback(self._tasks.pop)

    def _sides(self, question: Question) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Sides for the worker, and error events of those it need not be asked about."""
        sides: list[dict[str, Any]] = []
        refused: list[dict[str, Any]] = []
        number, seed = 0, question.sampling["seed"]
        for adapter in question.adapters:
            named, error = self._named(adapter, question.fields[1])
            for prompt, choice in product(range(len(question.prompts or " ")), range(question.choices)):
                if error is None:
                    sides.append({"side": number, "adapter": named, "prompt": prompt, "seed": seed + choice})
                else:
                    refused.append({"type": "error", "side": number, "error": error.as_dict()})
                number += 1
        return sides, refused

    def _named(self, adapter: str | None, field: str) -> tuple[str | None, DroidError | None]:
        try:
            return None if adapter is None else paths.adapter_ref(self.options, adapter, field=field), None
        except DroidError as error:
            return None, error

    async def _unload_when_idle(self) -> None:
        while True:
            await asyncio.sleep(min(30.0, self._idle_seconds / 4))
            idle = asyncio.get_running_loop().time() - self._used
            if self.child.pid is not None and idle >= self._idle_seconds:
                with suppress(Conflict):
                    await self.unload()


def resident_bytes(pid: int) -> int | None:
    """Memory that a process occupies; None if it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None

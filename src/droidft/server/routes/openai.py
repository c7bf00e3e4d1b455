"""`/v1`: base models and adapters for programs that speak to OpenAI's interface."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from droidft.errors import DroidError, NotFound
from droidft.server.app_state import State
from droidft.server.asking.answers import Asked, Live, unless_gone
from droidft.server.asking.openai import chat_question, served_models, text_question
from droidft.server.schemas.openai import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatRequest,
    CommonRequest,
    Completion,
    CompletionRequest,
    Extra,
    ServedModel,
    ServedModels,
    TextChoice,
    Usage,
)

router = APIRouter(prefix="/v1", tags=["openai"])

EVENTS = "text/event-stream"


@router.get("/models", operation_id="listServedModels")
def list_models(state: State) -> ServedModels:
    """What may be given as `model`: bases, and adapters on the base that they were trained on."""
    return ServedModels(data=served_models(state.home))


@router.get("/models/{model:path}", operation_id="getServedModel")
def get_model(model: Annotated[str, Path(min_length=1, max_length=4200)], state: State) -> ServedModel:
    """One of them."""
    for served in served_models(state.home):
        if served.id == model:
            return served
    raise NotFound(f"there is no model {model[:200]!r}", hint="GET /v1/models lists those here", field="model")


@router.post("/chat/completions", operation_id="createChatCompletion", response_model=ChatCompletion)
async def chat(body: ChatRequest, state: State, request: Request) -> Any:
    """Answer a conversation, whole or as a stream."""
    fields = _fields("chatcmpl", body.model)
    asked = state.answers.ask(chat_question(body))
    if body.stream:
        return await _stream(asked, body, request, fields, _chat_delta)
    answer = await unless_gone(request, asked, asked.whole())
    choice = ChatChoice(message=AnswerMessage(content=answer["response"]), finish_reason=answer["finish_reason"])
    return ChatCompletion(**fields, choices=[choice], usage=_usage(answer), droidft=_extra(answer))


@router.post("/completions", operation_id="createCompletion", response_model=Completion)
async def complete(body: CompletionRequest, state: State, request: Request) -> Any:
    """Continue a text, whole or as a stream; no chat template is used."""
    fields = _fields("cmpl", body.model)
    asked = state.answers.ask(text_question(body))
    if body.stream:
        return await _stream(asked, body, request, fields, _text_delta)
    answer = await unless_gone(request, asked, asked.whole())
    choice = TextChoice(text=answer["response"], finish_reason=answer["finish_reason"])
    return Completion(**fields, choices=[choice], usage=_usage(answer), droidft=_extra(answer))


def _fields(kind: str, model: str) -> dict[str, Any]:
    """What all parts of one answer share."""
    return {"id": f"{kind}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}


Delta = Callable[[str | None, str | None], dict[str, Any]]
"""(text or None for the beginning or end, finish reason or None) -> the only choice of a chunk."""


def _chat_delta(text: str | None, reason: str | None) -> dict[str, Any]:
    beginning = {"role": "assistant", "content": ""} if reason is None else {}
    delta = beginning if text is None else {"content": text}
    return {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}


def _text_delta(text: str | None, reason: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text or "", "finish_reason": reason, "logprobs": None}


async def _stream(
    asked: Asked, body: CommonRequest, request: Request, fields: dict[str, Any], delta: Delta
) -> Response:
    await unless_gone(request, asked, asked.started())
    usage = body.stream_options is not None and body.stream_options.include_usage
    kind = "chat.completion.chunk" if delta is _chat_delta else "text_completion"
    return Live(asked, _events(asked, {**fields, "object": kind}, delta, usage=usage), media_type=EVENTS)


async def _events(asked: Asked, fields: dict[str, Any], delta: Delta, *, usage: bool) -> AsyncIterator[str]:
    """Server-sent events. An error in the middle is an event of its own, and the last."""
    answer: dict[str, Any] = {}

    def chunk(choices: list[dict[str, Any]], **more: Any) -> str:
        return _event({**fields, "choices": choices, **({"usage": None} if usage else {}), **more})

    try:
        async for event in asked.only():
            match event["type"]:
                case "start":
                    answer |= event
                    yield chunk([delta(None, None)], droidft=_extra(answer).model_dump())
                case "text":
                    yield chunk([delta(event["text"], None)])
                case "end":
                    answer |= event
                    extra = _extra(answer).model_dump()
                    yield chunk([delta(None, event["finish_reason"])], droidft=extra)
        if usage:
            yield chunk([], usage=_usage(answer).model_dump())
        yield "data: [DONE]\n\n"
    except DroidError as error:
        yield _event({"error": error.as_dict()})


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _usage(answer: dict[str, Any]) -> Usage:
    prompt, tokens = answer["prompt_tokens"], answer["tokens"]
    return Usage(prompt_tokens=prompt, completion_tokens=tokens, total_tokens=prompt + tokens)


def _extra(answer: dict[str, Any]) -> Extra:
    return Extra(
        adapter_details=answer["adapter_details"],
        seed=answer["seed"],
        tokens_per_second=answer.get("tokens_per_second"),
    )

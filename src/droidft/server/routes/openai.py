"""`/v1`: base models and adapters for programs that speak to OpenAI's interface."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from droidft.errors import DroidError, NotFound
from droidft.server.app_state import State
from droidft.server.asking.answers import Asked, Live, Question, unless_gone
from droidft.server.asking.openai import (
    chat_logprobs,
    chat_question,
    served_models,
    text_logprobs,
    text_question,
)
from droidft.server.errors import openai_shape
from droidft.server.schemas.openai import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatRequest,
    CommonRequest,
    Completion,
    CompletionRequest,
    Extra,
    OpenAiErrorAnswer,
    ServedModel,
    ServedModels,
    TextChoice,
    Usage,
)

router = APIRouter(
    prefix="/v1",
    tags=["openai"],
    responses={
        "4XX": {"model": OpenAiErrorAnswer, "description": "The request cannot be done; the error says why."},
        "5XX": {"model": OpenAiErrorAnswer, "description": "The server or a worker failed; the error says how."},
    },
)

EVENTS = "text/event-stream"


@router.head("/models", include_in_schema=False)
@router.get("/models", operation_id="listServedModels")
def list_models(state: State) -> ServedModels:
    """What may be given as `model`: bases, and adapters on the base that they were trained on."""
    return ServedModels(data=served_models(state.home))


@router.head("/models/{model:path}", include_in_schema=False)
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
    question = chat_question(body)
    asked = state.answers.ask(question)
    if body.stream:
        return await _stream(
            asked, body, question, request, {**fields, "object": "chat.completion.chunk"}, _chat_part
        )
    answers = await unless_gone(request, asked, asked.all_whole())
    choices = [
        ChatChoice(
            index=index,
            message=AnswerMessage(content=answer["response"]),
            finish_reason=answer["finish_reason"],
            logprobs=None if question.top_logprobs is None else chat_logprobs(answer["described"]),
        )
        for index, answer in enumerate(answers)
    ]
    return ChatCompletion(**fields, choices=choices, usage=_usage(answers, question), droidft=_extra(answers[0]))


@router.post("/completions", operation_id="createCompletion", response_model=Completion)
async def complete(body: CompletionRequest, state: State, request: Request) -> Any:
    """Continue texts, whole or as a stream; no chat template is used."""
    fields = _fields("cmpl", body.model)
    question = text_question(body)
    asked = state.answers.ask(question)
    if body.stream:
        fields["object"] = "text_completion"
        return await _stream(asked, body, question, request, fields, _text_part)
    answers = await unless_gone(request, asked, asked.all_whole())
    choices = [
        TextChoice(
            index=index,
            text=answer["response"],
            finish_reason=answer["finish_reason"],
            logprobs=None if question.top_logprobs is None else text_logprobs(answer["described"]),
        )
        for index, answer in enumerate(answers)
    ]
    return Completion(**fields, choices=choices, usage=_usage(answers, question), droidft=_extra(answers[0]))


def _fields(kind: str, model: str) -> dict[str, Any]:
    """What all parts of one answer share."""
    return {"id": f"{kind}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}


Part = Callable[[dict[str, Any], bool], dict[str, Any]]
"""(event, whether log-probabilities are wanted) -> the choice of a chunk."""


def _chat_part(event: dict[str, Any], likely: bool) -> dict[str, Any]:
    delta: dict[str, Any] = {}
    if event["type"] == "start":
        delta = {"role": "assistant", "content": ""}
    elif event["type"] == "text":
        delta = {"content": event["text"]}
    logprobs = chat_logprobs(event["described"]).model_dump() if likely and event.get("described") else None
    return {
        "index": event["side"],
        "delta": delta,
        "finish_reason": event.get("finish_reason"),
        "logprobs": logprobs,
    }


def _text_part(event: dict[str, Any], likely: bool) -> dict[str, Any]:
    logprobs = text_logprobs(event["described"]).model_dump() if likely and event.get("described") else None
    return {
        "index": event["side"],
        "text": event.get("text", ""),
        "finish_reason": event.get("finish_reason"),
        "logprobs": logprobs,
    }


async def _stream(
    asked: Asked, body: CommonRequest, question: Question, request: Request, fields: dict[str, Any], part: Part
) -> Response:
    await unless_gone(request, asked, asked.started())
    usage = body.stream_options is not None and body.stream_options.include_usage
    return Live(asked, _events(asked, question, fields, part, usage=usage), media_type=EVENTS)


async def _events(
    asked: Asked, question: Question, fields: dict[str, Any], part: Part, *, usage: bool
) -> AsyncIterator[str]:
    """Server-sent events. An error in the middle is an event of its own, and the last."""
    answers: dict[int, dict[str, Any]] = {}
    likely = question.top_logprobs is not None

    def chunk(choices: list[dict[str, Any]], **more: Any) -> str:
        return _event({**fields, "choices": choices, **({"usage": None} if usage else {}), **more})

    try:
        async for event in asked.good():
            answer = answers.setdefault(event["side"], {})
            if event["type"] == "text":
                yield chunk([part(event, likely)])
                continue
            answer |= event
            yield chunk([part(event, likely)], droidft=_extra(answer).model_dump())
        if usage:
            yield chunk([], usage=_usage(list(answers.values()), question).model_dump())
        yield "data: [DONE]\n\n"
    except DroidError as error:
        yield _event({"error": openai_shape(error)})


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _usage(answers: Sequence[dict[str, Any]], question: Question) -> Usage:
    prompt = sum(answer["prompt_tokens"] for answer in answers[:: question.choices])
    tokens = sum(answer["tokens"] for answer in answers)
    return Usage(prompt_tokens=prompt, completion_tokens=tokens, total_tokens=prompt + tokens)


def _extra(answer: dict[str, Any]) -> Extra:
    return Extra(
        adapter_details=answer["adapter_details"],
        seed=answer["seed"],
        tokens_per_second=answer.get("tokens_per_second"),
    )

"""Requests and answers of `/v1`, in the shapes of OpenAI's interface.

Of the requests, only what is used here is declared; `asking/openai.py` decides about every other field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from droidft.server.schemas.base import Wire
from droidft.server.schemas.inference import AdapterDetails

Text = Annotated[str, Field(max_length=1_000_000)]


class Open(Wire):
    """A request that may hold fields which are declared nowhere."""

    model_config = ConfigDict(extra="allow")


class StreamOptions(Open):
    """What a stream holds besides the answer."""

    include_usage: bool = False


class CommonRequest(Open):
    """What both kinds of completion take. What is left out is as OpenAI has it: temperature 1, nothing cut off."""

    model: Annotated[str, Field(min_length=1, max_length=4200)]
    """`model`, `model:adapter`, or `model:adapter@best`, `@latest`, `@200`."""
    temperature: Annotated[float, Field(ge=0, le=10)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """512 where neither this nor `max_completion_tokens` is given."""
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    stop: Annotated[str, Field(max_length=1000)] | Annotated[list[Text], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None


class ChatMessage(Open):
    """One turn. `content` is a text, or a list of parts that are texts."""

    role: Annotated[str, Field(max_length=100)]
    content: Text | Annotated[list[dict[str, Any]], Field(max_length=1000)] | None = None


class ChatRequest(CommonRequest):
    """A conversation to answer."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=10_000)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class CompletionRequest(CommonRequest):
    """A text to continue as it is, without the chat template."""

    prompt: Text | Annotated[list[Any], Field(max_length=1_000_000)]


class Usage(Wire):
    """Tokens of prompt and answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Extra(Wire):
    """What OpenAI's answers have no place for."""

    adapter_details: AdapterDetails
    seed: int
    tokens_per_second: float | None
    """Null in a stream before its end."""


class AnswerMessage(Wire):
    """The model's message."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(Wire):
    """The only choice."""

    index: int = 0
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatCompletion(Wire):
    """A whole answer to a conversation."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    droidft: Extra


class TextChoice(Wire):
    """The only choice."""

    index: int = 0
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Completion(Wire):
    """A whole continuation."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage
    droidft: Extra


class ServedModel(Wire):
    """What may be given as `model`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ServedModels(Wire):
    """Every base model, and every adapter on the model that it was trained on."""

    object: Literal["list"] = "list"
    data: list[ServedModel]

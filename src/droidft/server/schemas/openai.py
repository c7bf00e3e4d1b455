"""Requests and answers of `/v1`, in the shapes of OpenAI's interface.

Of the requests, only what is used here is declared; `asking/openai.py` decides about every other field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from droidft.server.schemas.base import Body, Wire
from droidft.server.schemas.inference import AdapterDetails

Text = Annotated[str, Field(max_length=1_000_000)]
StopText = Annotated[str, Field(min_length=1, max_length=1000)]
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


class Open(Body):
    """A request that may hold fields which are declared nowhere."""

    model_config = ConfigDict(extra="allow")


class StreamOptions(Body):
    """What a stream holds besides the answer."""

    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None
    """Padding against listeners on the way, which OpenAI adds; here there is none."""


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
    logit_bias: Annotated[dict[TokenId, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)] | None = (
        None
    )
    """Added to the logits of tokens, by their ids; -100 forbids one, 100 forces it."""
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """Choice 0 is drawn with it, choice 1 with the next number, and so on."""
    stop: StopText | Annotated[list[StopText], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    """Choices for each prompt."""
    allow_mismatch: bool = False
    """Use an adapter though it was trained on other weights than those of the model; not a field of OpenAI's."""


class ChatMessage(Open):
    """One turn. `content` is a text, or a list of parts that are texts."""

    role: Annotated[str, Field(max_length=100)]
    content: Text | Annotated[list[dict[str, Any]], Field(max_length=1000)] | None = None


class ChatRequest(CommonRequest):
    """A conversation to answer."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=10_000)]
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """512 where neither this nor `max_completion_tokens` is given."""
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=100)] | None = None
    """Variables of the chat template, such as `enable_thinking`, as vLLM has them."""
    reasoning_effort: Annotated[str, Field(max_length=100)] | None = None
    """Put to the chat template under this name; refused where it reads none."""
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    logprobs: bool | None = None
    """The log-probability of each token of the answer: the model's own, before temperature and penalties."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """So many of the likeliest tokens in each place; only with `logprobs`."""


class CompletionRequest(CommonRequest):
    """A text to continue as it is, without the chat template; or several, or tokens of one or several."""

    prompt: Text | Annotated[list[Any], Field(max_length=1_000_000)]
    max_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """512 where it is not given; 0, with `echo`, only reads the prompt."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """The log-probability of each token, and so many of the likeliest in its place."""
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None
    """As many as `n`: choosing among more is not supported."""
    echo: bool | None = None
    """The prompt before its continuation, with `logprobs` for its tokens too."""


class Usage(Wire):
    """Tokens of all prompts, each counted once, and of all answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Extra(Wire):
    """What OpenAI's answers have no place for."""

    adapter_details: AdapterDetails
    seed: int
    tokens_per_second: float | None
    """Null in a stream before its end."""


class TopLogprob(Wire):
    """A token that might have come."""

    token: str
    bytes: list[int]
    logprob: float


class TokenLogprob(TopLogprob):
    """A token of the answer; the token that ended it is the last, though its text is not shown."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(Wire):
    """How likely the model had each token of an answer, in nats."""

    content: list[TokenLogprob]
    refusal: None = None


class TextLogprobs(Wire):
    """The same of a text, in columns of equal length."""

    tokens: list[str]
    token_logprobs: list[float | None]
    """Null for the first token of a prompt, which follows nothing."""
    top_logprobs: list[dict[str, float] | None]
    """The likeliest tokens, and the one that came."""
    text_offset: list[int]


class AnswerMessage(Wire):
    """The model's message."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(Wire):
    """One of `n` answers."""

    index: int = 0
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]
    logprobs: ChatLogprobs | None = None


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
    """One of `n` continuations of a prompt, prompt by prompt."""

    index: int = 0
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: TextLogprobs | None = None


class Completion(Wire):
    """A whole continuation."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage
    droidft: Extra


class OpenAiError(Wire):
    """What is wrong, for a program and for the person who reads `message`."""

    message: str
    type: str
    param: str | None
    """The field at fault."""
    code: str


class OpenAiErrorAnswer(Wire):
    """The shape of every error below `/v1`."""

    error: OpenAiError


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

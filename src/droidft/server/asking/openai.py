"""OpenAI's interface in this server's terms: what a request asks, and which models there are.

Each field of a request is honoured, ignored because nothing depends on it, or refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from droidft.adapters.folder import AdapterInfo, list_adapters
from droidft.data.conversation import normal_turns
from droidft.errors import ConfigError
from droidft.home import Home
from droidft.models.catalog import ModelSummary, list_models
from droidft.server.asking.answers import Question, draw_seed
from droidft.server.paths import ADAPTER
from droidft.server.schemas.openai import (
    ChatLogprobs,
    ChatMessage,
    ChatRequest,
    CommonRequest,
    CompletionRequest,
    ServedModel,
    TextLogprobs,
    TokenLogprob,
    TopLogprob,
)
from droidft.support.faults import Refused

MOST_TOKENS = 512
MOST_CHOICES = 256
"""Answers of one request: prompts times `n`."""

HARMLESS = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "user",
    }
)
"""Fields that change neither the answer nor its form."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Fields that cannot be honoured, and the values besides null that ask for nothing."""


def chat_question(request: ChatRequest) -> Question:
    """The question that a conversation puts.

    Raises:
        ConfigError: a field or a kind of message that cannot be honoured; `field` names it.
    """
    limits = {request.max_completion_tokens, request.max_tokens} - {None}
    if len(limits) > 1:
        raise ConfigError(
            f"max_tokens is {request.max_tokens} and max_completion_tokens is {request.max_completion_tokens}",
            hint="give one of them: they mean the same",
            field="max_tokens",
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise ConfigError("top_logprobs without logprobs", hint="set logprobs to true", field="top_logprobs")
    messages = [_turn(message, f"messages.{index}") for index, message in enumerate(request.messages)]
    if not any(message["content"].strip() for message in messages):
        raise ConfigError("every message is blank", hint="write at least one word", field="messages")
    top = (request.top_logprobs or 0) if request.logprobs else None
    kwargs = dict(request.chat_template_kwargs or {})
    if request.reasoning_effort is not None:
        kwargs.setdefault("reasoning_effort", request.reasoning_effort)
    return _question(
        request, next(iter(limits), None), messages=messages, top_logprobs=top, chat_template_kwargs=kwargs or None
    )


def text_question(request: CompletionRequest) -> Question:
    """The question that texts, or tokens, to continue put. Raises as `chat_question`."""
    if request.best_of not in (None, request.n or 1):
        hint = f"leave it out: all {request.n or 1} of n are given"
        raise ConfigError(f"best_of {request.best_of} is not supported", hint=hint, field="best_of")
    if request.max_tokens == 0 and not request.echo:
        raise ConfigError("max_tokens 0 asks for nothing", hint="add echo, or 1 and more tokens", field="max_tokens")
    return _question(
        request,
        request.max_tokens or None,
        prompts=_prompts(request.prompt),
        use_chat_template=False,
        top_logprobs=request.logprobs,
        echo=request.echo or False,
        only_echo=request.max_tokens == 0,
    )


def _prompts(given: str | list[Any]) -> list[str | list[int]]:
    """The texts, or lists of tokens, that a prompt stands for: one of either, or a list of them."""
    prompts: list[Any] = given if isinstance(given, list) and not _are_tokens(given) else [given]
    if not prompts:
        raise ConfigError("the prompt is empty", hint="write at least one word", field="prompt")
    for index, prompt in enumerate(prompts):
        field = "prompt" if prompts[0] is given else f"prompt.{index}"
        if not isinstance(prompt, str) and not _are_tokens(prompt):
            hint = "a prompt is a text, a list of tokens, or a list of several of either"
            raise ConfigError(f"{field} is neither a text nor tokens", hint=hint, field=field)
        if not prompt:
            raise ConfigError(f"{field} is empty", hint="write at least one word", field=field)
    return prompts


def _are_tokens(given: Any) -> bool:
    """Whether this is one prompt as tokens. An empty list is none, but an empty prompt in a list of prompts."""
    return isinstance(given, list) and bool(given) and all(type(token) is int for token in given)


def chat_logprobs(tokens: Sequence[Mapping[str, Any]]) -> ChatLogprobs:
    """Tokens as the worker describes them (`engine.generation.pieces`), in the form of a chat's choice."""
    return ChatLogprobs(
        content=[
            TokenLogprob(
                token=each["token"],
                bytes=each["bytes"],
                logprob=each["logprob"],
                top_logprobs=[TopLogprob(**other) for other in each["top"]],
            )
            for each in tokens
        ]
    )


def text_logprobs(tokens: Sequence[Mapping[str, Any]]) -> TextLogprobs:
    """The same in the form of a text's choice, in columns."""
    return TextLogprobs(
        tokens=[each["token"] for each in tokens],
        token_logprobs=[each["logprob"] for each in tokens],
        top_logprobs=[_by_text(each) for each in tokens],
        text_offset=[each["offset"] for each in tokens],
    )


def _by_text(token: Mapping[str, Any]) -> dict[str, float] | None:
    """The likeliest tokens and the one that came; of several that look alike, the likeliest."""
    if token["top"] is None:
        return None
    found: dict[str, float] = {}
    for each in (*token["top"], token):
        found.setdefault(each["token"], each["logprob"])
    return found


def split_model(text: str) -> tuple[str, str | None]:
    """`model:adapter@best` as model and adapter; a path may hold colons of its own."""
    model, colon, adapter = text.rpartition(":")
    return (model, adapter) if colon and model and ADAPTER.fullmatch(adapter) else (text, None)


def served_models(home: Home) -> list[ServedModel]:
    """Every usable base, each followed by the adapters that were trained on it, by name and by kind of weights."""
    adapters = [adapter.info for adapter in list_adapters(home.adapters) if adapter.info is not None]
    bases = [base for base in list_models(home.models) if not base.problem]
    return [model for base in bases for model in _served(base, adapters)]


def _served(base: ModelSummary, adapters: list[AdapterInfo]) -> Iterator[ServedModel]:
    yield ServedModel(id=base.name, created=_made(base.path), owned_by=base.source)
    for info in adapters:
        if _trained_on(info, base):
            for kind in ("", "@best", "@latest") if info.has_best else ("", "@latest"):
                yield ServedModel(id=f"{base.name}:{info.name}{kind}", created=_made(info.file), owned_by="droidft")


def _trained_on(info: AdapterInfo, base: ModelSummary) -> bool:
    if info.base is None:
        return False
    return info.base == base.name or Path(info.base).expanduser().resolve() == base.path.resolve()


def _made(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:
        return 0


def _question(request: CommonRequest, limit: int | None, **asked: Any) -> Question:
    if request.stream_options is not None and not request.stream:
        hint = "leave it out, or set stream to true"
        raise ConfigError("stream_options is for streams", hint=hint, field="stream_options")
    _refuse_unknown(request.model_extra or {})
    choices, prompts = request.n or 1, len(asked.get("prompts") or " ")
    if choices * prompts > MOST_CHOICES:
        raise ConfigError(
            f"{prompts:,} prompts with {choices} choices each are {choices * prompts:,} answers",
            hint=f"{MOST_CHOICES} are the most that one request may ask for",
            field="n" if choices > 1 else "prompt",
        )
    model, adapter = split_model(request.model)
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return Question(
        model=model,
        adapters=(adapter,),
        sampling=_sampling(request, limit),
        stop=stop,
        choices=choices,
        allow_mismatch=request.allow_mismatch,
        fields=("model", "model"),
        **asked,
    )


def _sampling(request: CommonRequest, limit: int | None) -> dict[str, Any]:
    defaults = {
        "temperature": 1.0,
        "top_p": 1.0,
        "min_p": 0.0,
        "top_k": 0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    given = {name: value for name in defaults if (value := getattr(request, name)) is not None}
    seed = draw_seed() if request.seed is None else request.seed
    bias = request.logit_bias or {}
    return {**defaults, **given, "max_tokens": limit or MOST_TOKENS, "seed": seed, "logit_bias": bias}


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if value is None or name in HARMLESS or value in NEUTRAL.get(name, ()):
            continue
        if name in NEUTRAL:
            raise ConfigError(f"{name} is not supported", hint=f"leave {name} out", field=name)
        raise ConfigError(f"{name[:80]!r} is unknown", hint="check the spelling, or leave it out", field=name[:80])


def _turn(message: ChatMessage, field: str) -> dict[str, Any]:
    for name in ("tool_calls", "function_call", "audio"):
        if (message.model_extra or {}).get(name):
            raise ConfigError(f"{name} in a message is not supported", hint="leave it out", field=f"{field}.{name}")
    if message.content is None:
        raise ConfigError("a message without content", hint="give every message a text", field=f"{field}.content")
    try:
        (turn,) = normal_turns([message.model_dump(exclude_none=True)])
    except Refused as why:
        reason = why.reason.replace("turn 1", "a message", 1)
        place = "role" if why.kind == "role" else _part_at_fault(message)
        raise ConfigError(f"{reason}, which is not supported", hint=why.fix, field=f"{field}.{place}") from None
    if turn["role"] == "tool":
        reason = f"a message with the role {message.role!r} is not supported"
        raise ConfigError(reason, hint="roles are system, developer, user, assistant", field=f"{field}.role")
    return turn


def _part_at_fault(message: ChatMessage) -> str:
    """`content`, or `content.2` where that part of it is refused."""
    for index, part in enumerate(message.content if isinstance(message.content, list) else ()):
        try:
            normal_turns([{"role": message.role, "content": [part]}])
        except Refused:
            return f"content.{index}"
    return "content"

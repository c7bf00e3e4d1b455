"""OpenAI's interface in this server's terms: what a request asks, and which models there are.

Each field of a request is honoured, ignored because nothing depends on it, or refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from droidft.adapters.folder import AdapterInfo, list_adapters
from droidft.errors import ConfigError
from droidft.home import Home
from droidft.models.catalog import ModelSummary, list_models
from droidft.server.asking.answers import Question, draw_seed
from droidft.server.paths import ADAPTER
from droidft.server.schemas.openai import ChatMessage, ChatRequest, CommonRequest, CompletionRequest, ServedModel

MOST_TOKENS = 512

HARMLESS = frozenset(
    {
        "metadata",
        "moderation",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
"""Fields that change neither the answer nor its form."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "web_search_options": (),
}
"""Fields that cannot be honoured, and the values besides null that ask for nothing."""

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def chat_question(request: ChatRequest) -> Question:
    """The question that a conversation puts.

    Raises:
        ConfigError: a field or a kind of message that cannot be honoured; `field` names it.
    """
    limit = request.max_completion_tokens or request.max_tokens
    messages = [_turn(message, f"messages.{index}") for index, message in enumerate(request.messages)]
    return _question(request, limit, messages=messages)


def text_question(request: CompletionRequest) -> Question:
    """The question that a text to continue puts. Raises as `chat_question`."""
    prompt = request.prompt
    if isinstance(prompt, list):
        if len(prompt) != 1 or not isinstance(prompt[0], str):
            raise ConfigError(
                "prompt is not one text",
                hint="send one text; several texts, or tokens, need a request each",
                field="prompt",
            )
        prompt = prompt[0]
    return _question(request, request.max_tokens, prompt=prompt, use_chat_template=False)


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


def _question(request: CommonRequest, limit: int | None, **prompt: Any) -> Question:
    if request.n not in (None, 1):
        raise ConfigError(
            f"n is {request.n}, and only 1 is supported", hint="send several requests instead", field="n"
        )
    _refuse_unknown(request.model_extra or {})
    model, adapter = split_model(request.model)
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return Question(
        model=model,
        adapters=(adapter,),
        sampling=_sampling(request, limit),
        stop=stop,
        fields=("model", "model"),
        **prompt,
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
    return {**defaults, **given, "max_tokens": limit or MOST_TOKENS, "seed": seed}


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if value is None or name in HARMLESS or value in NEUTRAL.get(name, ()):
            continue
        if name in NEUTRAL:
            raise ConfigError(f"{name} is not supported", hint=f"leave {name} out", field=name)
        raise ConfigError(f"{name[:80]!r} is unknown", hint="check the spelling, or leave it out", field=name[:80])


def _turn(message: ChatMessage, field: str) -> dict[str, str]:
    role = ROLES.get(message.role)
    if role is None:
        raise ConfigError(
            f"a message with the role {message.role!r} is not supported",
            hint=f"roles are {', '.join(ROLES)}",
            field=f"{field}.role",
        )
    for name in ("tool_calls", "function_call", "audio"):
        if (message.model_extra or {}).get(name):
            raise ConfigError(f"{name} in a message is not supported", hint="leave it out", field=f"{field}.{name}")
    return {"role": role, "content": _content(message.content, f"{field}.content")}


def _content(content: str | list[dict[str, Any]] | None, field: str) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        raise ConfigError("a message without content", hint="give every message a text", field=field)
    texts = []
    for index, part in enumerate(content):
        text = part.get("text")
        if part.get("type") != "text" or not isinstance(text, str):
            raise ConfigError(
                f"a part of the type {part.get('type')!r} is not supported",
                hint='parts are {"type": "text", "text": …}',
                field=f"{field}.{index}",
            )
        texts.append(text)
    return "\n".join(texts)

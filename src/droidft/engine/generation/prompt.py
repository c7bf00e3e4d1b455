"""From a text or a conversation to the tokens that an answer starts from, as training puts them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from droidft.config import SystemRole
from droidft.data.conversation import SYSTEM_ROLES, normal_turns
from droidft.data.proof import Part, Proof
from droidft.data.template import ChatTemplate, TemplateOptions
from droidft.errors import ConfigError, ModelError
from droidft.support.faults import Refused

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

Message = Mapping[str, Any]
"""`role` and `content` in any usual dialect; see `data.conversation`."""


@dataclass(frozen=True)
class Prompt:
    """A prompt as tokens, and whether the model's chat template made it."""

    tokens: list[int]
    chat_template_used: bool
    left_out: tuple[str, ...] = ()
    """What the chat template does not show of it, in words."""


def make_prompt(
    tokenizer: TokenizerWrapper,
    messages_or_prompt: str | Sequence[Message],
    *,
    system: str | None = None,
    use_chat_template: bool = True,
    tools: list[dict[str, Any]] | None = None,
    options: TemplateOptions | None = None,
) -> Prompt:
    """Encode a text or a conversation; a text becomes a user's message where the model has a chat template.

    `system` is a system message before a text; an empty one is none. `options` say how the template is used.

    Raises:
        ModelError: a conversation for a model without a chat template, or a template that refuses it.
        ConfigError: a blank text; a message that is not understood; a system message where there is no chat
            template; a variable that the template does not have.
    """
    if isinstance(messages_or_prompt, str) and not messages_or_prompt.strip():
        hint = "write at least one word"
        raise ConfigError(f"the prompt is {'blank' if messages_or_prompt else 'empty'}", hint=hint, field="prompt")
    if use_chat_template and tokenizer.has_chat_template:
        messages = messages_or_prompt
        if isinstance(messages, str):
            first = [{"role": "system", "content": system}] if system else []
            messages = [*first, {"role": "user", "content": messages}]
        return _templated(ChatTemplate(tokenizer, options), messages, tools)
    if system:
        why = "this model has none" if use_chat_template else "it is turned off"
        raise ConfigError(
            f"a system prompt needs a chat template, and {why}",
            hint="leave the system prompt out, or write it into the prompt",
            field="system_prompt",
        )
    if options is not None and options.chosen:
        why = "this model has none" if use_chat_template else "it is turned off"
        raise ConfigError(
            f"chat_template_kwargs needs a chat template, and {why}",
            hint="leave it out",
            field="chat_template_kwargs",
        )
    if not isinstance(messages_or_prompt, str):
        raise ModelError(
            "the model has no chat template, so a conversation cannot be put to it",
            hint="give it one text to continue, or use an instruction-tuned model",
        )
    return Prompt(list(tokenizer.encode(messages_or_prompt)), chat_template_used=False)


def options_for(
    tokenizer: TokenizerWrapper,
    record: Mapping[str, Any] | None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    day: datetime.date | None = None,
) -> TemplateOptions:
    """How an adapter's answers are asked for: as it was trained, by its `record`, but for what is given here.

    Recorded variables that the template does not have are left out: another model's template knows others. `day` is
    for templates that write the date; today if it is not given, whatever day the run had.
    """
    recorded = record or {}
    template = ChatTemplate(tokenizer)
    role = recorded.get("system_role")
    known = recorded.get("chat_template_kwargs")
    kept = {name: value for name, value in (known if isinstance(known, dict) else {}).items() if template.reads(name)}
    return TemplateOptions(
        SystemRole(role) if role in set(SystemRole) else SystemRole.AUTO,
        {**kept, **(kwargs or {})},
        day,
        chosen=bool(kwargs),
    )


def _templated(template: ChatTemplate, given: Sequence[Message], tools: list[dict[str, Any]] | None) -> Prompt:
    try:
        messages = normal_turns([dict(turn) for turn in given])
    except Refused as why:
        raise ConfigError(
            f"the conversation is not understood: {why.reason}", hint=why.fix, field="messages"
        ) from None
    try:
        adapted = template.adapted(messages)
        text = template.render(adapted, tools, prompt=True)
        missing = Proof(template).left_out(adapted, tools, text, prompt=True)
    except Refused as why:
        raise ModelError(f"the conversation {why.reason}", hint=_hint(why, messages)) from None
    tokens = template.tokenizer.encode(text, add_special_tokens=False)
    return Prompt(list(tokens), chat_template_used=True, left_out=_in_words(adapted, missing))


def _hint(why: Refused, messages: Sequence[Message]) -> str:
    if why.kind != "template":
        return why.fix
    if any(turn["role"] in SYSTEM_ROLES for turn in messages):
        return "some templates know no system message: leave it out, or write it into the prompt"
    return "some templates want user and assistant in turn, or no system message"


def _in_words(messages: Sequence[Message], missing: Sequence[Part]) -> tuple[str, ...]:
    """What is left out, each kind once. A template that forgets earlier thinking does so by design."""
    words = []
    for part in missing:
        if part.turn is None:
            words.append("the tools")
        elif part.what != "thinking":
            role = messages[part.turn]["role"]
            what = "" if part.what == "text" else f" ({part.name})"
            words.append("the system text" if role in SYSTEM_ROLES else f"part of the {role}'s turn{what}")
    return tuple(dict.fromkeys(words))

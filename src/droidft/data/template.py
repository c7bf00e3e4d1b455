"""The model's chat template: messages in normal form -> text, in training and in answers alike.

Templates are programs with habits of their own. Some know no developer's turn, want a call's arguments as text, or
write a call only where the turn has no content. What a template can do is found by rendering a few words with it, and
messages are put to it accordingly.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from droidft.config import SystemRole, TrainingConfig
from droidft.data.calls import Call, Tool
from droidft.data.conversation import SYSTEM_ROLES, Message
from droidft.errors import ConfigError, ModelError
from droidft.models.templates import rendering
from droidft.support.faults import Refused

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_DATE = re.compile(r"strftime_now\(\s*(?:'([^']*)'|\"([^\"]*)\")\s*\)")
_FAILURES = (TypeError, ValueError, KeyError, AttributeError, IndexError)
RESERVED = frozenset(
    {
        *("conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize"),
        *("continue_final_message", "return_dict", "return_tensors", "return_assistant_tokens_mask", "padding"),
        *("truncation", "max_length", "tokenizer_kwargs", "sanitize_control_tokens", "strftime_now"),
    }
)
"""Names that mean something else to the renderer than a variable of the template."""
THINKING = "enable_thinking"
_TOGETHER = 32
"""Conversations that are rendered within the limits for one."""
Span = tuple[int, int]


@dataclass(frozen=True)
class TemplateOptions:
    """How conversations are put to the template; the same in training and in answers."""

    system_role: SystemRole = SystemRole.AUTO
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the template, such as `enable_thinking`."""
    day: datetime.date | None = None
    """What a template that writes the date takes for today; None: today."""
    chosen: bool = False
    """Whether `kwargs` were given for this answer, so that they must not be without effect."""

    @classmethod
    def of(cls, config: TrainingConfig) -> TemplateOptions:
        """Those of a run."""
        day = datetime.date.fromisoformat(config.template_date) if config.template_date else None
        return cls(config.system_role, config.chat_template_kwargs or {}, day)


@dataclass(frozen=True)
class _CallStyle:
    """How a template wants the assistant's calls."""

    as_text: bool = False
    """Arguments as JSON text, not as an object."""
    null_content: bool = False
    """No content where there is none, rather than an empty text."""


class ChatTemplate:
    """The chat template of one tokenizer, used in one way."""

    def __init__(self, tokenizer: Any, options: TemplateOptions | None = None) -> None:
        self.tokenizer = tokenizer
        self.options = options or TemplateOptions()
        present = getattr(tokenizer, "has_chat_template", None)
        self.present: bool = tokenizer.chat_template is not None if present is None else bool(present)
        self._dated: dict[str, str] = {}
        if self.options.kwargs and self.present:
            self._check_kwargs()

    @property
    def text(self) -> str | None:
        """Its source, of all its variants; None where it is no Jinja template."""
        given = self.tokenizer.chat_template
        if isinstance(given, dict):
            return "\n".join(given.values())
        return given if isinstance(given, str) else None

    @property
    def writes_date(self) -> bool:
        """Whether it asks for the date of the day."""
        return self.text is not None and "strftime_now" in self.text

    @property
    def knows_thinking(self) -> bool:
        """Whether thinking can be turned on and off."""
        return self.reads(THINKING)

    def reads(self, variable: str) -> bool:
        """Whether the template has a variable of this name; one that is no Jinja template is not asked."""
        renamed = getattr(self.tokenizer, "_thinking_kwarg", THINKING) != THINKING
        if self.text is None or (variable == THINKING and renamed):
            return True
        return re.search(rf"\b{re.escape(variable)}\b", self.text) is not None

    @cached_property
    def marks_generation(self) -> bool:
        """Whether it marks which parts the assistant writes (`{% generation %}`), with tools as without."""
        given = self.tokenizer.chat_template
        variants = list(given.values()) if isinstance(given, dict) else [given]
        return all(isinstance(text, str) and _GENERATION.search(text) for text in variants)

    # -- messages as this template wants them

    def adapted(self, messages: list[Message]) -> list[Message]:
        """Messages as this template takes them, without a change to what they say.

        Assistant's turns keep their number and order; system turns may become part of the user's.

        Raises:
            Refused: a system turn that can be folded into no user's turn.
        """
        fold = self.options.system_role is SystemRole.FOLD
        plain = all(turn["role"] not in SYSTEM_ROLES and "tool_calls" not in turn for turn in messages)
        if plain:
            return messages
        if fold:
            messages = folded(messages)
        elif any(turn["role"] == "developer" for turn in messages) and not self.knows_developer:
            messages = [{**turn, "role": "system"} if turn["role"] == "developer" else turn for turn in messages]
        if any("tool_calls" in turn for turn in messages) and self._calls != _CallStyle():
            messages = [_styled(turn, self._calls) for turn in messages]
        return messages

    @cached_property
    def knows_developer(self) -> bool:
        """Whether it names the developer's role, and shows its turn; one that writes any role as it is knows none."""
        if self.text is not None and "developer" not in self.text:
            return False
        turns = [{"role": "developer", "content": "Zq1zQ"}, {"role": "user", "content": "Zq2zQ"}]
        return "Zq1zQ" in self._tried(turns, None)

    @cached_property
    def _calls(self) -> _CallStyle:
        styles = [_CallStyle(text, null) for text in (False, True) for null in (False, True)]
        scores = [self._score(style) for style in styles]
        return styles[scores.index(max(scores))]

    def _score(self, style: _CallStyle) -> int:
        """How well a call shows that is put in this style: 2 whole, 1 in part or as Python's text, 0 refused."""
        function = {"name": "Zq1zQ", "arguments": {"Zq2zQ": "Zq3zQ"}}
        call = {"id": "abcdefghi", "type": "function", "function": function}
        tool = {"type": "function", "function": {"name": "Zq1zQ", "description": "d", "parameters": _SCHEMA}}
        turns: list[Message] = [
            {"role": "user", "content": "Zq4zQ"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "Zq5zQ", "name": "Zq1zQ", "tool_call_id": "abcdefghi"},
        ]
        text = self._tried([_styled(turn, style) for turn in turns], [tool])
        if not text:
            return 0
        after = text.rpartition("Zq4zQ")[2]
        whole = all(word in after for word in ("Zq1zQ", "Zq2zQ", "Zq3zQ"))
        return 2 if whole and "'Zq2zQ'" not in after and '\\"Zq2zQ' not in after else 1

    def _tried(self, messages: list[Message], tools: list[Tool] | None) -> str:
        try:
            return self.render(messages, tools)
        except Refused:
            return ""

    # -- messages to text

    def render(self, messages: list[Message], tools: list[Tool] | None, *, prompt: bool = False) -> str:
        """The conversation as the template writes it; `prompt` adds the assistant's opening.

        Raises:
            Refused: the template does not accept the conversation.
        """
        from jinja2 import TemplateError

        try:
            text = self._applied(messages, tools, prompt=prompt)
        except (TemplateError, *_FAILURES) as error:
            raise self._refusal(messages, error) from None
        return str(text)

    def render_many(self, conversations: list[list[Message]]) -> list[str | None]:
        """As `render` without tools, for many at less cost; None where `render` has to be asked about one alone."""
        from jinja2 import TemplateError

        made: list[str | None] = []
        for start in range(0, len(conversations), _TOGETHER):
            group = conversations[start : start + _TOGETHER]
            try:
                texts = self._applied(group, None)
            except (ModelError, TemplateError, *_FAILURES):
                texts = None
            # A renderer that is no Jinja template may take them for one conversation.
            whole = isinstance(texts, list) and len(texts) == len(group)
            made += map(str, texts) if whole else [None] * len(group)
        return made

    def _applied(
        self, messages: list[Message] | list[list[Message]], tools: list[Tool] | None, *, prompt: bool = False
    ) -> Any:
        """What the tokenizer makes of one conversation, or of several."""
        source = self._source(tools)
        more = {} if source is None else {"chat_template": source}
        with rendering():
            return self.tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=prompt, **more, **self.options.kwargs
            )

    def generation_spans(
        self, messages: list[Message], tools: list[Tool] | None
    ) -> tuple[str, list[tuple[int, int]]]:
        """The rendering with the character spans inside `{% generation %}`."""
        from transformers.utils.chat_template_utils import render_jinja_template

        values = dict(self.tokenizer.special_tokens_map)
        if hasattr(self.tokenizer, "has_thinking"):
            values[THINKING] = self.tokenizer.has_thinking
        with rendering():
            rendered: Any = render_jinja_template(
                conversations=[messages],
                tools=list(tools) if tools else None,
                chat_template=self._source(tools)
                or self.tokenizer.get_chat_template(tools=list(tools) if tools else None),
                return_assistant_tokens_mask=True,
                add_generation_prompt=False,
                **{**values, **self.options.kwargs},
            )
        (text,), (spans,) = rendered
        return text, [(int(start), int(end)) for start, end in spans]

    def _refusal(self, messages: list[Message], error: Exception) -> Refused:
        fix = "change the row"
        if any(turn["role"] in SYSTEM_ROLES for turn in messages):
            fix = "set system_role to fold, which puts system texts into the user's turn, or change the row"
        return Refused("template", f"is refused by the model's chat template: {error}", fix)

    def _source(self, tools: list[Tool] | None) -> str | None:
        """The template with the day that was chosen for today; None for the tokenizer's own, as it is."""
        day = self.options.day
        if day is None or not self.writes_date:
            return None
        own = str(self.tokenizer.get_chat_template(tools=tools))
        if own not in self._dated:
            self._dated[own] = _DATE.sub(lambda match: repr(day.strftime(match[1] or match[2] or "")), own)
        return self._dated[own]

    def _check_kwargs(self) -> None:
        for name in self.options.kwargs:
            if name in RESERVED:
                raise ConfigError(
                    f"chat_template_kwargs: {name!r} is not a variable of the template",
                    hint="give the template's own variables, such as enable_thinking",
                    field="chat_template_kwargs",
                )
            if not self.reads(name):
                raise ConfigError(
                    f"chat_template_kwargs: the model's chat template reads no {name!r}",
                    hint="check the spelling, or leave it out",
                    field="chat_template_kwargs",
                )


_SCHEMA = {"type": "object", "properties": {"Zq2zQ": {"type": "string", "description": "d"}}, "required": []}


def _styled(turn: Message, style: _CallStyle) -> Message:
    if "tool_calls" not in turn:
        return turn
    calls = turn["tool_calls"]
    made = {**turn, "tool_calls": [_as_text(call) for call in calls] if style.as_text else calls}
    if style.null_content and not turn["content"]:
        del made["content"]
    return made


def _as_text(call: Call) -> Call:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


def folded(messages: list[Message]) -> list[Message]:
    """The conversation with its system texts in the user's turns: in the next one where it follows at once, else in
    the one before.

    Raises:
        Refused: there is no user's turn for one.
    """
    made: list[Message] = []
    waiting: list[str] = []
    for turn in messages:
        if turn["role"] in SYSTEM_ROLES:
            waiting.append(turn["content"])
            continue
        if waiting and turn["role"] == "user":
            turn = {**turn, "content": "\n\n".join([*waiting, turn["content"]])}
            waiting = []
        elif waiting:
            _fold_back(made, waiting)
            waiting = []
        made.append(turn)
    if waiting:
        _fold_back(made, waiting)
    return made


def _fold_back(made: list[Message], waiting: list[str]) -> None:
    if not made or made[-1]["role"] != "user":
        reason = "has a system turn with no user's turn beside it to fold it into"
        raise Refused("system-turn", reason, "put it beside a user's turn")
    made[-1] = {**made[-1], "content": "\n\n".join([made[-1]["content"], *waiting])}

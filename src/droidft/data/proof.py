"""The proof that a conversation arrives whole: what of a row a chat template leaves out of its text.

Each part of a row (a turn's text and thinking, a call's name and arguments, a tool's name, description and
properties) is replaced by a word that occurs nowhere else, the conversation is rendered, and the words are looked
for. That is done once for each shape of row (who speaks, which fields, how many), so that it costs next to nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from droidft.data.calls import Tool
from droidft.data.conversation import Message
from droidft.data.template import ChatTemplate
from droidft.support.faults import Refused

_MOST_ITEMS = 4
"""Items of a list in an argument that are looked for; the others are like them."""
_MOST_SHAPES = 20_000
"""Beyond so many shapes the oldest are forgotten."""
_FIELDS = frozenset({"role", "content", "reasoning_content", "tool_calls", "tool_call_id", "id"})
"""Fields of a turn that are looked for in the text, or that say nothing by themselves."""
THINK_END = "</think>"
What = Literal["text", "thinking", "call", "argument", "tools"]


@dataclass(frozen=True)
class Part:
    """Something of a row: of the turn at `turn` (None: the tools), by what it is called."""

    turn: int | None
    what: What
    name: str


@dataclass
class Proof:
    """Finds what one template leaves out; remembers it by shape."""

    template: ChatTemplate
    known: dict[Hashable, tuple[Part, ...]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    """Fields of turns that the template has no name for, so that what they hold is left out."""

    def left_out(
        self, messages: list[Message], tools: Sequence[Tool] | None, text: str, *, prompt: bool = False
    ) -> tuple[Part, ...]:
        """The parts that do not show, in order. `text` is the row's own rendering, with the opening if `prompt`.

        Where the template does not accept words in place of the row's own, the row's own are looked for.
        """
        offer = tuple([_tool_shape(tool) for tool in tools]) if tools else ()
        key = (prompt, tuple([_shape_of(turn) for turn in messages]), offer)
        known = self.known.get(key)
        if known is not None:
            return known
        names = {name for turn in messages for name, value in turn.items() if value not in (None, "", [], {})}
        self.unread |= {name for name in names - _FIELDS if not self.template.reads(name)}
        words = _Words()
        try:
            marked = [words.turn(number, turn) for number, turn in enumerate(messages)]
            offered = [words.tool(tool) for tool in tools] if tools else None
            written = self.template.render(marked, offered, prompt=prompt)
        except Refused:
            own = _Words(lambda value: value)
            for number, turn in enumerate(messages):
                own.turn(number, turn)
            for tool in tools or ():
                own.tool(tool)
            return own.missing(text)
        if len(self.known) >= _MOST_SHAPES:
            self.known.clear()
        missing = self.known[key] = words.missing(written)
        return missing

    def dropped_later(self, messages: list[Message], tools: list[Tool] | None, part: Part) -> bool:
        """Whether the part shows as long as its turn is the last, and not once others follow."""
        assert part.turn is not None
        if part.turn == len(messages) - 1:
            return False
        try:
            text = self.template.render(messages[: part.turn + 1], tools)
        except Refused:
            return False
        return part not in self.left_out(messages[: part.turn + 1], tools, text)


class _Words:
    """Puts a word of its own in the place of each part, and remembers which."""

    def __init__(self, word: Callable[[Any], Any] | None = None) -> None:
        self._word = word
        self._parts: list[tuple[Part, str]] = []

    def missing(self, text: str) -> tuple[Part, ...]:
        """The parts whose word does not occur in a text; each once."""
        return tuple(dict.fromkeys(part for part, word in self._parts if word not in text))

    def put(self, part: Part, value: Any) -> Any:
        """What stands in the place of `value`; truth and null cannot be told apart in a text and stay."""
        if value is None or isinstance(value, bool):
            return value
        if self._word is not None:
            word = self._word(value)
        elif isinstance(value, str):
            word = f"Zq{len(self._parts)}zQ"
        elif isinstance(value, int):
            word = 73_100_000 + len(self._parts)
        else:
            word = 73_100_000.5 + len(self._parts)
        self._parts.append((part, str(word).strip()))
        return word

    def turn(self, number: int, turn: Message) -> Message:
        """A turn of the same shape."""
        made = dict(turn)
        content = turn.get("content") or ""
        if _has_thinking(turn):
            thought = self.put(Part(number, "thinking", "thinking"), _inside(content))
            said = self.put(Part(number, "text", "text"), content.rpartition(THINK_END)[2])
            made["content"] = f"<think>\n{thought}\n{THINK_END}\n\n{said}"
        elif content:
            made["content"] = self.put(Part(number, "text", "text"), content)
        if "reasoning_content" in turn:
            made["reasoning_content"] = self.put(Part(number, "thinking", "thinking"), turn["reasoning_content"])
        if "tool_calls" in turn:
            made["tool_calls"] = [self._call(number, call) for call in turn["tool_calls"]]
        return made

    def _call(self, number: int, call: Any) -> Any:
        function = call["function"]
        name, arguments = function["name"], function["arguments"]
        word = self.put(Part(number, "call", "tool calls"), name)
        put: Any
        if isinstance(arguments, str):  # as the template wants it
            put = json.dumps(self._value(number, json.loads(arguments), ""), ensure_ascii=False)
        else:
            put = self._value(number, arguments, "")
        return {**call, "function": {**function, "name": word, "arguments": put}}

    def _value(self, number: int, value: Any, path: str) -> Any:
        part = Part(number, "argument", f"value of the argument {path!r}")
        if isinstance(value, dict):
            made = {}
            for name, inner in value.items():
                inside = f"{path}.{name}" if path else name
                word = self.put(Part(number, "argument", f"argument {inside!r}"), name)
                made[word] = self._value(number, inner, inside)
            return made
        if isinstance(value, list):
            return [self._value(number, inner, path) for inner in value[:_MOST_ITEMS]] + value[_MOST_ITEMS:]
        return self.put(part, value)

    def tool(self, tool: Tool) -> Tool:
        """A tool of the same shape: its name, description, and the names of its properties."""
        function = tool.get("function", {})
        part = Part(None, "tools", "tools")
        made = {**function, "name": self.put(part, function.get("name"))}
        if function.get("description"):
            made["description"] = self.put(part, function["description"])
        parameters = function.get("parameters")
        if isinstance(parameters, dict) and isinstance(parameters.get("properties"), dict):
            properties = {self.put(part, name): value for name, value in parameters["properties"].items()}
            made["parameters"] = {**parameters, "properties": properties}
        return {**tool, "function": made}


def thinking_outside(messages: Sequence[Message], text: str) -> bool:
    """Whether a think block of the template's own is closed just before the thinking that an answer's content holds.

    Templates that do not find the content's thinking write an empty block for the answer, and then the content.
    """
    for turn in messages:
        if not _has_thinking(turn):
            continue
        own = r"\s*".join(map(re.escape, (THINK_END, _inside(turn["content"]), THINK_END)))
        begun = r"\s*".join(map(re.escape, (THINK_END, "<think>", _inside(turn["content"]), THINK_END)))
        if re.search(f"{own}|{begun}", text):
            return True
    return False


def _has_thinking(turn: Message) -> bool:
    content = turn.get("content") or ""
    return turn["role"] == "assistant" and THINK_END in content and bool(_inside(content))


def _inside(content: str) -> str:
    """The thinking in a content that has `</think>` in it."""
    return content.rpartition(THINK_END)[0].replace("<think>", "").strip()


def _shape_of(turn: Message) -> Hashable:
    if len(turn) == 2 and "content" in turn:
        content = turn["content"]
        if turn["role"] == "assistant" and THINK_END in content:
            return (turn["role"], _has_thinking(turn))
        return (turn["role"], None) if content else (turn["role"], "")
    calls = tuple([_arguments_shape(call["function"]["arguments"]) for call in turn.get("tool_calls", ())])
    content = turn.get("content")
    return (turn["role"], bool(content), _has_thinking(turn), calls, tuple(turn))


def _arguments_shape(arguments: Any) -> Hashable:
    return _value_shape(json.loads(arguments) if isinstance(arguments, str) else arguments)


def _value_shape(value: Any) -> Hashable:
    if isinstance(value, dict):
        return tuple([(name, _value_shape(inner)) for name, inner in value.items()])
    if isinstance(value, list):
        return ("list", *(_value_shape(inner) for inner in value[:_MOST_ITEMS]))
    return type(value).__name__


def _tool_shape(tool: Tool) -> Hashable:
    function = tool.get("function", {})
    parameters = function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    return (
        bool(function.get("description")),
        tuple([_value_shape(value) for value in properties.values()]) if isinstance(properties, dict) else None,
    )

"""Turns of any dialect -> messages in one normal form; every conversation passes here, wherever it comes from.

    {"role": …, "content": …, "reasoning_content": …, "tool_calls": […], …}

    role               system, developer, user, assistant or tool
    content            text, always; empty where a turn only calls tools
    reasoning_content  what the assistant thought, where it is given apart from the content
    tool_calls         as `calls` makes them, arguments as objects
    weight             0 on an assistant's turn that is not to be trained; else absent

Other fields of a turn are kept for the template, those that are null are left out. What a chat template makes of the
messages is the business of `template`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from droidft.data.calls import calls_of
from droidft.support.faults import Refused
from droidft.support.strict_json import json_type

Message = dict[str, Any]

ROLES = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "tool": "tool",
    "function": "tool",
    "ipython": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "tool_output": "tool",
    "function_response": "tool",
    "function_result": "tool",
    "function_output": "tool",
}
"""What a speaker is called -> the role; in any case, with hyphens or spaces for underscores."""
CALL_ROLES = frozenset({"function_call", "tool_call", "tool_calls"})
"""Turns of which the content is a call, as ShareGPT has them."""
REASONING = ("reasoning_content", "reasoning", "thinking")
WEIGHTS = ("weight", "loss", "train", "training")
MEDIA = {"images": "images", "videos": "videos", "audios": "sound"}
MEDIA |= {"image": "an image", "video": "a video", "audio": "sound"}
"""Fields of a row or a turn with content that is not text, by what it is."""
SYSTEM_ROLES = ("system", "developer")
_TEXT_PARTS = ("text", "input_text", "output_text")
_THOUGHT_PARTS = ("thinking", "reasoning")
_KNOWN = frozenset({"role", "from", "content", "value", "tool_calls", "function_call", *REASONING, *WEIGHTS})


def characters(messages: Sequence[Message]) -> int:
    """How much text messages hold."""
    return sum(len(turn["content"]) if len(turn) == 2 else len(repr(turn)) for turn in messages)


def messages_key(messages: Sequence[Message]) -> int:
    """A hash that is equal for equal messages, within this process."""
    return hash(tuple([(turn["role"], turn["content"]) if len(turn) == 2 else (repr(turn), "") for turn in messages]))


def with_system(messages: list[Message], system_prompt: str | None) -> list[Message]:
    """The conversation with a system message first, unless it has one or there is none to put there."""
    if system_prompt is None or (messages and messages[0]["role"] in SYSTEM_ROLES):
        return messages
    return [{"role": "system", "content": system_prompt}, *messages]


def with_own_system(messages: list[Message], system: str | None) -> list[Message]:
    """The conversation of a record that has a system text in a column of its own.

    Raises:
        Refused: the conversation opens with another one.
    """
    if system is not None and messages and messages[0]["role"] in SYSTEM_ROLES and messages[0]["content"] != system:
        reason = f"has a system text in 'system' and another one as its first turn ({messages[0]['role']})"
        raise Refused("two-systems", reason, "keep one of them")
    return with_system(messages, system)


def without_weights(messages: list[Message]) -> list[Message]:
    """The same for a template, which has no use for weights."""
    if not any("weight" in turn for turn in messages):
        return messages
    return [{name: value for name, value in turn.items() if name != "weight"} for turn in messages]


def media_in(value: dict[str, Any]) -> str | None:
    """The field of a row or a turn that holds something else than text, if there is one."""
    return next((name for name in MEDIA if value.get(name) not in (None, "", "[]", [])), None)


def conversation(turns: Any, column: str, *, by_from: bool = False) -> list[Message]:
    """The messages of a row that ends with an answer, checked.

    Raises:
        Refused: the first rule that is broken, with the number of the turn.
    """
    messages = checked_turns(turns, column, by_from=by_from)
    if messages[-1]["role"] != "assistant":
        role = messages[-1]["role"]
        raise Refused(
            "last-turn", f"ends with the {role}'s turn: there is no answer to learn", "add it or cut the turn"
        )
    return messages


def checked_turns(turns: Any, column: str, *, by_from: bool = False) -> list[Message]:
    """The messages of a row in normal form, none of them empty, whoever speaks last. `by_from` is ShareGPT's form.

    Raises:
        Refused: the first rule that is broken, with the number of the turn.
    """
    if type(turns) is not list:
        raise Refused("not-list", f"has {json_type(turns)} in {column!r}, not a list", "write a list of messages")
    if not turns:
        raise Refused("no-messages", f"has no messages in {column!r}", "fill it or remove the row")
    messages = normal_turns(turns, by_from=by_from)
    for number, message in enumerate(messages, start=1):
        content, role = message["content"], message["role"]
        if (not content or content.isspace()) and role in ("user", "assistant") and not message.get("tool_calls"):
            state = "holds only white space" if content else "is empty"
            raise Refused(
                "empty-content", f"the content of turn {number} ({role}) {state}", "fill it or cut the turn"
            )
        if "\0" in content or "\0" in message.get("reasoning_content", ""):
            raise Refused("nul", f"the content of turn {number} holds a NUL character", "remove it")
    return messages


def normal_turns(turns: Sequence[Any], *, by_from: bool = False) -> list[Message]:
    """Turns in normal form. A call that is a turn of its own joins the assistant's turn before it.

    Raises:
        Refused: a turn whose speaker or content is not known, with its number.
    """
    messages: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        if type(turn) is dict and len(turn) == 2 and not by_from:  # nearly all turns
            role, content = turn.get("role"), turn.get("content")
            if type(content) is str and type(role) is str and ROLES.get(role) == role:
                messages.append(turn)
                continue
        message, is_call = _turn(turn, number, by_from=by_from)
        before = messages[-1] if messages else None
        if is_call and before is not None and _takes_call(before, message):
            messages[-1] = {**before, "tool_calls": [*before.get("tool_calls", ()), *message["tool_calls"]]}
        else:
            messages.append(message)
    return messages


def _takes_call(before: Message, call: Message) -> bool:
    return before["role"] == "assistant" and before.get("weight") == call.get("weight")


def _turn(turn: Any, number: int, *, by_from: bool) -> tuple[Message, bool]:
    """One turn in normal form, and whether it was nothing but a call."""
    if type(turn) is not dict:
        fix = "write an object with from and value" if by_from else "write an object with role and content"
        raise Refused("not-message", f"has {json_type(turn)} as turn {number}", fix)
    named = _speaker(turn, number, by_from=by_from)
    is_call = named in CALL_ROLES
    role = "assistant" if is_call else ROLES[named]
    where = f"turn {number} ({role})"
    if (media := media_in(turn)) is not None:
        raise Refused("media", f"{where} has {MEDIA[media]} in {media!r}", "only text is read: leave it out")
    message: Message = {"role": role, "content": ""}
    weight = _weight(turn, where)
    if is_call:
        message["tool_calls"] = calls_of(_given(turn, "content", "value"), f"turn {number} ({named})")
        thought = ""
    else:
        calls = next((turn[key] for key in ("tool_calls", "function_call") if turn.get(key)), None)
        thought = _reasoning(turn, where) if role == "assistant" else ""
        content, thoughts = _content(turn, number, role, may_be_null=calls is not None and role == "assistant")
        message["content"], thought = content, thought or thoughts
        if calls is not None:
            if role != "assistant":
                raise Refused("tool-calls", f"{where} calls a tool; only the assistant does", "change its role")
            message["tool_calls"] = calls_of(calls, where)
    if thought:
        message["reasoning_content"] = thought
    if weight == 0 and role == "assistant":
        message["weight"] = 0
    known = _KNOWN if role == "assistant" else _KNOWN - set(REASONING)
    more = {name: value for name, value in turn.items() if name not in known and value is not None}
    return {**message, **more}, is_call


def _speaker(turn: Message, number: int, *, by_from: bool) -> str:
    """The name of who speaks, in lower case; a key of `ROLES` or one of `CALL_ROLES`."""
    key, other = ("from", "role") if by_from else ("role", "from")
    if turn.get(key) is None and turn.get(other) is not None:
        reason = f"turn {number} has {other!r} where the first row has {key!r}"
        raise Refused("mixed", reason, "keep one format in a file")
    speaker = turn.get(key)
    named = speaker.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(speaker, str) else ""
    if named not in ROLES and named not in CALL_ROLES:
        verb = "is from" if by_from else "has the role"
        known = ", ".join([*ROLES, *sorted(CALL_ROLES)])
        raise Refused("role", f"turn {number} {verb} {_shown(speaker)}", f"use one of {known}")
    return named


def _given(turn: Message, *names: str) -> Any:
    return next((turn[name] for name in names if turn.get(name) is not None), None)


def _content(turn: Message, number: int, role: str, *, may_be_null: bool) -> tuple[str, str]:
    """The text of a turn, and what its parts hold of the assistant's thinking."""
    content = _given(turn, "content", "value")
    if type(content) is str:
        return content, ""
    if content is None:
        if may_be_null:
            return "", ""
        if "content" not in turn and "value" not in turn:
            name = "'value'" if "from" in turn else "content"
            raise Refused("no-content", f"turn {number} ({role}) has no {name}", "add it or cut the turn")
    if type(content) is list and (role != "tool" or all(_is_part(part) for part in content)):
        return _joined(content, number, role)
    if role == "tool" and isinstance(content, dict | list):
        return json.dumps(content, ensure_ascii=False), ""
    raise Refused("content", f"the content of turn {number} ({role}) is {json_type(content)}, not text", "write text")


def _is_part(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and "type" in part)


def _joined(parts: list[Any], number: int, role: str) -> tuple[str, str]:
    """Text parts as one text, each on lines of its own; thinking apart."""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = (part.get("type") or "text") if isinstance(part, dict) else json_type(part)
        if kind in _THOUGHT_PARTS and role == "assistant":
            inner = _given(part, *REASONING, "text")
            thoughts.append(inner if isinstance(inner, str) else _joined(list(inner or ()), number, role)[0])
            continue
        text = part.get("text") if isinstance(part, dict) else None
        if kind not in _TEXT_PARTS or type(text) is not str:
            reason = f"the content of turn {number} ({role}) has a part of the type {_shown(kind)}"
            raise Refused("content-part", reason, 'only text is read: {"type": "text", "text": …}')
        texts.append(text)
    return "\n".join(texts), "\n".join(thoughts)


def _reasoning(turn: Message, where: str) -> str:
    given = {turn[name] for name in REASONING if isinstance(turn.get(name), str) and turn[name].strip()}
    for name in REASONING:
        if turn.get(name) is not None and type(turn[name]) is not str:
            raise Refused("reasoning", f"{where} has {json_type(turn[name])} in {name!r}, not text", "write text")
    if len(given) > 1:
        raise Refused("reasoning", f"{where} has two different texts of its thinking", f"keep one of {REASONING}")
    return next(iter(given), "")


def _weight(turn: Message, where: str) -> int:
    """1 where the turn counts, 0 where it is not to be trained."""
    for name in WEIGHTS:
        value = turn.get(name)
        if value is None:
            continue
        if value not in (0, 1) or isinstance(value, str):
            reason = f"{where} has the {name} {_shown(value)}; a turn is trained (1) or not (0)"
            raise Refused("weight", reason, f"make it 0 or 1, or remove {name!r}")
        if value == 0:
            return 0
    return 1


def _shown(value: Any) -> str:
    return repr(value)[:40] if value is not None else "nobody"

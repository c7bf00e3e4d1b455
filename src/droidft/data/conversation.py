"""Turns -> a conversation: who speaks, in which order, and that there is something to learn.

Every conversation of a record passes here, whatever its format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from droidft.support.faults import Refused
from droidft.support.strict_json import json_type

Message = dict[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool")
SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}
_SYSTEM = ("system", "developer")


def characters(messages: Sequence[Message]) -> int:
    """How much text messages hold."""
    return sum(len(turn.get("content") or "") for turn in messages)


def messages_key(messages: Sequence[Message]) -> int:
    """A hash that is equal for equal messages, within this process."""
    return hash(tuple([turn["content"] if len(turn) == 2 else repr(turn) for turn in messages]))


def with_system(messages: list[Message], system_prompt: str | None) -> list[Message]:
    """The conversation with a system message first, unless it has one or there is none to put there."""
    if system_prompt is None or messages[0]["role"] in _SYSTEM:
        return messages
    return [{"role": "system", "content": system_prompt}, *messages]


def conversation(turns: Any, column: str) -> list[Message]:
    """The messages of a row that ends with an answer, checked. Fields that are null are left out.

    Raises:
        Refused: the first rule that is broken, with the number of the turn.
    """
    messages = checked_turns(turns, column)
    if messages[-1]["role"] != "assistant":
        role = messages[-1]["role"]
        raise Refused(
            "last-turn", f"ends with the {role}'s turn: there is no answer to learn", "add it or cut the turn"
        )
    return messages


def checked_turns(turns: Any, column: str) -> list[Message]:
    """Messages, checked one by one, whoever speaks last. Fields that are null are left out.

    Raises:
        Refused: the first rule that is broken, with the number of the turn.
    """
    if type(turns) is not list:
        raise Refused("not-list", f"has {json_type(turns)} in {column!r}, not a list", "write a list of messages")
    if not turns:
        raise Refused("no-messages", f"has no messages in {column!r}", "fill it or remove the row")
    for number, turn in enumerate(turns, start=1):
        if type(turn) is not dict:
            raise Refused(
                "not-message", f"has {json_type(turn)} as turn {number}", "write an object with role and content"
            )
        _check_turn(turn, number)
    if any(None in turn.values() for turn in turns):
        return [{name: value for name, value in turn.items() if value is not None} for turn in turns]
    return turns


def sharegpt(turns: Any, column: str, system: str | None) -> list[Message]:
    """A ShareGPT conversation that ends with an answer, as messages.

    Raises:
        Refused: as `conversation` does.
    """
    return conversation(sharegpt_turns(turns, system), column)


def sharegpt_turns(turns: Any, system: str | None) -> Any:
    """ShareGPT's turns (`from`, `value`) as messages, unchecked; `system` goes first unless they have one.

    Raises:
        Refused: a turn is not what ShareGPT has.
    """
    if type(turns) is not list:
        return turns
    messages = [_from_value(turn, number) for number, turn in enumerate(turns, start=1)]
    return with_system(messages, system) if messages else messages


def _from_value(turn: Any, number: int) -> Message:
    if type(turn) is not dict:
        raise Refused("not-message", f"has {json_type(turn)} as turn {number}", "write an object with from and value")
    if "from" not in turn and "role" in turn:
        reason = f"turn {number} has 'role' where the first row has 'from'"
        raise Refused("mixed", reason, "keep one format in a file")
    speaker = turn.get("from")
    role = SHAREGPT_ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        known = ", ".join(SHAREGPT_ROLES)
        raise Refused("role", f"turn {number} is from {_shown(speaker)}", f"use one of {known}")
    if "value" not in turn:
        raise Refused("no-content", f"turn {number} has no 'value'", "add it or remove the turn")
    return {"role": role, "content": turn["value"]}


def _check_turn(turn: Message, number: int) -> None:
    role = turn.get("role")
    if role not in ROLES:
        if role is None and "from" in turn:
            reason = f"turn {number} has 'from' where the first row has 'role'"
            raise Refused("mixed", reason, "keep one format in a file")
        raise Refused("role", f"turn {number} has the role {_shown(role)}", f"use one of {', '.join(ROLES)}")
    if role in _SYSTEM and number > 1:
        reason = f"turn {number} is a {role} turn; only the first may be one"
        raise Refused("system-turn", reason, "merge the system turns into the first")
    content = turn.get("content")
    if type(content) is str:
        if (not content or content.isspace()) and role in ("user", "assistant") and not turn.get("tool_calls"):
            state = "holds only white space" if content else "is empty"
            raise Refused(
                "empty-content", f"the content of turn {number} ({role}) {state}", "fill it or cut the turn"
            )
        if "\0" in content:
            raise Refused("nul", f"the content of turn {number} holds a NUL character", "remove it")
        return
    if role == "assistant" and content is None and turn.get("tool_calls"):
        return
    if "content" not in turn:
        raise Refused("no-content", f"turn {number} ({role}) has no content", "add it or cut the turn")
    fix = "join its text parts into one string" if type(content) is list else "write text"
    raise Refused("content", f"the content of turn {number} ({role}) is {json_type(content)}, not text", fix)


def _shown(value: Any) -> str:
    return repr(value)[:40] if value is not None else "nobody"

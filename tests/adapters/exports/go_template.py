"""As much of Go's template language as an Ollama `TEMPLATE` from here uses, run plainly, as a check on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_LAST = "$last := eq (len (slice $.Messages $i)) 1"


def render(template: str, messages: Sequence[dict[str, str]]) -> str:
    """What Ollama sends to the model: a system's turns are joined, and stand among the messages too."""
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    pieces = _ACTION.split(template)
    nodes, rest = _parse(pieces, 0)
    assert rest == len(pieces), "an end too many"
    return _run(nodes, {"System": system, "Messages": list(messages)})


def _parse(pieces: list[str], at: int) -> tuple[list[Any], int]:
    """Nodes up to the `end` or `else` that closes them, and where that is; texts are at even places."""
    nodes: list[Any] = []
    while at < len(pieces):
        if at % 2 == 0:
            nodes.append(pieces[at])
            at += 1
            continue
        action = pieces[at].strip()
        if action == "end" or action.startswith("else"):
            return nodes, at
        if action.startswith("range"):
            inside, at = _parse(pieces, at + 1)
            nodes.append(("range", inside))
        elif action.startswith("if"):
            branch, at = _branches(pieces, at, action.removeprefix("if").strip())
            nodes.append(branch)
        else:
            nodes.append(("value", action))
        at += 1
    return nodes, at


def _branches(pieces: list[str], at: int, condition: str) -> tuple[Any, int]:
    yes, at = _parse(pieces, at + 1)
    closing = pieces[at].strip()
    if closing == "end":
        return ("if", condition, yes, []), at
    if closing == "else":
        no, at = _parse(pieces, at + 1)
        return ("if", condition, yes, no), at
    other, at = _branches(pieces, at, closing.removeprefix("else if").strip())
    return ("if", condition, yes, [other]), at


def _run(nodes: list[Any], scope: dict[str, Any]) -> str:
    made = ""
    for node in nodes:
        match node:
            case str():
                made += node
            case ("value", action) if action == _LAST:
                scope["last"] = scope["at"] + 1 == len(scope["Messages"])
            case ("value", action) if action.startswith('"'):
                made += action[1:-1]
            case ("value", action):
                made += scope[action.removeprefix(".")]
            case ("range", inside):
                for at, message in enumerate(scope["Messages"]):
                    inner = {**scope, "at": at, "Role": message["role"], "Content": message["content"]}
                    made += _run(inside, inner)
            case ("if", condition, yes, no):
                made += _run(yes if _holds(condition, scope) else no, scope)
    return made


def _holds(condition: str, scope: dict[str, Any]) -> bool:
    if condition == "$last":
        return bool(scope["last"])
    if condition == "not $last":
        return not scope["last"]
    if condition.startswith("eq .Role "):
        return bool(scope["Role"] == condition.removeprefix("eq .Role ").strip('"'))
    return bool(scope[condition.removeprefix(".")])

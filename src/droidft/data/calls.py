"""Tool calls and tools in the one form that chat templates take, from every form that they come in.

    call  {"id": …, "type": "function", "function": {"name": …, "arguments": {…}}}      `id` only where it is given
    tool  {"type": "function", "function": {"name": …, "description": …, "parameters": {…}}}

OpenAI writes arguments as JSON text, ShareGPT a call as a turn of its own, older data `function_call` and bare
functions; Arrow and Parquet fill keys that a record does not have with null.
"""

from __future__ import annotations

import json
from typing import Any

from droidft.support.faults import Refused
from droidft.support.strict_json import json_type

Call = dict[str, Any]
Tool = dict[str, Any]

_CALL_FIX = 'write {"name": …, "arguments": {…}}'
_ARGUMENTS = ("arguments", "parameters", "input")


def without_nulls(value: Any) -> Any:
    """The same without keys whose value is null, at every depth; nulls in lists keep their place."""
    if isinstance(value, dict):
        return {name: without_nulls(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [without_nulls(part) for part in value]
    return value


def decoded(text: str) -> Any:
    """The JSON value in a text; None if there is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def calls_of(value: Any, where: str) -> list[Call]:
    """The calls in `value`: a list, one call, or either as JSON text; each nested in `function` or flat.

    `where` begins the message of a fault, such as "turn 2 (assistant)".

    Raises:
        Refused: it holds no calls; a call has no name; arguments that are no object.
    """
    given = decoded(value) if isinstance(value, str) else value
    calls = [given] if isinstance(given, dict) else given
    if not isinstance(calls, list) or not calls:
        what = "text that is not JSON" if given is None and isinstance(value, str) else json_type(given)
        raise Refused("tool-calls", f"{where} has {what} for its tool calls", _CALL_FIX)
    return [_call(call, where) for call in calls]


def _call(call: Any, where: str) -> Call:
    if isinstance(call, str):
        call = decoded(call)
    if not isinstance(call, dict):
        raise Refused("tool-calls", f"{where} has {json_type(call)} as a tool call", _CALL_FIX)
    function = call.get("function")
    if function is None:
        function = call
    elif isinstance(function, str):  # flat, as some write it: {"function": "name", "arguments": …}
        function = {**call, "name": function}
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise Refused("tool-calls", f"{where} has a tool call without a name", _CALL_FIX)
    given = next((function[key] for key in _ARGUMENTS if function.get(key) is not None), None)
    made: Call = {"type": "function", "function": {"name": name, "arguments": _arguments(given, name, where)}}
    return made if call.get("id") is None else {"id": call["id"], **made}


def _arguments(given: Any, name: str, where: str) -> dict[str, Any]:
    if given is None or (isinstance(given, str) and not given.strip()):
        return {}
    # Text states its nulls; in an object they may stand for keys that the record does not have.
    arguments = decoded(given) if isinstance(given, str) else without_nulls(given)
    if isinstance(arguments, str):  # encoded twice
        arguments = decoded(arguments)
    if not isinstance(arguments, dict):
        shown = f"{given[:40]!r}" if isinstance(given, str) else json_type(given)
        reason = f"{where} calls {name!r} with arguments that are no JSON object: {shown}"
        raise Refused("tool-arguments", reason, 'write an object such as {"city": "Paris"}')
    return arguments


def tools_in(value: Any, column: str) -> list[Tool] | None:
    """The tools that a record offers: a list, JSON text, or a single one; each with `function` or bare. None: none.

    Raises:
        Refused: they are anything else, or one has no name.
    """
    if value is None or value == "" or value == []:
        return None
    tools = decoded(value) if isinstance(value, str) else value
    if tools is None and isinstance(value, str) and not value.strip():
        return None
    if isinstance(tools, dict):
        tools = [tools]
    if not isinstance(tools, list):
        raise Refused("tools", f"has {column!r} that are not a list of objects", _TOOLS_FIX)
    return [_tool(tool, column) for tool in tools] or None


_TOOLS_FIX = "write one JSON schema for each tool"


def _tool(tool: Any, column: str) -> Tool:
    if isinstance(tool, str):
        tool = decoded(tool)
    if not isinstance(tool, dict):
        raise Refused("tools", f"has {column!r} that are not a list of objects", _TOOLS_FIX)
    made: Tool = without_nulls(tool)
    function = made.get("function")
    if not isinstance(function, dict):
        function = {name: part for name, part in made.items() if name != "type"}
        made = {"type": "function", "function": function}
    if not isinstance(function.get("name"), str):
        raise Refused("tools", f"has a tool without a name in {column!r}", _TOOLS_FIX)
    if isinstance(parameters := function.get("parameters"), str):
        schema = decoded(parameters)
        if not isinstance(schema, dict):
            reason = f"has a tool {function['name']!r} whose parameters are text that is not a JSON object"
            raise Refused("tools", reason, _TOOLS_FIX)
        made = {**made, "function": {**function, "parameters": schema}}
    return made

"""Every dialect of conversations, against the normal form written out by hand."""

import json
from typing import Any

import pytest

from droidft.config import parse_config
from droidft.data.calls import tools_in
from droidft.data.conversation import CALL_ROLES, ROLES, checked_turns, normal_turns
from droidft.data.formats import recognise
from droidft.data.preferences import recognise_preferences
from droidft.data.prompts import recognise_prompts
from droidft.data.rows import Columns, Row
from droidft.support.faults import Refused

Messages = list[dict[str, Any]]
USER, BOT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"port": "Kiel", "days": 2}}}
ARGUMENTS = json.dumps(CALL["function"]["arguments"])  # type: ignore[index]
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}


@pytest.mark.parametrize("name", [*ROLES, "User", " HUMAN ", "Function-Response", "tool response"])
def test_roles_of_every_dialect_are_mapped(name: str) -> None:
    role = ROLES[name.strip().lower().replace("-", "_").replace(" ", "_")]
    assert normal_turns([{"role": name, "content": "x"}]) == [{"role": role, "content": "x"}]
    assert normal_turns([{"from": name, "value": "x"}], by_from=True) == [{"role": role, "content": "x"}]


# name: (turn, turn in normal form)
TURNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "parts": (
        {"role": "user", "content": [{"type": "text", "text": "one"}, "two", {"type": "input_text", "text": "!"}]},
        {"role": "user", "content": "one\ntwo\n!"},
    ),
    "parts with Arrow's nulls": (
        {"role": "user", "content": [{"type": "text", "text": "q", "image_url": None}]},
        USER,
    ),
    "parts without a type": ({"role": "user", "content": [{"text": "q"}]}, USER),
    "thinking in parts": (
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}],
        },
        {**BOT, "reasoning_content": "hm"},
    ),
    "Magistral's thinking": (
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "a"},
            ],
        },
        {**BOT, "reasoning_content": "hm"},
    ),
    "reasoning_content": ({**BOT, "reasoning_content": "hm"}, {**BOT, "reasoning_content": "hm"}),
    "reasoning": ({**BOT, "reasoning": "hm"}, {**BOT, "reasoning_content": "hm"}),
    "thinking": ({**BOT, "thinking": "hm", "reasoning": None}, {**BOT, "reasoning_content": "hm"}),
    "OpenAI's calls": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "tide", "arguments": ARGUMENTS}}],
        },
        {**CALLING, "tool_calls": [{"id": "c1", **CALL}]},
    ),
    "calls without content": ({"role": "assistant", "tool_calls": [CALL]}, CALLING),
    "flat calls": (
        {"role": "assistant", "content": "", "tool_calls": [{"name": "tide", "arguments": ARGUMENTS}]},
        CALLING,
    ),
    "calls as JSON text": ({"role": "assistant", "content": "", "tool_calls": json.dumps([CALL])}, CALLING),
    "arguments encoded twice": (
        {"role": "assistant", "tool_calls": [{"name": "tide", "arguments": json.dumps(ARGUMENTS)}]},
        CALLING,
    ),
    "parameters for arguments": (
        {"role": "assistant", "tool_calls": [{"name": "tide", "parameters": ARGUMENTS}]},
        CALLING,
    ),
    "no arguments": (
        {"role": "assistant", "tool_calls": [{"function": {"name": "now", "arguments": ""}}]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "now", "arguments": {}}}],
        },
    ),
    "Arrow's nulls in arguments": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": None,
                    "function": {
                        "name": "tide",
                        "arguments": {"port": "Kiel", "days": 2, "city": None, "at": None},
                    },
                }
            ],
            "tool_call_id": None,
        },
        CALLING,
    ),
    "the older function_call": (
        {"role": "assistant", "content": None, "function_call": {"name": "tide", "arguments": ARGUMENTS}},
        CALLING,
    ),
    "text beside a call": ({**CALLING, "content": "One moment."}, {**CALLING, "content": "One moment."}),
    "a tool's answer": (
        {"role": "tool", "tool_call_id": "c1", "name": "tide", "content": "7"},
        {"role": "tool", "content": "7", "tool_call_id": "c1", "name": "tide"},
    ),
    "a tool's answer as an object": (
        {"role": "tool", "content": {"time": "11:40"}},
        {"role": "tool", "content": '{"time": "11:40"}'},
    ),
    "a tool's answer as a list": ({"role": "tool", "content": [1, 2]}, {"role": "tool", "content": "[1, 2]"}),
    "weight 1": ({**BOT, "weight": 1}, BOT),
    "weight 0": ({**BOT, "weight": 0}, {**BOT, "weight": 0}),
    "weight 0.0": ({**BOT, "weight": 0.0}, {**BOT, "weight": 0}),
    "train: false": ({**BOT, "train": False}, {**BOT, "weight": 0}),
    "weight 0 of the user": ({**USER, "weight": 0}, USER),
    "null fields": ({**BOT, "name": None, "tool_calls": None, "weight": None}, BOT),
    "a field of the template's own": ({**BOT, "prefix": True}, {**BOT, "prefix": True}),
}


@pytest.mark.parametrize("name", TURNS)
def test_a_turn_in_normal_form(name: str) -> None:
    turn, expected = TURNS[name]
    assert normal_turns([turn]) == [expected]
    assert normal_turns([expected]) == [expected], "the normal form stays as it is"


# name: (turn, kind of fault, part of the reason)
REFUSED: dict[str, tuple[Any, str, str]] = {
    "unknown role": ({"role": "teacher", "content": "x"}, "role", "'teacher'"),
    "image": ({"role": "user", "content": [{"type": "image"}]}, "content-part", "'image'"),
    "a number among parts": ({"role": "user", "content": [7]}, "content-part", "a number"),
    "weight 0.5": ({**BOT, "weight": 0.5}, "weight", "weight 0.5"),
    "weight as text": ({**BOT, "weight": "0"}, "weight", "'0'"),
    "arguments no JSON": (
        {"role": "assistant", "tool_calls": [{"name": "tide", "arguments": "port=Kiel"}]},
        "tool-arguments",
        "'tide' with arguments that are no JSON object: 'port=Kiel'",
    ),
    "arguments a list": (
        {"role": "assistant", "tool_calls": [{"name": "tide", "arguments": [1]}]},
        "tool-arguments",
        "a list",
    ),
    "call without a name": ({"role": "assistant", "tool_calls": [{"arguments": {}}]}, "tool-calls", "without a name"),
    "a user's call": ({"role": "user", "content": "x", "tool_calls": [CALL]}, "tool-calls", "only the assistant"),
    "function_call that is text": ({"role": "function_call", "content": "tide"}, "tool-calls", "not JSON"),
    "two thoughts": ({**BOT, "reasoning": "a", "thinking": "b"}, "reasoning", "two different"),
    "thinking a number": ({**BOT, "thinking": 3}, "reasoning", "a number in 'thinking'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused_by_name(name: str) -> None:
    turn, kind, reason = REFUSED[name]
    with pytest.raises(Refused) as caught:
        normal_turns([turn])
    assert caught.value.kind == kind
    assert reason in caught.value.reason
    assert caught.value.reason.startswith(("turn 1", "the content of turn 1"))


@pytest.mark.parametrize("role", sorted(CALL_ROLES))
def test_sharegpts_calls_join_the_assistants_turn(role: str) -> None:
    call = json.dumps({"name": "tide", "arguments": {"port": "Kiel", "days": 2}})
    turns = [
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "I look it up."},
        {"from": role, "value": call},
        {"from": role, "value": call},
        {"from": "observation", "value": '{"time": "11:40"}'},
        {"from": role, "value": call},
        {"from": "observation", "value": "7"},
        {"from": "gpt", "value": "a"},
    ]
    assert checked_turns(turns, "conversations", by_from=True) == [
        USER,
        {**CALLING, "content": "I look it up.", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": '{"time": "11:40"}'},
        CALLING,
        {"role": "tool", "content": "7"},
        BOT,
    ]


TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "given",
    [
        [TOOL],
        TOOL,
        json.dumps([TOOL]),
        [json.dumps(TOOL)],
        [TOOL["function"]],
        json.dumps([TOOL["function"]]),
        [{"type": "function", "name": "tide", "parameters": {"type": "object"}}],
        [{"name": "tide", "parameters": '{"type": "object"}'}],
        [
            {
                "type": "function",
                "function": {"name": "tide", "description": None, "parameters": {"type": "object", "a": None}},
            }
        ],
    ],
)
def test_tools_in_every_form(given: Any) -> None:
    assert tools_in(given, "tools") == [TOOL]


@pytest.mark.parametrize("given", [None, "", " ", [], "[]"])
def test_no_tools(given: Any) -> None:
    assert tools_in(given, "tools") is None


@pytest.mark.parametrize("given", [3, "tide", [3], [{"description": "x"}], {"tide": {}}])
def test_tools_that_are_none_are_refused(given: Any) -> None:
    with pytest.raises(Refused) as caught:
        tools_in(given, "tools")
    assert caught.value.kind == "tools"


def row(value: dict[str, Any]) -> Row:
    return recognise(value, Columns()).row(value)


def test_alpacas_history_is_part_of_the_conversation() -> None:
    history = [["one?", "1"], ["two?", "2"]]
    expected: Messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "one?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "three?"},
        {"role": "assistant", "content": "3"},
    ]
    value = {"instruction": "three?", "input": "", "output": "3", "system": "s"}
    assert row({**value, "history": history}) == Row(None, expected)
    assert row({**value, "history": json.dumps(history)}) == Row(None, expected)
    assert row({**value, "history": []}).messages == row({**value, "history": None}).messages == row(value).messages
    for wrong in (["one?"], [["one?"]], [["one?", 1]], 7):
        with pytest.raises(Refused, match="history"):
            row({**value, "history": wrong})


@pytest.mark.parametrize("as_json", [False, True])
def test_prompt_and_completion_as_messages(as_json: bool) -> None:
    prompt: Messages = [{"role": "system", "content": "s"}, USER, BOT, USER]
    value: dict[str, Any] = {"prompt": prompt, "completion": [BOT]}
    if as_json:
        value = {name: json.dumps(part) for name, part in value.items()}
    assert row(value) == Row(None, [*prompt, BOT], None, given=1)
    assert row({"prompt": prompt, "completion": "a"}) == Row(None, [*prompt, BOT], None, given=1)
    assert row({"prompt": "q", "completion": [BOT]}) == Row(None, [USER, BOT])
    assert row({"prompt": USER, "completion": BOT}) == Row(None, [USER, BOT])
    with pytest.raises(Refused, match=r"prompt that ends with the assistant's turn \(in 'prompt'\)"):
        row({"prompt": [USER, BOT], "completion": [BOT]})
    with pytest.raises(Refused, match="no answer at the end of 'completion'"):
        row({"prompt": [USER], "completion": [USER]})


def test_a_system_text_of_the_record_in_every_format() -> None:
    system = {"role": "system", "content": "s"}
    more = {"system": "s"}
    rows = [
        {"messages": [USER, BOT], **more},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], **more},
        {"prompt": "q", "completion": "a", **more},
        {"prompt": [USER], "completion": [BOT], **more},
        {"instruction": "q", "output": "a", **more},
        {"messages": [system, USER, BOT], **more},
    ]
    for value in rows:
        assert row(value).messages == [system, USER, BOT], value
    with pytest.raises(Refused, match="another one as its first turn"):
        row({"messages": [{"role": "system", "content": "other"}, USER, BOT], **more})


def test_weights_mask_turns_by_number() -> None:
    turns = [USER, {**BOT, "weight": 0}, USER, {**BOT, "weight": 1}, USER, {**BOT, "weight": 0}]
    made = row({"messages": turns})
    assert made == Row(None, [USER, BOT] * 3, masked=frozenset({0, 2}))
    assert [made.trains(number) for number in range(3)] == [False, True, False]


def test_prompts_and_preferences_read_the_same_dialects() -> None:
    config = parse_config({"model_path": "m", "train_data_path": "d"})
    asked = {"role": "human", "content": [{"type": "text", "text": "q"}]}
    for value in ({"prompt": [asked]}, {"messages": [asked, BOT]}, {"prompt": "q", "history": []}):
        assert recognise_prompts(value, config).row(value).messages == [USER]
    value = {"prompt": "q", "history": [["q", "a"]], "answer": "a"}
    assert recognise_prompts(value, config).row(value).messages == [USER, BOT, USER]
    called = {"role": "assistant", "content": None, "tool_calls": [{"name": "tide", "arguments": ARGUMENTS}]}
    value = {"prompt": [asked], "chosen": [called], "rejected": {"role": "gpt", "content": "No idea."}}
    choice = recognise_preferences(value, config).row(value)
    assert (choice.prompt, choice.chosen) == ([USER], [CALLING])
    assert choice.rejected == [{"role": "assistant", "content": "No idea."}]

"""How messages are put to templates of every kind, and what a template leaves out of them."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from droidft.config import SystemRole
from droidft.data.codec import Codec, adapted
from droidft.data.prepare import prepare
from droidft.data.prompts import prepare_prompts
from droidft.data.report import Flag
from droidft.data.rows import Row
from droidft.data.template import ChatTemplate, TemplateOptions, folded
from droidft.data.tokens import Encoded, RowEncoder
from droidft.errors import ConfigError
from droidft.support.faults import InvalidData, Refused
from tests.data import templates
from tests.data.helpers import make_tokenizer, settings, write_jsonl

Messages = list[dict[str, Any]]
USER, BOT = {"role": "user", "content": "When?"}, {"role": "assistant", "content": "At noon."}
SYSTEM = {"role": "system", "content": "Be brief."}
DEVELOPER = {"role": "developer", "content": "Be brief."}
ARGUMENTS = {"port": "Kiel", "days": 2, "at": {"hour": 7.5}}
CALL = {"type": "function", "function": {"name": "tide", "arguments": ARGUMENTS}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "11:40"}
TOOL = {
    "type": "function",
    "function": {
        "name": "tide",
        "description": "High water",
        "parameters": {"type": "object", "properties": {"port": {"type": "string"}}},
    },
}


def template(source: str, **options: Any) -> ChatTemplate:
    return ChatTemplate(make_tokenizer(source), TemplateOptions(**options))


def written(source: str, messages: Messages, tools: Any = None, **options: Any) -> str:
    chat = template(source, **options)
    return chat.render(chat.adapted(messages), tools)


def test_a_call_is_put_as_the_template_wants_it() -> None:
    arguments = json.dumps(ARGUMENTS)
    assert f'{{"name": "tide", "arguments": {arguments}}}' in written(templates.TOOL_TAGS, [USER, CALLING])
    assert f"<|assistant|>\ntide: {arguments}<|end|>" in written(templates.TEXT_ARGUMENTS, [USER, CALLING])


def test_a_developers_turn_is_the_systems_where_the_template_knows_none() -> None:
    assert "<|system|>\nBe brief.<|end|>" in written(templates.TOOL_TAGS, [DEVELOPER, USER, BOT])
    assert "<|system|>\nBe brief.<|end|>" in written(templates.CHATML, [DEVELOPER, USER, BOT])
    knows = templates.CHATML + "{# developer #}"
    assert "<|developer|>\nBe brief.<|end|>" in written(knows, [DEVELOPER, USER, BOT])
    for source, flags in ((templates.TOOL_TAGS, {Flag.DEVELOPER_AS_SYSTEM}), (knows, set())):
        assert adapted(Codec(make_tokenizer(source)), [DEVELOPER, USER, BOT])[1] == flags


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([SYSTEM, USER, BOT], ["Be brief.\n\nWhen?", "At noon."]),
        ([DEVELOPER, USER, BOT], ["Be brief.\n\nWhen?", "At noon."]),
        ([SYSTEM, DEVELOPER, USER, BOT], ["Be brief.\n\nBe brief.\n\nWhen?", "At noon."]),
        ([USER, SYSTEM, BOT], ["When?\n\nBe brief.", "At noon."]),
        ([USER, BOT, SYSTEM, USER, BOT], ["When?", "At noon.", "Be brief.\n\nWhen?", "At noon."]),
        ([USER, SYSTEM], ["When?\n\nBe brief."]),
        ([USER, BOT], ["When?", "At noon."]),
    ],
)
def test_system_texts_are_folded_into_the_users_turn(messages: Messages, expected: list[str]) -> None:
    made = folded(messages)
    assert [turn["content"] for turn in made] == expected
    assert {turn["role"] for turn in made} <= {"user", "assistant"}
    # The beginning of a conversation folds like the whole, so that turns are found in it.
    for end in range(1, len(messages)):
        if messages[end]["role"] == "assistant":
            assert folded(messages[:end]) == made[: len(folded(messages[:end]))]


@pytest.mark.parametrize("messages", [[SYSTEM, BOT], [USER, BOT, SYSTEM, BOT], [SYSTEM]])
def test_a_system_text_without_a_users_turn_cannot_be_folded(messages: Messages) -> None:
    with pytest.raises(Refused, match="no user's turn beside it"):
        folded(messages)


def test_the_day_is_the_one_that_was_chosen() -> None:
    day = datetime.date(2025, 1, 2)
    assert written(templates.DATED, [USER], day=day).startswith("<|system|>\nToday is 02 Jan 2025, Thursday.<|end|>")
    today = datetime.date.today().strftime("%d %b %Y")
    assert today in written(templates.DATED, [USER])
    assert template(templates.DATED).writes_date
    assert not template(templates.CHATML).writes_date


def test_variables_of_the_template() -> None:
    chat = template(templates.TOOL_TAGS, kwargs={"enable_thinking": False})
    assert chat.render([USER], None, prompt=True).endswith("<|assistant|>\n<think></think>\n")
    assert chat.knows_thinking
    with pytest.raises(ConfigError, match="reads no 'enable_thinkng'"):
        template(templates.TOOL_TAGS, kwargs={"enable_thinkng": False})
    with pytest.raises(ConfigError, match="'tools' is not a variable"):
        template(templates.TOOL_TAGS, kwargs={"tools": []})
    with pytest.raises(ConfigError, match="reads no 'enable_thinking'"):
        template(templates.CHATML, kwargs={"enable_thinking": False})


# -- the proof


def encoded(source: str, row: Row, **options: Any) -> Encoded | Refused:
    codec = Codec(make_tokenizer(source), TemplateOptions(**options))
    (one,) = RowEncoder(codec, mask_prompt=True).encode([row])
    return one


THOUGHT = {**BOT, "reasoning_content": "Noon is 12."}
INLINE = {**BOT, "content": "<think>Noon is 12.</think>At noon."}

CLOSED = {**BOT, "content": "Noon is 12.\n</think>\n\nAt noon."}
"""As a model answers whose template opens the think block for it."""

# Templates that write a think block of their own: unless the content begins with one, or always.
OWN_BLOCK_ALWAYS = templates.CHATML.replace(
    "{{ message['content'] }}",
    "{% if message.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ message['content'] }}",
)
OWN_BLOCK = OWN_BLOCK_ALWAYS.replace("== 'assistant'", "== 'assistant' and '<think>' not in message['content']")

# Templates that leave out something.
NO_SYSTEM_TEXT = templates.MOVED_TOOLS.replace("{% else %}", "{% elif message['role'] == 'assistant' %}")
NO_RESULTS = templates.TOOL_TAGS.replace("<|tool|>\n{{ m.content }}", "<|tool|>\n")
NO_QUESTION = templates.CHATML.replace("{{ message['content'] }}", "{{ message.content if message.role != 'user' }}")
NO_ANSWER = templates.CHATML.replace("{{ message['content'] }}", "{{ message.content if message.role == 'user' }}")
NO_ARGUMENTS = templates.TOOL_TAGS.replace("{{ c.function.arguments | tojson }}", "1")
NO_VALUES = templates.TOOL_TAGS.replace("c.function.arguments | tojson", "c.function.arguments | list")
CHANGED = templates.CHATML.replace("message['content']", "message['content'] | replace('noon', '12')")
STRICT = """{% for m in messages %}{% if 'noon' not in m['content'] and m['role'] == 'assistant' %}\
{{ raise_exception('no') }}{% endif %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}\
{% if add_generation_prompt %}<|assistant|>{% endif %}"""

# name: (template, messages, tools, flags)
WARNED: dict[str, tuple[str, Messages, Any, set[Flag]]] = {
    "nothing": (templates.TOOL_TAGS, [SYSTEM, USER, CALLING, RESULT, BOT], [TOOL], set()),
    "tools": (templates.CHATML, [USER, BOT], [TOOL], {Flag.TOOLS_LEFT_OUT}),
    "system": (NO_SYSTEM_TEXT, [SYSTEM, USER, BOT], None, {Flag.SYSTEM_LEFT_OUT}),
    "a tool's answer": (NO_RESULTS, [USER, CALLING, RESULT, BOT], None, {Flag.TURN_LEFT_OUT}),
    "thinking of an earlier turn": (templates.TOOL_TAGS, [USER, THOUGHT] * 2, None, {Flag.THINKING_DROPPED}),
    "inline thinking": (templates.STRIP_THINKING, [USER, INLINE] * 2, None, {Flag.THINKING_DROPPED}),
    "thinking behind an empty block": (OWN_BLOCK, [USER, CLOSED], None, {Flag.THINKING_OUTSIDE}),
    "inline thinking behind an empty block": (OWN_BLOCK_ALWAYS, [USER, INLINE], None, {Flag.THINKING_OUTSIDE}),
    "thinking that is found": (OWN_BLOCK, [USER, INLINE], None, set()),
    "no thinking": (OWN_BLOCK_ALWAYS, [USER, BOT], None, set()),
    "two blocks of the row's own": (
        templates.CHATML,
        [USER, {**BOT, "content": "<think></think><think>Noon.</think>At noon."}],
        None,
        set(),
    ),
    "trimmed": (templates.LLAMA, [USER, {**BOT, "content": " At noon.\n"}], None, set()),
    "changed": (CHANGED, [USER, BOT], None, {Flag.CONTENT_ALTERED}),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_is_left_out_and_not_trained_is_flagged(name: str) -> None:
    source, messages, tools, flags = WARNED[name]
    one = encoded(source, Row(None, messages, tools))
    assert isinstance(one, Encoded), one
    assert one.flags == flags


# name: (template, messages, part of the reason)
LEFT_OUT: dict[str, tuple[str, Messages, str]] = {
    "calls": (templates.CHATML, [USER, CALLING], "turn 2 (assistant) is not whole: the model's chat template leaves"),
    "calls beside text": (templates.CHATML, [USER, {**CALLING, "content": "One moment."}], "its tool calls"),
    "arguments": (NO_ARGUMENTS, [USER, CALLING], "the argument 'port'"),
    "a value": (NO_VALUES, [USER, CALLING], "the value of the argument 'port'"),
    "thinking": (templates.CHATML, [USER, THOUGHT], "its thinking"),
    "thinking of every turn": (templates.THINK_OPENED, [USER, INLINE], "its thinking"),
    "text": (NO_ANSWER, [USER, BOT], "its text"),
}


@pytest.mark.parametrize("mask_prompt", [False, True])
@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_row_of_which_a_trained_part_is_left_out_is_refused(name: str, mask_prompt: bool) -> None:
    source, messages, reason = LEFT_OUT[name]
    (one,) = RowEncoder(Codec(make_tokenizer(source)), mask_prompt=mask_prompt).encode([Row(None, messages)])
    assert isinstance(one, Refused)
    assert one.kind == "left-out"
    assert reason in one.reason


def test_what_is_left_out_of_untrained_turns_is_no_fault() -> None:
    messages = [USER, CALLING, RESULT, BOT]
    one = encoded(templates.CHATML, Row(None, messages, given=1))
    assert isinstance(one, Encoded)
    assert one.flags == {Flag.TURN_LEFT_OUT}
    assert isinstance(encoded(templates.CHATML, Row(None, messages)), Refused)


def test_a_template_that_refuses_words_of_our_own_is_held_to_the_rows_words() -> None:
    one = encoded(STRICT, Row(None, [USER, BOT], [TOOL]))
    assert isinstance(one, Encoded)
    assert one.flags == {Flag.TOOLS_LEFT_OUT}


def test_a_shape_is_rendered_once() -> None:
    codec = Codec(make_tokenizer(templates.CHATML))
    rows = [Row(None, [{**USER, "content": str(number)}, BOT] * (1 + number % 3)) for number in range(300)]
    RowEncoder(codec).encode(rows)
    assert len(codec.proof.known) == 3


def test_system_role_in_a_run(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"messages": [SYSTEM, USER, BOT]}, {"messages": [USER, BOT]}])
    with pytest.raises(InvalidData, match="set system_role to fold"):
        prepare(settings(path), make_tokenizer(templates.NO_SYSTEM))
    tokenizer = make_tokenizer(templates.NO_SYSTEM)
    data = prepare(settings(path, system_role="fold", mask_prompt=True), tokenizer)
    row = next(row for row in [*data.train, *data.validation] if row.line == 1)
    assert tokenizer.decode(row.tokens).startswith("<|bos|><|user|>\nBe brief.\n\nWhen?<|end|>\n<|assistant|>\n")
    assert tokenizer.decode(row.tokens[row.supervised]) == "At noon.<|end|>"
    silent = make_tokenizer(NO_SYSTEM_TEXT)
    warnings = prepare(settings(path), silent).report.warnings
    assert any("leaves out the system text" in text for text in warnings)
    with pytest.raises(InvalidData, match=r"turn 1 \(system\) is left out"):
        prepare(settings(path, system_role=SystemRole.REFUSE), silent)


def test_prompts_are_proved_too(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"prompt": [USER], "tools": [TOOL]}, {"prompt": [SYSTEM, USER]}])
    reward = [{"kind": "lexical_f1"}]
    config = settings(path, method="grpo", rewards=reward, max_completion_length=8)
    warnings = prepare_prompts(config, make_tokenizer(templates.CHATML)).report.warnings
    assert any("leaves out the tools" in text for text in warnings)
    with pytest.raises(InvalidData, match="asks nothing"):
        prepare_prompts(config, make_tokenizer(NO_QUESTION))


def test_only_the_last_turn(tmp_path: Path) -> None:
    turns = [USER, {**BOT, "content": "one"}, USER, {**BOT, "content": "two"}]
    path = write_jsonl(tmp_path / "data.jsonl", [{"messages": turns}] * 2)
    for source in (templates.CHATML, templates.GENERATION):
        tokenizer = make_tokenizer(source)
        data = prepare(settings(path, mask_prompt=True, train_on="last-turn"), tokenizer)
        assert tokenizer.decode(data.train[0].tokens[data.train[0].supervised]) == "two<|end|>"
    with pytest.raises(ConfigError, match="train_on 'last-turn' needs mask_prompt"):
        settings(path, train_on="last-turn")


def test_turns_of_weight_zero_are_not_trained(tmp_path: Path) -> None:
    turns = [USER, {**BOT, "content": "one", "weight": 0}, USER, {**BOT, "content": "two", "weight": 1}]
    path = write_jsonl(tmp_path / "data.jsonl", [{"messages": turns}] * 2)
    for source in (templates.CHATML, templates.GENERATION):
        tokenizer = make_tokenizer(source)
        row = prepare(settings(path, mask_prompt=True), tokenizer).train[0]
        assert tokenizer.decode(row.tokens[row.supervised]) == "two<|end|>"
        row = prepare(settings(path), tokenizer).train[0]
        assert tokenizer.decode(row.tokens[~row.supervised]) == "<|user|>one<|end|>"
    nothing = write_jsonl(tmp_path / "nothing.jsonl", [{"messages": [USER, {**BOT, "weight": 0}]}] * 2)
    for mask in (False, True):
        with pytest.raises(InvalidData, match="the weight of each is 0"):
            prepare(settings(nothing, mask_prompt=mask), make_tokenizer(templates.CHATML))

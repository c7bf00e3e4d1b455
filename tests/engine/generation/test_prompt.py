"""A conversation is put to the model in answers as it was in training."""

import datetime
from typing import Any

import pytest

from droidft.config import SystemRole
from droidft.data.codec import Codec
from droidft.data.rows import Row
from droidft.data.template import TemplateOptions
from droidft.data.tokens import Encoded, RowEncoder
from droidft.engine.generation.prompt import make_prompt, options_for
from droidft.errors import ConfigError, ModelError
from tests.data import templates
from tests.data.helpers import make_tokenizer

SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "When?"}
BOT = {"role": "assistant", "content": "At noon."}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"port": "Kiel"}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
TOOL = {"type": "function", "function": {"name": "tide", "description": "High water"}}


def wrapped(template: str) -> Any:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

    return TokenizerWrapper(make_tokenizer(template))


def asked(template: str, messages: Any, **more: Any) -> str:
    tokenizer = wrapped(template)
    return str(tokenizer.decode(make_prompt(tokenizer, messages, **more).tokens))


# mlx-lm turns thinking off where the tokenizer has no tokens for it, and finished turns do not show that.
ALWAYS_OPEN = templates.TOOL_TAGS.replace("enable_thinking is false", "false")

CASES: dict[str, tuple[str, list[dict[str, Any]], Any, TemplateOptions]] = {
    "folded": (templates.NO_SYSTEM, [SYSTEM, USER, BOT], None, TemplateOptions(SystemRole.FOLD)),
    "dated": (templates.DATED, [USER, BOT], None, TemplateOptions(day=datetime.date(2025, 1, 2))),
    "tools": (
        ALWAYS_OPEN,
        [SYSTEM, USER, CALLING, {"role": "tool", "content": "7"}, BOT],
        [TOOL],
        TemplateOptions(),
    ),
    "arguments as text": (
        templates.TEXT_ARGUMENTS,
        [USER, CALLING, USER, BOT],
        None,
        TemplateOptions(),
    ),
    "developer": (ALWAYS_OPEN, [{**SYSTEM, "role": "developer"}, USER, BOT], None, TemplateOptions()),
}


@pytest.mark.parametrize("name", CASES)
def test_the_prompt_is_what_training_showed_before_the_answer(name: str) -> None:
    template, messages, tools, options = CASES[name]
    tokenizer = wrapped(template)
    codec = Codec(tokenizer, options)
    (row,) = RowEncoder(codec, mask_prompt=True, last_turn=True).encode([Row(None, messages, tools)])
    assert isinstance(row, Encoded), row
    prompt = make_prompt(tokenizer, messages[:-1], tools=tools, options=options)
    assert prompt.tokens == row.tokens[: int(row.supervised.argmax())].tolist()
    assert prompt.left_out == ()


def test_messages_of_every_dialect_are_taken() -> None:
    turns = [{"role": "Human", "content": [{"type": "text", "text": "When?"}]}]
    assert asked(templates.CHATML, turns) == asked(templates.CHATML, "When?")
    with pytest.raises(ConfigError, match="turn 1 has the role 'teacher'"):
        asked(templates.CHATML, [{"role": "teacher", "content": "x"}])
    with pytest.raises(ModelError, match="System role not supported"):
        asked(templates.NO_SYSTEM, "When?", system="Be brief.")


def test_thinking_is_turned_off_as_in_training_or_on_request() -> None:
    tokenizer = wrapped(templates.TOOL_TAGS)
    off = "<|assistant|>\n<think></think>\n"
    record = {"chat_template_kwargs": {"enable_thinking": False}, "system_role": "fold"}
    options = options_for(tokenizer, record)
    assert options.system_role is SystemRole.FOLD
    assert asked(templates.TOOL_TAGS, "When?", options=options).endswith(off)
    options = options_for(tokenizer, record, kwargs={"enable_thinking": True})
    assert not asked(templates.TOOL_TAGS, "When?", options=options).endswith(off)
    options = options_for(tokenizer, None, kwargs={"enable_thinking": False})
    assert asked(templates.TOOL_TAGS, "When?", options=options).endswith(off)
    # Another model's template knows no such variable: what is recorded gives way, what is asked for is refused.
    other = wrapped(templates.CHATML)
    assert options_for(other, record).kwargs == {}
    with pytest.raises(ConfigError, match="reads no 'enable_thinking'"):
        make_prompt(other, "When?", options=options_for(other, None, kwargs={"enable_thinking": False}))
    with pytest.raises(ConfigError, match="needs a chat template"):
        make_prompt(other, "When?", use_chat_template=False, options=options)


@pytest.mark.parametrize("record", [{"system_role": 7}, {"system_role": "other"}, {"chat_template_kwargs": "x"}, {}])
def test_a_record_that_somebody_else_wrote_does_no_harm(record: dict[str, Any]) -> None:
    assert options_for(wrapped(templates.CHATML), record) == TemplateOptions()


def test_what_the_template_leaves_out_is_named() -> None:
    tokenizer = wrapped(templates.CHATML)
    assert make_prompt(tokenizer, [USER], tools=[TOOL]).left_out == ("the tools",)
    called = [USER, CALLING, {"role": "tool", "content": "7"}]
    assert make_prompt(tokenizer, called).left_out[0] == "part of the assistant's turn (tool calls)"

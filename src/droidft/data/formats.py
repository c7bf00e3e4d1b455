"""The formats of data with answers: which columns a row has, and how it becomes text or a conversation.

The first record of a file decides its format; every other one is held to it. `prompts` and `preferences` have formats
of their own, made of the same parts (`fields`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from droidft.config import DataFormat
from droidft.data.conversation import Message, conversation, with_own_system
from droidft.data.fields import (
    COMPLETIONS,
    CONVERSATIONS,
    HISTORY,
    INSTRUCTIONS,
    PROMPTS,
    TOOLS,
    answer_in,
    filled,
    first_of,
    history_of,
    input_column,
    is_conversation,
    is_sharegpt,
    listed,
    missing,
    near,
    optional,
    parsed,
    prompt_in,
    refuse_bad_answer,
    tools_of,
    with_input,
)
from droidft.data.rows import Columns, Row, Schema
from droidft.errors import ConfigError
from droidft.support.faults import Refused


def recognise(first: dict[str, Any], columns: Columns) -> Schema[Row]:
    """The schema of the file whose first record is `first`.

    Raises:
        ConfigError: the chosen columns contradict each other.
        Refused: the record fits no known format.
    """
    form = columns.format if columns.format is not DataFormat.AUTO else _by_columns(columns) or guess(first)
    match form:
        case DataFormat.TEXT:
            return _Text(_column(first, columns.text, ("text",), form))
        case DataFormat.COMPLETION | DataFormat.INSTRUCTION:
            prompt = _column(first, columns.prompt, PROMPTS if form is DataFormat.COMPLETION else INSTRUCTIONS, form)
            completion = _column(first, columns.completion, COMPLETIONS, form)
            as_json = [is_conversation(first[column]) for column in (prompt, completion)]
            return _Pair(form, prompt, completion, input_column(first, prompt), *as_json)
        case DataFormat.CHAT | DataFormat.SHAREGPT:
            names = CONVERSATIONS if form is DataFormat.CHAT else CONVERSATIONS[::-1]
            return _Chat(form, _column(first, columns.messages, names, form))
        case _:
            known = (*CONVERSATIONS, *PROMPTS, *COMPLETIONS, "text")
            raise Refused(
                "unknown-fields", f"{listed(first)}, which fit no known format{near(first, known)}", _KNOWN_FIX
            )


def guess(value: dict[str, Any]) -> DataFormat | None:
    """The format whose usual fields `value` has: conversations first, then pairs, then text."""
    if name := first_of(CONVERSATIONS, value):
        return DataFormat.SHAREGPT if is_sharegpt(value[name]) else DataFormat.CHAT
    prompt = first_of(PROMPTS, value)
    if prompt and first_of(COMPLETIONS, value):
        return DataFormat.INSTRUCTION if prompt == "instruction" else DataFormat.COMPLETION
    if "text" in value:
        return DataFormat.TEXT
    # Half a pair is a pair with something missing, which the rule for pairs words better.
    return DataFormat.COMPLETION if prompt else None


@dataclass(frozen=True)
class _Text:
    column: str
    format: DataFormat = DataFormat.TEXT

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def row(self, value: dict[str, Any]) -> Row:
        return Row(_text(value, self.column, self.format), [])


@dataclass(frozen=True)
class _Pair:
    """A prompt and its completion, each as text or as messages."""

    format: DataFormat
    prompt: str
    completion: str
    input: str | None
    prompt_as_json: bool
    completion_as_json: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.prompt, self.completion, "system", HISTORY, *TOOLS, *([self.input] if self.input else []))

    def row(self, value: dict[str, Any]) -> Row:
        refuse_bad_answer(value)
        for column in (self.prompt, self.completion):
            if column not in value:
                raise _missing(value, column, self.format)
        before = history_of(value)
        prompt: list[Message]
        if _as_messages(value[self.prompt], as_json=self.prompt_as_json):
            prompt, given = [*before, *prompt_in(value[self.prompt], self.prompt)], True
        else:
            text = with_input(filled(value[self.prompt], self.prompt), value, self.input)
            prompt, given = [*before, {"role": "user", "content": text}], False
        turns = _as_messages(value[self.completion], as_json=self.completion_as_json)
        if turns:
            answer = answer_in(value[self.completion], self.completion)
        else:
            answer = [{"role": "assistant", "content": filled(value[self.completion], self.completion)}]
        # Of a prompt in messages nothing is to be learned; earlier answers of alpaca's history are answers.
        untrained = sum(turn["role"] == "assistant" for turn in prompt) if given and not before else 0
        messages = with_own_system([*prompt, *answer], optional(value, "system"))
        return Row.of(messages, tools_of(value), given=untrained, joinable=not given and not turns)


def _as_messages(value: Any, *, as_json: bool) -> bool:
    return is_conversation(value) and (as_json or not isinstance(value, str))


@dataclass(frozen=True)
class _Chat:
    format: DataFormat
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, *TOOLS, "system")

    def row(self, value: dict[str, Any]) -> Row:
        if self.column not in value:
            raise _missing(value, self.column, self.format)
        refuse_bad_answer(value)
        turns = parsed(value[self.column], self.column)
        messages = conversation(turns, self.column, by_from=self.format is DataFormat.SHAREGPT)
        return Row.of(with_own_system(messages, optional(value, "system")), tools_of(value))


def _by_columns(columns: Columns) -> DataFormat | None:
    chosen = {
        "text_column": columns.text and DataFormat.TEXT,
        "prompt_column": columns.prompt and DataFormat.COMPLETION,
        "completion_column": columns.completion and DataFormat.COMPLETION,
        "messages_column": columns.messages and DataFormat.CHAT,
    }
    given = {name: form for name, form in chosen.items() if form}
    if len(set(given.values())) > 1:
        raise ConfigError(
            f"{' and '.join(given)} belong to different formats",
            hint="keep one of them, or choose with data_format",
            field=next(iter(given)),
        )
    return next((DataFormat(form) for form in given.values()), None)


def _column(first: dict[str, Any], chosen: str | None, usual: tuple[str, ...], form: DataFormat) -> str:
    column = chosen if chosen is not None else first_of(usual, first)
    if column is None or column not in first:
        raise _missing(first, column or usual[0], form)
    return column


def _text(value: dict[str, Any], column: str, form: DataFormat) -> str:
    if column not in value:
        raise _missing(value, column, form)
    return filled(value[column], column)


def _missing(value: dict[str, Any], column: str, form: DataFormat) -> Refused:
    other = guess(value)
    if other is not None and _OPTIONS[other] != _OPTIONS[form]:
        reason = f"is a {other} row ({listed(value)}) where {form} rows with {column!r} are expected"
        return Refused("mixed", reason, "keep one format in a file, or choose it with data_format")
    return missing(value, column, _OPTIONS[form])


_OPTIONS = {
    DataFormat.TEXT: "text_column",
    DataFormat.COMPLETION: "prompt_column, completion_column",
    DataFormat.INSTRUCTION: "prompt_column, completion_column",
    DataFormat.CHAT: "messages_column",
    DataFormat.SHAREGPT: "messages_column",
}
"""The settings that name a format's columns."""
_KNOWN_FIX = "use text, prompt and completion, instruction and output, or messages; or name your columns"

"""Records -> prompts: which field holds what is asked, and which the reference answer.

The first record of a file decides its format; every other one is held to it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, NamedTuple

from droidft.config import DataFormat, TrainingConfig
from droidft.data.conversation import Message, characters, checked_turns, messages_key, sharegpt_turns
from droidft.data.fields import filled, is_conversation, listed, missing, optional, parsed, tools_of
from droidft.data.json_values import plain
from droidft.data.located import Schema
from droidft.data.rows import COMPLETIONS, CONVERSATIONS, INPUTS, PROMPTS, Columns
from droidft.errors import ConfigError
from droidft.support.faults import Refused

ANSWER = "answer"
"""Column in which rewards look for the reference answer."""


class Ask(NamedTuple):
    """What the model is asked, and everything its record says."""

    messages: list[Message]
    columns: dict[str, Any]
    tools: list[dict[str, Any]] | None = None

    @property
    def characters(self) -> int:
        """How much text it holds."""
        return characters(self.messages)

    @property
    def key(self) -> int:
        """Equal for equal prompts, within this process."""
        return messages_key(self.messages)


def recognise_prompts(first: dict[str, Any], config: TrainingConfig) -> Schema[Ask]:
    """The schema of the file of prompts whose first record is `first`.

    Raises:
        ConfigError: the settings are about data of another kind.
        Refused: the record holds no prompt that is known.
    """
    columns = Columns.of(config)
    _refuse_text(columns, config)
    prompt = columns.prompt or next((name for name in _prompt_names(columns) if name in first), None)
    if columns.messages is None and prompt is not None:
        if prompt not in first:
            raise missing(first, prompt, "prompt_column")
        if is_conversation(first[prompt]):
            return _Chat(DataFormat.CHAT, prompt, columns.completion, tuple(first), takes_answer=False)
        form = "instruction" if prompt == "instruction" else "prompt"
        extra = next((name for name in INPUTS if name in first), None) if prompt == "instruction" else None
        return _Text(form, prompt, extra, columns.completion, tuple(first))
    turns = columns.messages or next((name for name in CONVERSATIONS if name in first), None)
    if turns is None:
        raise Refused("unknown-fields", f"{listed(first)}: there is no prompt{_near(first)}", _KNOWN_FIX)
    if turns not in first:
        raise missing(first, turns, "messages_column")
    form = DataFormat.SHAREGPT if _speaks_sharegpt(first[turns]) else DataFormat.CHAT
    return _Chat(form, turns, columns.completion, tuple(first), takes_answer=True)


@dataclass(frozen=True)
class _Text:
    """A prompt as text; alpaca's `input` follows its instruction after an empty line."""

    format: str
    prompt: str
    input: str | None
    answer: str | None
    columns: tuple[str, ...]

    def row(self, value: dict[str, Any]) -> Ask:
        if self.prompt not in value:
            raise missing(value, self.prompt, "prompt_column")
        prompt = filled(value[self.prompt], self.prompt)
        if self.input and (extra := optional(value, self.input)):
            prompt = f"{prompt}\n\n{extra}"
        messages = [{"role": "user", "content": prompt}]
        if system := optional(value, "system"):
            messages.insert(0, {"role": "system", "content": system})
        return Ask(messages, _with_answer(value, self.answer, None), tools_of(value))


@dataclass(frozen=True)
class _Chat:
    """A prompt as messages. Where whole conversations are given, the last answer is taken off."""

    format: str
    column: str
    answer: str | None
    columns: tuple[str, ...]
    takes_answer: bool

    def row(self, value: dict[str, Any]) -> Ask:
        if self.column not in value:
            raise missing(value, self.column, "messages_column" if self.takes_answer else "prompt_column")
        turns = parsed(value[self.column], self.column)
        if self.format == DataFormat.SHAREGPT:
            turns = sharegpt_turns(turns, optional(value, "system"))
        messages = checked_turns(turns, self.column)
        said = None
        if self.takes_answer and messages[-1]["role"] == "assistant":
            said, messages = messages[-1].get("content"), messages[:-1]
        _check_end(messages)
        return Ask(messages, _with_answer(value, self.answer, said), tools_of(value))


def _check_end(messages: list[Message]) -> None:
    last = messages[-1]["role"] if messages else None
    if last == "assistant":
        reason = "ends with the assistant's turn where a prompt is expected"
        raise Refused("last-turn", reason, "cut the turn, or put the conversation into 'messages'")
    if last not in ("user", "tool"):
        raise Refused("no-prompt", "asks nothing: there is no user's turn", "add it or remove the row")


def _with_answer(value: dict[str, Any], chosen: str | None, said: str | None) -> dict[str, Any]:
    """The whole record, with the reference answer in the column where rewards look for it."""
    columns: dict[str, Any] = plain(value)
    if chosen is not None:
        if chosen not in value:
            raise missing(value, chosen, "completion_column")
        return columns | {ANSWER: columns[chosen]}
    if ANSWER in columns:
        return columns
    if said is None:
        said = next((columns[name] for name in COMPLETIONS if name in columns), None)
    return columns if said is None else columns | {ANSWER: said}


def _prompt_names(columns: Columns) -> tuple[str, ...]:
    """Where a prompt may stand, given the format that was chosen."""
    match columns.format:
        case DataFormat.CHAT | DataFormat.SHAREGPT:
            return ()
        case DataFormat.INSTRUCTION:
            return ("instruction", "prompt", "question")
        case _:
            return PROMPTS


def _refuse_text(columns: Columns, config: TrainingConfig) -> None:
    if columns.format is DataFormat.TEXT:
        raise ConfigError(
            f"data_format 'text' has no prompt, and method '{config.method}' needs one",
            hint="leave data_format out; a column with the prompts is named by prompt_column",
            field="data_format",
        )
    if columns.prompt is not None and columns.messages is not None:
        raise ConfigError(
            "prompt_column and messages_column both say where the prompt is",
            hint="keep one of them",
            field="prompt_column",
        )


def _speaks_sharegpt(turns: Any) -> bool:
    if isinstance(turns, str):
        return '"from"' in turns and '"role"' not in turns
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, dict) and "from" in first


def _near(value: dict[str, Any]) -> str:
    for known in (*PROMPTS, *CONVERSATIONS):
        if close := difflib.get_close_matches(known, value, n=1, cutoff=0.75):
            return f"; did you mean {known!r} for {close[0]!r}?"
    return ""


_KNOWN_FIX = "use prompt, question, instruction, or messages; or name your column with prompt_column"

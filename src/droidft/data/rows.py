"""Records -> rows: which fields hold what, and the rules that every row must meet.

The first record of a file decides its format; every other one is held to it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, NamedTuple

from droidft.config import DataFormat, TrainingConfig
from droidft.data.conversation import Message, characters, conversation, messages_key, sharegpt
from droidft.data.fields import filled, listed, optional, parsed, tools_of
from droidft.data.located import Schema
from droidft.errors import ConfigError
from droidft.support.faults import Refused

PROMPTS = ("prompt", "instruction", "question")
COMPLETIONS = ("completion", "answer", "output", "response")
INPUTS = ("input", "context")
CONVERSATIONS = ("messages", "conversations")


class Row(NamedTuple):
    """One training example: plain `text`, or a conversation that ends with the assistant's turn.

    The first `given` of the assistant's turns are not to be trained.
    """

    text: str | None
    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    given: int = 0

    @property
    def characters(self) -> int:
        """How much text it holds."""
        return len(self.text or "") + characters(self.messages)

    @property
    def key(self) -> int:
        """Equal for equal rows, within this process."""
        return hash(self.text) if self.text is not None else messages_key(self.messages)


@dataclass(frozen=True)
class Columns:
    """The format and the column names that the user chose; None is "find out"."""

    format: DataFormat = DataFormat.AUTO
    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: str | None = None

    @classmethod
    def of(cls, config: TrainingConfig) -> Columns:
        """The choices made in a training configuration."""
        return cls(
            config.data_format,
            config.text_column,
            config.prompt_column,
            config.completion_column,
            config.messages_column,
        )


def recognise(first: dict[str, Any], columns: Columns) -> Schema[Row]:
    """The schema of the file whose first record is `first`.

    Raises:
        ConfigError: the chosen columns contradict each other.
        Refused: the record fits no known format.
    """
    wanted = columns.format if columns.format is not DataFormat.AUTO else _by_columns(columns) or guess(first)
    match wanted:
        case DataFormat.TEXT:
            return _Text(_column(first, columns.text, ("text",), wanted))
        case DataFormat.COMPLETION | DataFormat.INSTRUCTION:
            prompts = PROMPTS if wanted is DataFormat.COMPLETION else ("instruction", "prompt", "question")
            prompt = _column(first, columns.prompt, prompts, wanted)
            completion = _column(first, columns.completion, COMPLETIONS, wanted)
            extra = next((name for name in INPUTS if name in first), None) if prompt == "instruction" else None
            return _Pair(wanted, prompt, completion, extra)
        case DataFormat.CHAT | DataFormat.SHAREGPT:
            names = CONVERSATIONS if wanted is DataFormat.CHAT else CONVERSATIONS[::-1]
            return _Chat(wanted, _column(first, columns.messages, names, wanted))
        case _:
            raise Refused("unknown-fields", listed(first) + ", which fit no known format" + _near(first), _KNOWN_FIX)


def guess(value: dict[str, Any]) -> DataFormat | None:
    """The format whose usual fields `value` has: conversations first, then pairs, then text."""
    for name in CONVERSATIONS:
        if name in value:
            return _conversation_format(value[name])
    prompt = next((name for name in PROMPTS if name in value), None)
    if prompt and any(name in value for name in COMPLETIONS):
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
    """Prompt and completion; alpaca's `input` follows its instruction after an empty line."""

    format: DataFormat
    prompt: str
    completion: str
    input: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.prompt, self.completion, "system", *([self.input] if self.input else []))

    def row(self, value: dict[str, Any]) -> Row:
        prompt = _text(value, self.prompt, self.format)
        completion = _text(value, self.completion, self.format)
        if self.input and (extra := optional(value, self.input)):
            prompt = f"{prompt}\n\n{extra}"
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        if system := optional(value, "system"):
            messages.insert(0, {"role": "system", "content": system})
        return Row(None, messages)


@dataclass(frozen=True)
class _Chat:
    format: DataFormat
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, "tools", *(["system"] if self.format is DataFormat.SHAREGPT else []))

    def row(self, value: dict[str, Any]) -> Row:
        if self.column not in value:
            raise _missing(value, self.column, self.format)
        turns = parsed(value[self.column], self.column)
        if self.format is DataFormat.SHAREGPT:
            messages = sharegpt(turns, self.column, optional(value, "system"))
        else:
            messages = conversation(turns, self.column)
        return Row(None, messages, tools_of(value))


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
    if chosen is not None:
        if chosen not in first:
            raise _missing(first, chosen, form)
        return chosen
    found = next((name for name in usual if name in first), None)
    if found is None:
        raise _missing(first, usual[0], form)
    return found


def _conversation_format(turns: Any) -> DataFormat:
    """ShareGPT says `from` and `value` where everybody else says `role` and `content`."""
    if isinstance(turns, str) and turns.lstrip().startswith("["):
        return DataFormat.SHAREGPT if '"from"' in turns and '"role"' not in turns else DataFormat.CHAT
    first = turns[0] if isinstance(turns, list) and turns else None
    return DataFormat.SHAREGPT if isinstance(first, dict) and "from" in first else DataFormat.CHAT


def _text(value: dict[str, Any], column: str, form: DataFormat) -> str:
    if column not in value:
        raise _missing(value, column, form)
    return filled(value[column], column)


def _missing(value: dict[str, Any], column: str, form: DataFormat) -> Refused:
    other = guess(value)
    if other is not None and not _same_family(other, form):
        reason = f"is a {other} row ({listed(value)}) where {form} rows with {column!r} are expected"
        return Refused("mixed", reason, "keep one format in a file, or choose it with data_format")
    close = difflib.get_close_matches(column, value, n=1)
    did = f"; did you mean {close[0]!r}?" if close else ""
    return Refused("missing-field", f"lacks {column!r}: it {listed(value)}{did}", f"name the column: {_option(form)}")


def _same_family(one: DataFormat, other: DataFormat) -> bool:
    families = [{DataFormat.COMPLETION, DataFormat.INSTRUCTION}, {DataFormat.CHAT, DataFormat.SHAREGPT}]
    return one is other or {one, other} in families


def _option(form: DataFormat) -> str:
    if form is DataFormat.TEXT:
        return "text_column"
    if form in (DataFormat.CHAT, DataFormat.SHAREGPT):
        return "messages_column"
    return "prompt_column, completion_column"


def _near(value: dict[str, Any]) -> str:
    for known in (*CONVERSATIONS, *PROMPTS, *COMPLETIONS, "text"):
        if close := difflib.get_close_matches(known, value, n=1, cutoff=0.75):
            return f"; did you mean {known!r} for {close[0]!r}?"
    return ""


_KNOWN_FIX = "use text, prompt and completion, instruction and output, or messages; or name your columns"

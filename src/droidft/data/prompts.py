"""Data for methods that learn from rewards (GRPO, GSPO, Dr. GRPO): what is asked, with the whole record.

    files -> records -> what is asked -> the tokens that generation starts from

A prompt is never cut: one that is too long is a fault.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from droidft.config import DataFormat, TrainingConfig
from droidft.data.calls import Tool
from droidft.data.codec import Codec, adapted, check_messages, flag_of
from droidft.data.conversation import (
    Message,
    characters,
    checked_turns,
    messages_key,
    with_own_system,
    with_system,
    without_weights,
)
from droidft.data.fields import (
    COMPLETIONS,
    CONVERSATIONS,
    INSTRUCTIONS,
    PROMPTS,
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
    tools_of,
    with_input,
)
from droidft.data.lines import Reading
from droidft.data.prepare import Indices, Keys, Kind, Parts, Sets
from droidft.data.report import Flag
from droidft.data.rows import Columns, Schema, refuse_two_prompts
from droidft.data.sources import Fetch, Meter, Progress
from droidft.data.statistics import Measured
from droidft.data.tokens import NO_TEMPLATE, Encoded, TokenSet, open_end
from droidft.errors import ConfigError
from droidft.support.faults import Refused

ANSWER = "answer"
"""Column in which rewards look for the reference answer."""


class Ask(NamedTuple):
    """What the model is asked, and everything its record says."""

    messages: list[Message]
    columns: dict[str, Any]
    tools: list[Tool] | None = None
    joinable: bool = False
    """Whether it is a text, which needs no chat template."""

    @property
    def characters(self) -> int:
        """How much text it holds."""
        return characters(self.messages)

    @property
    def key(self) -> int:
        """Equal for equal prompts, within this process."""
        return messages_key(self.messages)


@dataclass(frozen=True, eq=False)
class PromptRow:
    """One prompt.

    tokens    (length,) int32: exactly what generation starts from
    messages  the conversation behind it, or None where the tokenizer has no chat template; then `text` is it
    columns   the whole record as JSON values, for rewards; `answer` is the reference answer where there is one
    line      where the row stands in `file`, from 1
    """

    tokens: npt.NDArray[np.int32]
    messages: list[Message] | None
    text: str | None
    columns: dict[str, Any]
    file: str
    line: int

    @property
    def place(self) -> str:
        """`file:line`, the file by its name."""
        return f"{Path(self.file).name}:{self.line}"

    @property
    def asked(self) -> str:
        """What was asked last, for people and rewards."""
        return str(self.messages[-1].get("content") or "") if self.messages else self.text or ""


@dataclass(frozen=True, eq=False)
class PromptSet:
    """Prompts as arrays, and what belongs to each as JSON text: messages or text, and columns."""

    rows: TokenSet
    records: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> PromptRow:
        row = self.rows[index]
        record = json.loads(self.records[index])
        return PromptRow(row.tokens, record["messages"], record["text"], record["columns"], row.file, row.line)

    def __iter__(self) -> Iterator[PromptRow]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> Indices:
        """Tokens of each prompt. Shape (rows,)."""
        return self.rows.lengths

    def take(self, rows: Indices) -> PromptSet:
        """The prompts of these indices, in this order, as a set of their own."""
        return PromptSet(self.rows.take(rows), tuple(self.records[int(row)] for row in rows))

    def update_hash(self, digest: hashlib._Hash) -> None:
        """Feed tokens, offsets and columns to a hash."""
        self.rows.update_hash(digest)
        for record in self.records:
            digest.update(record + b"\n")


class PreparedPrompts(Sets[PromptSet]):
    """The sets of a run that learns from rewards."""

    def places_and_columns(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """`file:line` and record of every prompt of both sets, as `Scorer.check` wants them."""
        for rows in (self.train, self.validation):
            for row in rows:
                yield row.place, row.columns


@dataclass(frozen=True)
class Limit:
    """How long a prompt may be: by `max_prompt_length`, and by what the model's context leaves to it."""

    setting: int | None
    context: int | None
    completion: int

    @classmethod
    def of(cls, config: TrainingConfig, context_length: int | None) -> Limit:
        """The limit that the settings and the model give.

        Raises:
            ConfigError: completions leave no room for a prompt.
        """
        longest = config.max_completion_length
        if context_length is not None and longest >= context_length:
            raise ConfigError(
                f"max_completion_length {longest:,} leaves no room for a prompt",
                hint=f"lower it well below the model's limit of {context_length:,} tokens",
                field="max_completion_length",
            )
        return cls(config.max_prompt_length, context_length, longest)

    def refuse(self, length: int) -> Refused | None:
        """Why a prompt of `length` tokens is too long, or None."""
        if self.setting is not None and length > self.setting:
            return Refused(
                "prompt-too-long",
                f"has a prompt of {length:,} tokens, beyond max_prompt_length {self.setting:,}",
                f"raise max_prompt_length to {length:,} or more, shorten the prompt, or remove the row",
            )
        if self.context is None or length + self.completion <= self.context:
            return None
        room = self.context - length
        lower = f"lower max_completion_length to {room:,} or less, " if room > 0 else ""
        return Refused(
            "prompt-too-long",
            f"has a prompt of {length:,} tokens, beyond {self.context - self.completion:,}: the model's "
            f"{self.context:,} less max_completion_length {self.completion:,}",
            f"{lower}shorten the prompt, or remove the row",
        )


def prepare_prompts(
    config: TrainingConfig,
    tokenizer: Any,
    *,
    context_length: int | None = None,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> PreparedPrompts:
    """Read, check, tokenize and split the prompts of a run; arguments and errors as those of `prepare`."""
    return PreparedPrompts(**vars(Prompts(config, tokenizer, context_length).prepare(fetch, progress)))


def prompts_of(
    config: TrainingConfig, tokenizer: Any, rows: TokenSet, chosen: Sequence[int], *, context_length: int | None
) -> list[PromptRow]:
    """What the rows of these indices ask, read again from their files.

    Raises:
        InvalidData: a row asks nothing, or too much.
        ConfigError: settings that do not fit the data.
    """
    places = [(rows.file_of(index), int(rows.lines[index])) for index in chosen]
    reading = Reading()
    files = [Path(file) for file in dict.fromkeys(file for file, _ in places)]
    prompts = Prompts(config, tokenizer, context_length).load(files, Meter(None, []), reading).rows
    reading.log.raise_if_any()
    where = {(prompts.rows.file_of(at), int(prompts.rows.lines[at])): at for at in range(len(prompts))}
    return [prompts[where[place]] for place in places]


class Prompts(Kind[Ask, PromptSet]):
    """Rows that ask something."""

    def __init__(self, config: TrainingConfig, tokenizer: Any, context_length: int | None) -> None:
        super().__init__(config, tokenizer, context_length)
        self.limit = None
        self._room = Limit.of(config, context_length)

    @staticmethod
    def recogniser(config: TrainingConfig) -> Callable[[dict[str, Any]], Schema[Ask]]:
        """By the columns chosen, or the usual ones."""
        return partial(recognise_prompts, config=config)

    def encode(self, rows: Sequence[Ask]) -> list[Parts | Refused]:
        """What generation starts from, the run's system prompt included; refused where it is too long."""
        encoded: list[Parts | Refused] = []
        for one in self._encode(rows):
            if isinstance(one, Refused):
                encoded.append(one)
            else:
                encoded.append(self._room.refuse(len(one.tokens)) or {"prompt": one})
        return encoded

    def _encode(self, rows: Sequence[Ask]) -> list[Encoded | Refused]:
        asked = [(self._messages(ask), ask.tools) for ask in rows]
        if self.codec.has_template:
            return encode_prompts(self.codec, asked)
        encoded = iter(
            encode_prompts(self.codec, [one for one, ask in zip(asked, rows, strict=True) if ask.joinable])
        )
        return [next(encoded) if ask.joinable else NO_TEMPLATE for ask in rows]

    def refuse(self, row: Ask, parts: Parts) -> Refused | None:
        """Nothing of a prompt is trained or cut."""
        return None

    def record(self, row: Ask) -> bytes:
        """What is asked, and the record's columns, as JSON."""
        messages, templated = self._messages(row), self.codec.has_template
        record = {
            "messages": messages if templated else None,
            "text": None if templated else messages[0]["content"],
            "columns": row.columns,
        }
        return json.dumps(record, allow_nan=False).encode()

    def collect(self, rows: TokenSet, records: list[bytes]) -> PromptSet:
        """Prompts with their records."""
        return PromptSet(rows, tuple(records))

    def measured(self, rows: PromptSet) -> Measured:
        """Their tokens."""
        return rows.rows

    def split_keys(self, rows: PromptSet) -> Keys:
        """The same prompt is never on both sides."""
        return rows.rows.digests

    def longest(self, tokens: int) -> int:
        """The longest prompt with its completion."""
        return tokens + self.config.max_completion_length

    def _messages(self, ask: Ask) -> list[Message]:
        """What is asked, with the run's system prompt where a template can show it."""
        return with_system(ask.messages, self.config.system_prompt) if self.codec.has_template else ask.messages


def encode_prompts(
    codec: Codec, prompts: Sequence[tuple[list[Message], list[Tool] | None]]
) -> list[Encoded | Refused]:
    """What generation starts from, for messages with their tools: nothing of it is supervised.

    With a chat template the assistant's opening ends it; else it is the text of the only message.
    """
    texts: list[str | Refused] = []
    flags: list[set[Flag]] = []
    for messages, tools in prompts:
        flags.append(set())
        try:
            texts.append(_prompt_text(codec, messages, tools, flags[-1]))
        except Refused as why:
            texts.append(why)
    usable = [text for text in texts if isinstance(text, str)]
    if codec.has_template:
        rows = iter([encoding.ids for encoding in codec.encode_rendered(usable)])
    else:
        rows = iter([open_end(codec, ids) for ids in codec.encode_texts(usable)])
    encoded: list[Encoded | Refused] = []
    for (messages, _), text, noticed in zip(prompts, texts, flags, strict=True):
        if isinstance(text, Refused):
            encoded.append(text)
            continue
        if check_messages(codec, messages):
            noticed.add(Flag.SPECIAL_TOKENS)
        ids = np.array(next(rows), dtype=np.int32)
        encoded.append(Encoded(ids, np.zeros(len(ids), dtype=np.bool_), frozenset(noticed)))
    return encoded


def _prompt_text(codec: Codec, messages: list[Message], tools: list[Tool] | None, flags: set[Flag]) -> str:
    if not codec.has_template:
        if tools is not None or [message["role"] for message in messages] != ["user"]:
            raise NO_TEMPLATE
        return str(messages[0]["content"])
    made, noticed = adapted(codec, messages)
    text = codec.template.render(made, tools, prompt=True)
    for part in codec.proof.left_out(made, tools, text, prompt=True):
        if part.turn == len(made) - 1:
            reason = "asks nothing: the model's chat template leaves out what is asked last"
            raise Refused("left-out", reason, "change the row, or use another model")
        flags.add(flag_of(codec, made, part))
    flags |= noticed
    return text


# -- records -> what is asked


def recognise_prompts(first: dict[str, Any], config: TrainingConfig) -> Schema[Ask]:
    """The schema of the file of prompts whose first record is `first`.

    Raises:
        ConfigError: the settings are about data of another kind.
        Refused: the record holds no prompt that is known.
    """
    columns = Columns.of(config)
    _refuse_text(columns, config)
    prompt = columns.prompt or first_of(_prompt_names(columns), first)
    if columns.messages is None and prompt is not None:
        if prompt not in first:
            raise missing(first, prompt, "prompt_column")
        if is_conversation(first[prompt]):
            return _Chat(DataFormat.CHAT, prompt, columns.completion, tuple(first), takes_answer=False)
        form = "instruction" if prompt == "instruction" else "prompt"
        return _Text(form, prompt, input_column(first, prompt), columns.completion, tuple(first))
    turns = columns.messages or first_of(CONVERSATIONS, first)
    if turns is None:
        names = (*PROMPTS, *CONVERSATIONS)
        raise Refused("unknown-fields", f"{listed(first)}: there is no prompt{near(first, names)}", _KNOWN_FIX)
    if turns not in first:
        raise missing(first, turns, "messages_column")
    form = DataFormat.SHAREGPT if is_sharegpt(first[turns]) else DataFormat.CHAT
    return _Chat(form, turns, columns.completion, tuple(first), takes_answer=True)


@dataclass(frozen=True)
class _Text:
    """A prompt as text."""

    format: str
    prompt: str
    input: str | None
    answer: str | None
    columns: tuple[str, ...]

    def row(self, value: dict[str, Any]) -> Ask:
        if self.prompt not in value:
            raise missing(value, self.prompt, "prompt_column")
        prompt = with_input(filled(value[self.prompt], self.prompt), value, self.input)
        messages = [*without_weights(history_of(value)), {"role": "user", "content": prompt}]
        messages = with_own_system(messages, optional(value, "system"))
        return Ask(messages, _with_answer(value, self.answer, None), tools_of(value), len(messages) == 1)


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
        if isinstance(turns, dict) and not self.takes_answer:
            turns = [turns]
        by_from = self.format == DataFormat.SHAREGPT or (not self.takes_answer and is_sharegpt(turns))
        messages = without_weights(checked_turns(turns, self.column, by_from=by_from))
        messages = with_own_system(messages, optional(value, "system"))
        answer = None
        if self.takes_answer and messages[-1]["role"] == "assistant":
            answer, messages = messages[-1].get("content"), messages[:-1]
        _check_end(messages)
        return Ask(messages, _with_answer(value, self.answer, answer), tools_of(value))


def _check_end(messages: list[Message]) -> None:
    last = messages[-1]["role"] if messages else None
    if last == "assistant":
        reason = "ends with the assistant's turn where a prompt is expected"
        raise Refused("last-turn", reason, "cut the turn, or put the conversation into 'messages'")
    if last not in ("user", "tool"):
        raise Refused("no-prompt", "asks nothing: there is no user's turn", "add it or remove the row")


def _with_answer(value: dict[str, Any], chosen: str | None, given: str | None) -> dict[str, Any]:
    """The whole record, with the reference answer in the column where rewards look for it."""
    columns: dict[str, Any] = plain(value)
    if chosen is not None:
        if chosen not in value:
            raise missing(value, chosen, "completion_column")
        return columns | {ANSWER: columns[chosen]}
    if ANSWER in columns:
        return columns
    if given is None:
        given = next((columns[name] for name in COMPLETIONS if name in columns), None)
    return columns if given is None else columns | {ANSWER: given}


def _prompt_names(columns: Columns) -> tuple[str, ...]:
    """Where a prompt may stand, given the format that was chosen."""
    match columns.format:
        case DataFormat.CHAT | DataFormat.SHAREGPT:
            return ()
        case DataFormat.INSTRUCTION:
            return INSTRUCTIONS
        case _:
            return PROMPTS


def _refuse_text(columns: Columns, config: TrainingConfig) -> None:
    if columns.format is DataFormat.TEXT:
        raise ConfigError(
            f"data_format 'text' has no prompt, and method '{config.method}' needs one",
            hint="leave data_format out; a column with the prompts is named by prompt_column",
            field="data_format",
        )
    refuse_two_prompts(columns)


_KNOWN_FIX = "use prompt, question, instruction, or messages; or name your column with prompt_column"


def plain(value: Any) -> Any:
    """The same with nothing but JSON values in it; NaN and infinities become None, all else its text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(name): plain(part) for name, part in value.items()}
        case list() | tuple():
            return [plain(part) for part in value]
        case datetime.date() | datetime.time():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "replace")
        case decimal.Decimal() | uuid.UUID() | _:
            return str(value)

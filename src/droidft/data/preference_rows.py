"""Records -> preferences: what was asked, the answer that was chosen, and the one that was rejected.

The first record of a file decides its format; every other one is held to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from droidft.config import DataFormat, TrainingConfig
from droidft.data.conversation import (
    Message,
    characters,
    checked_turns,
    messages_key,
    sharegpt_turns,
    with_system,
)
from droidft.data.fields import filled, is_conversation, listed, missing, optional, parsed, tools_of
from droidft.data.located import Schema
from droidft.data.rows import CONVERSATIONS, INPUTS, PROMPTS, Columns
from droidft.errors import ConfigError
from droidft.support.faults import Refused

CHOSEN, REJECTED = "chosen", "rejected"


class Choice(NamedTuple):
    """A prompt with two answers. `plain` says that all three are texts that no chat template touches."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: list[dict[str, Any]] | None = None
    plain: bool = False

    @property
    def characters(self) -> int:
        """How much text it holds."""
        return 2 * characters(self.prompt) + characters(self.chosen) + characters(self.rejected)

    @property
    def key(self) -> int:
        """Equal for equal rows, within this process."""
        return hash((messages_key(self.prompt), messages_key(self.chosen), messages_key(self.rejected)))


def recognise_preferences(first: dict[str, Any], config: TrainingConfig) -> Schema[Choice]:
    """The schema of the file of preferences whose first record is `first`.

    Raises:
        ConfigError: the settings are about data of another kind.
        Refused: the record is no preference.
    """
    columns = Columns.of(config)
    _refuse_others(columns, config)
    for column in (CHOSEN, REJECTED):
        if column not in first:
            raise Refused("unknown-fields", f"{listed(first)}: {column!r} is not among them", _KNOWN_FIX)
    prompt = columns.messages or columns.prompt
    if prompt is None:
        prompt = next((name for name in (*PROMPTS, *CONVERSATIONS) if name in first), None)
    elif prompt not in first:
        raise missing(first, prompt, "prompt_column" if columns.messages is None else "messages_column")
    source = None
    if prompt is not None:
        more = next((name for name in INPUTS if name in first), None) if prompt == "instruction" else None
        source = _Prompt(prompt, more, is_conversation(first[prompt]))
    if is_conversation(first[CHOSEN]):
        return _Turns(source)
    return _WholeTexts() if source is None else _Texts(source)


@dataclass(frozen=True)
class _Prompt:
    """Where the prompt stands: text, with alpaca's `input` after it, or messages."""

    column: str
    input: str | None
    messages: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, *([self.input] if self.input else []))

    def read(self, value: dict[str, Any]) -> list[Message]:
        if self.column not in value:
            raise missing(value, self.column, "prompt_column")
        if self.messages:
            messages = _messages(value[self.column], self.column)
        else:
            text = filled(value[self.column], self.column)
            if self.input and (extra := optional(value, self.input)):
                text = f"{text}\n\n{extra}"
            messages = [{"role": "user", "content": text}]
        if messages[-1]["role"] not in ("user", "tool"):
            reason = f"has a prompt that ends with the {messages[-1]['role']}'s turn"
            raise Refused("last-turn", reason, "end it with what the user asks")
        return messages


_READ = (CHOSEN, REJECTED, "system", "tools")


@dataclass(frozen=True)
class _Texts:
    """A prompt and two answers as texts."""

    prompt: _Prompt
    format: str = "preference"

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.prompt.columns, *_READ)

    def row(self, value: dict[str, Any]) -> Choice:
        prompt = with_system(self.prompt.read(value), optional(value, "system"))
        chosen, rejected = (_answer(value, column) for column in (CHOSEN, REJECTED))
        if chosen == rejected:
            raise _same()
        return Choice(prompt, chosen, rejected, tools_of(value))


@dataclass(frozen=True)
class _Turns:
    """Answers as messages: they follow the prompt, or are whole conversations whose common beginning it is."""

    prompt: _Prompt | None
    format: str = "preference"

    @property
    def columns(self) -> tuple[str, ...]:
        return (*(self.prompt.columns if self.prompt else ()), *_READ)

    def row(self, value: dict[str, Any]) -> Choice:
        chosen, rejected = (_turns(value, column) for column in (CHOSEN, REJECTED))
        if chosen == rejected:
            raise _same()
        if chosen[0]["role"] == rejected[0]["role"] == "assistant":
            if self.prompt is None:
                raise Refused("no-prompt", "has answers and no prompt", "add 'prompt', or write whole conversations")
            prompt = self.prompt.read(value)
        else:
            shared = _shared(chosen, rejected)
            if self.prompt is not None and self.prompt.messages:
                _check_beginning(self.prompt.read(value), chosen[:shared])
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        return Choice(with_system(prompt, optional(value, "system")), chosen, rejected, tools_of(value))


@dataclass(frozen=True)
class _WholeTexts:
    """Two whole texts; the prompt is what they share, up to the last white space."""

    format: str = DataFormat.TEXT.value
    columns: tuple[str, ...] = (CHOSEN, REJECTED)

    def row(self, value: dict[str, Any]) -> Choice:
        chosen, rejected = (_answer(value, column)[0]["content"] for column in (CHOSEN, REJECTED))
        if chosen == rejected:
            raise _same()
        end = next((at for at, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other), None)
        end = min(len(chosen), len(rejected)) if end is None else end
        while end and not chosen[end - 1].isspace():
            end -= 1
        while end and chosen[end - 1].isspace():
            end -= 1
        if not end:
            raise Refused(
                "different-prompts", "'chosen' and 'rejected' share no beginning: there is no prompt", _SPLIT
            )
        texts = [chosen[:end], chosen[end:], rejected[end:]]
        prompt, one, other = ([{"role": role, "content": text}] for role, text in zip(_ROLES, texts, strict=True))
        for column, turn in ((CHOSEN, one), (REJECTED, other)):
            if not turn[0]["content"].strip():
                raise Refused(
                    "empty-text", f"{column!r} says nothing after what both share", "fill it or remove the row"
                )
        return Choice(prompt, one, other, plain=True)


_ROLES = ("user", "assistant", "assistant")
_SPLIT = "write the prompt into a column of its own, 'prompt'"


def _answer(value: dict[str, Any], column: str) -> list[Message]:
    if column not in value:
        raise missing(value, column, "")
    if isinstance(value[column], list | dict):
        reason = f"has messages in {column!r} where the first row has text"
        raise Refused("mixed", reason, "keep one form in a file")
    return [{"role": "assistant", "content": filled(value[column], column)}]


def _turns(value: dict[str, Any], column: str) -> list[Message]:
    if column not in value:
        raise missing(value, column, "")
    messages = _messages(value[column], column)
    if messages[-1]["role"] != "assistant":
        reason = f"has no answer at the end of {column!r}: the last turn is the {messages[-1]['role']}'s"
        raise Refused("last-turn", reason, "add it or remove the row")
    return messages


def _messages(value: Any, column: str) -> list[Message]:
    """Messages of either form; a single one may stand without its list."""
    turns = parsed(value, column)
    if isinstance(turns, dict):
        turns = [turns]
    if isinstance(turns, list) and turns and isinstance(turns[0], dict) and "from" in turns[0]:
        turns = sharegpt_turns(turns, None)
    try:
        return checked_turns(turns, column)
    except Refused as why:
        where = "" if repr(column) in why.reason else f" (in {column!r})"
        raise Refused(why.kind, why.reason + where, why.fix) from None


def _shared(chosen: list[Message], rejected: list[Message]) -> int:
    """How many turns two whole conversations share.

    Raises:
        Refused: what follows them is not an answer on both sides.
    """
    pairs = list(zip(chosen, rejected, strict=False))
    shared = next((at for at, (one, other) in enumerate(pairs) if one != other), len(pairs))
    if shared == 0:
        raise Refused("different-prompts", "'chosen' and 'rejected' begin with different turns", _MEND)
    if shared == len(pairs):
        reason = f"one answer is only the beginning of the other: they share all {shared} turns"
        raise Refused("different-prompts", reason, _MEND)
    for messages in (chosen, rejected):
        if messages[shared]["role"] != "assistant":
            reason = f"'chosen' and 'rejected' differ in turn {shared + 1}, which is not the assistant's"
            raise Refused("different-prompts", reason, _MEND)
    return shared


_MEND = "both must answer the same prompt: mend or remove the row"


def _check_beginning(prompt: list[Message], shared: list[Message]) -> None:
    if shared[: len(prompt)] != prompt:
        raise Refused("different-prompts", "'chosen' and 'rejected' do not both begin with the prompt", _MEND)


def _same() -> Refused:
    return Refused("no-preference", "'chosen' and 'rejected' are the same", "remove the row: nothing is preferred")


def _refuse_others(columns: Columns, config: TrainingConfig) -> None:
    method = config.method
    if columns.completion is not None:
        raise ConfigError(
            f"completion_column has no place with method '{method}': it reads 'chosen' and 'rejected'",
            hint="leave it out, and name these columns so",
            field="completion_column",
        )
    if columns.text is not None:
        raise ConfigError(
            f"text_column has no place with method '{method}': it reads 'chosen' and 'rejected'",
            hint="leave it out",
            field="text_column",
        )
    if columns.prompt is not None and columns.messages is not None:
        raise ConfigError(
            "prompt_column and messages_column both say where the prompt is",
            hint="keep one of them",
            field="prompt_column",
        )


_KNOWN_FIX = "a preference has 'prompt', 'chosen' and 'rejected'; or whole conversations in the latter two"

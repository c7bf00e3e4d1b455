"""Configuration -> prompts for methods that learn from rewards (GRPO, GSPO, Dr. GRPO), or every reason why not.

    files -> records -> what is asked, with the whole record -> tokens that generation starts from

A prompt is never cut: one that is too long is a fault.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.config import TrainingConfig
from droidft.data.codec import Codec
from droidft.data.conversation import Message, with_system
from droidft.data.encode import Encoded, encode_prompts
from droidft.data.located import Located, Meter, Progress, RowReader, batched
from droidft.data.prompt_rows import Ask, recognise_prompts
from droidft.data.readers import Reading
from droidft.data.report import Flag, TokenReport
from droidft.data.sources import Fetch
from droidft.data.split import load_parts
from droidft.data.statistics import Noticed, measure, overlap, warnings
from droidft.data.tokens import TokenSet, TokenSetBuilder
from droidft.errors import ConfigError
from droidft.support.faults import Refused


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
    flagged: npt.NDArray[np.bool_]
    """Rows whose text spells out special tokens."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> PromptRow:
        row = self.rows[index]
        record = json.loads(self.records[index])
        return PromptRow(row.tokens, record["messages"], record["text"], record["columns"], row.file, row.line)

    def __iter__(self) -> Iterator[PromptRow]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each prompt. Shape (rows,)."""
        return self.rows.lengths

    @property
    def split_keys(self) -> npt.NDArray[np.uint64]:
        """A hash of each prompt's tokens: the same prompt is never on both sides."""
        return self.rows.digests

    def take(self, rows: npt.NDArray[np.int64]) -> PromptSet:
        """The prompts of these indices, in this order, as a set of their own."""
        return PromptSet(self.rows.take(rows), tuple(self.records[int(row)] for row in rows), self.flagged[rows])

    def update_hash(self, digest: hashlib._Hash) -> None:
        """Feed tokens, offsets and columns to a hash."""
        self.rows.update_hash(digest)
        for record in self.records:
            digest.update(record + b"\n")

    def noticed(self) -> Noticed:
        """What encoding noticed."""
        nothing = np.zeros(len(self), dtype=np.bool_)
        return Noticed({Flag.SPECIAL_TOKENS: self.flagged}, nothing, nothing)


@dataclass(frozen=True)
class PreparedPrompts:
    """Both sets, and what is known about them."""

    train: PromptSet
    validation: PromptSet
    report: TokenReport

    def places_and_columns(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """`file:line` and record of every prompt of both sets, as `Scorer.check` wants them."""
        for rows in (self.train, self.validation):
            for index in range(len(rows)):
                row = rows[index]
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
    """Read, check, tokenize and split the prompts of a run; arguments as those of `prepare`.

    Raises:
        InvalidData: rows or files with faults, all of them listed.
        DataError: too few rows; a folder without data files.
        ConfigError: settings that do not fit the data or the model.
        DownloadError: a hub data set cannot be had.
    """
    job = _Job(config, Codec(tokenizer), Limit.of(config, context_length), Reading())
    parts = load_parts(config, job.load, job.reading, fetch=fetch, progress=progress)
    train, held = parts.train, parts.validation
    digest = hashlib.sha256()
    train.update_hash(digest)
    held.update_hash(digest)
    longest = max(int(part.lengths.max(initial=0)) for part in (train, held)) + config.max_completion_length
    of_train, of_held = measure(train.rows, train.noticed()), measure(held.rows, held.noticed())
    both = overlap(train.rows, held.rows)
    found = warnings(of_train, of_held, both, longest)
    if config.system_prompt is not None and not job.codec.has_template:
        found.append("system_prompt has no effect: the model's tokenizer has no chat template")
    report = TokenReport(
        of_train, of_held, both, longest, job.format, parts.sentence, digest.hexdigest(), found, job.reading.notes
    )
    return PreparedPrompts(train, held, report)


def prompts_of(
    config: TrainingConfig, tokenizer: Any, rows: TokenSet, chosen: Sequence[int], *, context_length: int | None
) -> list[PromptRow]:
    """What the rows of these indices ask, read anew from their files.

    Raises:
        InvalidData: a row asks nothing, or too much.
        ConfigError: settings that do not fit the data.
    """
    job = _Job(config, Codec(tokenizer), Limit.of(config, context_length), Reading())
    wanted = {(rows.file_of(index), int(rows.lines[index])): index for index in chosen}
    files = dict.fromkeys(file for file, _ in wanted)
    found = job.load([Path(file) for file in files], Meter(None, []))
    job.reading.log.raise_if_any()
    places = {(found.rows.file_of(at), int(found.rows.lines[at])): at for at in range(len(found))}
    return [found[places[place]] for place in wanted]


def encode_asks(codec: Codec, asks: Sequence[Ask], config: TrainingConfig) -> list[Encoded | Refused]:
    """What generation starts from, the run's system prompt included, or why it cannot be had."""
    return encode_prompts(codec, [(conversation_of(codec, ask, config), ask.tools) for ask in asks])


def conversation_of(codec: Codec, ask: Ask, config: TrainingConfig) -> list[Message]:
    """What is asked, the run's system prompt included where a template can show it."""
    return with_system(ask.messages, config.system_prompt) if codec.has_template else ask.messages


@dataclass
class _Job:
    """One pass over the files of one set, with what both sets share."""

    config: TrainingConfig
    codec: Codec
    limit: Limit
    reading: Reading
    format: str = ""

    def load(self, paths: Sequence[Path], meter: Meter) -> PromptSet:
        reader = RowReader(partial(recognise_prompts, config=self.config), self.reading)
        gatherer = _Gatherer(self)
        for batch in batched(reader.rows(paths, meter)):
            gatherer.add(batch)
        if reader.schema and not self.format:
            self.format = str(reader.schema.format)
        return gatherer.finish()


@dataclass
class _Gatherer:
    """Encodes rows, checks their length and gathers them."""

    job: _Job
    builder: TokenSetBuilder = field(default_factory=TokenSetBuilder)
    records: list[bytes] = field(default_factory=list)
    flagged: array[int] = field(default_factory=lambda: array("B"))

    def add(self, batch: list[Located[Ask]]) -> None:
        job = self.job
        encoded = encode_asks(job.codec, [located.row for located in batch], job.config)
        log = job.reading.log
        for located, one in zip(batch, encoded, strict=True):
            why = one if isinstance(one, Refused) else self.job.limit.refuse(len(one.tokens))
            if why is not None:
                log.add(located.path, located.line, located.offset, why)
            elif not log.count and isinstance(one, Encoded):
                self._keep(located, one)

    def _keep(self, located: Located[Ask], encoded: Encoded) -> None:
        if self.builder.files[-1:] != [str(located.path)]:
            self.builder.open_file(str(located.path))
        self.builder.add(encoded, located.line)
        messages = conversation_of(self.job.codec, located.row, self.job.config)
        templated = self.job.codec.has_template
        record = {
            "messages": messages if templated else None,
            "text": None if templated else messages[0]["content"],
            "columns": located.row.columns,
        }
        self.records.append(json.dumps(record, allow_nan=False).encode())
        self.flagged.append(Flag.SPECIAL_TOKENS in encoded.flags)

    def finish(self) -> PromptSet:
        return PromptSet(self.builder.build(), tuple(self.records), np.array(self.flagged, dtype=np.bool_))

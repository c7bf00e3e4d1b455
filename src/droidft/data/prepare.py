"""Configuration -> training and validation sets, or every reason why not.

    files -> records -> rows -> tokens and mask -> sets of rows

One pipeline for all families of methods; a `Kind` adds what differs: here data with answers, in `prompts` data for
rewards, in `preferences` pairs of answers. Nothing is dropped: a row that cannot be trained on is a fault, and any
fault refuses the data.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from droidft.config import DataFormat, LongRows, SplitBy, TrainingConfig, TrainOn, Validation
from droidft.data.batches import describe, divide
from droidft.data.codec import Codec
from droidft.data.formats import recognise
from droidft.data.lines import Reading
from droidft.data.report import Flag, TokenReport
from droidft.data.rows import Columns, Content, Located, Row, RowReader, Schema, batched
from droidft.data.sources import Fetch, Meter, Progress, fetch_dataset, files_to_test, find_test, locate
from droidft.data.statistics import Measured, Noticed, alike, measure, overlap, warnings
from droidft.data.template import TemplateOptions
from droidft.data.tokens import (
    Encoded,
    Rest,
    RowEncoder,
    TokenSet,
    TokenSetBuilder,
    ends_in_eos,
    hash64,
    untrainable,
    windows,
)
from droidft.errors import ConfigError, DataError
from droidft.support.faults import Refused
from droidft.support.words import count

Indices = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
_AHEAD = 2
"""Batches that are rendered before the tokens of the first are asked for."""
Parts = dict[str, Encoded]
"""What a row becomes: one sequence of tokens named "", a `prompt`, or the two answers `chosen` and `rejected`."""


class RowSet(Protocol):
    """Prepared rows of any family."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> Indices:
        """Tokens of each row, after the cut. Shape (rows,)."""
        ...

    def take(self, rows: Indices) -> Self:
        """The rows of these indices, in this order, as a set of their own."""
        ...

    def update_hash(self, digest: hashlib._Hash) -> None:
        """Feed everything that training depends on to a hash."""
        ...


R = TypeVar("R", bound=Content)
S = TypeVar("S", bound=RowSet)


@dataclass(frozen=True)
class Sets(Generic[S]):
    """All sets, and what is known about them."""

    train: S
    validation: S
    test: S
    """Rows set aside by `test_fraction`."""
    split_keys: Keys
    """Hashes of the training rows by which they were drawn. Shape (rows,)."""
    report: TokenReport


class Prepared(Sets[TokenSet]):
    """The sets of a run that learns from answers."""


def prepare(
    config: TrainingConfig,
    tokenizer: Any,
    *,
    context_length: int | None = None,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Read, check, tokenize, mask and split the data of a run.

    `tokenizer` is a transformers tokenizer or mlx-lm's wrapper, `context_length` the model's limit in tokens,
    `fetch` brings `hub:` references here, and `progress` is called with bytes done and bytes in all.

    Raises:
        InvalidData: rows or files with faults, all of them listed.
        DataError: too few rows; a folder without data files.
        ConfigError: settings that do not fit the data.
        DownloadError: a hub data set cannot be had.
    """
    return Prepared(**vars(Answers(config, tokenizer, context_length).prepare(fetch, progress)))


def read_set(
    config: TrainingConfig,
    reference: str,
    tokenizer: Any,
    *,
    called: str,
    context_length: int | None = None,
    fetch: Fetch | None = None,
) -> TokenSet:
    """The rows of a file, or of the test split of a folder or hub data set, read and masked according to `config`.

    `called` is what messages call the set, such as "the test data".

    Raises:
        InvalidData, DataError, ConfigError, DownloadError: as `prepare`.
    """
    return Answers(config, tokenizer, context_length).read(reference, called, fetch)


def held_out_files(reference: str, *, offline: bool, fetch: Fetch | None = None) -> tuple[Path, ...]:
    """A file, or the files of the test split of a folder or hub data set. Raises as `find_test`."""
    return find_test(reference, fetch or partial(fetch_dataset, pick=files_to_test, offline=offline))


# -- the pipeline


@dataclass
class Loaded(Generic[S]):
    """The rows of one pass over files, with what was noticed about each."""

    rows: S
    noticed: Noticed
    split_keys: Keys
    format: str

    def take(self, rows: Indices) -> Loaded[S]:
        """The same for some of the rows."""
        return Loaded(self.rows.take(rows), self.noticed.take(rows), self.split_keys[rows], self.format)


class Kind(ABC, Generic[R, S]):
    """What differs between data with answers, for rewards, and with preferences.

    `limit` is where rows are cut, in tokens; None: nowhere.
    """

    whole_texts: ClassVar[str] = "plain text has no turns"
    """Why a system prompt has no effect on rows of the format `text`."""

    def __init__(self, config: TrainingConfig, tokenizer: Any, context_length: int | None) -> None:
        self.config = config
        self.codec = Codec(tokenizer, TemplateOptions.of(config))
        self.context_length = context_length
        self.limit = config.max_seq_length or context_length

    @staticmethod
    @abstractmethod
    def recogniser(config: TrainingConfig) -> Callable[[dict[str, Any]], Schema[R]]:
        """What makes a schema of the first record of a file."""

    @abstractmethod
    def encode(self, rows: Sequence[R]) -> list[Parts | Refused]:
        """Each row uncut, or why it cannot be encoded."""

    def begin(self, rows: Sequence[R]) -> Rest[Parts | Refused]:
        """What gives the same, where a part of it can be worked out meanwhile."""
        return partial(self.encode, rows)

    @abstractmethod
    def refuse(self, row: R, parts: Parts) -> Refused | None:
        """Why nothing can be learned from a row as it is cut; None if something can.

        Raises:
            ConfigError: the settings do not fit the data.
        """

    @abstractmethod
    def collect(self, rows: TokenSet, records: list[bytes]) -> S:
        """The set, from its tokens (a row for each part) and what `record` gave for each row."""

    @abstractmethod
    def measured(self, rows: S) -> Measured:
        """What is counted of a set."""

    @abstractmethod
    def split_keys(self, rows: S) -> Keys:
        """A hash of each row; rows with equal ones stay in one part. Shape (rows,)."""

    def group(self, located: Located[R], parts: Parts) -> int | None:
        """A hash that is equal for rows that belong together; None: this row belongs with equal ones only."""
        return None

    def pieces(self, row: R, parts: Parts) -> list[Parts] | Refused:
        """What is trained of a row: itself, or the rows that it is split into; or why it cannot be.

        Rows that are too long for the limit are cut later, unless `long_rows` says otherwise.
        """
        tokens = max(len(part.tokens) for part in parts.values())
        if self.limit is None or tokens <= self.limit or self.config.long_rows is LongRows.CUT:
            return [parts]
        room = self.context_length is None or tokens <= self.context_length
        more = f"raise max_seq_length to {tokens:,}, " if room else ""
        if self.config.long_rows is LongRows.REFUSE:
            reason, fix = "", "shorten the row, or choose long_rows cut"
        else:
            reason, fix = "; only plain text can be split", "shorten the row, or choose long_rows cut or refuse"
        return Refused("long", f"has {tokens:,} tokens, beyond the limit of {self.limit:,}{reason}", more + fix)

    def record(self, row: R) -> bytes | None:
        """What has to be kept of a row beside its tokens."""
        return None

    def longest(self, tokens: int) -> int:
        """The limit that the report names, where the longest row has so many tokens."""
        return self.config.max_seq_length or tokens

    def more_warnings(self, train: S, validation: S) -> list[str]:
        """Warnings that only this kind of data has."""
        return []

    def load(self, paths: Sequence[Path], meter: Meter, reading: Reading) -> Loaded[S]:
        """All rows of these files; whatever is wrong with them is in `reading.log`."""
        reader = RowReader(self.recogniser(self.config), reading)
        gatherer = _Gatherer(self)
        for batch, encoded in self._encoded(batched(reader.rows(paths, meter))):
            for located, parts in zip(batch, encoded, strict=True):
                pieces = self._checked(located.row, parts)
                if isinstance(pieces, Refused):
                    reading.log.add(located.path, located.line, located.offset, pieces)
                elif not reading.log.count and not isinstance(parts, Refused):
                    # After the first fault the data is refused; only other faults matter then.
                    gatherer.add(located, pieces, self.group(located, parts))
        reading.notes += gatherer.notes()
        rows = self.collect(gatherer.builder.build(), gatherer.records)
        form = str(reader.schema.format) if reader.schema else ""
        return Loaded(rows, gatherer.noticed(), self.split_keys(rows), form)

    def read(self, reference: str, called: str, fetch: Fetch | None = None) -> S:
        """The rows of a file, or of a test split, not divided. Arguments and errors as those of `read_set`."""
        paths = held_out_files(reference, offline=self.config.offline, fetch=fetch)
        reading = Reading()
        rows = self.load(paths, Meter(None, paths), reading).rows
        reading.log.raise_if_any(called)
        if len(rows) == 0:
            raise DataError(f"{reference}: {called} has no rows", hint="add rows, or give another file")
        return rows

    def _encoded(
        self, batches: Iterator[list[Located[R]]]
    ) -> Iterator[tuple[list[Located[R]], list[Parts | Refused]]]:
        """Each batch with what its rows become; the next ones are read and rendered while the tokenizer works."""
        begun: deque[tuple[list[Located[R]], Rest[Parts | Refused]]] = deque()
        for batch in batches:
            begun.append((batch, self.begin([each.row for each in batch])))
            if len(begun) > _AHEAD:
                done, rest = begun.popleft()
                yield done, rest()
        yield from ((done, rest()) for done, rest in begun)

    def _checked(self, row: R, parts: Parts | Refused) -> list[Parts] | Refused:
        if isinstance(parts, Refused):
            return parts
        return self.refuse(row, parts) or self.pieces(row, parts)

    def prepare(self, fetch: Fetch | None, progress: Progress | None) -> Sets[S]:
        """Both sets and the report. Raises as the function `prepare`."""
        reading = Reading()
        train_from, validation_from = locate(self.config, fetch)
        if self.config.validation is Validation.NONE and validation_from:
            names = ", ".join(path.name for path in validation_from)
            reading.notes.append(f"not read, with validation 'none': {names}")
            validation_from = ()
        meter = Meter(progress, [*train_from, *validation_from])
        rows = self.load(train_from, meter, reading)
        other = self.load(validation_from, meter, reading) if validation_from else None
        reading.log.raise_if_any()
        if unread := sorted(self.codec.proof.unread):
            reading.notes.append(f"turns have fields that the chat template does not read: {', '.join(unread[:8])}")
        division = divide(
            rows.split_keys, self.config, hold_out=other is None and self.config.validation is Validation.AUTO
        )
        train = rows.take(division.train) if len(division.train) < len(rows.split_keys) else rows
        validation = rows.take(division.validation) if other is None else other
        split = describe(self.config, division, rows.split_keys, [path.name for path in validation_from])
        report = self._report(train, validation, split, reading.notes)
        return Sets(train.rows, validation.rows, rows.rows.take(division.test), train.split_keys, report)

    def _report(self, train: Loaded[S], validation: Loaded[S], split: str, notes: list[str]) -> TokenReport:
        digest = hashlib.sha256()
        train.rows.update_hash(digest)
        validation.rows.update_hash(digest)
        limit = self.longest(max(int(part.rows.lengths.max(initial=0)) for part in (train, validation)))
        rows, others = self.measured(train.rows), self.measured(validation.rows)
        of_train, of_validation = measure(rows, train.noticed), measure(others, validation.noticed)
        both = overlap(rows, others)
        sentences = [
            *warnings(of_train, of_validation, both, limit),
            *self.more_warnings(train.rows, validation.rows),
            *self._without_effect({train.format, validation.format}),
        ]
        form = train.format or validation.format
        return TokenReport(of_train, of_validation, both, limit, form, split, digest.hexdigest(), sentences, notes)

    def _without_effect(self, formats: set[str]) -> list[str]:
        """Warnings about settings that go too far, or do nothing."""
        longest, context = self.config.max_seq_length, self.context_length
        sentences = []
        if self.limit is not None and longest and context and longest > context:
            sentences.append(f"max_seq_length {longest:,} exceeds the model's limit of {context:,} tokens")
        if self.config.system_prompt is not None:
            if DataFormat.TEXT in formats:
                sentences.append(f"system_prompt has no effect: {self.whole_texts}")
            elif not self.codec.has_template:
                sentences.append("system_prompt has no effect: the model's tokenizer has no chat template")
        if self.codec.template.writes_date and formats != {DataFormat.TEXT}:
            day = self.config.template_date or datetime.date.today().isoformat()
            sentences.append(f"the chat template writes the date: every row has {day} (template_date)")
        return sentences


def _bits() -> array[int]:
    return array("H")


@dataclass
class _Gatherer(Generic[R, S]):
    """Gathers checked rows with what was noticed about each."""

    kind: Kind[R, S]
    builder: TokenSetBuilder = field(init=False)
    records: list[bytes] = field(default_factory=list)
    flags: array[int] = field(default_factory=_bits)
    ends: array[int] = field(default_factory=_bits)
    ended: array[int] = field(default_factory=_bits)
    split: int = 0
    """Rows that were split, and how many they became."""
    split_into: int = 0

    def __post_init__(self) -> None:
        self.builder = TokenSetBuilder(self.kind.limit)

    def add(self, located: Located[R], pieces: list[Parts], group: int | None) -> None:
        if len(pieces) > 1:
            self.split += 1
            self.split_into += len(pieces)
        for parts in pieces:
            self._add(located, parts, pieces[-1], group)

    def notes(self) -> list[str]:
        if not self.split:
            return []
        rows = count(self.split, "row")
        return [f"{rows} longer than {self.kind.limit:,} tokens split into {self.split_into:,}"]

    def _add(self, located: Located[R], parts: Parts, last: Parts, group: int | None) -> None:
        """One piece of a row; how the row ends is seen in the `last`."""
        for part in parts.values():
            self.builder.add(part, str(located.path), located.line, group=group)
        if (record := self.kind.record(located.row)) is not None:
            self.records.append(record)
        flags = frozenset().union(*(part.flags for part in parts.values()))
        self.flags.append(sum(1 << bit for bit, flag in enumerate(Flag) if flag in flags))
        limit, codec = self.kind.limit, self.kind.codec
        ended = all(ends_in_eos(codec, part, None) for part in last.values())
        cut = limit is not None and any(len(part.tokens) > limit for part in last.values())
        self.ended.append(ended)
        self.ends.append(all(ends_in_eos(codec, part, limit) for part in last.values()) if cut else ended)

    def noticed(self) -> Noticed:
        flags = np.array(self.flags, dtype=np.uint16)
        by_flag = {flag: (flags >> bit & 1).astype(np.bool_) for bit, flag in enumerate(Flag)}
        return Noticed(by_flag, np.array(self.ends, dtype=np.bool_), np.array(self.ended, dtype=np.bool_))


# -- data with answers


class Answers(Kind[Row, TokenSet]):
    """Rows with answers: texts, pairs of prompt and completion, conversations."""

    @staticmethod
    def recogniser(config: TrainingConfig) -> Callable[[dict[str, Any]], Schema[Row]]:
        """By the columns chosen, or the usual ones."""
        return partial(recognise, columns=Columns.of(config))

    def encode(self, rows: Sequence[Row]) -> list[Parts | Refused]:
        """One sequence for each row."""
        return self.begin(rows)()

    def begin(self, rows: Sequence[Row]) -> Rest[Parts | Refused]:
        """The tokenizer works meanwhile."""
        last = self.config.train_on is TrainOn.LAST_TURN
        encoder = RowEncoder(self.codec, self.config.mask_prompt, self.config.system_prompt, last_turn=last)
        rest = encoder.begin(rows)
        return lambda: [one if isinstance(one, Refused) else {"": one} for one in rest()]

    def refuse(self, row: Row, parts: Parts) -> Refused | None:
        """A row without a token to train on."""
        if row.text is not None and self.config.mask_prompt:
            raise ConfigError(
                "mask_prompt: plain text has no prompt to mask",
                hint="turn mask_prompt off, or use prompt and completion, or messages",
                field="mask_prompt",
            )
        return untrainable(parts[""], self.limit)

    def pieces(self, row: Row, parts: Parts) -> list[Parts] | Refused:
        """Plain text is split where the settings ask for it."""
        if row.text is None or self.limit is None or self.config.long_rows is not LongRows.SPLIT:
            return super().pieces(row, parts)
        return [{"": window} for window in windows(parts[""], self.limit)]

    def collect(self, rows: TokenSet, records: list[bytes]) -> TokenSet:
        """The tokens are the set."""
        return rows

    def measured(self, rows: TokenSet) -> Measured:
        """The rows themselves."""
        return rows

    def split_keys(self, rows: TokenSet) -> Keys:
        """By what belongs together, where the settings ask for it."""
        together = self.config.split_by is SplitBy.CONVERSATION or self.config.long_rows is LongRows.SPLIT
        grouped = together or self.config.split_column is not None
        return rows.groups if grouped else rows.digests

    def group(self, located: Located[Row], parts: Parts) -> int | None:
        """By the value of `split_column` (null: equal rows only), or else by how a conversation opens.

        Several answers to one question, or one conversation cut at several turns, open with the same messages up to
        the first of the user's. A plain text has no opening.
        """
        column = self.config.split_column
        if column is not None:
            value = _value(located, column)
            return None if value is None else _key(value)
        if located.row.text is not None:
            # What a text is split into stays together.
            return hash64(parts[""].tokens.tobytes()) if self.config.long_rows is LongRows.SPLIT else None
        messages = located.row.messages
        first = next((at for at, turn in enumerate(messages) if turn["role"] == "user"), len(messages) - 1)
        return _key(messages[: first + 1])

    def more_warnings(self, train: TokenSet, validation: TokenSet) -> list[str]:
        """Rows of the validation set that belong together with training rows."""
        siblings = alike(train, validation)
        if siblings is None:
            return []
        column = self.config.split_column
        one = siblings.count == 1
        common, opens = ("has", "opens") if one else ("have", "open")
        how = f"{common} a {column} in common with" if column else f"{opens} with the same messages as"
        fix = "; split_by conversation keeps such rows together" if self.config.val_data_path is None else ""
        return [
            f"{count(siblings.count, 'row')} of the validation set {how} training rows ({siblings}): "
            f"the validation loss will look better than it is{fix}"
        ]


def _value(located: Located[Row], column: str) -> Any:
    if column not in located.record:
        raise ConfigError(
            f"{located.path.name}:{located.line} has no column {column!r} (it has {', '.join(located.record)})",
            hint="give split_column (in an experiment cluster_column) a column of every row, or leave it out",
            field="split_column",
        )
    return located.record[column]


def _key(value: Any) -> int:
    return hash64(json.dumps(value, sort_keys=True, default=str).encode())

"""Configuration -> pairs of answers for methods that learn from preferences (DPO, ORPO), or every reason why not.

    files -> records -> a prompt with two answers -> two rows of tokens, the answers marked

Of both rows only the answer is marked, its end of turn included, whatever `mask_prompt` says.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.config import TrainingConfig
from droidft.data.codec import Codec
from droidft.data.encode import Encoded, RowEncoder, ends_in_eos, trainable
from droidft.data.located import Located, Meter, Progress, RowReader, batched
from droidft.data.preference_rows import CHOSEN, REJECTED, Choice, recognise_preferences
from droidft.data.readers import Reading
from droidft.data.report import Flag, TokenReport
from droidft.data.rows import Row
from droidft.data.sources import Fetch
from droidft.data.split import load_parts
from droidft.data.statistics import Noticed, measure, overlap, warnings
from droidft.data.tokens import TokenizedRow, TokenSet, TokenSetBuilder
from droidft.support.faults import Refused

Both = tuple[Encoded, Encoded]
"""The chosen answer and the rejected one, each with the prompt before it."""


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs of answers. Row 2 i of `rows` is the chosen answer of pair i, row 2 i + 1 the rejected one."""

    rows: TokenSet
    split_keys: npt.NDArray[np.uint64]
    """A hash of each pair's prompt: pairs of one prompt stay on one side of the split."""

    def __len__(self) -> int:
        return len(self.rows) // 2

    def __getitem__(self, index: int) -> tuple[TokenizedRow, TokenizedRow]:
        """The chosen and the rejected answer of pair `index`."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        index %= len(self)
        return self.rows[2 * index], self.rows[2 * index + 1]

    def __iter__(self) -> Iterator[tuple[TokenizedRow, TokenizedRow]]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of the longer answer of each pair, with the prompt, after the cut. Shape (pairs,)."""
        longer: npt.NDArray[np.int64] = self.rows.lengths.reshape(-1, 2).max(axis=1, initial=0)
        return longer

    @property
    def full_lengths(self) -> npt.NDArray[np.int32]:
        """The same before the cut."""
        longer: npt.NDArray[np.int32] = self.rows.full_lengths.reshape(-1, 2).max(axis=1, initial=0)
        return longer

    @property
    def cut(self) -> npt.NDArray[np.int32]:
        """Tokens that both answers of each pair lost."""
        return _of_both(self.rows.cut)

    @property
    def token_count(self) -> int:
        """Tokens of all pairs."""
        return self.rows.token_count

    @property
    def supervised_counts(self) -> npt.NDArray[np.int32]:
        """Tokens of both answers of each pair."""
        return _of_both(self.rows.supervised_counts)

    @cached_property
    def digests(self) -> npt.NDArray[np.uint64]:
        """A hash of both answers of each pair."""
        both = self.rows.digests.astype("<u8").reshape(-1, 2)
        return np.array([_hash(pair.tobytes()) for pair in both], dtype=np.uint64)

    def place(self, index: int) -> str:
        """`file:line` of pair `index`, the file by its name."""
        return self.rows.place(2 * index)

    def take(self, pairs: npt.NDArray[np.int64]) -> PairSet:
        """The pairs of these indices, in this order, as a set of their own."""
        rows = (2 * pairs[:, None] + np.arange(2)).reshape(-1)
        return PairSet(self.rows.take(rows), self.split_keys[pairs])

    def update_hash(self, digest: hashlib._Hash) -> None:
        """Feed tokens, offsets and masks to a hash."""
        self.rows.update_hash(digest)


@dataclass(frozen=True)
class PreparedPairs:
    """Both sets, and what is known about them."""

    train: PairSet
    validation: PairSet
    report: TokenReport


def prepare_pairs(
    config: TrainingConfig,
    tokenizer: Any,
    *,
    context_length: int | None = None,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> PreparedPairs:
    """Read, check, tokenize, mask and split the preferences of a run; arguments as those of `prepare`.

    Raises:
        InvalidData: rows or files with faults, all of them listed.
        DataError: too few pairs; a folder without data files.
        ConfigError: settings that do not fit the data.
        DownloadError: a hub data set cannot be had.
    """
    job = _Job(config, Codec(tokenizer), config.max_seq_length or context_length, Reading())
    parts = load_parts(config, job.load, job.reading, fetch=fetch, progress=progress)
    train, held = parts.train, parts.validation
    digest = hashlib.sha256()
    train.pairs.update_hash(digest)
    held.pairs.update_hash(digest)
    limit = config.max_seq_length or max(int(part.pairs.lengths.max(initial=0)) for part in (train, held))
    of_train, of_held = measure(train.pairs, train.noticed), measure(held.pairs, held.noticed)
    both = overlap(train.pairs, held.pairs)
    found = warnings(of_train, of_held, both, limit)
    if config.max_seq_length and context_length and config.max_seq_length > context_length:
        found.append(
            f"max_seq_length {config.max_seq_length:,} exceeds the model's limit of {context_length:,} tokens"
        )
    if config.system_prompt is not None and (job.plain or not job.codec.has_template):
        why = "whole texts have no turns" if job.plain else "the model's tokenizer has no chat template"
        found.append(f"system_prompt has no effect: {why}")
    report = TokenReport(
        of_train, of_held, both, limit, job.format, parts.sentence, digest.hexdigest(), found, job.reading.notes
    )
    return PreparedPairs(train.pairs, held.pairs, report)


def encode_choices(codec: Codec, choices: Sequence[Choice], system_prompt: str | None) -> list[Both | Refused]:
    """Each pair encoded uncut, or why it cannot be."""
    encoder = RowEncoder(codec, mask_prompt=True, system_prompt=system_prompt)
    rows = [_row(choice, answer) for choice in choices for answer in (choice.chosen, choice.rejected)]
    encoded: Sequence[Encoded | Refused]
    encoded = encoder.pairs(rows) if choices and choices[0].plain else encoder.encode(rows)
    found: list[Both | Refused] = []
    for chosen, rejected in zip(encoded[::2], encoded[1::2], strict=True):
        if isinstance(chosen, Refused):
            found.append(chosen)
        elif isinstance(rejected, Refused):
            found.append(rejected)
        else:
            found.append((chosen, rejected))
    return found


def checked(both: Both, limit: int | None) -> Both | Refused:
    """The pair, unless a cut at `limit` takes away an answer or what tells the two apart."""
    for column, encoded in zip((CHOSEN, REJECTED), both, strict=True):
        why = trainable(encoded, limit)
        if isinstance(why, Refused):
            return Refused(why.kind, f"{why.reason} (in {column!r})", why.fix)
    chosen, rejected = both
    if np.array_equal(chosen.tokens, rejected.tokens):
        return Refused("no-preference", "has two answers that are the same in tokens", "remove the row")
    if np.array_equal(chosen.tokens[:limit], rejected.tokens[:limit]):
        first = int(np.argmax(_differ(chosen.tokens, rejected.tokens))) + 1
        return Refused(
            "all-cut",
            f"has answers that differ from token {first:,} on, beyond the limit of {limit:,}",
            f"raise max_seq_length to {first:,} or more, or remove the row",
        )
    return both


def _of_both(counts: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    summed: npt.NDArray[np.int32] = counts.reshape(-1, 2).sum(axis=1, dtype=np.int32)
    return summed


def _differ(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    shared = min(len(one), len(other))
    return np.append(one[:shared] != other[:shared], True)


def _row(choice: Choice, answer: list[dict[str, Any]]) -> Row:
    given = sum(turn["role"] == "assistant" for turn in choice.prompt)
    return Row(None, [*choice.prompt, *answer], choice.tools, given)


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@dataclass
class _Loaded:
    pairs: PairSet
    noticed: Noticed

    @property
    def split_keys(self) -> npt.NDArray[np.uint64]:
        return self.pairs.split_keys

    def take(self, rows: npt.NDArray[np.int64]) -> _Loaded:
        return _Loaded(self.pairs.take(rows), self.noticed.take(rows))


@dataclass
class _Job:
    """One pass over the files of one set, with what both sets share."""

    config: TrainingConfig
    codec: Codec
    limit: int | None
    reading: Reading
    format: str = ""
    plain: bool = False

    def load(self, paths: Sequence[Path], meter: Meter) -> _Loaded:
        reader = RowReader(partial(recognise_preferences, config=self.config), self.reading)
        gatherer = _Gatherer(self)
        for batch in batched(reader.rows(paths, meter)):
            self.plain = self.plain or batch[0].row.plain
            gatherer.add(batch)
        if reader.schema and not self.format:
            self.format = str(reader.schema.format)
        reader.note_unused(paths)
        return gatherer.finish()


@dataclass
class _Gatherer:
    """Encodes pairs, checks them and gathers them with what was noticed about each."""

    job: _Job
    builder: TokenSetBuilder = field(init=False)
    keys: array[int] = field(default_factory=lambda: array("Q"))
    ends: array[int] = field(default_factory=lambda: array("B"))
    ended: array[int] = field(default_factory=lambda: array("B"))
    flags: list[frozenset[Flag]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.builder = TokenSetBuilder(self.job.limit)

    def add(self, batch: list[Located[Choice]]) -> None:
        job = self.job
        encoded = encode_choices(job.codec, [located.row for located in batch], job.config.system_prompt)
        for located, found in zip(batch, encoded, strict=True):
            both = found if isinstance(found, Refused) else checked(found, job.limit)
            if isinstance(both, Refused):
                job.reading.log.add(located.path, located.line, located.offset, both)
            elif not job.reading.log.count:
                self._keep(located, both)

    def _keep(self, located: Located[Choice], both: Both) -> None:
        if self.builder.files[-1:] != [str(located.path)]:
            self.builder.open_file(str(located.path))
        for encoded in both:
            self.builder.add(encoded, located.line)
        prompt = both[0].tokens[: int(np.argmax(both[0].supervised))]
        self.keys.append(_hash(prompt.tobytes()))
        self.ends.append(all(self._ends(encoded, self.job.limit) for encoded in both))
        self.ended.append(all(self._ends(encoded, None) for encoded in both))
        self.flags.append(both[0].flags | both[1].flags)

    def _ends(self, encoded: Encoded, limit: int | None) -> bool:
        return ends_in_eos(self.job.codec, encoded.tokens[:limit], encoded.supervised[:limit])

    def finish(self) -> _Loaded:
        noticed = {flag: np.array([flag in found for found in self.flags], dtype=np.bool_) for flag in Flag}
        ends, ended = (np.array(bits, dtype=np.bool_) for bits in (self.ends, self.ended))
        keys = np.array(self.keys, dtype=np.uint64)
        return _Loaded(PairSet(self.builder.build(), keys), Noticed(noticed, ends, ended))

"""Configuration -> training and validation sets, or every reason why not.

    files -> records -> rows -> tokens and mask -> TokenSet

Nothing is dropped: a row that cannot be trained on is a fault, and any fault refuses the data.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from droidft.config import DataFormat, TrainingConfig
from droidft.engine.data.codec import Codec
from droidft.engine.data.encode import Encoded, RowEncoder, ends_in_eos
from droidft.engine.data.faults import Refused
from droidft.engine.data.hub import fetch_dataset
from droidft.engine.data.masks import Flag
from droidft.engine.data.readers import Reading, read_records
from droidft.engine.data.rows import Columns, Row, Schema, recognise
from droidft.engine.data.sources import Fetch, Sources, find_sources
from droidft.engine.data.statistics import DataReport, Noticed, measure, overlap, warnings
from droidft.engine.data.tokens import TokenSet, TokenSetBuilder
from droidft.errors import ConfigError, DataError

Progress = Callable[[int, int | None], None]
_BATCH_ROWS = 256
_BATCH_BYTES = 4 << 20


@dataclass(frozen=True)
class Prepared:
    """Both sets, and what is known about them."""

    train: TokenSet
    validation: TokenSet
    report: DataReport


class Located(NamedTuple):
    """A row and where it stands: `line` from 1, `offset` its first byte (None in Parquet)."""

    row: Row
    path: Path
    line: int
    offset: int | None


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
    `fetch` brings `hub:` references here, and `progress` is told bytes done and bytes in all.

    Raises:
        InvalidData: rows or files with faults, all of them listed.
        DataError: too few rows; a folder without data files.
        ConfigError: settings that do not fit the data.
        DownloadError: a hub data set cannot be had.
    """
    train_from, validation_from = locate(config, fetch)
    meter = Meter(progress, [*train_from, *validation_from])
    codec = Codec(tokenizer)
    job = _Job(config, codec, config.max_seq_length or context_length, Reading())
    train = job.load(train_from, meter)
    held = job.load(validation_from, meter) if validation_from else None
    job.reading.log.raise_if_any()
    if held is None:
        train, held, split = _split(train, config)
    else:
        split = f"validation rows come from {', '.join(path.name for path in validation_from)}"
    return _report(job, train, held, split, context_length)


def locate(config: TrainingConfig, fetch: Fetch | None = None) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files of the training and of the validation set; the latter is empty when rows are to be held out."""
    fetch = fetch or partial(fetch_dataset, offline=config.offline)
    train = find_sources(config.train_data_path, fetch)
    if config.val_data_path is None:
        return train.train, train.validation
    other: Sources = find_sources(config.val_data_path, fetch)
    return train.train, other.validation or other.train


class Meter:
    """Turns bytes of one file into bytes of all."""

    def __init__(self, progress: Progress | None, files: Sequence[Path]) -> None:
        self._progress = progress
        self._total = sum(map(_size, files))
        self._behind = 0

    def in_file(self, done: int) -> None:
        """So many bytes of the current file are done."""
        if self._progress:
            self._progress(self._behind + done, self._total)

    def next_file(self, path: Path) -> None:
        """The current file is done."""
        self._behind += _size(path)
        self.in_file(0)


def _size(path: Path) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


@dataclass
class RowReader:
    """Files -> rows. The first row of the first file fixes the schema; faults go to `reading.log`."""

    columns: Columns
    reading: Reading
    schema: Schema | None = None
    unused: set[str] = field(default_factory=set)

    def rows(self, paths: Sequence[Path], meter: Meter) -> Iterator[Located]:
        """All rows that meet the rules."""
        self.reading.progress = meter.in_file
        for path in paths:
            yield from self._file(path)
            meter.next_file(path)

    def _file(self, path: Path) -> Iterator[Located]:
        for value, line, offset in read_records(path, self.reading):
            try:
                if self.schema is None:
                    self.schema = recognise(value, self.columns)
                    self.unused = set(value) - set(self.schema.columns)
                row = self.schema.row(value)
            except Refused as why:
                self.reading.log.add(path, line, offset, why)
                if self.schema is None:
                    return  # Without a format there is nothing to hold the other rows to.
                continue
            yield Located(row, path, line, offset)


@dataclass
class _Loaded:
    rows: TokenSet
    noticed: Noticed


@dataclass
class _Job:
    """One pass over the files of one set, with what both sets share."""

    config: TrainingConfig
    codec: Codec
    limit: int | None
    reading: Reading
    format: DataFormat = DataFormat.AUTO

    def load(self, paths: Sequence[Path], meter: Meter) -> _Loaded:
        reader = RowReader(Columns.of(self.config), self.reading)
        encoder = RowEncoder(self.codec, self.config.mask_prompt, self.config.system_prompt)
        gatherer = _Gatherer(self, TokenSetBuilder(self.limit))
        for batch in batched(reader.rows(paths, meter)):
            if batch[0].row.text is not None and self.config.mask_prompt:
                raise ConfigError(
                    "mask_prompt: plain text has no prompt to mask",
                    hint="turn mask_prompt off, or use prompt and completion, or messages",
                    field="mask_prompt",
                )
            for located, encoded in zip(batch, encoder.encode([each.row for each in batch]), strict=True):
                gatherer.add(located, encoded)
        if reader.schema and self.format is DataFormat.AUTO:
            self.format = reader.schema.format
        if reader.unused:
            names = ", ".join(sorted(reader.unused)[:8])
            self.reading.notes.append(f"{paths[0].name}: columns not used: {names}")
        return gatherer.finish()


def batched(rows: Iterator[Located]) -> Iterator[list[Located]]:
    """Rows in batches that are bounded in number and in text."""
    batch: list[Located] = []
    size = 0
    for located in rows:
        batch.append(located)
        size += len(located.row.text or "") + sum(len(turn.get("content") or "") for turn in located.row.messages)
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@dataclass
class _Gatherer:
    """Checks encoded rows and gathers them with what was noticed about each."""

    job: _Job
    builder: TokenSetBuilder
    ends: array[int] = field(default_factory=lambda: array("B"))
    ended: array[int] = field(default_factory=lambda: array("B"))
    flags: array[int] = field(default_factory=lambda: array("B"))

    def add(self, located: Located, encoded: Encoded | Refused) -> None:
        log, codec, limit = self.job.reading.log, self.job.codec, self.job.limit
        if not isinstance(encoded, Refused):
            encoded = _trainable(encoded, limit)
        if isinstance(encoded, Refused):
            log.add(located.path, located.line, located.offset, encoded)
            return
        if log.count:
            return  # The data is refused already; what counts now is to find the other faults.
        if self.builder.files[-1:] != [str(located.path)]:
            self.builder.open_file(str(located.path))
        self.builder.add(encoded, located.line)
        ended = ends_in_eos(codec, encoded.tokens, encoded.supervised)
        cut = limit is not None and len(encoded.tokens) > limit
        self.ended.append(ended)
        self.ends.append(ends_in_eos(codec, encoded.tokens[:limit], encoded.supervised[:limit]) if cut else ended)
        self.flags.append(sum(1 << bit for bit, flag in enumerate(Flag) if flag in encoded.flags))

    def finish(self) -> _Loaded:
        flags = np.array(self.flags, dtype=np.uint8)
        noticed = {flag: (flags >> bit & 1).astype(np.bool_) for bit, flag in enumerate(Flag)}
        ends, ended = (np.array(bits, dtype=np.bool_) for bits in (self.ends, self.ended))
        return _Loaded(self.builder.build(), Noticed(noticed, ends, ended))


def _trainable(encoded: Encoded, limit: int | None) -> Encoded | Refused:
    """The row, unless it has no token to train on, before or after the cut."""
    if encoded.supervised[:limit].any():
        return encoded
    if not encoded.supervised.any():
        return Refused("no-target", "has no token to train on", "fill the answer or remove the row")
    first = int(np.argmax(encoded.supervised)) + 1
    return Refused(
        "all-cut",
        f"has its answer at token {first:,} of {len(encoded.tokens):,}, beyond the limit of {limit:,}",
        f"raise max_seq_length to {first + 1:,} or more, shorten the prompt, or remove the row",
    )


def _split(loaded: _Loaded, config: TrainingConfig) -> tuple[_Loaded, _Loaded, str]:
    count = len(loaded.rows)
    if count < 2:
        raise DataError(
            f"{config.train_data_path}: {count} row is too few to hold one out for validation",
            hint="add rows, or give val_data_path",
        )
    chosen = held_out(loaded.rows.digests, seed=config.seed, fraction=config.validation_fraction)
    rest = np.setdiff1d(np.arange(count), chosen)
    split = (
        f"{len(chosen):,} of {count:,} rows held out for validation at random "
        f"(seed {config.seed}, fraction {config.validation_fraction:g})"
    )
    train, validation = (_Loaded(loaded.rows.take(part), loaded.noticed.take(part)) for part in (rest, chosen))
    return train, validation, split


def held_out(digests: npt.NDArray[np.uint64], *, seed: int, fraction: float) -> npt.NDArray[np.int64]:
    """Indices of the validation rows, ascending: a pure function of the rows' hashes, the seed and the fraction.

    Each row is drawn by its own hash, so neither the order of the file nor the other rows matter to it. Equal rows
    stay on one side, unless that would leave a side empty. Both sides have at least one row.
    """
    rows = len(digests)
    wanted = min(max(1, round(rows * fraction)), rows - 1)
    keys = _mixed(digests, seed)
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    cut = wanted
    while cut < rows and ranked[cut] == ranked[cut - 1]:
        cut += 1
    if cut == rows:
        cut = wanted
        while cut > 0 and ranked[cut] == ranked[cut - 1]:
            cut -= 1
    return np.sort(order[: cut or wanted])


def _mixed(digests: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """SplitMix64's finalizer: a bijection, so that equal keys mean equal rows."""
    shift = np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    mixed = digests + shift
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _report(job: _Job, train: _Loaded, held: _Loaded, split: str, context_length: int | None) -> Prepared:
    config = job.config
    longest = int(max(train.rows.lengths.max(initial=0), held.rows.lengths.max(initial=0)))
    limit = config.max_seq_length or longest
    digest = hashlib.sha256()
    train.rows.update_hash(digest)
    held.rows.update_hash(digest)
    of_train, of_held = measure(train.rows, train.noticed), measure(held.rows, held.noticed)
    both = overlap(train.rows, held.rows)
    found = warnings(of_train, of_held, both, limit)
    if config.max_seq_length and context_length and config.max_seq_length > context_length:
        found.append(
            f"max_seq_length {config.max_seq_length:,} exceeds the model's limit of {context_length:,} tokens"
        )
    if config.system_prompt is not None and (job.format is DataFormat.TEXT or not job.codec.has_template):
        found.append("system_prompt has no effect: " + _WHY_NO_SYSTEM[job.format is DataFormat.TEXT])
    report = DataReport(
        of_train, of_held, both, limit, str(job.format), split, digest.hexdigest(), found, job.reading.notes
    )
    return Prepared(train.rows, held.rows, report)


_WHY_NO_SYSTEM = {True: "plain text has no turns", False: "the model's tokenizer has no chat template"}

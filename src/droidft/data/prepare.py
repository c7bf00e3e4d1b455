"""Configuration -> training and validation sets, or every reason why not.

    files -> records -> rows -> tokens and mask -> TokenSet

Nothing is dropped: a row that cannot be trained on is a fault, and any fault refuses the data.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.config import DataFormat, SplitBy, TrainingConfig
from droidft.data.codec import Codec
from droidft.data.encode import Encoded, RowEncoder, ends_in_eos, trainable
from droidft.data.groups import group_of
from droidft.data.hub import fetch_dataset
from droidft.data.located import Located, Meter, Progress, RowReader, batched
from droidft.data.readers import Reading
from droidft.data.report import Flag, TokenReport
from droidft.data.rows import Columns, Row, recognise
from droidft.data.sources import Fetch, files_to_test, find_test
from droidft.data.split import Parts, load_parts
from droidft.data.statistics import Noticed, alike, measure, overlap, warnings
from droidft.data.tokens import TokenSet, TokenSetBuilder
from droidft.errors import ConfigError, DataError
from droidft.support.faults import Refused


@dataclass(frozen=True)
class Prepared:
    """All sets, and what is known about them."""

    train: TokenSet
    validation: TokenSet
    test: TokenSet
    """Rows set aside by `test_fraction`."""
    split_keys: npt.NDArray[np.uint64]
    """Hashes of the training rows by which they were drawn. Shape (rows,)."""
    report: TokenReport


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
    job = _Job(config, Codec(tokenizer), config.max_seq_length or context_length, Reading())
    parts = load_parts(config, job.load, job.reading, fetch=fetch, progress=progress)
    return _report(job, parts, context_length)


def read_set(
    config: TrainingConfig,
    reference: str,
    tokenizer: Any,
    *,
    called: str,
    context_length: int | None = None,
    fetch: Fetch | None = None,
) -> TokenSet:
    """The rows of a file, or of the test split of a folder or hub data set, read and masked as `config` says.

    `called` is what messages call the set, such as "the test data".

    Raises:
        InvalidData, DataError, ConfigError, DownloadError: as `prepare`.
    """
    fetch = fetch or partial(fetch_dataset, pick=files_to_test, offline=config.offline)
    paths = find_test(reference, fetch)
    job = _Job(config, Codec(tokenizer), config.max_seq_length or context_length, Reading())
    rows = job.load(paths, Meter(None, paths)).rows
    job.reading.log.raise_if_any(called)
    if len(rows) == 0:
        raise DataError(f"{reference}: {called} has no rows", hint="add rows, or give another file")
    return rows


@dataclass
class _Loaded:
    rows: TokenSet
    noticed: Noticed
    grouped: bool
    """Rows that belong together are drawn as one."""

    @property
    def split_keys(self) -> npt.NDArray[np.uint64]:
        return self.rows.groups if self.grouped else self.rows.digests

    def take(self, rows: npt.NDArray[np.int64]) -> _Loaded:
        return _Loaded(self.rows.take(rows), self.noticed.take(rows), self.grouped)


@dataclass
class _Job:
    """One pass over the files of one set, with what both sets share."""

    config: TrainingConfig
    codec: Codec
    limit: int | None
    reading: Reading
    format: str = ""

    def load(self, paths: Sequence[Path], meter: Meter) -> _Loaded:
        reader = RowReader(partial(recognise, columns=Columns.of(self.config)), self.reading)
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
        if reader.schema and not self.format:
            self.format = str(reader.schema.format)
        reader.note_unused(paths)
        return gatherer.finish()


@dataclass
class _Gatherer:
    """Checks encoded rows and gathers them with what was noticed about each."""

    job: _Job
    builder: TokenSetBuilder
    ends: array[int] = field(default_factory=lambda: array("B"))
    ended: array[int] = field(default_factory=lambda: array("B"))
    flags: array[int] = field(default_factory=lambda: array("B"))

    def add(self, located: Located[Row], encoded: Encoded | Refused) -> None:
        log, codec, limit = self.job.reading.log, self.job.codec, self.job.limit
        if not isinstance(encoded, Refused):
            encoded = trainable(encoded, limit)
        if isinstance(encoded, Refused):
            log.add(located.path, located.line, located.offset, encoded)
            return
        if log.count:
            return  # The data is refused already; what counts now is to find the other faults.
        if self.builder.files[-1:] != [str(located.path)]:
            self.builder.open_file(str(located.path))
        self.builder.add(encoded, located.line, group=group_of(located, self.job.config.split_column))
        ended = ends_in_eos(codec, encoded.tokens, encoded.supervised)
        cut = limit is not None and len(encoded.tokens) > limit
        self.ended.append(ended)
        self.ends.append(ends_in_eos(codec, encoded.tokens[:limit], encoded.supervised[:limit]) if cut else ended)
        self.flags.append(sum(1 << bit for bit, flag in enumerate(Flag) if flag in encoded.flags))

    def finish(self) -> _Loaded:
        flags = np.array(self.flags, dtype=np.uint8)
        noticed = {flag: (flags >> bit & 1).astype(np.bool_) for bit, flag in enumerate(Flag)}
        ends, ended = (np.array(bits, dtype=np.bool_) for bits in (self.ends, self.ended))
        config = self.job.config
        grouped = config.split_by is SplitBy.CONVERSATION or config.split_column is not None
        return _Loaded(self.builder.build(), Noticed(noticed, ends, ended), grouped)


def _report(job: _Job, parts: Parts[_Loaded], context_length: int | None) -> Prepared:
    config, train, held = job.config, parts.train, parts.validation
    longest = int(max(train.rows.lengths.max(initial=0), held.rows.lengths.max(initial=0)))
    limit = config.max_seq_length or longest
    digest = hashlib.sha256()
    train.rows.update_hash(digest)
    held.rows.update_hash(digest)
    of_train, of_held = measure(train.rows, train.noticed), measure(held.rows, held.noticed)
    both = overlap(train.rows, held.rows)
    found = warnings(of_train, of_held, both, limit)
    if siblings := alike(train.rows, held.rows):
        column = config.split_column
        how = f"have a {column} in common with" if column else "open with the same messages as"
        found.append(
            f"{siblings.count:,} rows of the validation set {how} training rows ({siblings}): "
            "the validation loss will look better than it is"
            + ("; split_by conversation keeps such rows together" if config.val_data_path is None else "")
        )
    if config.max_seq_length and context_length and config.max_seq_length > context_length:
        found.append(
            f"max_seq_length {config.max_seq_length:,} exceeds the model's limit of {context_length:,} tokens"
        )
    if config.system_prompt is not None and (job.format == DataFormat.TEXT or not job.codec.has_template):
        found.append("system_prompt has no effect: " + _WHY_NO_SYSTEM[job.format == DataFormat.TEXT])
    report = TokenReport(
        of_train, of_held, both, limit, job.format, parts.sentence, digest.hexdigest(), found, job.reading.notes
    )
    return Prepared(train.rows, held.rows, parts.test.rows, train.split_keys, report)


_WHY_NO_SYSTEM = {True: "plain text has no turns", False: "the model's tokenizer has no chat template"}

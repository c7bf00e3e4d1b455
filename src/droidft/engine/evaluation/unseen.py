"""Rows that training has not seen, for the certificate of an export: a run's own, or those of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droidft.config import Family, TrainingConfig
from droidft.data.batches import mixed
from droidft.data.codec import Codec
from droidft.data.formats import recognise
from droidft.data.plain import read_plain
from droidft.data.preferences import Preferences, PreparedPairs, prepare_pairs
from droidft.data.prepare import Prepared, S, Sets, held_out_files, prepare, read_set
from droidft.data.prompts import PreparedPrompts, Prompts, prepare_prompts
from droidft.data.report import TokenReport
from droidft.data.rows import Columns, first_record
from droidft.data.template import ChatTemplate, TemplateOptions
from droidft.data.tokens import Encoded, TokenSet, TokenSetBuilder
from droidft.errors import ConfigError, DataError, DownloadError, NotFound
from droidft.support.faults import Refused
from droidft.support.words import count

ROWS = 32
"""Rows of a certificate."""

NAME_ROWS = "name a file with rows that it was not trained on (in the terminal --rows FILE)"
_UNKNOWN = "so whether it was trained on these rows is not known"
_CHANGED = "the run's data has changed since, so it may have been trained on some of these rows"

Draw = Callable[[list[list[int]]], list[list[int]]]
"""Prompts as tokens -> the trained model's greedy answers."""


@dataclass(frozen=True, eq=False)
class Unseen:
    """Rows whose loss is compared; `notes` say what is to be known about them."""

    tokens: TokenSet
    notes: tuple[str, ...] = ()


def rows_of_run(
    config: TrainingConfig,
    tokenizer: Any,
    *,
    context_length: int | None,
    draw: Draw,
    data_hash: str | None = None,
    most: int = ROWS,
) -> Unseen:
    """At most `most` validation rows of a run, or test rows where it has none for validation.

    Where preferences are learned from, a row is the prompt with the chosen answer; where rewards are, with the answer
    that the trained model gives (`draw`). `data_hash` is that of the run: data that has another one now was changed,
    and is split in another way.

    Raises:
        ConfigError: the run held no rows back, or it was trained on all of them too.
        InvalidData, DataError, DownloadError: as `prepare`: the data is not what it was.
    """
    try:
        data = _prepared(config, tokenizer, context_length)
    except (DataError, DownloadError, NotFound) as error:
        message = f"the run's own rows cannot be read any more: {error.message}"
        raise DataError(message, hint=NAME_ROWS, field="rows") from error
    notes = (_CHANGED,) if _changed(data.report, data_hash, config, tokenizer) else ()
    if isinstance(data, Prepared):
        chosen = _chosen(_held(data), data.train, most)
    elif isinstance(data, PreparedPairs):
        chosen = _chosen(_chosen_answers(_held(data).rows), _chosen_answers(data.train.rows), most)
    else:
        chosen = _with_answers(_chosen(_held(data).rows, data.train.rows, most), draw)
    return Unseen(chosen.tokens, (*notes, *chosen.notes))


def rows_of_file(
    reference: str,
    tokenizer: Any,
    *,
    config: TrainingConfig | None,
    context_length: int | None,
    draw: Draw,
    data_hash: str | None = None,
    most: int = ROWS,
) -> Unseen:
    """At most `most` rows of a file that the user names, read as a run's data where there is a run.

    Of preferences the chosen answers count; prompts are answered by the trained model (`draw`).

    Rows that the run was trained on are left out, as far as its data is still here; `data_hash` as in `rows_of_run`.

    Raises:
        InvalidData, DataError, DownloadError: as `read_set`.
        ConfigError: training has seen every one of the rows.
    """
    rows, asked = _read(reference, tokenizer, config, context_length)
    chosen = _unseen(rows, tokenizer, config, context_length, data_hash, most)
    return _with_answers(chosen, draw) if asked else chosen


def _unseen(
    rows: TokenSet,
    tokenizer: Any,
    config: TrainingConfig | None,
    context_length: int | None,
    data_hash: str | None,
    most: int,
) -> Unseen:
    """Those of a file's rows that the run was not trained on, as far as that is known."""
    if config is None:
        return Unseen(_some(rows, most), (f"the adapter's run is not here, {_UNKNOWN}",))
    try:
        data = _prepared(config, tokenizer, context_length)
    except (DataError, DownloadError, NotFound):
        return Unseen(_some(rows, most), (f"the run's training data cannot be read any more, {_UNKNOWN}",))
    if _changed(data.report, data_hash, config, tokenizer):
        return Unseen(_some(rows, most), (f"the run's training data has changed since, {_UNKNOWN}",))
    match data:
        case Prepared():
            return _chosen(rows, data.train, most)
        case PreparedPairs():
            return _chosen(rows, _chosen_answers(data.train.rows), most)
        case PreparedPrompts():
            return _chosen(rows, data.train.rows, most)


def _read(
    reference: str, tokenizer: Any, config: TrainingConfig | None, context_length: int | None
) -> tuple[TokenSet, bool]:
    """The rows of a file, and whether they only ask, so that the trained model has to answer.

    A run that learned from preferences or rewards takes its own kind of rows, and conversations with answers.
    """
    called = "the rows"
    if config is not None and config.method.family is Family.ANSWERS:
        return read_set(config, reference, tokenizer, called=called, context_length=context_length), False
    first = first_record(held_out_files(reference, offline=config is None or config.offline))
    if config is not None and first is not None:
        if config.method.family is Family.PREFERENCES and _fits(Preferences.recogniser(config), first):
            pairs = Preferences(config, tokenizer, context_length).read(reference, called)
            return _chosen_answers(pairs.rows), False
        if config.method.family is Family.REWARDS and not _fits(_with_its_answer, first):
            return Prompts(config, tokenizer, context_length).read(reference, called).rows, True
    template = TemplateOptions.of(config) if config is not None else None
    return read_plain(reference, tokenizer, called=called, template=template, context_length=context_length), False


def _fits(recognised: Callable[[dict[str, Any]], object], record: dict[str, Any]) -> bool:
    try:
        recognised(record)
    except Refused:
        return False
    return True


def _with_its_answer(record: dict[str, Any]) -> object:
    """Raises Refused for a record that is no text and no conversation with an answer."""
    return recognise(record, Columns()).row(record)


def _changed(report: TokenReport, data_hash: str | None, config: TrainingConfig, tokenizer: Any) -> bool:
    """Whether the data of a run is known to be other than it was.

    It is not known where the run's own hash is not, nor where the template wrote the day of the training.
    """
    if data_hash is None or (config.template_date is None and ChatTemplate(tokenizer).writes_date):
        return False
    return report.data_hash != data_hash


def _held(data: Sets[S]) -> S:
    """The rows that a run held back: those for validation, or else those for a test."""
    return data.validation if len(data.validation) else data.test


def _prepared(
    config: TrainingConfig, tokenizer: Any, context_length: int | None
) -> Prepared | PreparedPairs | PreparedPrompts:
    """The data of a run by its method's family, split as the run split it."""
    match config.method.family:
        case Family.ANSWERS:
            return prepare(config, tokenizer, context_length=context_length)
        case Family.PREFERENCES:
            return prepare_pairs(config, tokenizer, context_length=context_length)
        case Family.REWARDS:
            return prepare_prompts(config, tokenizer, context_length=context_length)


def _chosen(held: TokenSet, train: TokenSet, most: int) -> Unseen:
    """Rows of `held` that are not in `train`, token for token."""
    if len(held) == 0:
        raise ConfigError(
            "the run held no rows back, so there is nothing unseen to compare the export on",
            hint=NAME_ROWS,
            field="rows",
        )
    new = np.flatnonzero(~np.isin(held.digests, train.digests))
    if len(new) == 0:
        raise ConfigError(
            f"the run was trained on every one of the {count(len(held), 'row')}",
            hint=NAME_ROWS,
            field="rows",
        )
    seen = len(held) - len(new)
    notes = (f"{count(seen, 'row')} left out: the run was trained on the same tokens",) if seen else ()
    return Unseen(_some(held.take(new), most), notes)


def _some(rows: TokenSet, most: int) -> TokenSet:
    """At most so many rows, drawn by their own hash: always the same ones, and a fair sample of an ordered file."""
    order = np.argsort(mixed(rows.digests, 0), kind="stable")[:most]
    return rows.take(np.sort(order).astype(np.int64))


def _with_answers(asked: Unseen, draw: Draw) -> Unseen:
    """The same rows with the trained model's answers."""
    note = "the rows have no answers of their own: the trained model answered them"
    return Unseen(_answered(asked.tokens, draw), (*asked.notes, note))


def _chosen_answers(rows: TokenSet) -> TokenSet:
    """Every other row of a set of pairs: the chosen answers."""
    return rows.take(np.arange(0, len(rows), 2))


def _answered(prompts: TokenSet, draw: Draw) -> TokenSet:
    """Rows of prompt and drawn answer; the answer is what counts."""
    builder = TokenSetBuilder()
    answers = draw([row.tokens.tolist() for row in prompts])
    for row, answer in zip(prompts, answers, strict=True):
        tokens: NDArray[np.int32] = np.concatenate([row.tokens, np.array(answer, np.int32)])
        builder.add(Encoded(tokens, np.arange(len(tokens)) >= len(row.tokens)), row.file, row.line)
    answered = builder.build()
    if not answered.supervised_counts.sum():
        raise DataError("the trained model answers nothing", hint=NAME_ROWS)
    return answered


def as_text(codec: Codec, rows: TokenSet) -> list[str]:
    """Each row as text, its special tokens written out: what a chat template rendered."""
    return [codec.decode(row.tokens.tolist()) for row in rows]

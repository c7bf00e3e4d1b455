"""Rows that training has not seen, for the certificate of an export: a run's own, or those of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droidft.config import DataFormat, Family, TrainingConfig, TrainOn
from droidft.data.batches import mixed
from droidft.data.codec import Codec
from droidft.data.preferences import prepare_pairs
from droidft.data.prepare import prepare, read_set
from droidft.data.prompts import prepare_prompts
from droidft.data.tokens import Encoded, TokenSet, TokenSetBuilder
from droidft.errors import ConfigError, DataError
from droidft.support.words import count

ROWS = 32
"""Rows of a certificate."""

Draw = Callable[[list[list[int]]], list[list[int]]]
"""Prompts as tokens -> the trained model's greedy answers."""


@dataclass(frozen=True, eq=False)
class Unseen:
    """Rows whose loss is compared; `notes` say what is to be known about them."""

    tokens: TokenSet
    notes: tuple[str, ...] = ()


def rows_of_run(
    config: TrainingConfig, tokenizer: Any, *, context_length: int | None, draw: Draw, most: int = ROWS
) -> Unseen:
    """At most `most` validation rows of a run, or test rows where it has none for validation.

    Where preferences are learned from, a row is the prompt with the chosen answer; where rewards are, with the answer
    that the trained model gives (`draw`).

    Raises:
        ConfigError: the run held no rows back, or it was trained on all of them too.
        InvalidData, DataError, DownloadError: as `prepare`: the data is not what it was.
    """
    match config.method.family:
        case Family.ANSWERS:
            data = prepare(config, tokenizer, context_length=context_length)
            train, held = data.train, data.validation if len(data.validation) else data.test
            return _chosen(held, train, most)
        case Family.PREFERENCES:
            pairs = prepare_pairs(config, tokenizer, context_length=context_length)
            kept = pairs.validation if len(pairs.validation) else pairs.test
            return _chosen(_chosen_answers(kept.rows), _chosen_answers(pairs.train.rows), most)
        case Family.REWARDS:
            prompts = prepare_prompts(config, tokenizer, context_length=context_length)
            asked = prompts.validation if len(prompts.validation) else prompts.test
            chosen = _chosen(asked.rows, prompts.train.rows, most)
            note = "the run has no answers of its own: the rows are answered by the trained model"
            return Unseen(_answered(chosen.tokens, draw), (*chosen.notes, note))


def rows_of_file(
    reference: str,
    tokenizer: Any,
    *,
    config: TrainingConfig | None,
    model_path: str,
    context_length: int | None,
    most: int = ROWS,
) -> Unseen:
    """At most `most` rows of a file that the user names, read as a run's data where there is a run.

    Rows that the run was trained on are left out.

    Raises:
        InvalidData, DataError, DownloadError: as `read_set`.
        ConfigError: training has seen every one of the rows.
    """
    reading = config
    if config is None or config.method.family is not Family.ANSWERS:
        reading = TrainingConfig(
            model_path=model_path,
            train_data_path=reference,
            data_format=DataFormat.AUTO,
            train_on=TrainOn.ALL_TURNS,
        )
    assert reading is not None
    rows = read_set(reading, reference, tokenizer, called="the rows", context_length=context_length)
    if config is None:
        note = "the adapter's run is not here, so whether it was trained on these rows is not known"
        return Unseen(_some(rows, most), (note,))
    return _chosen(rows, _trained_on(config, tokenizer, context_length), most)


def _trained_on(config: TrainingConfig, tokenizer: Any, context_length: int | None) -> TokenSet:
    match config.method.family:
        case Family.ANSWERS:
            return prepare(config, tokenizer, context_length=context_length).train
        case Family.PREFERENCES:
            return prepare_pairs(config, tokenizer, context_length=context_length).train.rows
        case Family.REWARDS:
            return prepare_prompts(config, tokenizer, context_length=context_length).train.rows


def _chosen(held: TokenSet, train: TokenSet, most: int) -> Unseen:
    """Rows of `held` that are not in `train`, token for token."""
    if len(held) == 0:
        raise ConfigError(
            "the run held no rows back, so there is nothing unseen to compare the export on",
            hint="name a file with rows that it was not trained on",
            field="rows",
        )
    new = np.flatnonzero(~np.isin(held.digests, train.digests))
    if len(new) == 0:
        raise ConfigError(
            f"the run was trained on every one of the {count(len(held), 'row')}",
            hint="name a file with rows that it was not trained on",
            field="rows",
        )
    seen = len(held) - len(new)
    notes = (f"{count(seen, 'row')} left out: the run was trained on the same tokens",) if seen else ()
    return Unseen(_some(held.take(new), most), notes)


def _some(rows: TokenSet, most: int) -> TokenSet:
    """At most so many rows, drawn by their own hash: always the same ones, and a fair sample of an ordered file."""
    order = np.argsort(mixed(rows.digests, 0), kind="stable")[:most]
    return rows.take(np.sort(order).astype(np.int64))


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
        raise DataError("the trained model answers nothing", hint="name a file with rows to compare on")
    return answered


def as_text(codec: Codec, rows: TokenSet) -> list[str]:
    """Each row as text, its special tokens written out: what a chat template rendered."""
    return [codec.decode(row.tokens.tolist()) for row in rows]

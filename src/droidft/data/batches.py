"""Which rows are trained on, how long, in which order, and laid side by side.

The division into sets is a pure function of (each row's own hash, seed, fractions), never of a row's place; the order
of (row lengths, batch size, seed, epoch). Nothing else is random: not the evaluation interval, not a resume, not what
was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from droidft.config import Family, SplitBy, TrainingConfig, Validation
from droidft.data.shapes import PAD_TO as PAD_TO
from droidft.data.shapes import Shapes, filled, plain
from droidft.errors import DataError
from droidft.events import TrainingPlan

WINDOW_BATCHES = 64
"""Rows are sorted by length inside windows of this many batches: little padding, still a random order."""
EPOCHS = {Family.ANSWERS: 3.0, Family.REWARDS: 1.0, Family.PREFERENCES: 1.0}
"""Passes over the data where neither `iterations` nor `epochs` is given."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Division:
    """Indices of rows, ascending, in disjoint parts. Rows that `train_fraction` leaves out are in none."""

    train: Indices
    validation: Indices
    test: Indices


def divide(digests: NDArray[np.uint64], config: TrainingConfig, *, hold_out: bool = True) -> Division:
    """Which rows are trained on, held out for validation (with `hold_out`) and set aside as a test.

    A pure function of the hashes, the seed and the fractions: each row, or group of rows that belong together, is
    drawn by its own hash, so neither the order of the file nor the other rows matter to it. Rows of one hash stay in
    one part, unless that would leave one empty. A smaller `train_fraction` chooses among the rows of a larger one,
    and leaves the other parts alone.

    Raises:
        DataError: there are too few rows.
    """
    fractions = [config.validation_fraction if hold_out else 0.0, config.test_fraction]
    needed = 1 + sum(fraction > 0 for fraction in fractions)
    if len(digests) < needed:
        raise DataError(
            f"{config.train_data_path}: {len(digests)} row is too few to hold one out for validation"
            if len(digests) == 1
            else f"{config.train_data_path}: {len(digests)} rows are too few for {needed} parts",
            hint="add rows, or give val_data_path" + (", or a test file of its own" if config.test_fraction else ""),
        )
    keys = mixed(digests, _seed(config))
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    first = _end(ranked, 0, fractions[0], needed - 1)
    second = _end(ranked, first, fractions[1], 1)
    begin = second + _left_out(ranked[second:], config.train_fraction)
    return Division(np.sort(order[begin:]), np.sort(order[:first]), np.sort(order[first:second]))


def rows_of_share(digests: NDArray[np.uint64], config: TrainingConfig, share: float) -> int:
    """How many training rows of these hashes a `train_fraction` of `share` leaves."""
    return len(digests) - _left_out(np.sort(mixed(digests, _seed(config))), share)


def _left_out(ranked: NDArray[np.uint64], share: float) -> int:
    begin = len(ranked) - max(1, round(len(ranked) * share))
    while 0 < begin < len(ranked) and ranked[begin] == ranked[begin - 1]:
        begin -= 1
    return begin


def _seed(config: TrainingConfig) -> int:
    return config.seed if config.split_seed is None else config.split_seed


def _end(ranked: NDArray[np.uint64], start: int, fraction: float, left: int) -> int:
    """Where a part of this fraction of all rows ends that begins at `start`, `left` rows at least being left over."""
    rows = len(ranked)
    if fraction == 0:
        return start
    wanted = cut = start + min(max(1, round(rows * fraction)), rows - start - left)
    while cut < rows and ranked[cut] == ranked[cut - 1]:
        cut += 1
    if cut > rows - left:
        cut = wanted
        while cut > start and ranked[cut] == ranked[cut - 1]:
            cut -= 1
    return cut if cut > start else wanted


def describe(config: TrainingConfig, division: Division, digests: NDArray[np.uint64], files: list[str]) -> str:
    """How the rows of these hashes were divided, in a sentence; `files` are those of a validation set of its own."""
    rows = len(digests)
    if config.validation is Validation.NONE:
        sentences = ["no rows held out for validation"]
    elif files:
        sentences = [f"validation rows come from {', '.join(files)}"]
    else:
        sentences = [
            f"{len(division.validation):,} of {rows:,} rows held out for validation at random "
            f"(seed {_seed(config)}, fraction {config.validation_fraction:g})"
        ]
    if config.split_column is not None or config.split_by is SplitBy.CONVERSATION:
        what = config.split_column or "conversation"
        parts = [set(digests[part].tolist()) for part in (division.train, division.validation, division.test)]
        whole = sum(map(len, parts)) == len(set.union(*parts))
        sentences.append(
            f"rows of one {what} stay together"
            if whole
            else f"rows of one {what} do not all stay together, since there are too few of them for the parts"
        )
    if config.test_fraction:
        sentences.append(f"{len(division.test):,} set aside as a test")
    if config.train_fraction < 1:
        left = rows - len(division.test) - len(division.validation)
        sentences.append(f"{len(division.train):,} of the other {left:,} are trained on")
    return "; ".join(sentences)


def mixed(digests: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64's finalizer: a bijection, so that equal keys mean equal rows."""
    shift = np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    mixed = digests + shift
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def numbered(groups: NDArray[np.uint64]) -> list[int]:
    """Group hashes as small numbers, rising in order of first appearance."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(group, len(numbers)) for group in groups.tolist()]


def plan(config: TrainingConfig, steps_per_epoch: int, shapes: Shapes | None = None) -> TrainingPlan:
    """The optimizer steps that `iterations` or `epochs` ask for, and the widths that batches are padded to."""
    rewarded = config.method.family is Family.REWARDS
    epochs = EPOCHS[config.method.family] if config.epochs is None else config.epochs
    accumulation = config.grad_accumulation_steps
    steps = max(1, math.ceil(epochs * steps_per_epoch)) if config.iterations is None else config.iterations
    return TrainingPlan(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        epochs=steps / steps_per_epoch,
        effective_batch=config.completions_per_step if rewarded else config.batch_size * accumulation,
        widths=sorted({shape.width for shape in shapes.shapes}) if shapes else [],
        padding=shapes.padding if shapes else None,
    )


class Row(Protocol):
    """One tokenized row; `supervised[t]` says that token t is a target."""

    @property
    def tokens(self) -> NDArray[np.int32]:
        """Token ids, [length]."""
        ...

    @property
    def supervised(self) -> NDArray[np.bool_]:
        """Which tokens are targets, [length]."""
        ...

    @property
    def file(self) -> str:
        """File the row came from."""
        ...

    @property
    def line(self) -> int:
        """Its line there, from 1."""
        ...


class RowSource(Protocol):
    """Tokenized rows, such as `droidft.data.tokens.TokenSet`."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, shape [rows]."""
        ...

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Row: ...


class CountedRows(RowSource, Protocol):
    """Rows of which it is known how many targets they may have."""

    @property
    def supervised_counts(self) -> NDArray[np.int32]:
        """Supervised tokens of each row, shape [rows]."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows padded to one length, ready for next-token prediction.

    `inputs` is [B, T]. A supervised target is named by its flat position b * T + t in `positions` [N], where
    the model's output at that position has to predict `targets` [N]. Where the batch has a shape that was chosen
    beforehand, rows without tokens and targets at position -1 fill it up.
    """

    inputs: NDArray[np.int32]
    positions: NDArray[np.int32]
    targets: NDArray[np.int32]
    rows: tuple[int, ...]
    """Where they lie in their source, rows without tokens left out."""
    tokens: int
    """Real tokens, padding not counted."""

    @property
    def supervised(self) -> int:
        """Targets in this batch."""
        return int(np.count_nonzero(self.positions >= 0))


def epoch_order(lengths: NDArray[np.int64], *, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Row indices of every batch of one epoch; each row appears exactly once, the last batch may be smaller."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    order = generator.permutation(len(lengths))
    window = batch_size * WINDOW_BATCHES
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches.extend(rows[at : at + batch_size] for at in range(0, len(rows), batch_size))
    return [batches[index] for index in generator.permutation(len(batches))]


def evaluation_order(lengths: NDArray[np.int64], *, batch_size: int) -> list[NDArray[np.int64]]:
    """Batches over all rows by falling length, so that the largest allocation comes first."""
    order = np.argsort(-lengths, kind="stable")
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


def steps_per_epoch(config: TrainingConfig, rows: int) -> int:
    """Optimizer steps that show each of `rows` rows, prompts or pairs once; the last one may see fewer.

    Where rewards are learned from, every rollout is gone over `num_iterations` times.
    """
    if config.method.family is Family.REWARDS:
        return max(1, math.ceil(rows * config.num_iterations / config.prompts_per_step))
    batches = -(-rows // config.batch_size)
    return -(-batches // config.grad_accumulation_steps)


def make_batch(source: RowSource, rows: Sequence[int] | NDArray[np.int64], shapes: Shapes | None = None) -> Batch:
    """Lay `rows` side by side, padded on the right (a causal model never looks there).

    An index of -1 makes a row without tokens. With `shapes` the batch is filled up to the first that holds it.
    """
    parts = [source[int(index)] if index >= 0 else None for index in rows]
    targeted = [np.flatnonzero(row.supervised[1:]) if row else np.zeros(0, np.int64) for row in parts]
    longest = max(len(row.tokens) for row in parts if row)
    shape = plain(longest) if shapes is None else shapes.first(longest, sum(map(len, targeted)))
    inputs = np.zeros((max(len(parts), shape.rows), shape.width), np.int32)
    positions, targets = [], []
    for number, (row, at) in enumerate(zip(parts, targeted, strict=True)):
        if row is not None:
            inputs[number, : len(row.tokens) - 1] = row.tokens[:-1]
            positions.append(number * shape.width + at)
            targets.append(row.tokens[1:][at])
    return Batch(
        inputs=inputs,
        positions=filled(np.concatenate(positions).astype(np.int32), shape.targets, -1),
        targets=filled(np.concatenate(targets).astype(np.int32), shape.targets, 0),
        rows=tuple(int(index) for index in rows if index >= 0),
        tokens=sum(len(row.tokens) for row in parts if row),
    )

"""The order of the data, and rows laid side by side.

Which rows form which batch is a pure function of (row lengths, batch size, seed, epoch). Nothing else is
random: not the evaluation interval, not a resume, not what was drawn before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

WINDOW_BATCHES = 64
"""Rows are sorted by length inside windows of this many batches: little padding, still a random order."""
PAD_TO = 8
"""Batches are padded to a multiple of this many tokens."""


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
    """Tokenized rows, as `droidft.data.TokenSet` holds them."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, shape [rows]."""
        ...

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Row: ...


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows padded to one length, ready for next-token prediction.

    `inputs` is [B, T]. A supervised target is named by its flat position b * T + t in `positions` [N], where
    the model's output at that position has to predict `targets` [N].
    """

    inputs: NDArray[np.int32]
    positions: NDArray[np.int32]
    targets: NDArray[np.int32]
    rows: tuple[int, ...]
    tokens: int
    """Real tokens, padding not counted."""

    @property
    def supervised(self) -> int:
        """Targets in this batch."""
        return len(self.targets)


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


def steps_per_epoch(rows: int, *, batch_size: int, accumulation: int) -> int:
    """Optimizer steps that show every row once; the last one may see fewer rows."""
    batches = -(-rows // batch_size)
    return -(-batches // accumulation)


def make_batch(source: RowSource, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
    """Lay `rows` side by side, padded on the right (a causal model never looks there)."""
    parts = [source[int(index)] for index in rows]
    longest = max(len(row.tokens) for row in parts)
    width = -(-(longest - 1) // PAD_TO) * PAD_TO
    inputs = np.zeros((len(parts), width), np.int32)
    positions, targets = [], []
    for number, row in enumerate(parts):
        inputs[number, : len(row.tokens) - 1] = row.tokens[:-1]
        at = np.flatnonzero(row.supervised[1:])
        positions.append(number * width + at)
        targets.append(row.tokens[1:][at])
    return Batch(
        inputs=inputs,
        positions=np.concatenate(positions).astype(np.int32),
        targets=np.concatenate(targets).astype(np.int32),
        rows=tuple(int(index) for index in rows),
        tokens=sum(len(row.tokens) for row in parts),
    )

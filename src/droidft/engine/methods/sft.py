"""Supervised fine-tuning: which batches a step sees, and their loss. The loop does the rest."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from droidft.config import TrainingConfig
from droidft.data import batches
from droidft.data.batches import Batch, CountedRows, RowSource
from droidft.engine.model.loss import SplitModel, losses, token_losses
from droidft.engine.training.method import Evaluation, Interrupted, OverRows, Sums


class Supervised(OverRows):
    """Next-token cross-entropy on the supervised tokens of a fixed set of rows."""

    def __init__(self, config: TrainingConfig, train: CountedRows, validation: RowSource) -> None:
        lengths = train.lengths
        super().__init__(config, lengths, (lengths, np.minimum(train.supervised_counts, lengths - 1), 1))
        self._train = train
        self._validation = validation

    def batches(self, step: int) -> list[Batch]:
        """The batches that optimizer step `step` (1-based) accumulates; a pure function of (seed, step)."""
        return [batches.make_batch(self._train, rows, self.shapes) for rows in self.rows_of(step)]

    def loss(self, model: SplitModel, batch: Batch) -> tuple[mx.array, Sums]:
        """Summed cross-entropy of a batch's targets, in nats."""
        return token_losses(model, batch).sum(), {}

    def evaluate(self, model: SplitModel, *, should_stop: Callable[[], bool]) -> Evaluation:
        """Mean loss over the whole validation set."""
        total, count = 0.0, 0
        for rows in batches.evaluation_order(self._validation.lengths, batch_size=self._config.batch_size):
            if should_stop():
                raise Interrupted
            batch = batches.make_batch(self._validation, rows)
            values = losses(model, batch)
            total += float(np.asarray(values).sum(dtype=np.float64))
            count += batch.supervised
        return Evaluation(total / count, count)

    def locate(self, batch: Batch) -> list[tuple[Batch, str]]:
        """Each row of a batch by itself, with the file and line it came from."""
        return [(batches.make_batch(self._train, [row]), self._place(row)) for row in batch.rows]

    def _place(self, index: int) -> str:
        row = self._train[index]
        return f"{row.file}:{row.line}"

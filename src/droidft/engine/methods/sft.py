"""Supervised fine-tuning: which batches a step sees, and their loss. The loop does the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from droidft.config import TrainingConfig
from droidft.data import batches
from droidft.data.batches import Batch, RowSource
from droidft.engine.model.loss import SplitModel, losses, summed_loss
from droidft.engine.training.method import Evaluation, Interrupted, Method, Sums


class Supervised(Method):
    """Next-token cross-entropy on the supervised tokens of a fixed set of rows."""

    def __init__(self, config: TrainingConfig, train: RowSource, validation: RowSource) -> None:
        self._config = config
        self._train = train
        self._validation = validation
        self.steps_per_epoch = batches.steps_per_epoch(
            len(train), batch_size=config.batch_size, accumulation=config.grad_accumulation_steps
        )
        self._epoch = lru_cache(maxsize=2)(self._epoch_order)

    def batches(self, step: int) -> list[Batch]:
        """The batches that optimizer step `step` (1-based) accumulates; a pure function of (seed, step)."""
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        size = self._config.grad_accumulation_steps
        rows = self._epoch(epoch)[place * size : (place + 1) * size]
        return [batches.make_batch(self._train, chosen) for chosen in rows]

    def loss(self, model: SplitModel, batch: Batch) -> tuple[mx.array, Sums]:
        """Summed cross-entropy of a batch's targets, in nats."""
        return summed_loss(model, batch), {}

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

    def _epoch_order(self, epoch: int) -> list[NDArray[np.int64]]:
        return batches.epoch_order(
            self._train.lengths, batch_size=self._config.batch_size, seed=self._config.seed, epoch=epoch
        )

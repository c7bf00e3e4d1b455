"""What a training method is to the loop: where its batches come from, and their loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import mlx.core as mx
from numpy import int64
from numpy.typing import NDArray

from droidft.config import TrainingConfig
from droidft.data import batches
from droidft.data.batches import Batch
from droidft.data.shapes import Shapes, choose
from droidft.engine.model.loss import SplitModel
from droidft.events import Event

PLANNED_EPOCHS = 3
PLANNED_ROWS = 100_000
"""Shapes are chosen by the batches of so many epochs, or rows."""

Sums = dict[str, mx.array]
"""What a batch adds to a step's statistics: scalars by name, to be summed over the step."""


class Interrupted(Exception):
    """The user asked to stop; the step in progress was not applied."""


@dataclass(frozen=True)
class Evaluation:
    """How well the model does on the validation set; the lower `loss`, the better."""

    loss: float
    tokens: int
    metrics: dict[str, float] = field(default_factory=dict)


class Method(ABC):
    """What differs between supervised training, reinforcement and preferences.

    Whatever a step sees is a function of (configuration, data, step, weights before the step, `state`), so that a
    resumed run continues bit for bit.
    """

    steps_per_epoch: int
    """Optimizer steps in one pass over the data."""
    samples = False
    """Whether preparing a step may sample from the model, so that the steps before it have to be done by then."""
    shapes: Shapes | None = None
    """The few shapes that batches are filled up to, where a step is compiled for each."""

    def prepare(self, step: int, model: SplitModel, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Work that the batches of optimizer step `step` (1-based) need, such as sampling.

        Raises:
            Interrupted: `should_stop` returned True; nothing is kept of the work.
        """
        yield from ()

    @abstractmethod
    def few_shapes(self) -> Shapes:
        """Shapes that hold every batch of the run, a function of its configuration and data."""

    @abstractmethod
    def batches(self, step: int) -> Sequence[Batch]:
        """What optimizer step `step` accumulates; none where there is nothing to learn."""

    def weight(self, batches: Sequence[Batch]) -> float:
        """What the step's summed loss is divided by, and its weight in means over steps."""
        return sum(batch.supervised for batch in batches)

    @abstractmethod
    def loss(self, model: SplitModel, batch: Batch) -> tuple[mx.array, Sums]:
        """Loss summed over what `weight` counts, a scalar; and the batch's statistics."""

    def metrics(self, step: int, sums: dict[str, float]) -> dict[str, float]:
        """The step's metrics from its summed statistics, by the names of `events.METRICS`."""
        return {}

    def report(self, step: int) -> Iterator[Event]:
        """Events besides the report of `step`."""
        yield from ()

    @abstractmethod
    def evaluate(self, model: SplitModel, *, should_stop: Callable[[], bool]) -> Evaluation:
        """Performance on the whole validation set.

        Raises:
            Interrupted: `should_stop` returned True.
        """

    @abstractmethod
    def locate(self, batch: Batch) -> list[tuple[Batch, str]]:
        """Each row of a batch by itself, with a name for it."""

    def state(self) -> dict[str, mx.array]:
        """The method's own arrays that a checkpoint has to keep, by name."""
        return {}

    def restore(self, arrays: dict[str, mx.array]) -> None:
        """Put back what `state` returned."""
        assert not arrays, sorted(arrays)


class OverRows(Method):
    """A method that goes through a fixed set of rows (or pairs) in an order that follows from (seed, epoch).

    `extents`: for each row or pair its tokens and its targets at most, and how many lines of a batch it takes.
    """

    def __init__(
        self, config: TrainingConfig, lengths: NDArray[int64], extents: tuple[NDArray[int64], NDArray[int64], int]
    ) -> None:
        self._config = config
        self._lengths, self._extents = lengths, extents
        self.steps_per_epoch = batches.steps_per_epoch(config, len(lengths))

        @lru_cache(maxsize=2)
        def order(epoch: int) -> list[NDArray[int64]]:
            return batches.epoch_order(lengths, batch_size=config.batch_size, seed=config.seed, epoch=epoch)

        self._order = order

    def few_shapes(self) -> Shapes:
        """The shapes with the least padding for the first epochs' batches."""
        tokens, targets, rows_each = self._extents
        epochs = range(max(1, min(PLANNED_EPOCHS, PLANNED_ROWS // len(self._lengths))))
        planned = [rows for epoch in epochs for rows in self._order(epoch)]
        size = self._config.batch_size
        return choose(self._lengths, tokens, targets, planned, batch_size=size, rows_each=rows_each)

    def rows_of(self, step: int) -> list[NDArray[int64]]:
        """Indices of the rows in each batch that optimizer step `step` (1-based) accumulates."""
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        size = self._config.grad_accumulation_steps
        return self._order(epoch)[place * size : (place + 1) * size]

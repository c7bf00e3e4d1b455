"""What a training report holds: means over a window, speed without evaluations and saves, time left."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import mlx.core as mx

from droidft.data.batches import Batch
from droidft.engine.machine import host
from droidft.engine.training.checkpoint import RunState, WindowState
from droidft.events import TrainReport

RECENT_STEPS = 20


@dataclass
class Meter:
    """Counts tokens and seconds of optimizer steps; evaluation and saving are not in them."""

    total_steps: int
    steps_per_epoch: int
    steps_per_eval: int
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    window: WindowState = field(default_factory=WindowState)
    evaluation_seconds: float = 0.0
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))
    _timed: int = 0

    def add(
        self, batches: Sequence[Batch], *, loss_sum: float, weight: float, grad_norm: float, seconds: float
    ) -> None:
        """Count one optimizer step; `loss_sum` is its mean loss times `weight`."""
        tokens = sum(batch.tokens for batch in batches)
        supervised = sum(batch.supervised for batch in batches)
        self.tokens += tokens
        self.supervised_tokens += supervised
        self.seconds += seconds
        self.window = WindowState(
            loss=self.window.loss + loss_sum,
            weight=self.window.weight + weight,
            supervised_tokens=self.window.supervised_tokens + supervised,
            tokens=self.window.tokens + tokens,
            seconds=self.window.seconds + seconds,
            grad_norm=max(self.window.grad_norm, grad_norm),
            metrics=self.window.metrics,
        )
        self._timed += 1
        # The first step compiles and allocates: the next will not take as long.
        if self._timed == 2:
            self._recent.clear()
        self._recent.append(seconds)

    def state(self) -> dict[str, Any]:
        """The fields of a `RunState` that are counted here."""
        return {
            "tokens": self.tokens,
            "supervised_tokens": self.supervised_tokens,
            "train_seconds": self.seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "window": self.window,
        }

    def restore(self, state: RunState) -> None:
        """Put back what `state` returned."""
        self.tokens, self.supervised_tokens = state.tokens, state.supervised_tokens
        self.seconds, self.evaluation_seconds = state.train_seconds, state.evaluation_seconds
        self.window = state.window

    def measure(self, metrics: Mapping[str, float]) -> None:
        """Count what the method measured in the step just added."""
        before = self.window.metrics
        now = {
            name: (before.get(name, (0.0, 0))[0] + value, before.get(name, (0.0, 0))[1] + 1)
            for name, value in metrics.items()
        }
        self.window = self.window.model_copy(update={"metrics": before | now})

    def report(self, *, step: int, learning_rate: float) -> TrainReport:
        """The report of the window that ends with `step`; starts a new window."""
        window, self.window = self.window, WindowState()
        return TrainReport(
            step=step,
            epoch=step / self.steps_per_epoch,
            loss=window.loss / window.weight,
            learning_rate=learning_rate,
            grad_norm=window.grad_norm,
            tokens_per_second=window.tokens / window.seconds,
            supervised_tokens_per_second=window.supervised_tokens / window.seconds,
            tokens=self.tokens,
            supervised_tokens=self.supervised_tokens,
            peak_memory_bytes=mx.get_peak_memory(),
            rss_bytes=host.peak_rss(),
            seconds_left=self.seconds_left(step),
            metrics={name: total / count for name, (total, count) in window.metrics.items()},
        )

    def seconds_left(self, step: int) -> float | None:
        """Time for the remaining steps at their recent pace, and for the evaluations among them."""
        if not self._recent:
            return None
        # A report comes before the evaluation of its own step.
        evaluations = self.total_steps // self.steps_per_eval - (step - 1) // self.steps_per_eval
        evaluations += self.total_steps % self.steps_per_eval != 0
        return (self.total_steps - step) * median(self._recent) + evaluations * self.evaluation_seconds

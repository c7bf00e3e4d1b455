"""How well a model does on rows it has not seen: loss, and answers that are right or wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.nn as nn
from mlx_lm.tokenizer_utils import TokenizerWrapper

from droidft.config import TrainingConfig
from droidft.data.prepare import prepare
from droidft.engine.generation.generate import generate_batch
from droidft.engine.methods.sft import Supervised
from droidft.engine.model.loss import SplitModel

NORMAL_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Accuracy:
    """Right answers among `total`, with the 95 % score interval (Wilson, 1927)."""

    right: int
    total: int

    @property
    def share(self) -> float:
        """Observed share of right answers."""
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end; sensible at 0 and 1 too."""
        n, p, z = self.total, self.share, NORMAL_95
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)


def held_out_loss(model: nn.Module, tokenizer: TokenizerWrapper, config: TrainingConfig, rows: Path) -> float:
    """Mean loss in nats per supervised token on the rows of a file, read and masked as `config` says."""
    changed = config.model_copy(update={"train_data_path": str(rows), "val_data_path": str(rows)})
    data = prepare(changed, tokenizer)
    method = Supervised(changed, data.train, data.validation)
    return method.evaluate(SplitModel(model), should_stop=lambda: False).loss


def accuracy(
    model: nn.Module,
    tokenizer: TokenizerWrapper,
    questions: Sequence[str],
    is_right: Callable[[int, str], bool],
    *,
    max_tokens: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Accuracy, list[str]]:
    """Greedy answers to `questions`, judged by `is_right(index, answer)`; the score and the answers."""
    answers = generate_batch(model, tokenizer, questions, max_tokens=max_tokens, progress=progress)
    right = sum(is_right(index, answer) for index, answer in enumerate(answers))
    return Accuracy(right, len(answers)), answers

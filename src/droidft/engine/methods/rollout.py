"""What one sampling gave: completions in groups, their scores, and what a checkpoint keeps of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from droidft.engine.methods.sampling import Completion

Floats = NDArray[np.float32]


@dataclass(eq=False)
class Rollout:
    """Completions of one sampling, group after group; tokens and what belongs to each are joined.

    `prompts` [completions] are indices of the training set, `lengths` [completions] in tokens, `scores`
    [completions, rewards] unweighted. `tokens`, `old` (log-probabilities at sampling) and `entropies` are [tokens].
    """

    number: int
    """Which sampling of the run, from 0."""
    prompts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    scores: NDArray[np.float64]
    tokens: NDArray[np.int32]
    old: Floats
    entropies: Floats
    tokens_per_second: float
    reference: Floats | None = None
    """Log-probabilities under the base model, where the loss needs them."""

    @classmethod
    def of(
        cls,
        number: int,
        prompts: NDArray[np.int64],
        completions: list[Completion],
        scores: NDArray[np.float64],
        *,
        seconds: float,
    ) -> Rollout:
        """Join the completions of a sampling that took `seconds`."""
        lengths = np.array([len(completion.tokens) for completion in completions], np.int64)
        return cls(
            number=number,
            prompts=prompts,
            lengths=lengths,
            truncated=np.array([completion.truncated for completion in completions]),
            scores=scores,
            tokens=np.concatenate([completion.tokens for completion in completions]),
            old=np.concatenate([completion.logps for completion in completions]),
            entropies=np.concatenate([completion.entropies for completion in completions]),
            tokens_per_second=float(lengths.sum()) / seconds,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def span(self, index: int) -> slice:
        """Where the tokens of a completion stand."""
        end = int(self._ends[index])
        return slice(end - int(self.lengths[index]), end)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.lengths)

    def arrays(self) -> dict[str, mx.array]:
        """Everything, to the bit, as arrays that can be saved."""
        found: dict[str, Any] = {
            "number": np.array([self.number], np.int64),
            "prompts": self.prompts,
            "lengths": self.lengths,
            "truncated": self.truncated,
            # Safetensors of MLX have no doubles.
            "scores": np.ascontiguousarray(self.scores).view(np.uint32),
            "tokens": self.tokens,
            "old": self.old,
            "entropies": self.entropies,
            "tokens_per_second": np.array([self.tokens_per_second], np.float32),
        }
        if self.reference is not None:
            found["reference"] = self.reference
        return {name: mx.array(value) for name, value in found.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, mx.array]) -> Rollout:
        """What `arrays` was made from."""
        found = {name: np.array(value) for name, value in arrays.items()}
        return cls(
            number=int(found["number"][0]),
            prompts=found["prompts"],
            lengths=found["lengths"],
            truncated=found["truncated"],
            scores=found["scores"].view(np.float64),
            tokens=found["tokens"],
            old=found["old"],
            entropies=found["entropies"],
            tokens_per_second=float(found["tokens_per_second"][0]),
            reference=found.get("reference"),
        )

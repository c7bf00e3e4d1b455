"""Where the values of a model's weights lie among the tensors of its checkpoint.

Most of mlx-lm's models rename, stack, split or transpose what they load. An export must not guess the way back: the
engine follows every value once (`engine.model.origins`), and what it finds is kept here, row by row of each matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


class Role(StrEnum):
    """What an adapted weight does, which decides how its two factors make its update."""

    LINEAR = "linear"
    EXPERTS = "experts"
    FUSED = "fused"
    EMBEDDING = "embedding"
    WHOLE = "whole"
    """Trained itself, without factors."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows of a weight that lie in one stored tensor.

    Value j of row `rows[i]` is at place `starts[i] + stride * j` of the tensor's values in their order.
    """

    tensor: str
    rows: Places
    starts: Places
    stride: int


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a weight of the model comes from.

    `shape` is the weight's own: (out, in), (experts, out, in), (tokens, width), or any other of one that is trained
    whole. Rows run along the last axis and are counted over all the others.
    """

    name: str
    """The module's path in the model, or the parameter's where it is trained whole."""
    role: Role
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    router: bool = False
    """Whether it weighs experts or branches."""
    shift: float = 0.0
    """What loading adds to the stored values: 1 for norms that are stored as differences from 1."""

    @property
    def width(self) -> int:
        """Values of a row."""
        return self.shape[-1] if self.shape else 1


@dataclass(frozen=True, eq=False)
class Origins:
    """All adapted weights of a model by name, and why others have no origin."""

    weights: Mapping[str, Origin]
    unknown: Mapping[str, str]
    """Adapted weights that cannot be traced, each with the reason."""

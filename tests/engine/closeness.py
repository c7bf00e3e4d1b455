"""Whether two functions agree, in value and in every gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

RTOL = 1e-5
Function = Callable[..., mx.array]


def close(got: Any, want: Any, tolerance: float = RTOL) -> None:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


def same(got: Function, want: Function, *args: mx.array) -> None:
    """Both functions agree in value and in the gradient to every argument."""
    value = want(*args)
    pull = mx.random.normal(value.shape, key=mx.random.key(1))
    close(got(*args), value)
    every = tuple(range(len(args)))
    gradients = [mx.grad(lambda *a, f=f: (f(*a) * pull).sum(), every)(*args) for f in (got, want)]
    for mine, theirs in zip(*gradients, strict=True):
        close(mine, theirs)


def heads(random: Function, batch: int, heads: int, length: int, dim: int) -> mx.array:
    """[batch, heads, length, dim] as models make it: a transposed view."""
    return random(batch, length, heads, dim).transpose(0, 2, 1, 3)

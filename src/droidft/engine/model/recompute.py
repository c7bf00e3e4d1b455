"""Activations computed again in the backward pass instead of being kept; and the random numbers of dropout.

Dropout draws from a key of our own, not from MLX's global one: a compiled step is handed its seed as an array, and
what is recomputed has to drop the same values twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

_seed: Any = None
_key: Any = None


def seed_array(seed: int) -> mx.array:
    """A 64-bit seed as `seed_dropout` takes it."""
    return mx.array(np.array(seed, np.uint64))


def seed_dropout(seed: int | mx.array) -> None:
    """Make all dropout until the next call a function of `seed`: a number, or a uint64 scalar."""
    global _seed
    _seed = seed if isinstance(seed, mx.array) else seed_array(seed)
    _start(_seed)


def forget_seed() -> None:
    """Let go of the arrays that a seed was made of; dropout needs a new one."""
    global _seed, _key
    _seed = _key = None


class Dropout(nn.Dropout):  # type: ignore[misc]
    """MLX's dropout with the numbers that follow from `seed_dropout`."""

    def __call__(self, x: mx.array) -> mx.array:
        """Zero each value with probability p and scale the others."""
        global _key
        if self._p_1 == 1 or not self.training:
            return x
        if _key is None:
            seed_dropout(0)
        _key, own = mx.random.split(_key)
        kept = mx.random.bernoulli(self._p_1, x.shape, key=own)
        dropped: mx.array = (kept * x) * (1 / self._p_1)
        return dropped


def recomputed(module: nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function(*args)`, recomputed in the backward pass; gradients reach `module`'s trained parameters too."""

    def call(*args: Any, **options: Any) -> Any:
        global _seed
        if _seed is None:
            seed_dropout(0)
        _seed = own = _seed * seed_array(6364136223846793005) + seed_array(1442695040888963407)

        def with_parameters(parameters: Any, *inner: Any, **also: Any) -> Any:
            # Run twice, it must drop the same values both times.
            _start(own)
            module.update(parameters)
            return function(*inner, **also)

        return mx.checkpoint(with_parameters)(module.trainable_parameters(), *args, **options)

    return call


@contextmanager
def recomputed_blocks(model: nn.Module) -> Iterator[None]:
    """While this is open, every block of `model` keeps only its input (gradient checkpointing)."""
    kinds = {type(block) for block in model.layers}
    originals = {kind: kind.__call__ for kind in kinds}

    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(block: nn.Module, *args: Any, **options: Any) -> Any:
            return recomputed(block, lambda *inner, **also: original(block, *inner, **also))(*args, **options)

        return call

    for kind, original in originals.items():
        kind.__call__ = wrapper(original)
    try:
        yield
    finally:
        for kind, original in originals.items():
            kind.__call__ = original


def _start(seed: mx.array) -> None:
    """The key that `mx.random.seed` would set."""
    global _key
    words = mx.stack([seed >> seed_array(32), seed & seed_array(0xFFFFFFFF)])
    _key = words.astype(mx.uint32)

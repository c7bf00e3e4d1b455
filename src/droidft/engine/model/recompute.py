"""Activations computed again in the backward pass instead of being kept; and the seed of dropout, which both need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

_seed = 0


def seed_dropout(seed: int) -> None:
    """Make all dropout until the next call a function of `seed`."""
    global _seed
    _seed = seed
    mx.random.seed(seed)


def recomputed(module: nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function(*args)`, recomputed in the backward pass; gradients reach `module`'s trained parameters too."""

    def call(*args: Any, **options: Any) -> Any:
        global _seed
        _seed = (_seed * 6364136223846793005 + 1442695040888963407) % 2**64
        own = _seed

        def with_parameters(parameters: Any, *inner: Any, **also: Any) -> Any:
            # Run twice, it must drop the same values both times.
            mx.random.seed(own)
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

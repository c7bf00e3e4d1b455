"""Activations computed again in the backward pass instead of being kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn


def recomputed(module: nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function(*args)`, recomputed in the backward pass; gradients reach `module`'s trained parameters too."""

    def with_parameters(parameters: Any, *args: Any, **options: Any) -> Any:
        module.update(parameters)
        return function(*args, **options)

    checkpointed = mx.checkpoint(with_parameters)

    def call(*args: Any, **options: Any) -> Any:
        return checkpointed(module.trainable_parameters(), *args, **options)

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

"""Stored weights against the model that they are for: what is missing, what is too many, what has another form.

A tensor that the model needs and the files lack would otherwise keep its random first values; one that the model has
no place for is computed without. The first is refused by name. The second is refused where it belongs to a block of
the model (a bias or a norm, without which the block computes something else), and reported where it does not: a
vision tower, layers for multi-token prediction, a copy of a tied head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from droidft.errors import ModelError
from droidft.support.words import count

Weights = Mapping[str, mx.array]
_BLOCK = re.compile(r"(?P<list>.*?\b(?:layers|h|blocks))\.(?P<number>\d+)\.")
_BUFFERS = re.compile(r"(^|\.)(rotary_emb\.|rope\.|attn\.(masked_)?bias$|attention\.(masked_)?bias$|.*inv_freq$)")
"""Constants that older checkpoints store beside their weights."""
_SHOWN = 3


def fitted(model: nn.Module, weights: Weights, *, name: str) -> tuple[dict[str, mx.array], list[str]]:
    """The weights that the model `name` takes, all of its own; and the names of those that it has no place for.

    Raises:
        ModelError: some are missing, of another shape or kind, or belong to a block that has no place for them.
    """
    wanted = dict(tree_flatten(model.parameters()))
    others = sorted(each for each in weights.keys() - wanted.keys() if not _BUFFERS.search(each))
    if missing := sorted(wanted.keys() - weights.keys()):
        instead = f"; {len(others):,} that are there have no place, such as {others[0]}" if others else ""
        raise ModelError(
            f"{name} cannot be loaded: its weight files lack {count(len(missing), 'tensor')} that config.json asks "
            f"for: {_some(missing)}{instead}",
            hint=_fix_missing(missing, weights),
        )
    for tensor, own in wanted.items():
        stored = weights[tensor]
        if stored.shape != own.shape:
            raise ModelError(
                f"{name} cannot be loaded: {tensor} is stored as {_shape(stored)}, config.json means {_shape(own)}",
                hint="config.json and the weights are not from the same model; get both again",
            )
        if _is_float(own) and not _is_float(stored):
            raise ModelError(
                f"{name} cannot be loaded: {tensor} is stored as 8-bit floats or integers ({stored.dtype}), and "
                "config.json names no scheme to read them by",
                hint="get config.json again, or use a version in bfloat16 or float16",
            )
    if strangers := _inside_blocks(others, wanted):
        raise ModelError(
            f"{name} cannot be loaded: its weight files hold {count(len(strangers), 'tensor')} that blocks of its "
            f"model type have, by its config.json, no place for: {_some(strangers)}",
            hint="config.json and the weights are not from the same model, or a newer mlx-lm is needed",
        )
    return {tensor: weights[tensor] for tensor in wanted}, others


def remark(unused: Sequence[str]) -> str:
    """A sentence about tensors that are stored and not used."""
    return f"the weight files hold {count(len(unused), 'tensor')} that this model does not use: {_some(unused)}"


def _inside_blocks(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Those of `names` that lie in a block that `wanted` has too."""
    blocks = {match[0] for name in wanted if (match := _BLOCK.match(name))}
    return [name for name in names if (match := _BLOCK.match(name)) and match[0] in blocks]


def _fix_missing(missing: Sequence[str], weights: Weights) -> str:
    if missing == ["lm_head.weight"]:
        return (
            "if the original model ties its output to its embedding, set tie_word_embeddings to true in config.json"
        )
    if all(name == "lm_head.weight" or name.partition(".")[2] in weights for name in missing):
        return "the files name their tensors as models without an output head do; use the causal-LM version"
    return "the download is incomplete, or config.json is another model's; get both again"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _shape(array: mx.array) -> str:
    return " x ".join(map(str, array.shape)) or "a number"


def _is_float(array: mx.array) -> bool:
    return bool(mx.issubdtype(array.dtype, mx.floating))

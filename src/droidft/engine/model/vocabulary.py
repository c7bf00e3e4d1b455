"""The tokenizer's tokens against the rows of the embedding.

Reading a row that is not there is undefined: on a CPU it is whatever lies behind the embedding in memory. Rows that
belong to no token, as many models have them, are never sampled.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from droidft.errors import ModelError

_OTHER_MEDIA = re.compile(r"image|img|audio|video|vision|speech", re.IGNORECASE)
_NOT_OF_TOKENS = re.compile(r"(^|\.)(wpe|embed_positions|position_embeddings?)$|per_layer")
_NAMED = 5


def rows(model: nn.Module) -> int | None:
    """Rows of the embedding of tokens; None where it cannot be told from the others."""
    sizes = [
        module["weight"].shape[0]
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding | nn.QuantizedEmbedding) and not _NOT_OF_TOKENS.search(name)
    ]
    return max(sizes, default=None)


def check(tokenizer: Any, size: int, *, model: str) -> list[str]:
    """Refuse a tokenizer with tokens beyond an embedding of `size` rows.

    Places held for pictures and sound are let pass, since no text becomes one of them; they are returned, by name.

    Raises:
        ModelError: there are others.
    """
    beyond = {token: index for token, index in tokenizer.get_vocab().items() if index >= size}
    added = tokenizer.added_tokens_decoder
    wrong = sorted(
        (index, token)
        for token, index in beyond.items()
        if not (index in added and added[index].special and _OTHER_MEDIA.search(token))
    )
    if wrong:
        shown = ", ".join(f"{token!r} ({index:,})" for index, token in wrong[:_NAMED])
        rest = f" and {len(wrong) - _NAMED:,} more" if len(wrong) > _NAMED else ""
        raise ModelError(
            f"the tokenizer of {model} has tokens that its embedding of {size:,} rows lacks: {shown}{rest}",
            hint="tokenizer and weights are of different models, or the embedding was not resized; get both again",
        )
    return sorted(beyond)


def forbid_padding(tokenizer: Any) -> Callable[[mx.array], mx.array]:
    """Logits (…, V) -> the same with -inf for every row that is no token of `tokenizer`."""
    known: dict[int, mx.array | None] = {}

    def forbid(logits: mx.array) -> mx.array:
        size = logits.shape[-1]
        if size not in known:
            known[size] = padding(tokenizer, size)
        mask = known[size]
        return logits if mask is None else mx.where(mask, -mx.inf, logits)

    return forbid


def padding(tokenizer: Any, size: int) -> mx.array | None:
    """True for each of `size` rows that is no token of `tokenizer`; None where all are."""
    unused = sorted(set(range(size)) - set(tokenizer.get_vocab().values()))
    if not unused or len(unused) == size:
        return None
    mask = mx.zeros(size, mx.bool_)
    mask[mx.array(unused)] = True
    return mask

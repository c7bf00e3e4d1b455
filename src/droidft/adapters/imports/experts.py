"""B of all experts of a layer, which programs write in two orders."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from droidft.models.floats import Floats

_CLEARLY = 1.5
"""How many times more the columns of an expert have to agree in the other order before that one is taken."""


def by_expert(b: Floats, experts: int, *, in_turn: bool) -> Floats:
    """(experts, out, rank) of B (out, rank * experts): the expert is the fastest index, or one follows the other."""
    rank = b.shape[1] // experts
    if in_turn:
        return b.reshape(len(b), experts, rank).transpose(1, 0, 2)
    return b.reshape(len(b), rank, experts).transpose(2, 0, 1)


def written_in_turn(stacks: Iterable[tuple[Floats, int]]) -> bool:
    """Whether an adapter's stacks (B, experts) have one expert after the other, and not PEFT's order.

    Nothing in the files says which. But what an expert learned came from its own tokens, so the columns of its B
    point in directions that are alike: in adapters of tiny models after three steps, their squared cosines are three
    times those of columns of several experts. Where neither order is clearly better, it is PEFT's.
    """
    turn, fastest = [], []
    for b, experts in stacks:
        if experts > 1 and b.shape[1] >= 2 * experts:
            turn.append(_agreement(by_expert(b, experts, in_turn=True)))
            fastest.append(_agreement(by_expert(b, experts, in_turn=False)))
    return bool(turn) and float(np.mean(turn)) > _CLEARLY * float(np.mean(fastest))


def _agreement(stack: Floats) -> float:
    """Mean squared cosine between the columns of each matrix (experts, out, rank), apart from those that are zero."""
    lengths = np.linalg.norm(stack, axis=1, keepdims=True)
    columns = stack / np.where(lengths > 0, lengths, 1)
    there = (lengths > 0).sum(axis=(1, 2)).astype(float)
    squares = np.square(columns.swapaxes(1, 2) @ columns).sum() - there.sum()
    return float(squares / max(1.0, (there * (there - 1)).sum()))

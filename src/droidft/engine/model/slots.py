"""Places in a model that an adapter fills, so that the base and the adapted model are a few assignments apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import mlx.nn as nn


@dataclass(frozen=True)
class Slot:
    """`holder[key]` is a module or, in full fine-tuning, an array: the base's own or the adapted one."""

    holder: Any
    key: str | int
    base: Any
    adapted: Any


def slot_of(model: nn.Module, name: str, base: Any, adapted: Any) -> Slot:
    """The slot of the module or array called `name` in `model`."""
    *path, last = name.split(".")
    holder: Any = model
    for part in path:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    return Slot(holder, int(last) if isinstance(holder, list) else last, base, adapted)


def fill(slots: Iterable[Slot], *, adapted: bool) -> None:
    """Put the adapted parts in place, or the base's own."""
    for slot in slots:
        slot.holder[slot.key] = slot.adapted if adapted else slot.base

"""Keys and values of prompts that were read, for those that begin alike: a conversation that goes on, a system text.

Kept in the parts that prompts are read in, so what is found is bit for bit what reading would give again: an answer
never depends on what was asked before.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import KVCache

from droidft.engine.model.lora import Attached

Key = tuple[Any, bytes]


@dataclass(frozen=True)
class _Part:
    """Keys and values [1, heads, length, dim] of each layer, for the tokens of one part."""

    layers: list[tuple[mx.array, mx.array]]

    @property
    def bytes(self) -> int:
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)


@dataclass(frozen=True)
class Span:
    """A part of a prompt: its place, and the name of what its keys and values depend on."""

    start: int
    end: int
    key: Key


class Kept:
    """Parts of prompts, by all that came before and by adapter; the least recently used go first."""

    def __init__(self, most_bytes: int, *, part: int) -> None:
        self._most_bytes, self._part = most_bytes, part
        self._parts: OrderedDict[Key, _Part] = OrderedDict()
        self.bytes = 0

    def spans(self, adapter: Attached | None, tokens: Sequence[int]) -> list[Span]:
        """The parts that a prompt is read in. The last may be short: it is found by the same prompt only."""
        owner = None if adapter is None else weakref.ref(adapter)
        digest, spans = b"", []
        for start in range(0, len(tokens), self._part):
            part = tokens[start : start + self._part]
            digest = hashlib.sha256(digest + np.asarray(part, np.int64).tobytes()).digest()
            spans.append(Span(start, start + len(part), (owner, digest)))
        return spans

    def find(self, spans: Sequence[Span], cache: list[Any]) -> int:
        """Lengthen a cache by the first of these parts that are known; how many they were."""
        if not all(type(layer) is KVCache for layer in cache):
            return 0
        for count, span in enumerate(spans):
            if span.key not in self._parts:
                return count
            self._parts.move_to_end(span.key)
            for layer, (keys, values) in zip(cache, self._parts[span.key].layers, strict=True):
                layer.update_and_fetch(keys, values)
        return len(spans)

    def keep(self, span: Span, cache: list[Any]) -> None:
        """Remember a part that was just read into a cache."""
        if not all(type(layer) is KVCache for layer in cache):
            return
        place = slice(span.start, span.end)
        part = _Part(
            [(mx.contiguous(it.keys[..., place, :]), mx.contiguous(it.values[..., place, :])) for it in cache]
        )
        if span.key in self._parts or part.bytes > self._most_bytes:
            return
        mx.eval(part.layers)
        self._parts[span.key] = part
        self.bytes += part.bytes
        while self.bytes > self._most_bytes:
            self.bytes -= self._parts.popitem(last=False)[1].bytes

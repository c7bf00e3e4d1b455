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


class Kept:
    """Parts of prompts, by all that came before and by adapter; the least recently used go first."""

    def __init__(self, most_bytes: int, *, part: int) -> None:
        self._most_bytes, self._part = most_bytes, part
        self._parts: OrderedDict[Key, _Part] = OrderedDict()
        self.bytes = 0

    def find(self, adapter: Attached | None, tokens: Sequence[int], cache: list[Any]) -> int:
        """Fill an empty cache with what is known of `tokens` with that adapter; how many tokens it holds then."""
        if not all(type(layer) is KVCache for layer in cache):
            return 0
        found: list[_Part] = []
        for key, _, _ in self._keys(adapter, tokens):
            if key not in self._parts:
                break
            self._parts.move_to_end(key)
            found.append(self._parts[key])
        if not found:
            return 0
        for layer, parts in zip(cache, zip(*(part.layers for part in found), strict=True), strict=True):
            layer.keys = mx.concatenate([keys for keys, _ in parts], axis=2)
            layer.values = mx.concatenate([values for _, values in parts], axis=2)
            layer.offset = layer.keys.shape[2]
        return int(cache[0].offset)

    def keep(self, adapter: Attached | None, tokens: Sequence[int], cache: list[Any]) -> None:
        """Remember what a cache holds of `tokens`, all of which were read into it."""
        if not all(type(layer) is KVCache for layer in cache):
            return
        for key, start, end in self._keys(adapter, tokens):
            if key in self._parts:
                self._parts.move_to_end(key)
                continue
            layers = [
                (mx.contiguous(layer.keys[..., start:end, :]), mx.contiguous(layer.values[..., start:end, :]))
                for layer in cache
            ]
            part = _Part(layers)
            if part.bytes > self._most_bytes:
                return
            mx.eval(layers)
            self._parts[key] = part
            self.bytes += part.bytes
        while self.bytes > self._most_bytes:
            self.bytes -= self._parts.popitem(last=False)[1].bytes

    def _keys(self, adapter: Attached | None, tokens: Sequence[int]) -> list[tuple[Key, int, int]]:
        """Each part's name, begin and end. The last one may be short: it is found by the same prompt only."""
        owner = None if adapter is None else weakref.ref(adapter)
        digest, keys = b"", []
        for start in range(0, len(tokens), self._part):
            part = tokens[start : start + self._part]
            digest = hashlib.sha256(digest + np.asarray(part, np.int64).tobytes()).digest()
            keys.append(((owner, digest), start, start + len(part)))
        return keys

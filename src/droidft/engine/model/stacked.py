"""Several adapters on one base at the same time: each row of a batch has the low-rank term of its own.

The matrices A of all adapters stand side by side, and so do the matrices B, whatever their ranks: z = x A is
computed for all, and what belongs to another row's adapter is zero before z B. Zeros change no sum, so a row's result
is that of its adapter alone. Works on any device. Layers of experts and fused projections, and full fine-tuning, do
not stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear

from droidft.engine.machine import kernels
from droidft.engine.model.lora import Attached, Slot

LINEAR = (LoRALinear, DoRALinear)
EMBEDDING = (LoRAEmbedding, DoRAEmbedding)


def stackable(adapter: Attached) -> bool:
    """Whether all that it replaces can share a batch with other adapters."""
    return all(type(slot.adapted) in (*LINEAR, *EMBEDDING) for slot in adapter.slots)


def repeats(adapter: Attached) -> bool:
    """Whether its layers compute at every step what never changes: DoRA's norms, which a stack has once."""
    return stackable(adapter) and any(type(slot.adapted) in (DoRALinear, DoRAEmbedding) for slot in adapter.slots)


class Rows:
    """Which adapter of a stack each of B rows has, by its number; -1 for the base alone."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._made: dict[tuple[Any, ...], mx.array] = {}

    def choose(self, numbers: Sequence[int]) -> None:
        """These are the rows from now on."""
        if list(numbers) != self._numbers:
            self._numbers, self._made = list(numbers), {}

    def own(self, columns: tuple[int, ...]) -> mx.array:
        """True [B, 1, R] where a column belongs to the row's adapter; `columns` are the adapters of R columns."""
        if columns not in self._made:
            rows = mx.array(self._numbers)[:, None, None]
            self._made[columns] = rows == mx.array(columns)
        return self._made[columns]

    def places(self, members: tuple[int, ...]) -> mx.array:
        """For each row, 1 + where its adapter stands in `members`; 0 where it does not."""
        if ("places", members) not in self._made:
            found = [1 + members.index(number) if number in members else 0 for number in self._numbers]
            self._made["places", members] = mx.array(found)
        return self._made["places", members]


class Stack(Attached):
    """Adapters that were made for one model, ready to be put on it together."""

    def __init__(self, members: Sequence[Attached]) -> None:
        self.members = list(members)
        self.rows = Rows()
        places: dict[tuple[int, str | int], tuple[Slot, list[tuple[int, Any]]]] = {}
        for number, member in enumerate(self.members):
            for slot in member.slots:
                place = places.setdefault((id(slot.holder), slot.key), (slot, []))
                place[1].append((number, slot.adapted))
        super().__init__([_stacked(slot, layers, self.rows) for slot, layers in places.values()])
        mx.eval([slot.adapted.arrays for slot in self.slots])

    def choose(self, adapters: Sequence[Attached | None]) -> None:
        """Give each row of the next batch its adapter, one of the members."""
        self.rows.choose([-1 if each is None else self.members.index(each) for each in adapters])


def _stacked(slot: Slot, layers: list[tuple[int, Any]], rows: Rows) -> Slot:
    made: Any = StackedLinear if isinstance(layers[0][1], LINEAR) else StackedEmbedding
    return Slot(slot.holder, slot.key, slot.base, made(slot.base, layers, rows))


class _Like(Protocol):
    """What LoRA and DoRA layers have."""

    lora_a: mx.array
    lora_b: mx.array
    scale: float


class _Stacked(nn.Module):  # type: ignore[misc]
    """A base layer with the adapters' matrices beside each other.

    `a` [in, R], `b` [R, out], already scaled; `gains` [1 + D, out] holds DoRA's factors of D of the adapters, after
    ones for the others.
    """

    def __init__(self, base: Any, layers: Sequence[tuple[int, _Like]], rows: Rows) -> None:
        super().__init__()
        self.base = base
        self._rows = rows
        self._columns = tuple(number for number, layer in layers for _ in range(layer.lora_a.shape[1]))
        self.a = mx.concatenate([layer.lora_a for _, layer in layers], axis=1)
        self.b = mx.concatenate([layer.scale * layer.lora_b for _, layer in layers], axis=0)
        dora = [(number, layer) for number, layer in layers if isinstance(layer, DoRALinear | DoRAEmbedding)]
        self._with_gains = tuple(number for number, _ in dora)
        gains = [_gain(layer) for _, layer in dora]
        self.gains = mx.stack([mx.ones_like(gains[0]), *gains]) if gains else None

    @property
    def arrays(self) -> list[mx.array]:
        """What it holds in addition to the base and to the adapters."""
        return [self.a, self.b, *([] if self.gains is None else [self.gains])]

    def _own(self, z: mx.array) -> mx.array:
        return mx.where(self._rows.own(self._columns), z, 0)


class StackedLinear(_Stacked):
    """x [B, L, in] -> x Wᵀ + z B, times the gain, plus the bias; always in this order, whoever shares the batch."""

    def __call__(self, x: mx.array) -> mx.array:
        """Of the rows that were chosen."""
        y, bias = _product(self.base, x)
        y = y + (self._own(x @ self.a) @ self.b).astype(x.dtype)
        if self.gains is not None:
            y = y * self.gains[self._rows.places(self._with_gains)][:, None].astype(x.dtype)
        result: mx.array = y if bias is None else y + bias
        return result


def _product(base: Any, x: mx.array) -> tuple[mx.array, mx.array | None]:
    """x Wᵀ of a linear layer, quantised or not, and its bias."""
    bias = base.get("bias")
    if (fused := kernels.active()) is not None and (short := fused.short_product(base, x)) is not None:
        return short, bias
    if type(base) is nn.Linear:
        return x @ base.weight.T, bias
    if type(base) is not nn.QuantizedLinear:
        return base(x), None
    y = mx.quantized_matmul(
        x,
        base.weight,
        scales=base.scales,
        biases=base.get("biases"),
        transpose=True,
        group_size=base.group_size,
        bits=base.bits,
        mode=base.mode,
    )
    return y, bias


class StackedEmbedding(_Stacked):
    """tokens [B, L] -> rows of W + A B, times the gain of each token; and the same matrix as a head."""

    def __call__(self, tokens: mx.array) -> mx.array:
        """Of the rows that were chosen."""
        y = self.base(tokens)
        y = y + (self._own(self.a[tokens]) @ self.b).astype(y.dtype)
        if self.gains is not None:
            place = self._rows.places(self._with_gains)[:, None]
            y = y * self.gains[place, tokens][..., None].astype(y.dtype)
        result: mx.array = y
        return result

    def as_linear(self, x: mx.array) -> mx.array:
        """x [B, L, hidden] -> logits [B, L, V]."""
        y = self.base.as_linear(x)
        y = y + (self._own(x @ self.b.T) @ self.a.T).astype(x.dtype)
        if self.gains is not None:
            y = y * self.gains[self._rows.places(self._with_gains)][:, None].astype(x.dtype)
        result: mx.array = y
        return result


def _gain(layer: Any) -> mx.array:
    """DoRA's magnitude over the norm of the adapted weight, [out] of a linear layer or [V] of an embedding."""
    if isinstance(layer, DoRALinear):
        adapted = layer._dequantized_weight() + (layer.scale * layer.lora_b.T) @ layer.lora_a.T
    else:
        adapted = layer.embedding.weight + (layer.scale * layer.lora_a) @ layer.lora_b
    gain: mx.array = layer.m / mx.linalg.norm(adapted, axis=1)
    return gain

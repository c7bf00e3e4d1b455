"""Updates of stored matrices, as other programs keep them, become layers of mlx-lm's format.

mlx-lm has one rank and one scale for an adapter, and adapts the same modules in each of the last blocks. So ranks are
filled up with zeros, what a pair's own scale differs by goes into B, and modules that the adapter leaves out get
factors of zero, which change nothing and learn nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from droidft.adapters.exports.factors import located
from droidft.adapters.exports.origins import Origin, Origins, Role
from droidft.errors import AdapterError
from droidft.models import headers
from droidft.models.factors import Factors
from droidft.models.floats import Floats

MERGE = "merge it where it was made (`merge_and_unload` in PEFT) and use the result as a model"

Matrix = tuple[str, int | None]
"""A stored tensor, and which matrix of it where it is a stack."""


@dataclass(frozen=True)
class Module:
    """A module that LoRA can adapt; `key` leads to it from its block, or from the model where `block` is None."""

    name: str
    key: str
    block: int | None
    role: Role
    inputs: int
    outputs: int
    experts: int = 1


@dataclass(frozen=True, eq=False)
class Base:
    """The model that an adapter is made for."""

    path: Path
    model_type: str
    stored: Mapping[str, headers.Stored]
    """Its tensors, as its weight files name them."""
    modules: Mapping[str, Module]
    blocks: int
    tied: bool
    """Whether the output head is the embedding."""
    trace: Callable[[Sequence[str]], Origins]
    """Where the weights of the modules of these names lie among the stored tensors."""


@dataclass(frozen=True, eq=False)
class Converted:
    """An adapter in mlx-lm's format."""

    tensors: dict[str, Floats]
    rank: int
    scale: float
    num_layers: int
    keys: list[str]
    dora: bool


def converted(pairs: Iterable[Factors], base: Base) -> Converted:
    """The layers that add what `pairs` add.

    Raises:
        AdapterError: mlx-lm's format has no place for one of them.
    """
    wanted = {pair.matrix: pair for pair in pairs}
    modules = _Search(wanted, base).modules()
    dora = any(pair.magnitude is not None for pair in wanted.values())
    # What the adapter scales most of its pairs by, so that most of them stay as they are.
    scale = Counter(pair.scale for pair in wanted.values()).most_common(1)[0][0]
    blocks = [block for name in modules if (block := base.modules[name].block) is not None]
    first = min(blocks, default=0)
    keys = list(dict.fromkeys(base.modules[name].key for name in modules))
    complete = [
        each for each in base.modules.values() if each.key in keys and (each.block is None or each.block >= first)
    ]
    if dora and (left_out := [each.name for each in complete if each.name not in modules]):
        raise AdapterError(
            f"the adapter is a DoRA without {left_out[0]}, and mlx-lm adapts a module in all of the last blocks",
            hint=MERGE,
        )
    rank = max(adapted.rank for adapted in modules.values())
    tensors: dict[str, Floats] = {}
    for each in complete:
        adapted = modules.get(each.name) or _Adapted()
        for leaf, values in adapted.layer(each, rank, scale).items():
            tensors[f"{each.name}.{leaf}"] = np.ascontiguousarray(values, dtype=np.float32)
    return Converted(tensors, rank, scale, base.blocks - first if first else -1, keys, dora)


@dataclass(eq=False)
class _Part:
    """Rows of a module's expert that one pair changes: `rows[i]` is its row `at[i]`."""

    pair: Factors
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    at: list[NDArray[np.int64]] = field(default_factory=list)


@dataclass(eq=False)
class _Adapted:
    """What pairs do to one module, by its experts."""

    parts: dict[int, dict[Matrix, _Part]] = field(default_factory=dict)

    def add(self, expert: int, pair: Factors, rows: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        part = self.parts.setdefault(expert, {}).setdefault(pair.matrix, _Part(pair))
        part.rows.append(rows)
        part.at.append(at)

    @property
    def rank(self) -> int:
        """Of the module: where several stored matrices meet in it, their ranks are stacked."""
        return max(sum(len(part.pair.a) for part in parts.values()) for parts in self.parts.values())

    def layer(self, module: Module, rank: int, scale: float) -> dict[str, Floats]:
        """mlx-lm's arrays of the layer."""
        left = np.zeros((module.experts, module.outputs, rank), np.float32)
        right = np.zeros((module.experts, rank, module.inputs), np.float32)
        magnitude = np.zeros(module.outputs, np.float32)
        covered = np.zeros(module.outputs, bool)
        for expert, parts in self.parts.items():
            done = 0
            for part in parts.values():
                pair, own = part.pair, len(part.pair.a)
                rows, at = np.concatenate(part.rows), np.concatenate(part.at)
                left[expert, rows, done : done + own] = pair.b[at] * np.float32(pair.scale / scale)
                right[expert, done : done + own] = pair.a
                if pair.magnitude is not None:
                    magnitude[rows], covered[rows] = pair.magnitude[at], True
                done += own
        if covered.any() and not covered.all():
            raise AdapterError(f"the adapter is a DoRA of only some rows of {module.name}", hint=MERGE)
        return _arrays(module.role, left, right) | ({"m": magnitude} if covered.any() else {})


def _arrays(role: Role, left: Floats, right: Floats) -> dict[str, Floats]:
    if role is Role.EXPERTS:
        return {"lora_a": right, "lora_b": left}
    if role is Role.EMBEDDING:
        return {"lora_a": left[0], "lora_b": right[0]}
    return {"lora_a": right[0].T, "lora_b": left[0].T}


class _Search:
    """Which modules the matrices that pairs change belong to."""

    def __init__(self, wanted: Mapping[Matrix, Factors], base: Base) -> None:
        self.wanted, self.base = wanted, base
        self.covered = {matrix: np.zeros(len(pair.b), bool) for matrix, pair in wanted.items()}
        self.found: dict[str, _Adapted] = {}

    def modules(self) -> dict[str, _Adapted]:
        """By name, in the model's order.

        Raises:
            AdapterError: a pair changes what no module holds, or has the shape of another model.
        """
        seen: set[str] = set()
        for candidates in (self._of_one_name(), self._of_their_blocks()):
            if self._missing() is None:
                break
            names = [name for name in candidates if name not in seen]
            seen.update(names)
            for origin in self.base.trace(names).weights.values():
                self._take(origin)
        if (pair := self._missing()) is not None:
            raise AdapterError(
                f"the adapter changes {pair.called}, and no module that LoRA adapts here holds that",
                hint=f"{MERGE}; or train without this module",
            )
        return {name: self.found[name] for name in self.base.modules if name in self.found}

    def _of_one_name(self) -> list[str]:
        """Most modules have the name of their tensor, which saves following the others."""
        stems = {bare(tensor.rpartition(".")[0]) for tensor, _ in self.wanted}
        return [name for name in self.base.modules if bare(name) in stems]

    def _of_their_blocks(self) -> list[str]:
        blocks = {
            int(number[1]) if (number := re.search(r"\.(\d+)\.", tensor)) else None for tensor, _ in self.wanted
        }
        return [name for name, module in self.base.modules.items() if module.block in blocks or module.block is None]

    def _missing(self) -> Factors | None:
        """A pair of which rows that are not zero have no module yet."""
        for matrix, pair in self.wanted.items():
            if not self.covered[matrix].all() and pair.b[~self.covered[matrix]].any():
                return pair
            if not self.covered[matrix].any():
                return pair
        return None

    def _take(self, origin: Origin) -> None:
        tensors = {tensor for tensor, _ in self.wanted}
        module = self.base.modules[origin.name]
        if module.role is Role.FUSED:
            return  # its layers have an A for each output, and no other program has such a module
        for piece in origin.pieces:
            if piece.tensor not in tensors:
                continue
            for some in located(origin, piece, self.base.stored[piece.tensor].shape):
                if (pair := self.wanted.get((piece.tensor, some.matrix))) is None:
                    continue
                _refuse_misfit(pair, some.outputs, module.inputs)
                self.covered[pair.matrix][some.at] = True
                self.found.setdefault(origin.name, _Adapted()).add(some.expert, pair, some.rows, some.at)


def _refuse_misfit(pair: Factors, outputs: int, inputs: int) -> None:
    theirs = (len(pair.b), pair.a.shape[1])
    if theirs != (outputs, inputs):
        raise AdapterError(
            f"the adapter has {pair.called} of {theirs[0]} x {theirs[1]}, and this model of {outputs} x {inputs}",
            hint="it was made for another model: name that one with --base",
        )


def bare(name: str) -> str:
    """A module's name without the prefixes in which classes of one model differ."""
    return re.sub(r"^(?:(?:base_model|model|language_model|transformer|backbone)\.)+", "", name)

"""Follow every value of an adapted weight back to the checkpoint.

mlx-lm's `sanitize` is run on tensors that hold, instead of weights, their own addresses: first the index of each
value in its tensor, then the number of the tensor. What arrives in a weight says where it came from, whatever was
renamed, stacked, split or transposed on the way. Nothing is read but the headers of the weight files, and one
module's addresses are computed at a time.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from droidft.adapters.exports.origins import Origin, Origins, Piece, Role
from droidft.engine.model import stored_weights
from droidft.engine.model.architectures import build_lazily, classes, initialise, understood
from droidft.engine.model.projections import Part, adaptable, part_of
from droidft.engine.model.renamed import module_of
from droidft.models import headers
from droidft.models.catalog import load_config, stored_names
from droidft.models.folder import weight_files

_SPACING = 8
"""Addresses are multiples of it, so that what loading adds to a value (1 to Gemma's norms) is seen."""
_BLOCK = re.compile(r"\.(\d+)\.")
_EXACT = 2**24
"""Whole numbers below it are exact in float32."""


def trace(path: Path, names: Sequence[str], *, whole: bool = False) -> Origins:
    """Where the weights of the modules `names` of the model in `path` come from.

    Blocks repeat: of the weights that differ in the number of their block alone, the first and the last are followed,
    and the others are like them if those two agree.

    Args:
        whole: the names are parameters that are trained themselves (fine-tune type `full`), not modules.

    Raises:
        ModelError: the folder holds no model that can be loaded.
    """
    config = load_config(path)
    modules = dict(build_lazily(config, stored=stored_names(path)).named_modules())
    roles = dict.fromkeys(names, Role.WHOLE) if whole else _roles(modules, names)
    followed = _Followed(path, config)
    found: dict[str, Origin] = {}
    unknown: dict[str, str] = {}
    for alike in _alike(roles, followed):
        first, last = alike[0], alike[-1]
        try:
            found |= {name: followed.origin(name, roles[name]) for name in {first, last}}
            others = {name: _renumbered(found[first], name) for name in alike[1:]}
            if len(alike) > 2 and not (_same(others[last], found[last]) and followed.has(others.values())):
                others = {name: followed.origin(name, roles[name]) for name in alike[1:-1]}
            found |= {name: others[name] for name in alike[1:-1]}
        except _Untraceable as error:
            unknown |= dict.fromkeys(alike, str(error))
    found = {name: found[name] for name in roles if name in found and name not in unknown}
    if not whole:
        routers = {name for name in found if part_of(name, modules) is Part.ROUTER}
        found |= {name: replace(found[name], router=True) for name in routers}
    return Origins(found, unknown)


class _Followed:
    """A checkpoint whose values are addresses, as mlx-lm loads it."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        files = weight_files(path)
        stored, counted = headers.tensors(*files), set(headers.names(*files))
        self.shapes = {name: held.shape for name, held in stored.items() if name in counted}
        self._order = list(self.shapes)
        given = {name: _places(shape) for name, shape in self.shapes.items()}
        self._names = {id(array): name for name, array in given.items()}
        self._given = given  # kept, so that no other array gets one of these ids
        self.places = _loaded(config, dict(given))
        self._numbers = _loaded(
            config, {name: _number(index, shape) for index, (name, shape) in enumerate(self.shapes.items())}
        )

    def has(self, origins: Iterable[Origin]) -> bool:
        """Whether every tensor that the origins name is in the checkpoint."""
        return all(piece.tensor in self.shapes for origin in origins for piece in origin.pieces)

    def origin(self, name: str, role: Role) -> Origin:
        """Where one weight comes from. Raises _Untraceable."""
        weight = name if role is Role.WHOLE else f"{name}.weight"
        if weight not in self.places:
            raise _Untraceable("its checkpoint has no such weight")
        places = self.places[weight]
        if (tensor := self._names.get(id(places))) is not None and self._is_untouched(weight, tensor):
            return _untouched(name, role, tensor, tuple(places.shape))
        # Copies without a graph are looked at, so that no address is held longer than that.
        return _origin(name, role, self._order, places, self._numbers[weight])

    def _is_untouched(self, weight: str, tensor: str) -> bool:
        """Whether the array of a weight that is that of a tensor still holds what it held: `*=` keeps the array."""
        numbers = self._numbers[weight]
        if not numbers.ndim or numbers.dtype != mx.int32 or numbers.shape != self.shapes[tensor]:
            return False
        ends = (0,) * numbers.ndim, (-1,) * numbers.ndim
        return all(numbers[end].item() == self._order.index(tensor) * _SPACING for end in ends)


def _alike(roles: Mapping[str, Role], followed: _Followed) -> list[list[str]]:
    """Names that differ in the number of their block alone, and whose weights have one shape; in order of blocks."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, role in roles.items():
        weight = followed.places.get(name if role is Role.WHOLE else f"{name}.weight")
        shape = None if weight is None else tuple(weight.shape)
        groups.setdefault((_BLOCK.sub(".N.", name, count=1), role, shape), []).append(name)
    return [sorted(group, key=_block) for group in groups.values()]


def _block(name: str) -> int:
    found = _BLOCK.search(name)
    return int(found[1]) if found else -1


def _renumbered(origin: Origin, name: str) -> Origin:
    """The origin of a weight in one block as that of the weight `name` in another."""
    number = _block(name)
    pieces = tuple(replace(each, tensor=_BLOCK.sub(f".{number}.", each.tensor, count=1)) for each in origin.pieces)
    return replace(origin, name=name, pieces=pieces)


def _same(one: Origin, other: Origin) -> bool:
    if (one.shape, one.shift, len(one.pieces)) != (other.shape, other.shift, len(other.pieces)):
        return False
    return all(
        (mine.tensor, mine.stride) == (theirs.tensor, theirs.stride)
        and np.array_equal(mine.rows, theirs.rows)
        and np.array_equal(mine.starts, theirs.starts)
        for mine, theirs in zip(one.pieces, other.pieces, strict=True)
    )


def _untouched(name: str, role: Role, tensor: str, shape: tuple[int, ...]) -> Origin:
    """A weight that is a stored tensor as it is."""
    rows = np.arange(math.prod(shape[:-1]), dtype=np.int64)
    return Origin(name, role, shape, (Piece(tensor, rows, rows * shape[-1], 1),))


class _Untraceable(Exception):
    """Why a weight has no origin."""


def _roles(modules: Mapping[str, nn.Module], names: Sequence[str]) -> dict[str, Role]:
    kinds = {name: adaptable(modules[name]) for name in names}
    return {name: Role(about["kind"].value) for name, about in kinds.items() if about is not None}


def _places(shape: tuple[int, ...]) -> mx.array:
    size = math.prod(shape)
    kind = mx.int32 if size * _SPACING < 2**31 else mx.int64
    return (mx.arange(size, dtype=kind) * _SPACING).reshape(shape)


def _number(index: int, shape: tuple[int, ...]) -> mx.array:
    return mx.broadcast_to(mx.array(index * _SPACING, dtype=mx.int32), shape)


def _loaded(config: dict[str, Any], tensors: dict[str, mx.array]) -> dict[str, mx.array]:
    """What mlx-lm makes of `tensors` while it loads a model with this `config.json`; nothing is computed yet."""
    meant = understood(config, stored=set(tensors))
    model_class, arguments = classes(config)
    # Some argument classes write into what they are given.
    model = model_class(arguments.from_dict(copy.deepcopy(meant.config)))
    initialise(model)
    corrected = stored_weights.corrected(module_of(config), tensors, {})
    return model.sanitize(corrected) if hasattr(model, "sanitize") else corrected


def _origin(name: str, role: Role, order: Sequence[str], places: mx.array, numbers: mx.array) -> Origin:
    shape = tuple(places.shape)
    at, shift = _addresses(places)
    tensor, same = _addresses(numbers)
    if shift != same:
        raise _Untraceable("its values are changed while they are loaded")
    width = shape[-1] if shape else 1
    at, tensor = at.reshape(-1, width), tensor.reshape(-1, width)
    if (tensor != tensor[:, :1]).any():
        raise _Untraceable("a row of it is put together from several tensors")
    steps = np.diff(at, axis=1)
    strides = steps[:, 0] if width > 1 else np.ones(len(at), dtype=np.int64)
    if width > 1 and (steps != strides[:, None]).any():
        raise _Untraceable("its rows are not evenly spaced in the checkpoint")
    pieces = []
    for number in np.unique(tensor[:, 0]):
        rows = np.flatnonzero(tensor[:, 0] == number)
        if (strides[rows] != strides[rows[0]]).any():
            raise _Untraceable("its rows are stored in more than one layout")
        pieces.append(Piece(order[number], rows, at[rows, 0].astype(np.int64), int(strides[rows[0]])))
    return Origin(name, role, shape, tuple(pieces), shift=float(shift))


def _addresses(tagged: mx.array) -> tuple[NDArray[np.int64], int]:
    """The addresses in a tagged array, and what loading has added to each."""
    values = np.array(tagged)
    shift = int(values.flat[0] % _SPACING)
    # Where 1.0 is added, addresses become floats; so they do where values are rescaled, but then nothing is added.
    kept = np.issubdtype(values.dtype, np.integer) or (shift and np.abs(values).max() < _EXACT)
    if not kept or (values % _SPACING != shift).any():
        raise _Untraceable("its values are rescaled while they are loaded")
    return values.astype(np.int64, copy=False) // _SPACING, shift

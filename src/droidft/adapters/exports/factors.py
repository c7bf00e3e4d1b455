"""An adapter's updates as pairs of factors for each stored matrix, which is what other programs' adapters hold.

A matrix of the checkpoint is not always a module here: mlx-lm splits a stored `qkv_proj`, or joins a gate and an up
projection. Where several updates meet in one matrix, their ranks are stacked:

    A = [A_q; A_k; A_v]          B = diagonal blocks of B_q, B_k, B_v
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from droidft.adapters.exports.origins import Origin, Piece, Role
from droidft.adapters.exports.updates import Update
from droidft.errors import AdapterError
from droidft.models.factors import Factors
from droidft.models.floats import Floats

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows `at` of a stored matrix that one pair of factors changes: those of `rows` of its left one."""

    update: Update
    expert: int
    rows: NDArray[np.int64]
    at: NDArray[np.int64]
    outputs: int
    """Rows of the stored matrix."""
    transposed: bool


def factors(updates: Sequence[Update], shapes: Mapping[str, Shape]) -> Iterator[Factors]:
    """The pairs for every stored matrix that `updates` change; `shapes` are those of the stored tensors.

    Raises:
        AdapterError: weights were trained whole, or a part of a matrix cannot be written as a pair of factors.
    """
    parts: dict[tuple[str, int | None], list[_Part]] = {}
    for update in updates:
        if update.left is None:
            raise AdapterError(
                f"{update.origin.name} was trained whole: no pair of factors holds that",
                hint="export to `merged`, `mlx` or `gguf`",
            )
        for piece in update.origin.pieces:
            for stored, part in _parts(update, piece, shapes[piece.tensor]):
                parts.setdefault((piece.tensor, stored), []).append(part)
    for (tensor, stored), of_matrix in parts.items():
        yield _joined(tensor, stored, of_matrix)


def _parts(update: Update, piece: Piece, shape: Shape) -> Iterator[tuple[int | None, _Part]]:
    """What of a piece lies in each matrix of its stored tensor."""
    for some in located(update.origin, piece, shape):
        yield some.matrix, _Part(update, some.expert, some.rows, some.at, some.outputs, some.transposed)


@dataclass(frozen=True, eq=False)
class Located:
    """Rows of one weight, and of one expert of it, that lie in one stored matrix: number `rows[i]` is its `at[i]`."""

    matrix: int | None
    """Which one, where a tensor stacks several."""
    expert: int
    rows: NDArray[np.int64]
    at: NDArray[np.int64]
    outputs: int
    """Rows of the stored matrix."""
    transposed: bool
    """Whether it is stored (in, out)."""


def located(origin: Origin, piece: Piece, shape: Shape) -> Iterator[Located]:
    """The stored matrices that a piece of a weight lies in; `shape` is that of the stored tensor.

    Raises:
        AdapterError: its rows are no rows of a matrix there.
    """
    outputs, inputs, transposed = _matrix(origin, shape, piece.stride)
    stored = piece.starts // (outputs * inputs)
    inside = piece.starts % (outputs * inputs)
    at = inside if transposed else inside // inputs
    if (inside >= outputs if transposed else inside % inputs).any():
        raise _inexpressible(origin)
    height = origin.shape[-2]
    own = piece.rows // height
    for matrix, expert in sorted(set(zip(stored.tolist(), own.tolist(), strict=True))):
        chosen = (stored == matrix) & (own == expert)
        rows = piece.rows[chosen] - expert * height
        yield Located(matrix if len(shape) == 3 else None, expert, rows, at[chosen], outputs, transposed)


def _matrix(origin: Origin, shape: Shape, stride: int) -> tuple[int, int, bool]:
    """Outputs and inputs of each matrix of a stored tensor, and whether it is stored (in, out)."""
    if len(shape) not in (2, 3):
        raise _inexpressible(origin)
    rows, columns = shape[-2:]
    if stride == 1 and columns == origin.width:
        return rows, columns, False
    if stride == columns and rows == origin.width:
        return columns, rows, True
    raise _inexpressible(origin)


def _inexpressible(origin: Origin) -> AdapterError:
    return AdapterError(
        f"{origin.name} is stored in a layout of which its update is no pair of factors",
        hint="export to `merged` or `mlx`",
    )


def _joined(tensor: str, stored: int | None, parts: list[_Part]) -> Factors:
    scales = {part.update.scale for part in parts}
    assert len(scales) == 1, "one adapter has one scale"
    rights = [part.update.right[part.expert] for part in parts if part.update.right is not None]
    rank = sum(len(right) for right in rights)
    b = np.zeros((parts[0].outputs, rank), dtype=np.float32)
    covered = np.zeros(parts[0].outputs, dtype=bool)
    done = 0
    for part, right in zip(parts, rights, strict=True):
        assert part.update.left is not None
        b[part.at, done : done + len(right)] = part.update.left[part.expert, part.rows]
        covered[part.at] = True
        done += len(right)
    origin = parts[0].update.origin
    return Factors(
        tensor,
        np.concatenate(rights),
        b,
        stored,
        scales.pop(),
        _magnitude(parts, covered),
        transposed=parts[0].transposed,
        embedding=origin.role is Role.EMBEDDING,
        router=origin.router,
    )


def _magnitude(parts: list[_Part], covered: NDArray[np.bool_]) -> Floats | None:
    if parts[0].update.magnitude is None:
        return None
    if not covered.all():
        name = parts[0].update.origin.name
        raise AdapterError(
            f"{name} is part of a stored matrix of which DoRA trained only some rows",
            hint="export to `merged` or `mlx`",
        )
    made = np.zeros(len(covered), dtype=np.float32)
    for part in parts:
        assert part.update.magnitude is not None
        made[part.at] = part.update.magnitude[part.rows]
    return made

"""The stored tensors of a base model with an adapter's updates in them, read one tensor at a time.

Everything is computed in float32 and rounded once, to the type that a tensor is stored in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from droidft.adapters.exports.origins import Piece
from droidft.adapters.exports.updates import Update
from droidft.errors import AdapterError, ModelError
from droidft.models import floats, headers
from droidft.models.floats import BYTES, Floats
from droidft.models.folder import weight_files

CHUNK = 1 << 20
"""Values that are worked on at a time."""


@dataclass(frozen=True, eq=False)
class Change:
    """Rows of an update that lie in one stored tensor."""

    update: Update
    piece: Piece

    def apply(self, values: Floats) -> None:
        """Put the changed values into `values`, which are all of the tensor's, flat."""
        width = self.update.origin.width
        steps = self.piece.stride * np.arange(width)
        for chosen in self.update.by_expert(self.piece.rows):
            at_once = max(1, CHUNK // width)
            for some in (chosen[first : first + at_once] for first in range(0, len(chosen), at_once)):
                rows, starts = self.piece.rows[some], self.piece.starts[some]
                if self.piece.stride == 1 and self._adjoin(starts, width):
                    part = values[starts[0] : starts[0] + len(some) * width].reshape(len(some), width)
                    part[...] = self.update.applied(rows, part)
                else:
                    places = starts[:, None] + steps
                    values[places] = self.update.applied(rows, values[places])

    @staticmethod
    def _adjoin(starts: NDArray[np.int64], width: int) -> bool:
        return bool((np.diff(starts) == width).all())


class Checkpoint:
    """The tensors of a model folder by their names in its files, as an adapter leaves them.

    `names` are all of them, `changed` those that the adapter changes.
    """

    def __init__(self, base: Path, updates: Sequence[Update]) -> None:
        self.base = base
        self.stored: dict[str, headers.Stored] = headers.tensors(*weight_files(base))
        self._changes: dict[str, list[Change]] = {}
        for update in updates:
            for piece in update.origin.pieces:
                self._changes.setdefault(piece.tensor, []).append(Change(update, piece))
        for name, changes in self._changes.items():
            _refuse_shared(name, changes)
            if self.stored[name].dtype not in BYTES:
                raise ModelError(
                    f"{name} is stored in {self.stored[name].dtype}, to which no update can be added",
                    hint="export to `mlx`, which unpacks it; or name the original model (in the terminal --into)",
                )

    @property
    def names(self) -> Sequence[str]:
        """Of all tensors, in the order of the files."""
        return list(self.stored)

    @property
    def changed(self) -> Sequence[str]:
        """Of the tensors that the adapter changes, in the order of the files."""
        return [name for name in self.stored if name in self._changes]

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor."""
        return self.stored[name].shape

    def load(self, name: str) -> Floats:
        """The values of a tensor in float32, not rounded."""
        stored = self.stored[name]
        values = floats.read(stored).reshape(-1)
        if name in self._changes:
            values = values if values.flags.writeable else values.copy()
            for change in self._changes[name]:
                change.apply(values)
        return values.reshape(stored.shape)


def _refuse_shared(name: str, changes: Sequence[Change]) -> None:
    """Two updates of the same values cannot both be merged."""
    if len(changes) < 2:
        return
    starts = np.concatenate([change.piece.starts for change in changes])
    if len(np.unique(starts)) < len(starts):
        names = ", ".join(change.update.origin.name for change in changes[:3])
        raise AdapterError(
            f"{names} share the stored tensor {name}, and the adapter changes each of them in its own way",
            hint="export to `mlx` or `peft`",
        )

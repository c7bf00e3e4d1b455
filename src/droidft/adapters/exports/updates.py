"""What an adapter does to the weights of its base, computed in float32.

    LoRA          W + scale * left @ right
    DoRA          m / |row of that| * that, row by row
    whole weights the trained values

`left` is (out, rank) and `right` (rank, in), with one pair for each expert where there are experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from droidft.adapters.exports.origins import Origin, Origins, Places, Role
from droidft.adapters.folder import AdapterInfo
from droidft.models import floats, headers
from droidft.models.floats import Floats


@dataclass(frozen=True, eq=False)
class Update:
    """What becomes of one weight.

    `left` is (experts, out, rank), `right` (experts, rank, in); both are None for a weight that is trained whole,
    whose values (rows, width) are then in `whole`. `magnitude` (out) is DoRA's.
    """

    origin: Origin
    scale: float = 1.0
    left: Floats | None = None
    right: Floats | None = None
    magnitude: Floats | None = None
    whole: Floats | None = None

    def applied(self, rows: Places, values: Floats) -> Floats:
        """What the stored `values` (n, width) of the weight's `rows` become.

        `rows` are in rising order and belong to one expert where there are several.
        """
        if self.whole is not None:
            return self.whole[rows] - np.float32(self.origin.shift)
        made: Floats = values + self.origin.shift + self.added(rows)
        if self.magnitude is not None:
            norms = np.sqrt(np.square(made, dtype=np.float64).sum(axis=1))
            made *= (self.magnitude[rows] / norms).astype(np.float32)[:, None]
        return made - np.float32(self.origin.shift)

    def added(self, rows: Places) -> Floats:
        """scale * left @ right at `rows`, (n, width)."""
        assert self.left is not None
        assert self.right is not None
        outputs = self.left.shape[1]
        expert = int(rows[0]) // outputs
        made: Floats = (np.float32(self.scale) * self.left[expert, rows - expert * outputs]) @ self.right[expert]
        return made

    def by_expert(self, rows: Places) -> Iterator[NDArray[np.intp]]:
        """Positions in `rows` of those of each expert."""
        if self.left is None or len(self.left) == 1:
            yield np.arange(len(rows))
            return
        experts = rows // self.left.shape[1]
        for expert in np.unique(experts):
            yield np.flatnonzero(experts == expert)


def updates(info: AdapterInfo, origins: Origins) -> list[Update]:
    """What the chosen weights of an adapter do to every weight that it adapts and that has an origin."""
    stored = headers.tensors(info.file)

    if info.fine_tune_type == "full":
        return [
            Update(origin, whole=floats.read(stored[name]).reshape(-1, origin.width))
            for name, origin in origins.weights.items()
        ]
    assert info.scale is not None
    return [_low_rank(origin, info.scale, _parts(name, stored)) for name, origin in origins.weights.items()]


def _parts(name: str, stored: Mapping[str, headers.Stored]) -> dict[str, Floats]:
    names = {part: f"{name}.{part}" for part in ("lora_a", "lora_b", "m")}
    return {part: floats.read(stored[whole]) for part, whole in names.items() if whole in stored}


def _low_rank(origin: Origin, scale: float, parts: Mapping[str, Floats]) -> Update:
    """The layouts of mlx-lm's layers: (in, rank) and (rank, out) of linear ones, an embedding's the other way."""
    a, b = parts["lora_a"], parts["lora_b"]
    if origin.role is Role.EXPERTS:
        left, right = b, a.reshape(len(b), -1, origin.width)
    elif origin.role is Role.EMBEDDING:
        left, right = a[None], b[None]
    else:
        left, right = b.T[None], a.T[None]
    return Update(origin, scale, left, right, parts.get("m"))

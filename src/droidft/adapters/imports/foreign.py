"""Adapters of other programs, whose tensors are named after the base's: they are read together with that model."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path

from droidft.adapters.folder import CONFIG, LATEST
from droidft.adapters.imports.matrices import Base, converted
from droidft.models.factors import Factors
from droidft.models.fingerprint import Fingerprint
from droidft.support.durable import storage_errors, write_atomically
from droidft.support.progress import Progress


class Foreign(ABC):
    """A source that is converted. `on` has to be called before `write`."""

    dropout: float = 0.0
    """Of its training."""
    base_name: str | None = None
    """What it says it was trained on: a hub id or a path, of its own machine."""
    _base: tuple[Base, Fingerprint] | None = None

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The name of its file or folder."""
        return self.path.stem if self.path.is_file() else self.path.name

    @property
    @abstractmethod
    def program(self) -> str:
        """Whose format it is in."""

    @abstractmethod
    def pairs(self, base: Base) -> list[Factors]:
        """What it does to the stored matrices of `base`.

        Raises:
            AdapterError: it is for another model, or holds what cannot come in.
        """

    def on(self, base: Base, fingerprint: Fingerprint) -> None:
        """Name the model that it is made for here."""
        self._base = base, fingerprint

    def write(self, folder: Path, progress: Progress | None = None) -> None:
        """Write it in mlx-lm's format into the empty `folder`.

        Raises:
            AdapterError: the base is another model, or mlx-lm's format has no place for a part of the adapter.
            StorageError: it cannot be written.
        """
        from safetensors.numpy import save_file

        del progress  # as large as one adapter
        assert self._base is not None, "it is read together with its base"
        base, fingerprint = self._base
        made = converted(self.pairs(base), base)
        values = {
            "model": str(base.path),
            "fine_tune_type": "dora" if made.dora else "lora",
            "num_layers": made.num_layers,
            "lora_parameters": {
                "rank": made.rank,
                "scale": made.scale,
                "dropout": self.dropout,
                "keys": made.keys,
            },
            "droidft": {
                "from": self.program,
                "alpha": made.scale * made.rank,
                "base": {**fingerprint, "path": str(base.path)},
            },
        }
        with storage_errors(folder):
            save_file(made.tensors, folder / LATEST, metadata={"format": "mlx"})
            write_atomically(folder / CONFIG, json.dumps(values, indent=2).encode())

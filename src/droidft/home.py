"""The home folder: the only module that knows where things lie and which names are allowed.

`DROIDFT_HOME` (default `~/.droidft`) holds `models/`, `adapters/<name>/`, `runs/<id>/`, `experiments/<id>/`, `data/`,
`rewards/`, `exports/<name>/`, `cache/`, `server/`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from droidft.errors import ConfigError, StorageError
from droidft.support import names
from droidft.support.places import Places

NAME = names.NAME
VARIABLE = "DROIDFT_HOME"
_SET = f"set {VARIABLE} to a folder that you may write to"
REFERENCES = ("model_path", "train_data_path", "val_data_path", "init_adapter", "reference_adapter")
"""Settings of a run that name a file or folder."""
HERE = "$DROIDFT_HOME"
"""Stands for the home folder in the settings that a run keeps."""


@dataclass(frozen=True)
class Home:
    """Paths below one home folder. Folders are made, private to the user, when first asked for."""

    root: Path

    @classmethod
    def find(cls) -> Home:
        """The home folder of this user: `DROIDFT_HOME`, or `~/.droidft`.

        Raises:
            ConfigError: there is neither, its name is not UTF-8, or it begins in a working directory that is gone.
        """
        given = os.environ.get(VARIABLE)
        try:
            root = Path(given or "~/.droidft").expanduser().absolute()
        except RuntimeError:  # no HOME, and a user that the system does not know
            which = f"{VARIABLE}={given} names no folder" if given else "this user has none (HOME is not set)"
            raise ConfigError(f"the home folder cannot be found: {which}", hint=_SET) from None
        except FileNotFoundError:
            reason = f"{VARIABLE}={given} begins in the working directory, which is gone"
            raise ConfigError(reason, hint=_SET) from None
        if not names.is_whole(str(root)):
            hint = f"{_SET}, with a name in UTF-8; or choose a locale in UTF-8, such as LC_ALL=C.UTF-8"
            raise ConfigError(f"the name of the home folder is not UTF-8: {root}", hint=hint)
        return cls(root)

    @property
    def models(self) -> Path:
        """Imported and pulled base models."""
        return self._folder("models")

    @property
    def adapters(self) -> Path:
        """Trained adapters, a folder each, in mlx-lm's format."""
        return self._folder("adapters")

    @property
    def runs(self) -> Path:
        """Run folders."""
        return self._folder("runs")

    @property
    def experiments(self) -> Path:
        """Experiment folders; their runs lie among the others."""
        return self._folder("experiments")

    @property
    def data(self) -> Path:
        """Downloaded data sets."""
        return self._folder("data")

    @property
    def rewards(self) -> Path:
        """The user's own reward files: the only place that they are run from."""
        return self._folder("rewards")

    @property
    def exports(self) -> Path:
        """Exported adapters and models, a folder each."""
        return self._folder("exports")

    @property
    def cache(self) -> Path:
        """What can be made again: compiled kernels, the BLAS shim."""
        return self._folder("cache")

    @property
    def server(self) -> Path:
        """The server's token, lock and queue."""
        return self._folder("server")

    def model(self, name: str) -> Path:
        """Folder of the model `name`, whether or not it exists."""
        return self.models / valid_name(name, what="a model")

    def adapter(self, name: str) -> Path:
        """Folder of the adapter `name`, whether or not it exists."""
        return self.adapters / valid_name(name, what="an adapter")

    def export(self, name: str) -> Path:
        """Folder of the export `name`, whether or not it exists."""
        return self.exports / valid_name(name, what="an export")

    def run(self, run_id: str) -> Path:
        """Folder of the run `run_id`, whether or not it exists."""
        return self.runs / valid_name(run_id, what="a run")

    def experiment(self, experiment_id: str) -> Path:
        """Folder of the experiment `experiment_id`, whether or not it exists."""
        return self.experiments / valid_name(experiment_id, what="an experiment")

    def places(self, *, checkpoints: Path) -> Places:
        """What a run that saves its checkpoints to that folder reads and writes."""
        return Places(self.models, self.adapters, self.cache, checkpoints, self.rewards)

    def rooted(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """`settings` of a run, with absolute paths for every file and folder that they name."""
        whole = dict(settings)
        named = {
            "model_path": self._model_reference,
            "init_adapter": self._adapter_reference,
            "reference_adapter": self._reference_adapter,
        }
        for name in REFERENCES:
            if isinstance(value := whole.get(name), str):
                whole[name] = named.get(name, from_anywhere)(value)
        return whole

    def kept(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """`settings` as a run folder keeps them: paths inside this home begin with `$DROIDFT_HOME`."""
        roots = dict.fromkeys((str(self.root), os.path.realpath(self.root)))
        whole = dict(settings)
        for name in REFERENCES:
            for root in roots:
                if isinstance(value := whole.get(name), str) and value.startswith(root + os.sep):
                    whole[name] = HERE + value.removeprefix(root)
        return whole

    def opened(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What `kept` was given, in this home, wherever it lies now.

        A whole path that leads nowhere, as older versions kept them, is looked for in this home's folders.
        """
        whole = dict(settings)
        for name in REFERENCES:
            if isinstance(value := whole.get(name), str):
                here = value.startswith(HERE + os.sep)
                whole[name] = str(self.root) + value.removeprefix(HERE) if here else self._found_here(value)
        return whole

    def _found_here(self, text: str) -> str:
        path, at, which = text.partition("@")
        if not os.path.isabs(path) or os.path.lexists(path):
            return text
        parts = Path(path).parts
        for place in (place for place, part in enumerate(parts) if part in ("data", "models", "adapters")):
            if (moved := self.root.joinpath(*parts[place:])).exists():
                return str(moved) + at + which
        return text

    def _model_reference(self, text: str) -> str:
        # A model of this home goes by its name, unless a model lies at that path.
        known = NAME.fullmatch(text) and (self.models / text).is_dir()
        return text if known and not (Path(text) / "config.json").is_file() else from_anywhere(text)

    def _adapter_reference(self, text: str) -> str:
        folder, at, which = text.partition("@")
        # One of this home goes by its name.
        known = not folder or (self.adapters / folder).is_dir()
        return text if known else from_anywhere(folder) + at + which

    def _reference_adapter(self, text: str) -> str:
        return text if text == "none" else self._adapter_reference(text)

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {folder} in the home folder: {error.strerror}", hint=_SET) from error
        return folder


def from_anywhere(reference: str) -> str:
    """The absolute path of a file or folder that exists; anything else, such as a name or a hub id, unchanged."""
    try:
        path = Path(reference).expanduser()
        return str(path.absolute()) if path.exists() else reference
    except (OSError, RuntimeError, ValueError):  # whoever reads it reports the fault
        return reference


def valid_name(name: str, *, what: str) -> str:
    """`name`, if it is safe as a folder's name.

    Raises:
        ConfigError: it is empty, too long, or holds anything but letters, digits, dot, dash and underscore.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of {what}",
            hint="use 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit",
        )
    return name

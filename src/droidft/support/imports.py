"""transformers, imported without reading its three thousand files each time.

At its import it reads all modules of its models to learn which names are in which, half of the time that it takes.
What it found is kept for the same version at the same place. Only processes of our own ask for this: the terminal
and the workers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from droidft.errors import DroidError
from droidft.support.durable import write_atomically

SCANNING = "transformers.utils.import_utils"
Structure = dict[frozenset[str], dict[str, set[str]]]
"""As transformers has it: the packages that names need -> module -> names."""


def remember_transformers(cache_dir: Callable[[], Path]) -> None:
    """From now on an import of transformers uses what the last one found, kept in `cache_dir()`."""
    if SCANNING not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(cache_dir))


class _Finder:
    """Finds one module, once, and leaves all others to the finders behind it."""

    def __init__(self, cache_dir: Callable[[], Path]) -> None:
        self._cache_dir = cache_dir

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What the usual finder gives, with a loader of our own."""
        if name != SCANNING:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, str(spec.loader.path), self._cache_dir)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, cache_dir: Callable[[], Path]) -> None:
        super().__init__(name, path)
        self._cache_dir = cache_dir

    def exec_module(self, module: ModuleType) -> None:
        """Load the module, then put what was kept in the place of its search."""
        super().exec_module(module)
        package = Path(self.path).parents[1]
        version = str(getattr(sys.modules["transformers"], "__version__", "dev"))
        scan = getattr(module, "define_import_structure", None)
        if scan is None or "dev" in version:
            return
        with suppress(DroidError, OSError):
            kept = _Kept(self._cache_dir() / "transformers.json", [version, str(package)])
            vars(module)["define_import_structure"] = _remembered(scan, package / "models", kept)


def _remembered(scan: Callable[..., Structure], folder: Path, kept: _Kept) -> Callable[..., Structure]:
    def define_import_structure(module_path: str | Path, prefix: str | None = None) -> Structure:
        place = Path(module_path)
        if folder != (place.parent if place.name == "__init__.py" else place):
            return scan(module_path, prefix)
        if (found := kept.read()) is None:
            found = scan(module_path)
            kept.write(found)
        return found if prefix is None else _below(prefix, found)

    return define_import_structure


def _below(prefix: str, found: Structure) -> Structure:
    return {needs: {f"{prefix}.{name}": of for name, of in modules.items()} for needs, modules in found.items()}


class _Kept:
    """A structure in a file, and what it was found in."""

    def __init__(self, path: Path, origin: list[str]) -> None:
        self._path, self._origin = path, origin

    def read(self) -> Structure | None:
        """None where there is none of this version at this place."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            stored: dict[str, Any] = json.loads(self._path.read_bytes())
            if stored["origin"] == self._origin:
                return {
                    frozenset(needs): {name: set(of) for name, of in modules.items()}
                    for needs, modules in stored["structure"]
                }
        return None

    def write(self, found: Structure) -> None:
        """Keep it, if the disk lets us."""
        rows = [
            [sorted(needs), {name: sorted(of) for name, of in modules.items()}] for needs, modules in found.items()
        ]
        with suppress(DroidError):
            write_atomically(self._path, json.dumps({"origin": self._origin, "structure": rows}).encode())

"""What a model's makers read in its `config.json`: their defaults, and names that mlx-lm does not know.

transformers holds the configuration class of most architectures and needs no torch for it. A key that `config.json`
leaves out has the makers' default, which may differ from mlx-lm's.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_JSON = (bool, int, float, str, list, tuple, dict)
_FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NotImplementedError, OSError,
    TypeError, ValueError,
)  # fmt: skip


class Makers:
    """One level of a parsed `config.json` (the top, or a nested text model's) as transformers reads it."""

    def __init__(self, written: Mapping[str, Any], parsed: Any) -> None:
        self._written, self._parsed = written, parsed

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Makers | None:
        """None for a model type that transformers does not have, or a config that it refuses."""
        parsed = _parse(config)
        return None if parsed is None else cls(config, parsed)

    def nested(self, name: str, written: Mapping[str, Any]) -> Makers | None:
        """The nested configuration `name`."""
        parsed = getattr(self._parsed, name, None)
        return Makers(written, parsed) if hasattr(parsed, "to_dict") else None

    def value(self, name: str) -> Any:
        """What the makers' code works with under this name; None where it has none, or one that JSON has not."""
        try:
            value = getattr(self._parsed, name, None)
        except _FAILURES:
            return None
        if isinstance(value, tuple):
            value = list(value)
        return value if isinstance(value, _JSON) else None

    def other_names(self, name: str) -> set[str]:
        """Further names of the same setting."""
        names: dict[str, str] = getattr(self._parsed, "attribute_map", {})
        return {names.get(name, name), *(other for other, first in names.items() if first == name)} - {name}

    def knows(self, name: str) -> bool:
        """Whether the makers' class has a setting of this name of its own accord."""
        bare = _parse({key: value for key, value in self._written.items() if key != name}, like=self._parsed)
        return bare is not None and hasattr(bare, name)

    def is_default(self, name: str, value: Any) -> bool:
        """Whether leaving the key out would mean the same to the makers' code."""
        bare = _parse({key: other for key, other in self._written.items() if key != name}, like=self._parsed)
        default = getattr(bare, name, None)
        return bool(_plain(default) == _plain(value))


def _parse(config: Mapping[str, Any], like: Any = None) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    try:
        known = type(like) if like is not None else CONFIG_MAPPING[config["model_type"]]
        with _quiet():
            return known.from_dict(dict(config))
    except (StrictDataclassError, *_FAILURES):
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers' remarks on a config go to the terminal by themselves; what matters of them is told elsewhere."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _plain(value: Any) -> Any:
    """Without the differences that JSON does not keep."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.to_dict() if hasattr(value, "to_dict") else value

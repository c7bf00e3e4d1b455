"""What a base model says of its licence, in its own model card: an export stands under the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from droidft.errors import DroidError
from droidft.support import stored

UNKNOWN = "unknown"
"""The hub's own word for it."""
MOST_CARD_BYTES = 1 << 22
_FIELDS = ("license_name", "license_link")


@dataclass(frozen=True)
class Licence:
    """A licence as the metadata of model cards has it."""

    id: str = UNKNOWN
    more: Mapping[str, str] | None = None
    """`license_name` and `license_link`, which belong to the id `other`."""

    @property
    def known(self) -> bool:
        """Whether the base says what it is."""
        return self.id != UNKNOWN


def licence_of(base: Path) -> Licence:
    """The licence in the metadata of a model folder's `README.md`; unknown where there is none that can be read."""
    return licence_in(metadata(base / "README.md"))


def licence_in(values: Mapping[str, Any]) -> Licence:
    """The licence that the metadata of a model card states."""
    given = values.get("license")
    ids = [each for each in (given if isinstance(given, list) else [given]) if isinstance(each, str) and each.strip()]
    if not ids:
        return Licence()
    more = {name: text for name in _FIELDS if isinstance(text := values.get(name), str)}
    return Licence(ids[0].strip()[:100], {name: text[:300] for name, text in more.items()} or None)


def metadata(card: Path) -> dict[str, Any]:
    """The YAML between the first two lines of dashes of a model card; empty where there is none that can be read."""
    try:
        text = stored.content(card, most=MOST_CARD_BYTES).decode()
    except (DroidError, UnicodeDecodeError):
        return {}
    begin, _, rest = text.lstrip("\ufeff").partition("\n")
    block, end, _ = rest.replace("\r\n", "\n").partition("\n---")
    if begin.strip() != "---" or not end:
        return {}
    try:
        values = yaml.safe_load(block)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}

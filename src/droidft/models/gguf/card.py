"""What a GGUF file says of its licence, as the card of the model folder that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_FIELDS = {
    "general.license": "license",
    "general.license.name": "license_name",
    "general.license.link": "license_link",
}
"""Of GGUF's metadata, and what model cards call it."""
MOST_LETTERS = 300


def card_of(metadata: Mapping[str, Any], source: str) -> str | None:
    """`README.md` for a folder that was made from the file `source`; None where the file states no licence."""
    stated = {
        ours: text[:MOST_LETTERS]
        for theirs, ours in _FIELDS.items()
        if isinstance(text := metadata.get(theirs), str) and text.strip()
    }
    if "license" not in stated:
        return None
    return f"---\n{yaml.safe_dump(stated, sort_keys=False)}---\n\nImported from the GGUF file {source!r}.\n"

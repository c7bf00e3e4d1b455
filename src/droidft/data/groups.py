"""Which rows belong together, so that they are neither parted by a split nor taken for independent evidence."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.data.located import Located
from droidft.data.rows import Row
from droidft.errors import ConfigError


def group_of(located: Located[Row], column: str | None) -> int | None:
    """A 64-bit hash, equal for rows that belong together; None: this row belongs with equal ones only.

    With a `column`, rows belong together where it holds the same value other than null. Without one, where their
    conversations open with the same messages up to the first of the user's: several answers to one question, or one
    conversation cut at several turns. A plain text has no opening.

    Raises:
        ConfigError: the row has no such column.
    """
    if column is not None:
        value = _value(located, column)
        return None if value is None else _hash(value)
    messages = located.row.messages
    if located.row.text is not None:
        return None
    first = next((n for n, turn in enumerate(messages) if turn["role"] == "user"), len(messages) - 1)
    return _hash(messages[: first + 1])


def numbered(groups: npt.NDArray[np.uint64]) -> list[int]:
    """The same as small numbers, rising in order of first appearance."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(group, len(numbers)) for group in groups.tolist()]


def _value(located: Located[Row], column: str) -> Any:
    if column not in located.record:
        raise ConfigError(
            f"{located.path.name}:{located.line} has no column {column!r} (it has {', '.join(located.record)})",
            hint="give split_column (in an experiment cluster_column) a column of every row, or leave it out",
            field="split_column",
        )
    return located.record[column]


def _hash(value: Any) -> int:
    text = json.dumps(value, sort_keys=True, default=str)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

"""Which rows belong together, so that they are not taken for independent evidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

from droidft.config import TrainingConfig
from droidft.engine.data.located import Schema
from droidft.engine.data.readers import Reading, read_records
from droidft.engine.data.rows import Columns, Row, recognise
from droidft.engine.data.tokens import TokenSet
from droidft.errors import ConfigError
from droidft.strict_json import Refused


def clusters(config: TrainingConfig, rows: TokenSet, *, column: str | None = None) -> list[int]:
    """A number for each row of `rows`, equal where rows belong together, rising in order of first appearance.

    With a `column`, rows belong together where it holds the same value. Without one, where their conversations open
    with the same messages up to the first of the user's: several answers to one question, or one conversation cut
    at several turns. A plain text stands for itself.

    Raises:
        ConfigError: a row has no such column.
    """
    places = {(rows.file_of(index), int(rows.lines[index])): index for index in range(len(rows))}
    keys: list[Hashable] = [None] * len(rows)
    for file in dict.fromkeys(rows.file_of(index) for index in range(len(rows))):
        for line, key in _keys(Path(file), config, column):
            if (index := places.get((file, line))) is not None:
                keys[index] = key
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault((index,) if key is None else key, len(numbers)) for index, key in enumerate(keys)]


def _keys(file: Path, config: TrainingConfig, column: str | None) -> Iterator[tuple[int, Hashable]]:
    key = _opening(config) if column is None else _value(column)
    for value, line, _ in read_records(file, Reading()):
        yield line, key(value, f"{file.name}:{line}")


def _value(column: str) -> Callable[[dict[str, Any], str], Hashable]:
    def key(value: dict[str, Any], place: str) -> Hashable:
        if column not in value:
            raise ConfigError(
                f"cluster_column {column!r}: {place} has no such column (it has {', '.join(value)})",
                hint="name a column of every test row, or leave cluster_column out",
                field="cluster_column",
            )
        return json.dumps(value[column], sort_keys=True, default=str)

    return key


def _opening(config: TrainingConfig) -> Callable[[dict[str, Any], str], Hashable]:
    schema: Schema[Row] | None = None

    def key(value: dict[str, Any], _place: str) -> Hashable:
        nonlocal schema
        try:
            schema = schema or recognise(value, Columns.of(config))
            row = schema.row(value)
        except Refused:  # no row of the set then
            return None
        if row.text is not None:
            return None
        first = next((n for n, turn in enumerate(row.messages) if turn["role"] == "user"), len(row.messages) - 1)
        return json.dumps(row.messages[: first + 1], sort_keys=True, default=str)

    return key

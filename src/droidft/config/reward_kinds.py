"""The kinds of rewards as people see them: title, range, meaning, parameters; made from the classes in `config`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from droidft.config.settings import Setting, fields

COMMON = ("weight", "label")
"""Parameters that every kind has; they are shown last."""


@dataclass(frozen=True)
class RewardKind:
    """One kind of reward."""

    kind: str
    title: str
    range: str
    """Least and most that it gives, in words."""
    help: str
    parameters: tuple[Setting, ...]
    schema: dict[str, Any]
    """JSON schema of the whole object."""


@cache
def kinds() -> tuple[RewardKind, ...]:
    """Every kind, in the order in which they are shown."""
    from droidft.config.rewards import REWARDS

    found = []
    for reward in REWARDS:
        schema = reward.model_json_schema()
        parameters = [setting for setting in fields(schema) if setting.name != "kind"]
        parameters.sort(key=lambda setting: setting.name in COMMON)
        found.append(
            RewardKind(
                kind=schema["properties"]["kind"]["const"],
                title=reward.title,
                range=reward.scale,
                help=schema["description"],
                parameters=tuple(parameters),
                schema=schema,
            )
        )
    return tuple(found)

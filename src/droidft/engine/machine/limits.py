"""How much of a GPU's memory one process takes, where several share the card.

MLX lets each process have 95 % of the card, and keep as much of what it freed. Two runs on one card then end with
"out of memory", which CUDA words as an illegal memory access. So each gets its share, unless the environment says
otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from droidft.errors import ConfigError
from droidft.support.processes import SHARES

MEMORY, CACHE, WIRED = "DROIDFT_MEMORY_LIMIT", "DROIDFT_CACHE_LIMIT", "DROIDFT_WIRED_LIMIT"
"""Variables of the environment: bytes (`40GB`, `512MB`), or a percentage of the GPU's memory (`50%`)."""
_MEMORY_SHARE, _CACHE_SHARE, _WIRED_SHARE = 0.95, 0.5, 0.9
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%|[KMGT]?B|)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """In bytes."""

    memory: int
    """Beyond it MLX frees what it keeps, and waits for work to end."""
    cache: int
    """Freed memory that is kept for the next step."""
    wired: int
    """Memory that macOS does not page out; for Metal alone."""

    def apply(self, *, metal: bool) -> None:
        """Set them in MLX, for this process."""
        import mlx.core as mx

        mx.set_memory_limit(self.memory)
        mx.set_cache_limit(self.cache)
        if metal:
            mx.set_wired_limit(self.wired)


def limits(total: int, environment: Mapping[str, str]) -> Limits:
    """Those of a process on a GPU with `total` bytes.

    Raises:
        ConfigError: a variable of the environment is not an amount, or more than the GPU has.
    """
    shares = int(environment.get(SHARES, "1"))

    def limit(name: str, share: float) -> int:
        return _amount(name, environment[name], total) if environment.get(name) else int(total * share / shares)

    memory = limit(MEMORY, _MEMORY_SHARE)
    return Limits(memory, min(memory, limit(CACHE, _CACHE_SHARE)), limit(WIRED, _WIRED_SHARE))


def _amount(name: str, text: str, total: int) -> int:
    match = _AMOUNT.fullmatch(text)
    hint = "write bytes, such as 40GB, or a percentage of the GPU's memory, such as 50%"
    if match is None:
        raise ConfigError(f"{name}={text} is not an amount of memory", hint=hint)
    number, unit = float(match[1]), match[2].upper()
    amount = int(total * number / 100 if unit == "%" else number * _UNITS[unit])
    if not 0 < amount <= total:
        raise ConfigError(f"{name}={text} is not between 0 and the GPU's {total / 1e9:.1f} GB", hint=hint)
    return amount

"""Numbers as text: in the terminal, in reports, in messages. `frontend/src/lib/format.ts` follows the same rules."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

NOTHING = "–"
"""Stands where there is no number."""


class Estimated(Protocol):
    """A value and the ends of its interval; None where there is too little to say."""

    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102


def count(number: float, noun: str, plural: str | None = None) -> str:
    """`1 row`, `2 rows`, `1,024 rows`, `0.75 epochs`."""
    text = f"{number:,.0f}" if number == int(number) or abs(number) >= 1000 else f"{number:.3g}"
    return f"{text} {noun if text == '1' else plural or noun + 's'}"


def size(amount: float | None) -> str:
    """Bytes in powers of 1000: `12 B`, `117 MB`, `1.6 GB`."""
    if amount is None:
        return NOTHING
    if amount < 999.5:
        return f"{amount:.0f} B"
    scaled, units = amount / 1000, ["kB", "MB", "GB", "TB"]
    while scaled >= 999.5 and len(units) > 1:
        scaled, units = scaled / 1000, units[1:]
    return f"{scaled:.1f} {units[0]}" if scaled < 9.95 else f"{scaled:.0f} {units[0]}"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `42 s`, `2 min 28 s`, `3 h 5 min`, `2 d 4 h`."""
    if seconds is None:
        return NOTHING
    if 0 < seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _pair(divmod(whole, 60), "min", "s")
    minutes = round(whole / 60)
    if minutes < 1440:
        return _pair(divmod(minutes, 60), "h", "min")
    return _pair(divmod(round(whole / 3600), 24), "d", "h")


def _pair(parts: tuple[int, int], unit: str, part: str) -> str:
    large, small = parts
    return f"{large} {unit}" + (f" {small} {part}" if small else "")


def moment(seconds: float | None) -> str:
    """A time of this machine's clock, given in seconds since the epoch: `2026-11-24 13:05:12 CET`."""
    return NOTHING if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))


def percent(share: float) -> str:
    """A share in at most three digits: `25%`, `0.1%`."""
    return f"{100 * share:.3g}%"


def loss(value: float | None) -> str:
    """Nats per token: `0.0277`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.4f}" if abs(value) < 1e5 else f"{value:.4g}"


def p_value(value: float | None) -> str:
    """A probability; a small one as a bound."""
    if value is None:
        return NOTHING
    return "< 0.0001" if value < 1e-4 else f"{value:.3g}"


def signed(value: float, digits: int = 4) -> str:
    """A difference: `−0.0123`, `+0.0123`."""
    text = f"{abs(value):.{digits}f}"
    return f"{'−' if value < 0 and float(text) else '+'}{text}"


def difference(estimated: Estimated | None) -> str:
    """`−0.0123 [−0.0200, −0.0046]`."""
    return NOTHING if estimated is None else _with_ends(estimated, signed)


def mean(estimated: Estimated) -> str:
    """`0.7865 [0.7012, 0.8718]`."""
    return _with_ends(estimated, loss)


def factor(estimated: Estimated | None) -> str:
    """`× 0.961 [0.942, 0.980]`."""
    return NOTHING if estimated is None else f"× {_with_ends(estimated, _ratio)}"


def points(estimated: Estimated) -> str:
    """A difference of shares, in percentage points: `+1.5 [+0.2, +2.8] points`."""
    return f"{_with_ends(estimated, lambda share: signed(100 * share, 1))} points"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 1e5 else f"{value:.3g}"


def _with_ends(estimated: Estimated, text: Callable[[float], str]) -> str:
    shown = text(estimated.value)
    if estimated.low is None or estimated.high is None:
        return shown
    return f"{shown} [{text(estimated.low)}, {text(estimated.high)}]"


def plain(value: Any) -> str:
    """A setting, or a part of a description, without brackets."""
    match value:
        case Mapping():
            return ", ".join(f"{name} {text}" for name, text in described(value).items())
        case list() | tuple():
            return ", ".join(map(plain, value)) or NOTHING
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case None:
            return NOTHING
    return str(value)


def described(values: Mapping[str, Any]) -> dict[str, str]:
    """Parts of a description by name: `memory_bytes: 16e9` becomes `memory: 16 GB`."""
    return {
        name.removesuffix("_bytes").replace("_", " "): size(value)
        if name.endswith("_bytes") and isinstance(value, int | float)
        else plain(value)
        for name, value in values.items()
    }

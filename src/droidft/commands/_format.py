"""Numbers as people read them, and a loss curve in text."""

from __future__ import annotations

import math

CURVE_HEIGHT = 8


def thousands(count: int) -> str:
    """`12,345`."""
    return f"{count:,}"


def size(count: int) -> str:
    """Bytes as `1.2 GB`, in powers of ten."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def one_line(text: str, *, most: int) -> str:
    """At most `most` characters of a text on one line, without what would move a terminal's cursor."""
    plain = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    return plain if len(plain) <= most else f"{plain[:most]}…"


def lines_of_curve(train: dict[int, float], evaluation: dict[int, float], *, width: int) -> list[str]:
    """Training (·) and validation (●) losses over steps, as lines of text with a scale on the left."""
    steps, values = {*train, *evaluation}, [*train.values(), *evaluation.values()]
    if len(steps) < 2:
        return []
    low, high = min(values), max(values)
    first, last = min(steps), max(steps)
    span = (high - low) or 1.0
    grid = [[" "] * width for _ in range(CURVE_HEIGHT)]
    for losses, mark in ((train, "·"), (evaluation, "●")):
        for step, loss in losses.items():
            column = round((step - first) / max(last - first, 1) * (width - 1))
            row = math.floor((high - loss) / span * (CURVE_HEIGHT - 1) + 0.5)
            grid[row][column] = mark
    lines = []
    for number, cells in enumerate(grid):
        value = high - span * number / (CURVE_HEIGHT - 1)
        lines.append(f"{value:8.3f} ┤{''.join(cells).rstrip()}")
    lines.append(f"{'':8} └{'─' * width}")
    label = f"step {last}"
    lines.append(f"{'':10}{first}{label:>{width - len(str(first))}}")
    lines.append(f"{'':10}· training   ● validation")
    return lines

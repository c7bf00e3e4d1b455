"""Tagged parts of a text, such as `<think>…</think>`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from droidft.config.rewards import TagFormat
from droidft.rewards.items import Rule, ToScore


class TagFormatRule(Rule):
    """How much of the wanted build a completion has."""

    def __init__(self, spec: TagFormat) -> None:
        self._tags = spec.tags

    def check(self, columns: Mapping[str, Any]) -> None:
        """Every row will do."""

    def score(self, items: Sequence[ToScore]) -> list[float]:
        """Points of those to be had, 0 to 1."""
        return [self._one(item.completion) for item in items]

    def _one(self, text: str) -> float:
        spans = [span for tag in self._tags if (span := _only_span(text, tag)) is not None]
        points = len(spans)
        if points == len(self._tags):
            ordered = all(first[1] <= second[0] for first, second in pairwise(spans))
            points += ordered
            points += ordered and not _outside(text, spans).strip()
        return points / (len(self._tags) + 2)


def inside(text: str, tag: str) -> str | None:
    """What stands in the last `<tag>…</tag>`; None if there is none."""
    end = text.rfind(f"</{tag}>")
    begin = text.rfind(f"<{tag}>", 0, max(end, 0))
    return text[begin + len(tag) + 2 : end] if begin >= 0 else None


def _only_span(text: str, tag: str) -> tuple[int, int] | None:
    """Where the only `<tag>…</tag>` begins and ends."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    if text.count(opening) != 1 or text.count(closing) != 1:
        return None
    begin, end = text.index(opening), text.index(closing)
    return (begin, end + len(closing)) if begin < end else None


def _outside(text: str, spans: Sequence[tuple[int, int]]) -> str:
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    return "".join(text[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True))

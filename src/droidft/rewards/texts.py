"""Rewards that compare words and lengths."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from droidft.config.rewards import KeywordCoverage, LengthWindow, LexicalF1
from droidft.rewards.items import Rule, ToScore, texts_of, value_of
from droidft.rewards.tags import inside
from droidft.support.strict_json import Refused

ARTICLES = re.compile(r"\b(a|an|the)\b")


class LexicalF1Rule(Rule):
    """F1 over words with the reference, or with the best of several."""

    def __init__(self, spec: LexicalF1) -> None:
        self._spec = spec

    def check(self, columns: Mapping[str, Any]) -> None:
        """Refuse a reference without words."""
        if not all(words(text) for text in texts_of(columns, self._spec.column)):
            raise Refused(
                "reward", f"column {self._spec.column!r} holds no word to compare with", "give an answer with words"
            )

    def score(self, items: Sequence[ToScore]) -> list[float]:
        """0 to 1."""
        return [
            max(f1(_inner(item, self._spec.tag), text) for text in texts_of(item.columns, self._spec.column))
            for item in items
        ]


class LengthWindowRule(Rule):
    """1 inside the window, falling along a line outside."""

    def __init__(self, spec: LengthWindow) -> None:
        self._spec = spec

    def check(self, columns: Mapping[str, Any]) -> None:
        """Every row will do."""

    def score(self, items: Sequence[ToScore]) -> list[float]:
        """0 to 1."""
        return [self._one(self._length(item)) for item in items]

    def _length(self, item: ToScore) -> int:
        match self._spec.unit:
            case "words":
                return len(item.completion.split())
            case "characters":
                return len(item.completion)
            case "tokens":
                return item.tokens

    def _one(self, length: int) -> float:
        outside = max(self._spec.minimum - length, length - self._spec.maximum, 0)
        if outside == 0:
            return 1.0
        return max(0.0, 1 - outside / self._spec.falloff) if self._spec.falloff else 0.0


class KeywordCoverageRule(Rule):
    """Share of different keywords that are there."""

    def __init__(self, spec: KeywordCoverage) -> None:
        self._spec = spec

    def check(self, columns: Mapping[str, Any]) -> None:
        """Refuse a row without keywords."""
        self._patterns(columns)

    def score(self, items: Sequence[ToScore]) -> list[float]:
        """0 to 1."""
        return [self._one(item) for item in items]

    def _one(self, item: ToScore) -> float:
        text, patterns = plain(item.completion), self._patterns(item.columns)
        return sum(pattern.search(text) is not None for pattern in patterns) / len(patterns)

    def _patterns(self, columns: Mapping[str, Any]) -> list[re.Pattern[str]]:
        found = [*self._spec.keywords]
        if (column := self._spec.column) is not None:
            value = value_of(columns, column)
            found += value.split(",") if isinstance(value, str) else texts_of(columns, column)
        keywords = dict.fromkeys(plain(word) for word in found)
        keywords.pop("", None)
        if not keywords:
            raise Refused("reward", f"column {self._spec.column!r} holds no keyword", "list at least one word")
        return [_pattern(word, self._spec.whole_words) for word in keywords]


def plain(text: str) -> str:
    """Composed, without case, with single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def words(text: str) -> list[str]:
    """Words as SQuAD's evaluation counts them: without case, punctuation and English articles."""
    kept = "".join(letter for letter in plain(text) if not _punctuation(letter))
    return ARTICLES.sub(" ", kept).split()


def f1(text: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, with their counts; 1 where neither has any."""
    found, wanted = Counter(words(text)), Counter(words(reference))
    if not found or not wanted:
        return float(found == wanted)
    return 2 * (found & wanted).total() / (found.total() + wanted.total())


def _inner(item: ToScore, tag: str | None) -> str:
    return item.completion if tag is None else inside(item.completion, tag) or ""


@lru_cache(maxsize=4096)
def _punctuation(letter: str) -> bool:
    # ASCII's symbols count too, as in SQuAD's evaluation.
    return unicodedata.category(letter)[0] == "P" or letter in "$+<=>^`|~"


@lru_cache(maxsize=4096)
def _pattern(word: str, whole: bool) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)" if whole else re.escape(word))

"""What is scored, and every reward that comes with the program: lengths, words, answers, tags.

The parameters of each kind are in `config/rewards.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any

from droidft.config.rewards import ExactAnswer, KeywordCoverage, LengthWindow, LexicalF1, NumericAnswer, TagFormat
from droidft.rewards.numbers import final_number
from droidft.support.strict_json import Refused

ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True, slots=True)
class ToScore:
    """A completion with what a reward may look at."""

    prompt: str
    completion: str
    tokens: int
    """Length of the completion, its end token included."""
    columns: Mapping[str, Any]
    """The row as it is in the data file."""
    place: str
    """`file:line` of the row."""
    messages: Sequence[Mapping[str, Any]] = ()
    """The conversation that was asked, where it is one."""
    ids: Sequence[int] = ()
    """Tokens of the completion."""


class Rule:
    """One reward with its parameters."""

    def check(self, columns: Mapping[str, Any]) -> None:
        """Raise `Refused` where a row lacks what this reward needs; most need nothing."""

    def score(self, items: Sequence[ToScore]) -> list[float]:
        """A finite number for each item; NaN for one that this reward is not for.

        Raises:
            RewardError: it failed.
        """
        return [self.one(item) for item in items]

    def one(self, item: ToScore) -> float:
        """The number for one item."""
        raise NotImplementedError


class LexicalF1Rule(Rule):
    """F1 over words with the reference, or with the best of several: 0 to 1."""

    def __init__(self, spec: LexicalF1) -> None:
        self._spec = spec

    def check(self, columns: Mapping[str, Any]) -> None:
        """Refuse a reference without words."""
        if not all(words(text) for text in texts_of(columns, self._spec.column)):
            raise Refused(
                "reward", f"column {self._spec.column!r} holds no word to compare with", "give an answer with words"
            )

    def one(self, item: ToScore) -> float:
        """F1 of the completion, or of what stands in its tag."""
        answer = _inner(item, self._spec.tag) or ""
        return max(f1(answer, text) for text in texts_of(item.columns, self._spec.column))


class LengthWindowRule(Rule):
    """1 inside the window, falling linearly to 0 outside."""

    def __init__(self, spec: LengthWindow) -> None:
        self._spec = spec

    def one(self, item: ToScore) -> float:
        """By how far the completion is outside the window."""
        length = self._length(item)
        outside = max(self._spec.minimum - length, length - self._spec.maximum, 0)
        if outside == 0:
            return 1.0
        return max(0.0, 1 - outside / self._spec.falloff) if self._spec.falloff else 0.0

    def _length(self, item: ToScore) -> int:
        match self._spec.unit:
            case "words":
                return len(item.completion.split())
            case "characters":
                return len(item.completion)
            case "tokens":
                return item.tokens


class KeywordCoverageRule(Rule):
    """Share of different keywords that are there: 0 to 1."""

    def __init__(self, spec: KeywordCoverage) -> None:
        self._spec = spec

    def check(self, columns: Mapping[str, Any]) -> None:
        """Refuse a row without keywords."""
        self._patterns(columns)

    def one(self, item: ToScore) -> float:
        """The share in one completion."""
        text, patterns = plain(item.completion), self._patterns(item.columns)
        return sum(pattern.search(text) is not None for pattern in patterns) / len(patterns)

    def _patterns(self, columns: Mapping[str, Any]) -> list[re.Pattern[str]]:
        listed = [*self._spec.keywords]
        if (column := self._spec.column) is not None:
            value = value_of(columns, column)
            listed += value.split(",") if isinstance(value, str) else texts_of(columns, column)
        keywords = dict.fromkeys(plain(word) for word in listed)
        keywords.pop("", None)
        if not keywords:
            raise Refused("reward", f"column {self._spec.column!r} holds no keyword", "list at least one word")
        return [_pattern(word, self._spec.whole_words) for word in keywords]


class ExactAnswerRule(Rule):
    """Whether the answer is one of the references: 0 or 1."""

    def __init__(self, spec: ExactAnswer) -> None:
        self._spec = spec

    def check(self, columns: Mapping[str, Any]) -> None:
        """Refuse a blank reference."""
        if not all(text.strip() for text in texts_of(columns, self._spec.column)):
            raise Refused("reward", f"column {self._spec.column!r} is blank", "give an answer")

    def one(self, item: ToScore) -> float:
        """1 if it is."""
        answer = self._answer(_inner(item, self._spec.tag))
        return float(answer is not None and plain(answer) in map(plain, texts_of(item.columns, self._spec.column)))

    def _answer(self, text: str | None) -> str | None:
        if text is None or self._spec.after is None:
            return text
        rest = re.findall(rf"(?i:{re.escape(self._spec.after)})([^\n\r]*)", text)
        return rest[-1] if rest else None


class NumericAnswerRule(Rule):
    """Whether the final number is one of the references: 0 or 1."""

    def __init__(self, spec: NumericAnswer) -> None:
        self._spec = spec

    def check(self, columns: Mapping[str, Any]) -> None:
        """Refuse a reference without a number."""
        for text in texts_of(columns, self._spec.column):
            if final_number(text) is None:
                shown = text if len(text) <= 40 else text[:40] + "…"
                raise Refused(
                    "reward",
                    f"column {self._spec.column!r} holds no number: {shown!r}",
                    "give a number, or `#### number`",
                )

    def one(self, item: ToScore) -> float:
        """1 if it is."""
        text = _inner(item, self._spec.tag)
        answer = None if text is None else final_number(text, strict=self._spec.strict)
        references = map(final_number, texts_of(item.columns, self._spec.column))
        return float(answer is not None and any(self._equal(answer, reference) for reference in references))

    def _equal(self, answer: Decimal, reference: Decimal | None) -> bool:
        if reference is None:
            return False
        return answer == reference or abs(answer - reference) <= Decimal(repr(self._spec.tolerance))


class TagFormatRule(Rule):
    """How much of the required structure of tags a completion has: points of those possible, 0 to 1."""

    def __init__(self, spec: TagFormat) -> None:
        self._tags = spec.tags

    def one(self, item: ToScore) -> float:
        """A point for each tag, one for their order, one for nothing outside them."""
        text = item.completion
        spans = [span for tag in self._tags if (span := _only_span(text, tag)) is not None]
        points = len(spans)
        if points == len(self._tags):
            ordered = all(first[1] <= second[0] for first, second in pairwise(spans))
            points += ordered
            points += ordered and not _outside(text, spans).strip()
        return points / (len(self._tags) + 2)


def plain(text: str) -> str:
    """Composed, without case, with single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def words(text: str) -> list[str]:
    """Words as SQuAD's evaluation counts them: without case, punctuation and English articles."""
    kept = "".join(letter for letter in plain(text) if not _punctuation(letter))
    return ARTICLES.sub(" ", kept).split()


def f1(text: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, with their counts; 1 where neither has any."""
    given, wanted = Counter(words(text)), Counter(words(reference))
    if not given or not wanted:
        return float(given == wanted)
    return 2 * (given & wanted).total() / (given.total() + wanted.total())


def inside(text: str, tag: str) -> str | None:
    """What stands in the last `<tag>…</tag>`; None if there is none."""
    end = text.rfind(f"</{tag}>")
    begin = text.rfind(f"<{tag}>", 0, max(end, 0))
    return text[begin + len(tag) + 2 : end] if begin >= 0 else None


def texts_of(columns: Mapping[str, Any], column: str) -> list[str]:
    """The texts in a column: one, or a list of them; numbers as JSON writes them.

    Raises:
        Refused: there are none.
    """
    value = value_of(columns, column)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise Refused(
            "reward", f"column {column!r} holds an empty list", "give at least one answer, or leave the row out"
        )
    return [_text(each, column) for each in values]


def value_of(columns: Mapping[str, Any], column: str) -> Any:
    """What a row has in a column.

    Raises:
        Refused: nothing.
    """
    if columns.get(column) is None:
        known = ", ".join(name for name, value in columns.items() if value is not None) or "nothing"
        what = "is null" if column in columns else "is missing"
        raise Refused("reward", f"column {column!r} {what} (the row has {known})", "add it, or name another column")
    return columns[column]


def _text(value: Any, column: str) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
    names: dict[type, str] = {dict: "an object", list: "a list in a list", type(None): "null in a list"}
    noun = names.get(type(value), f"a {type(value).__name__}")
    raise Refused("reward", f"column {column!r} holds {noun}", "put a text or a number there, or a list of these")


def _inner(item: ToScore, tag: str | None) -> str | None:
    return item.completion if tag is None else inside(item.completion, tag)


@lru_cache(maxsize=4096)
def _punctuation(letter: str) -> bool:
    # ASCII's symbols count too, as in SQuAD's evaluation.
    return unicodedata.category(letter)[0] == "P" or letter in "$+<=>^`|~"


@lru_cache(maxsize=4096)
def _pattern(word: str, whole: bool) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)" if whole else re.escape(word))


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

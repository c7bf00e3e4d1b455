"""Rewards for a right answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from droidft.config.rewards import ExactAnswer, NumericAnswer
from droidft.rewards.items import Rule, ToScore, texts_of
from droidft.rewards.tags import inside
from droidft.rewards.texts import plain
from droidft.support.strict_json import Refused

NUMBER = re.compile(
    r"(?:(?<![\w)])(?P<sign>[-−+]))?(?:[$€£]\s?(?P<inner>[-−+])?)?(?<![\w.])"
    r"(?P<digits>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?P<power>[eE][-+]?[0-9]{1,3}\b)?"
)
"""A number of a text; a dash between two numbers or after a word is no sign."""
MARK = "####"


class ExactAnswerRule(Rule):
    """Whether the answer is one of the references."""

    def __init__(self, spec: ExactAnswer) -> None:
        self._spec = spec

    def check(self, columns: Mapping[str, Any]) -> None:
        """Refuse a blank reference."""
        if not all(text.strip() for text in texts_of(columns, self._spec.column)):
            raise Refused("reward", f"column {self._spec.column!r} is blank", "give an answer")

    def score(self, items: Sequence[ToScore]) -> list[float]:
        """0 or 1."""
        return [float(self._right(item)) for item in items]

    def _right(self, item: ToScore) -> bool:
        answer = self._answer(item.completion)
        return answer is not None and plain(answer) in map(plain, texts_of(item.columns, self._spec.column))

    def _answer(self, text: str) -> str | None:
        found: str | None = text if self._spec.tag is None else inside(text, self._spec.tag)
        if found is None or self._spec.after is None:
            return found
        where = re.findall(rf"(?i:{re.escape(self._spec.after)})([^\n\r]*)", found)
        return where[-1] if where else None


class NumericAnswerRule(Rule):
    """Whether the final number is one of the references."""

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

    def score(self, items: Sequence[ToScore]) -> list[float]:
        """0 or 1."""
        return [float(self._right(item)) for item in items]

    def _right(self, item: ToScore) -> bool:
        text = item.completion if self._spec.tag is None else inside(item.completion, self._spec.tag)
        answer = None if text is None else final_number(text, strict=self._spec.strict)
        return answer is not None and any(
            self._equal(answer, final_number(reference)) for reference in texts_of(item.columns, self._spec.column)
        )

    def _equal(self, answer: Decimal, reference: Decimal | None) -> bool:
        if reference is None:
            return False
        return answer == reference or abs(answer - reference) <= Decimal(repr(self._spec.tolerance))


def final_number(text: str, *, strict: bool = False) -> Decimal | None:
    """The number after the last `####`; without one there, the last number of the text unless `strict`."""
    _, mark, after = text.rpartition(MARK)
    if mark and (found := NUMBER.match(after.lstrip())) is not None:
        return _value(found)
    if strict:
        return None
    last = None
    for last in NUMBER.finditer(text):  # noqa: B007 - only the last is wanted
        pass
    return None if last is None else _value(last)


def _value(found: re.Match[str]) -> Decimal:
    size = Decimal(found["digits"].replace(",", "") + (found["power"] or ""))
    negative = "".join(found[group] or "" for group in ("sign", "inner")).replace("−", "-").count("-") % 2
    return -size if negative else size

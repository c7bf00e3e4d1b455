"""The final number of a text: the one that it marks as its answer, else the last one.

A mark is `####` or `\\boxed{…}`. The last mark that holds a number counts. See docs/rewards.md for the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

NUMBER = re.compile(
    r"(?:(?<![\w)])(?P<sign>[-−+]))?(?:[$€£]\s?(?P<inner>[-−+])?)?(?<![\w.])"
    r"(?P<digits>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?P<power>[eE][-+]?[0-9]{1,3}\b)?"
)
"""A number in a text; a dash between two numbers or after a word is no sign."""
_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]*(?:\n\s*)?(?P<rest>(?:(?!####)[^\n])*)")
"""The mark of GSM8K and the rest of its line up to a next mark; the next line where nothing else stands there."""
_HEADING = re.compile(r"[*_\s]*[0-9]+(?:\.[0-9]+)*[*_]*[.):][*_]*\s+[*_]*[^\W\d_]")
"""`2. Result`: the number of a heading, which is no answer."""
_DECORATION = re.compile(r"\\[,;:! ]|\\left|\\right|\\[()\[\]]|[*_`~]")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_DIVIDED = re.compile(r"\s*/\s*([0-9]+(?:\.[0-9]+)?)(?![\w/])")


def final_number(text: str, *, strict: bool = False) -> Decimal | None:
    """The last marked number; without one, the last number of the text. With `strict`, only one after `####`."""
    marked = sorted([*_after_hashes(text), *([] if strict else _in_boxes(text))])
    if marked:
        return marked[-1][1]
    if strict:
        return None
    last = None
    for last in NUMBER.finditer(text):  # noqa: B007 - only the last is wanted
        pass
    return None if last is None else _decimal(last)


def _after_hashes(text: str) -> Iterator[tuple[int, Decimal]]:
    """Where each `####` stands that a number follows, and the number."""
    for mark in _HASHES.finditer(text):
        if _HEADING.match(mark["rest"]):
            continue
        plain = _right_side(_plain(mark["rest"]).partition("(")[0])
        if (number := NUMBER.match(plain)) is not None and (value := _value(plain, number)) is not None:
            yield mark.start(), value


def _in_boxes(text: str) -> Iterator[tuple[int, Decimal]]:
    """Where each `\\boxed{…}` begins that holds exactly one number, and the number."""
    for mark in re.finditer(r"\\boxed\s*\{", text):
        content = _until_closed(text, mark.end())
        if content is None:
            continue
        plain = _right_side(re.sub(r"\\[a-zA-Z]+|[{}]", " ", _plain(content)))
        numbers = list(NUMBER.finditer(plain))
        divided = len(numbers) == 2 and _DIVIDED.match(plain, numbers[0].end()) is not None
        if (len(numbers) == 1 or divided) and (value := _value(plain, numbers[0])) is not None:
            yield mark.start(), value


def _plain(text: str) -> str:
    """Without emphasis and the marks of formulas; a fraction as a/b."""
    text = text.replace("{,}", ",").replace("\\$", "$").replace("\\%", "%")
    text = _DECORATION.sub("", _FRACTION.sub(r"\1/\2", text)).strip()
    return text.replace("$", "").strip() if text.count("$") > 1 else text  # a formula stands between two of them


def _right_side(text: str) -> str:
    """What stands after the last `=`, where there is one."""
    return text.rpartition("=")[2].strip()


def _until_closed(text: str, start: int) -> str | None:
    """The text up to the brace that closes the one before `start`; None where none does."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return None


def _value(text: str, number: re.Match[str]) -> Decimal | None:
    """The number, divided by what follows after a slash; None where that is zero."""
    divided = _DIVIDED.match(text, number.end())
    if divided is None:
        return _decimal(number)
    below = Decimal(divided[1])
    return None if below == 0 else _decimal(number) / below


def _decimal(number: re.Match[str]) -> Decimal:
    size = Decimal(number["digits"].replace(",", "") + (number["power"] or ""))
    negative = "".join(number[group] or "" for group in ("sign", "inner")).replace("−", "-").count("-") % 2
    return -size if negative else size

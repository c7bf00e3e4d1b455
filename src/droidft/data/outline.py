"""Where a chat template puts the turns of a conversation, worked out once for each shape of conversation.

Finding the assistant's turns takes a rendering for each of them, and one more for the whole. Conversations of one
shape (who speaks, in which order) differ in their contents alone. So the conversation is rendered once with words in
place of its contents; what stands between the words is the outline. A row whose own rendering is that outline with
its contents in it, to the letter, has its turns where the outline has them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from droidft.data.conversation import Message
from droidft.data.report import Flag
from droidft.data.template import ChatTemplate, Span
from droidft.support.faults import Refused

Found = tuple[list[Span], set[Flag]]
"""Spans of turns in a rendering, and what was noticed."""
Search = Callable[[list[Message], str], Found]
"""Finds turns in the rendering of messages by rendering parts of the conversation."""
_SEEN_BEFORE = 1
"""Rows of a shape that are searched before an outline is made of it, which then has to agree with one more."""
_MOST_SHAPES = 20_000
_BLOCK = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_TEXT = r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_METHOD = r"\.(?:startswith|endswith|split|rsplit|partition|rpartition|replace|find|rfind|index|count|\w*strip)\(\s*"
_TESTED = re.compile(rf"(?:[=!]=\s*|{_METHOD}){_TEXT}|{_TEXT}\s*(?:==|!=|(?:not\s+)?in\b)")
_NAME = re.compile(r"[A-Za-z_]*")


class Outlines:
    """The outlines of one template."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._seen: dict[Hashable, int] = {}
        self._known: dict[Hashable, _Outline | None] = {}

    def find(self, messages: list[Message], places: Sequence[int], text: str, search: Search) -> Found:
        """What `search` finds for the turns at `places` in the rendering `text` of `messages`.

        Raises:
            Refused: from `search`.
        """
        if not self._plain(messages):
            return search(messages, text)
        shape = (tuple([turn["role"] for turn in messages]), tuple(places))
        if shape not in self._known:
            return self._learn(shape, messages, text, search)
        outline = self._known[shape]
        spans = outline.spans(messages, text) if outline is not None else None
        return (spans, set(outline.flags)) if outline is not None and spans is not None else search(messages, text)

    def _learn(self, shape: Hashable, messages: list[Message], text: str, search: Search) -> Found:
        found = search(messages, text)
        if len(self._seen) >= _MOST_SHAPES:
            self._seen.clear()
        self._seen[shape] = seen = self._seen.get(shape, 0) + 1
        if seen > _SEEN_BEFORE:
            outline = self._outline(messages, search)
            agrees = outline is not None and (outline.spans(messages, text), outline.flags) == found
            if len(self._known) >= _MOST_SHAPES:
                self._known.clear()
            self._known[shape] = outline if agrees else None
        return found

    def _outline(self, messages: list[Message], search: Search) -> _Outline | None:
        words = [f"Zq{number}zQ" for number in range(len(messages))]
        marked = [{**turn, "content": word} for turn, word in zip(messages, words, strict=True)]
        try:
            text = self._template.render(marked, None)
            spans, flags = search(marked, text)
        except Refused:
            return None
        return _outline(text, words, spans, flags)

    def _plain(self, messages: list[Message]) -> bool:
        """Whether these are turns of nothing but text, and of none that the template asks for."""
        for turn in messages:
            content = turn.get("content")
            if len(turn) != 2 or not content or content.isspace():
                return False
            if self._asked is not None and self._asked.search(content):
                return False
        return self._template.text is not None

    @cached_property
    def _asked(self) -> re.Pattern[str] | None:
        """Texts that the template looks for, as in `'</think>' in content`; its names of roles are none."""
        asked = set()
        for block in _BLOCK.findall(self._template.text or ""):
            for match in _TESTED.finditer(block):
                with suppress(ValueError, SyntaxError):
                    asked.add(str(ast.literal_eval(match[1] or match[2])).strip())
        texts = sorted(text for text in asked if not _NAME.fullmatch(text))
        return re.compile("|".join(map(re.escape, texts))) if texts else None


@dataclass(frozen=True)
class _Outline:
    """What stands before, between and behind the contents, and the bounds of spans: (piece, characters into it)."""

    pieces: list[str]
    bounds: list[tuple[tuple[int, int], tuple[int, int]]]
    flags: set[Flag]

    def spans(self, messages: list[Message], text: str) -> list[Span] | None:
        """The spans in `text`; None where it is not this outline with the contents in it, as they are or trimmed."""
        if not text.startswith(self.pieces[0]):
            return None
        starts, at = [0], len(self.pieces[0])
        for turn, piece in zip(messages, self.pieces[1:], strict=True):
            content = turn["content"]
            for written in (content, content.strip()):
                if text.startswith(written, at) and text.startswith(piece, at + len(written)):
                    break
            else:
                return None
            starts.append(at + len(written))
            at = starts[-1] + len(piece)
        if at != len(text):
            return None
        return [(starts[one] + start, starts[other] + end) for (one, start), (other, end) in self.bounds]


def _outline(text: str, words: Sequence[str], spans: Sequence[Span], flags: set[Flag]) -> _Outline | None:
    """The outline of a rendering that has each word once, in order; None for any other."""
    pieces, starts, rest = [], [0], text
    for word in words:
        before, met, rest = rest.partition(word)
        if not met or any(other in before for other in words):
            return None
        pieces.append(before)
        starts.append(starts[-1] + len(before) + len(word))
    if any(word in rest for word in words):
        return None
    pieces.append(rest)

    def bound(position: int) -> tuple[int, int] | None:
        for number, (start, piece) in enumerate(zip(starts, pieces, strict=True)):
            if start <= position <= start + len(piece):
                return number, position - start
        return None

    bounds = [(bound(start), bound(end)) for start, end in spans]
    known = [(start, end) for start, end in bounds if start is not None and end is not None]
    return _Outline(pieces, known, flags) if len(known) == len(bounds) else None

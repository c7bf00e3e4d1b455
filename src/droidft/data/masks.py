"""Which part of a rendered conversation the assistant writes, for any chat template.

A template is a program, so its output is compared, never guessed at. For each assistant turn i:

    prompt = render(messages[:i]) + the assistant's opening     must be a prefix of the whole rendering
    turn   = render(messages[:i + 1])                           must be one too

and what lies between the ends of the two is the turn. Templates that rewrite earlier turns (dropping their
thinking, moving tools) fail the test; then the turn's content is found by rendering the conversation once more
with a marker in its place. Templates with `{% generation %}` say it themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.data.codec import Codec, Encoding
from droidft.data.conversation import Message
from droidft.data.report import Flag
from droidft.data.rows import Row
from droidft.support.faults import Refused

_MARKER = "Qx7droidft7marker7xQ"


@dataclass
class Rendered:
    """A conversation as text, with the character spans of the assistant's turns."""

    text: str
    spans: list[tuple[int, int]] = field(default_factory=list)
    flags: set[Flag] = field(default_factory=set)


def render(codec: Codec, row: Row, *, spans: bool) -> Rendered:
    """Render a conversation and, if asked, find the assistant's spans.

    Raises:
        Refused: the template refuses the row, or an assistant turn cannot be found in its output.
    """
    text = codec.render(row.messages, row.tools)
    rendered = Rendered(text)
    if not spans:
        return rendered
    if codec.marks_generation:
        tagged, found = codec.generation_spans(row.messages, row.tools)
        if tagged == text and len(found) > row.given:
            rendered.spans = found[row.given :]
            return rendered
    answers = [index for index, message in enumerate(row.messages) if message["role"] == "assistant"]
    for index in answers[row.given :]:
        rendered.spans.append(_turn(codec, row, rendered, index))
    _check_order(rendered.spans)
    return rendered


def supervised(codec: Codec, encoding: Encoding, rendered: Rendered) -> npt.NDArray[np.bool_]:
    """Mark the tokens inside the spans, each up to and with its end-of-turn token. Shape (tokens,)."""
    mask = np.zeros(len(encoding.ids), dtype=np.bool_)
    for start, end in rendered.spans:
        first, merged = _tokens_before(codec, encoding, rendered.text, start)
        if merged:
            first += 1
            rendered.flags.add(Flag.BOUNDARY_MERGED)
        last, _ = _tokens_before(codec, encoding, rendered.text, end)
        mask[first : _end_of_turn(codec, encoding.ids, first, last)] = True
    if len(mask):
        mask[0] = False
    return mask


def _turn(codec: Codec, row: Row, rendered: Rendered, index: int) -> tuple[int, int]:
    """Where assistant turn `index` starts (after its opening) and ends in the rendering."""
    text, messages = rendered.text, row.messages
    content = messages[index].get("content") or ""
    marked: tuple[int, int] | None = None
    prompt = codec.render(messages[:index], row.tools, prompt=True) if index else ""
    if text.startswith(prompt) and prompt:
        start = len(prompt)
    else:
        marked = _marked(codec, row, text, index)
        start = marked[0]
        if prompt and not _moved(codec, row, text, index):
            rendered.flags.add(Flag.PROMPT_DIFFERS)
    if index == len(messages) - 1:
        end = len(text)
    else:
        turn = codec.render(messages[: index + 1], row.tools)
        end = len(turn) if text.startswith(turn) else (marked or _marked(codec, row, text, index))[1]
    if content.strip() not in text[start:end]:
        rendered.flags.add(Flag.CONTENT_ALTERED)
    return start, end


def _moved(codec: Codec, row: Row, text: str, index: int) -> bool:
    """Whether the earlier turns themselves render differently, so that the opening is not to blame."""
    return not text.startswith(codec.render(row.messages[:index], row.tools))


def _marked(codec: Codec, row: Row, text: str, index: int) -> tuple[int, int]:
    """Find the content of turn `index` by rendering the conversation with a marker in its place."""
    message = row.messages[index]
    if not message.get("content"):
        raise _unclear(index, "it has no text of its own")
    changed = [*row.messages[:index], {**message, "content": _MARKER}, *row.messages[index + 1 :]]
    other = codec.render(changed, row.tools)
    if other.count(_MARKER) != 1:
        raise _unclear(index, "the template does not write it exactly once")
    start = other.index(_MARKER)
    after = other[start + len(_MARKER) :]
    end = len(text) - len(after)
    if end < start or text[:start] != other[:start] or text[end:] != after:
        # What the template adds around a text may depend on the text; take what both renderings share.
        start = _shared(text, other[:start])
        end = len(text) - _shared(text[::-1], after[::-1])
        if end <= start or message["content"].strip() not in text[start:end]:
            raise _unclear(index, "the template changes what is around it")
    return start, end


def _shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Length of the common beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _unclear(index: int, why: str) -> Refused:
    return Refused(
        "turn-not-found",
        f"turn {index + 1} (assistant) cannot be found in the chat template's output: {why}",
        "turn mask_prompt off, or use a template that marks its turns with {% generation %}",
    )


def _check_order(spans: list[tuple[int, int]]) -> None:
    for number, ((_, end), (start, _)) in enumerate(pairwise(spans), start=1):
        if start < end:
            raise Refused(
                "turn-not-found",
                f"answers {number} and {number + 1} overlap in the chat template's output",
                "turn mask_prompt off, or use a template that marks its turns with {% generation %}",
            )


def _tokens_before(codec: Codec, encoding: Encoding, text: str, position: int) -> tuple[int, bool]:
    """How many tokens end at or before a character, and whether one reaches across it."""
    if encoding.ends is not None and encoding.starts is not None:
        count = int(np.searchsorted(encoding.ends, position, side="right"))
        return count, count < len(encoding.ids) and int(encoding.starts[count]) < position
    prefix = codec.encode_rendered([text[:position]])[0].ids
    if encoding.ids[: len(prefix)] == prefix:
        return len(prefix), False
    return _shared(prefix, encoding.ids), True


def _end_of_turn(codec: Codec, ids: list[int], first: int, last: int) -> int:
    """Leave out white space after the end-of-turn token, and take in the token if it follows the span."""
    end = last
    while end > first and codec.is_space(ids[end - 1]):
        end -= 1
    if end > first and ids[end - 1] in codec.special:
        return end
    if last < len(ids) and last > first and ids[last] in codec.special:
        return last + 1
    return last


def check_messages(codec: Codec, messages: list[Message]) -> bool:
    """Whether any content spells out a special token."""
    pattern = codec.special_pattern
    if pattern is None:
        return False
    return any(pattern.search(message.get("content") or "") for message in messages)

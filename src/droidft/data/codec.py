"""The model's tokenizer and chat template: text to tokens and back, and which parts the assistant writes.

`Codec` works on a transformers tokenizer and on mlx-lm's wrapper alike, and gives the same tokens as their own
`encode` and `apply_chat_template`, but in batches and with exact character offsets.

`render` marks the assistant's turns for any chat template. A template is a program, so its output is compared, never
guessed at. For each assistant turn i:

    prompt = render(messages[:i]) + the assistant's opening     must be a prefix of the whole rendering
    turn   = render(messages[:i + 1])                           must be one too

and what lies between the ends of the two is the turn. Templates that rewrite earlier turns (dropping their
thinking, moving tools) fail the test; the turn's content is then located by rendering the conversation once more
with a marker in its place. Templates with `{% generation %}` mark the turns themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise, takewhile
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from droidft.config import SystemRole
from droidft.data.conversation import SYSTEM_ROLES, Message
from droidft.data.outline import Found, Outlines
from droidft.data.proof import THINK_END, Part, Proof, thinking_outside
from droidft.data.report import Flag
from droidft.data.rows import Row
from droidft.data.template import ChatTemplate, TemplateOptions
from droidft.support.faults import Refused

T = TypeVar("T")
Wanted = Literal["trained", "untrained"] | None
"""Which of the assistant's turns are looked for in a rendering."""
_SAMPLE = "Hello, wörld 123!\n\n  x = 1 "
_MARKER = "Qx7droidft7marker7xQ"


@dataclass(frozen=True, eq=False, slots=True)
class Encoding:
    """Token ids of one text, with where each token starts and ends in it (None without a fast tokenizer).

    Starts and ends are counted in characters, or with `in_bytes` in bytes of UTF-8. Shape (tokens,).
    """

    ids: list[int]
    starts: npt.NDArray[np.int64] | None = None
    ends: npt.NDArray[np.int64] | None = None
    in_bytes: bool = False

    def tokens_before(self, text: str, position: int) -> tuple[int, bool] | None:
        """How many tokens end at or before a character, and whether one reaches across it; None where unknown."""
        if self.ends is None or self.starts is None:
            return None
        if self.in_bytes and not text.isascii():
            position = len(text[:position].encode())
        count = int(np.searchsorted(self.ends, position, side="right"))
        return count, count < len(self.ids) and int(self.starts[count]) < position


class Codec:
    """Encodes text and renders conversations with one tokenizer."""

    def __init__(self, tokenizer: Any, options: TemplateOptions | None = None) -> None:
        self.tokenizer = tokenizer
        self.eos_id: int | None = tokenizer.eos_token_id
        self.bos_id: int | None = tokenizer.bos_token_id
        # mlx-lm's wrapper has a set of them; a transformers tokenizer answers to the name with one number.
        ends = getattr(tokenizer, "eos_token_ids", None)
        more = ends if isinstance(ends, set | list | tuple) else [ends]
        self.eos_ids = frozenset(index for index in (self.eos_id, *more) if index is not None)
        self.template = ChatTemplate(tokenizer, options)
        self.has_template = self.template.present
        self.proof = Proof(self.template)
        self.outlines = Outlines(self.template)
        self._pieces: dict[int, str] = {}

    # -- text to tokens

    @cached_property
    def _whole(self) -> Any:
        """A private copy of the Rust tokenizer, or None."""
        return self._copy(special=True)

    @cached_property
    def _plain(self) -> Any:
        """The same without its post-processor, which adds special tokens and trims offsets."""
        return self._copy(special=False)

    def _copy(self, *, special: bool) -> Any:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        from tokenizers import Tokenizer

        copy = Tokenizer.from_str(backend.to_str())
        copy.no_truncation()
        copy.no_padding()
        if not special:
            copy.post_processor = None
        # Should a tokenizer class add steps of its own, its public method is used instead.
        ours = copy.encode(_SAMPLE, add_special_tokens=special).ids
        return copy if ours == list(self.tokenizer.encode(_SAMPLE, add_special_tokens=special)) else None

    @cached_property
    def _bytes(self) -> npt.NDArray[np.int64] | None:
        """Bytes of text that each token stands for, by id, where the tokens of a text are its bytes in order.

        That is so for BPE over bytes that changes nothing of the text before. Its offsets then follow from the ids,
        which is several times faster than to have the tokenizer keep them.
        """
        if self._plain is None:
            return None
        parts = json.loads(self._plain.to_str())
        before = parts["pre_tokenizer"] or {}
        adds_space = any(step.get("add_prefix_space") for step in before.get("pretokenizers", [before]))
        if adds_space or parts["normalizer"] is not None or (parts["decoder"] or {}).get("type") != "ByteLevel":
            return None
        # A character of such a token stands for a byte; added tokens are written as they are.
        added = {token["id"]: len(token["content"].encode()) for token in parts["added_tokens"]}
        vocabulary = {number: len(text) for text, number in self._plain.get_vocab(with_added_tokens=False).items()}
        lengths = np.zeros(max(*vocabulary, *added, 0) + 1, dtype=np.int64)
        for number, length in (vocabulary | added).items():
            lengths[number] = length
        return lengths

    def encode_rendered(self, texts: list[str]) -> list[Encoding]:
        """Encode rendered conversations: nothing is added, since the template wrote its own special tokens."""
        if self._plain is None:
            return [Encoding(list(self.tokenizer.encode(text, add_special_tokens=False))) for text in texts]
        if self._bytes is None:
            return self._with_offsets(texts)
        encoded = self._plain.encode_batch_fast(texts, add_special_tokens=False)
        made = [self._by_bytes(one.ids, text) for one, text in zip(encoded, texts, strict=True)]
        # Added tokens may swallow the spaces around them.
        others = iter(self._with_offsets([text for one, text in zip(made, texts, strict=True) if one is None]))
        return [next(others) if one is None else one for one in made]

    def _by_bytes(self, ids: list[int], text: str) -> Encoding | None:
        assert self._bytes is not None
        lengths = self._bytes[ids]
        ends = np.cumsum(lengths)
        size = len(text) if text.isascii() else len(text.encode())
        return Encoding(ids, ends - lengths, ends, in_bytes=True) if (ends[-1] if len(ids) else 0) == size else None

    def _with_offsets(self, texts: list[str]) -> list[Encoding]:
        made = []
        for one in self._plain.encode_batch(texts, add_special_tokens=False) if texts else ():
            pairs = np.array(one.offsets, dtype=np.int64).reshape(-1, 2)
            made.append(Encoding(one.ids, pairs[:, 0], pairs[:, 1]))
        return made

    def soon(self, encode: Callable[[list[str]], list[T]], texts: list[str]) -> Callable[[], list[T]]:
        """What gives `encode(texts)`, which a thread works out meanwhile where the tokenizer leaves Python."""
        if self._plain is None or not texts:
            return partial(encode, texts)
        return self._thread.submit(encode, texts).result

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenizer")

    def encode_texts(self, texts: list[str]) -> list[list[int]]:
        """Encode plain texts as the tokenizer does by itself (most put a start token first), but never two of it."""
        if self._whole is not None:
            rows = [list(one.ids) for one in self._whole.encode_batch_fast(texts, add_special_tokens=True)]
        else:
            rows = [list(self.tokenizer.encode(text)) for text in texts]
        if self.bos_id is None:
            return rows
        return [ids[1:] if ids[:2] == [self.bos_id, self.bos_id] else ids for ids in rows]

    # -- tokens to text

    def piece(self, token: int) -> str:
        """One token as text."""
        if token not in self._pieces:
            self._pieces[token] = self.tokenizer.decode([token], skip_special_tokens=False)
        return self._pieces[token]

    def is_space(self, token: int) -> bool:
        """Whether a token is white space only."""
        return token not in self.special and not self.piece(token).strip()

    def decode(self, tokens: list[int]) -> str:
        """Tokens as text, special ones included."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False))

    @cached_property
    def special(self) -> dict[int, str]:
        """Special tokens, by id."""
        return {
            index: token.content
            for index, token in self.tokenizer.added_tokens_decoder.items()
            if token.special or index in self.eos_ids
        }

    @cached_property
    def special_pattern(self) -> re.Pattern[str] | None:
        """Matches any special token written out in a text."""
        names = sorted((name for name in self.special.values() if name.strip()), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names))) if names else None


@dataclass
class Rendered:
    """A conversation as text, with the character spans of the assistant's turns."""

    text: str
    spans: list[tuple[int, int]] = field(default_factory=list)
    flags: set[Flag] = field(default_factory=set)


def adapted(codec: Codec, messages: list[Message]) -> tuple[list[Message], set[Flag]]:
    """Messages as the template takes them, and what is to be known about that.

    Raises:
        Refused: a system turn that can be folded into no user's turn.
    """
    made = codec.template.adapted(messages)
    developer = made is not messages and any(turn["role"] == "developer" for turn in messages)
    renamed = developer and any(turn["role"] == "system" for turn in made)
    return made, {Flag.DEVELOPER_AS_SYSTEM} if renamed else set()


def render(codec: Codec, row: Row, *, wanted: Wanted, text: str | None = None) -> Rendered:
    """Render a conversation and find the spans of the assistant's turns that are to be trained, or that are not.

    `text` is its rendering where that is known.

    Raises:
        Refused: the template refuses the row or leaves out what is to be trained; a turn cannot be found in its text.
    """
    text = codec.template.render(row.messages, row.tools) if text is None else text
    rendered = Rendered(text)
    check_whole(codec, row, rendered)
    if wanted is None:
        return rendered
    trained, untrained = _trained(row, yes=True), _trained(row, yes=False)
    if codec.template.marks_generation:
        tagged, marks = codec.template.generation_spans(row.messages, row.tools)
        if tagged == text and marks and (not untrained or len(marks) == len(trained) + len(untrained)):
            rendered.spans = [mark for at, mark in enumerate(marks) if row.trains(at) is (wanted == "trained")]
            return rendered
    places = trained if wanted == "trained" else untrained

    def search(messages: list[Message], text: str) -> Found:
        other, given = Rendered(text), row._replace(messages=messages)
        return [_turn(codec, given, other, index) for index in places], other.flags

    if row.tools is None:
        rendered.spans, flags = codec.outlines.find(row.messages, places, text, search)
    else:
        rendered.spans, flags = search(row.messages, text)
    rendered.flags |= flags
    _check_order(rendered.spans)
    return rendered


def check_whole(codec: Codec, row: Row, rendered: Rendered) -> None:
    """Flag what the template leaves out of a row.

    Raises:
        Refused: it leaves out something that is to be trained.
    """
    missing = codec.proof.left_out(row.messages, row.tools, rendered.text)
    trained = set(_trained(row, yes=True)) if missing else set()
    for part in missing:
        if part.turn in trained:
            if part.what == "thinking" and codec.proof.dropped_later(row.messages, row.tools, part):
                rendered.flags.add(Flag.THINKING_DROPPED)
                continue
            raise _left_out(part)
        rendered.flags.add(flag_of(codec, row.messages, part))
    if thinking_outside(row.messages, rendered.text):
        rendered.flags.add(Flag.THINKING_OUTSIDE)
    if not missing and _altered(row.messages, rendered.text):
        rendered.flags.add(Flag.CONTENT_ALTERED)


def flag_of(codec: Codec, messages: Sequence[Message], part: Part) -> Flag:
    """What is reported of a part that is left out and not to be trained.

    Raises:
        Refused: it is a system text, and those are not to be left out.
    """
    if part.turn is None:
        return Flag.TOOLS_LEFT_OUT
    if messages[part.turn]["role"] in SYSTEM_ROLES:
        if codec.template.options.system_role is SystemRole.REFUSE:
            reason = f"turn {part.turn + 1} (system) is left out by the model's chat template"
            raise Refused("left-out", reason, "set system_role to fold, or remove the turn")
        return Flag.SYSTEM_LEFT_OUT
    return Flag.THINKING_DROPPED if part.what == "thinking" else Flag.TURN_LEFT_OUT


def _left_out(part: Part) -> Refused:
    assert part.turn is not None
    what = f"the {part.name}" if part.what == "argument" else f"its {part.name}"
    fix = {
        "text": "change the row",
        "thinking": "write it into the content as the template has it, or take it out",
    }.get(part.what, "use a model whose template writes tool calls, or write them into the content")
    reason = f"turn {part.turn + 1} (assistant) is not whole: the model's chat template leaves out {what}"
    return Refused("left-out", reason, fix)


def _altered(messages: Sequence[Message], text: str) -> bool:
    """Whether a turn's text does not stand in the rendering as it is."""
    at = 0
    for turn in messages:
        content = (turn.get("content") or "").strip()
        if THINK_END in content:
            continue
        place = text.find(content, at)
        if place < 0 and content not in text:
            return True
        at = max(at, place)
    return False


def answers(row: Row) -> list[int]:
    """The places of the assistant's turns among the messages of a row."""
    return [index for index, message in enumerate(row.messages) if message["role"] == "assistant"]


def _trained(row: Row, *, yes: bool) -> list[int]:
    """The places of those that are to be trained, or that are not."""
    return [index for number, index in enumerate(answers(row)) if row.trains(number) is yes]


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
    marked: tuple[int, int] | None = None
    prompt = codec.template.render(messages[:index], row.tools, prompt=True) if index else ""
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
        turn = codec.template.render(messages[: index + 1], row.tools)
        end = len(turn) if text.startswith(turn) else (marked or _marked(codec, row, text, index))[1]
    return start, end


def _moved(codec: Codec, row: Row, text: str, index: int) -> bool:
    """Whether the earlier turns themselves render differently, so that the opening is not to blame."""
    return not text.startswith(codec.template.render(row.messages[:index], row.tools))


def _marked(codec: Codec, row: Row, text: str, index: int) -> tuple[int, int]:
    """Find the content of turn `index` by rendering the conversation with a marker in its place."""
    message = row.messages[index]
    if message.get("tool_calls"):
        return _calling(codec, row, text, index)
    if not message.get("content"):
        raise _unclear(index, "it has no text of its own")
    changed = [*row.messages[:index], {**message, "content": _MARKER}, *row.messages[index + 1 :]]
    other = codec.template.render(changed, row.tools)
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


def _calling(codec: Codec, row: Row, text: str, index: int) -> tuple[int, int]:
    """Find a turn that calls tools: it starts where its text would, and ends where the conversation up to it does."""
    turn = codec.template.render(row.messages[: index + 1], row.tools)
    changed = [*row.messages[:index], {**row.messages[index], "content": _MARKER}, *row.messages[index + 1 :]]
    other = codec.template.render(changed, row.tools)
    start = other.find(_MARKER)
    if start < 0 or not text.startswith(turn):
        raise _unclear(index, "it calls tools, and the template changes what is around it")
    return _shared(text, other[:start]), len(turn)


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
    if (known := encoding.tokens_before(text, position)) is not None:
        return known
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

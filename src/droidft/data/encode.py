"""Rows -> tokens and mask, a batch at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.data.codec import Codec
from droidft.data.conversation import Message, with_system
from droidft.data.masks import Rendered, check_messages, render, supervised
from droidft.data.report import Flag
from droidft.data.rows import Row
from droidft.support.faults import Refused


@dataclass(frozen=True)
class Encoded:
    """One row uncut: tokens (length,) int32, supervised (length,) bool, and what was noticed."""

    tokens: npt.NDArray[np.int32]
    supervised: npt.NDArray[np.bool_]
    flags: frozenset[Flag] = field(default_factory=frozenset)

    @property
    def digest(self) -> int:
        """64-bit hash of the tokens."""
        return int.from_bytes(hashlib.blake2b(self.tokens.tobytes(), digest_size=8).digest(), "little")


@dataclass
class RowEncoder:
    """Encodes rows with one tokenizer.

    With `mask_prompt` the assistant's turns are the targets, else every token but the first.
    """

    codec: Codec
    mask_prompt: bool = False
    system_prompt: str | None = None

    def encode(self, rows: Sequence[Row]) -> list[Encoded | Refused]:
        """Each row encoded, or why it cannot be."""
        found: list[Encoded | Refused | None] = [None] * len(rows)
        texts, pairs, chats = [], [], []
        for index, row in enumerate(rows):
            if row.text is not None:
                texts.append(index)
            elif self.codec.has_template:
                chats.append(index)
            elif row.tools is None and [message["role"] for message in row.messages] == ["user", "assistant"]:
                pairs.append(index)
            else:
                found[index] = _NO_TEMPLATE
        for index, encoded in zip(texts, self._texts([rows[index] for index in texts]), strict=True):
            found[index] = encoded
        for index, encoded in zip(pairs, self.pairs([rows[index] for index in pairs]), strict=True):
            found[index] = encoded
        for index, chat in zip(chats, self._chats([rows[index] for index in chats]), strict=True):
            found[index] = chat
        return [encoded for encoded in found if encoded is not None]

    def _texts(self, rows: list[Row]) -> list[Encoded]:
        """Plain text, ended by the end-of-sequence token."""
        pattern = self.codec.special_pattern
        found = []
        texts = [row.text or "" for row in rows]
        for text, ids in zip(texts, self.codec.encode_texts(texts), strict=True):
            self._close(ids)
            flags = {Flag.SPECIAL_TOKENS} if pattern and pattern.search(text) else set()
            found.append(_encoded(ids, 0, flags))
        return found

    def pairs(self, rows: list[Row]) -> list[Encoded]:
        """Prompt and completion joined without a template.

        They are encoded apart, so that the prompt's tokens are those that generation will start from.
        """
        prompts = self.codec.encode_texts([row.messages[0]["content"] for row in rows])
        answers = self.codec.encode_rendered([row.messages[1]["content"] for row in rows])
        found = []
        for row, prompt, answer in zip(rows, prompts, answers, strict=True):
            _open_end(self.codec, prompt)
            ids = [*prompt, *answer.ids]
            self._close(ids)
            flags = {Flag.SPECIAL_TOKENS} if check_messages(self.codec, row.messages) else set()
            found.append(_encoded(ids, len(prompt) if self.mask_prompt else 0, flags))
        return found

    def _chats(self, rows: list[Row]) -> list[Encoded | Refused]:
        rendered: list[Rendered | Refused] = []
        for row in rows:
            try:
                whole = row._replace(messages=with_system(row.messages, self.system_prompt))
                rendered.append(render(self.codec, whole, spans=self.mask_prompt))
            except Refused as why:
                rendered.append(why)
        encodings = iter(self.codec.encode_rendered([one.text for one in rendered if isinstance(one, Rendered)]))
        found: list[Encoded | Refused] = []
        for row, one in zip(rows, rendered, strict=True):
            if isinstance(one, Refused):
                found.append(one)
                continue
            encoding = next(encodings)
            mask = supervised(self.codec, encoding, one) if self.mask_prompt else _all(len(encoding.ids))
            if check_messages(self.codec, row.messages):
                one.flags.add(Flag.SPECIAL_TOKENS)
            found.append(Encoded(np.array(encoding.ids, dtype=np.int32), mask, frozenset(one.flags)))
        return found

    def _close(self, ids: list[int]) -> None:
        if self.codec.eos_id is not None and ids[-1:] != [self.codec.eos_id]:
            ids.append(self.codec.eos_id)


def encode_prompts(
    codec: Codec, prompts: Sequence[tuple[list[Message], list[dict[str, Any]] | None]]
) -> list[Encoded | Refused]:
    """What generation starts from, for messages with their tools: nothing of it is supervised.

    With a chat template the assistant's opening ends it; else it is the text of the only message.
    """
    texts: list[str | Refused] = []
    for messages, tools in prompts:
        try:
            texts.append(_prompt_text(codec, messages, tools))
        except Refused as why:
            texts.append(why)
    usable = [text for text in texts if isinstance(text, str)]
    if codec.has_template:
        rows = iter([encoding.ids for encoding in codec.encode_rendered(usable)])
    else:
        rows = iter([_open_end(codec, ids) for ids in codec.encode_texts(usable)])
    found: list[Encoded | Refused] = []
    for (messages, _), text in zip(prompts, texts, strict=True):
        if isinstance(text, Refused):
            found.append(text)
            continue
        flags = frozenset({Flag.SPECIAL_TOKENS} if check_messages(codec, messages) else set())
        ids = np.array(next(rows), dtype=np.int32)
        found.append(Encoded(ids, np.zeros(len(ids), dtype=np.bool_), flags))
    return found


def _prompt_text(codec: Codec, messages: list[Message], tools: list[dict[str, Any]] | None) -> str:
    if codec.has_template:
        return codec.render(messages, tools, prompt=True)
    if tools is not None or [message["role"] for message in messages] != ["user"]:
        raise _NO_TEMPLATE
    return str(messages[0]["content"])


def _open_end(codec: Codec, ids: list[int]) -> list[int]:
    """A prompt without the end-of-sequence token that some tokenizers put after every text."""
    if len(ids) > 1 and ids[-1] == codec.eos_id:
        ids.pop()
    return ids


def _encoded(ids: list[int], first: int, flags: set[Flag]) -> Encoded:
    mask = _all(len(ids))
    mask[:first] = False
    return Encoded(np.array(ids, dtype=np.int32), mask, frozenset(flags))


def _all(length: int) -> npt.NDArray[np.bool_]:
    mask = np.ones(length, dtype=np.bool_)
    mask[:1] = False
    return mask


_NO_TEMPLATE = Refused(
    "no-template",
    "is a conversation, but the model's tokenizer has no chat template",
    "choose an instruct model, or write prompt and completion",
)


def trainable(encoded: Encoded, limit: int | None) -> Encoded | Refused:
    """The row, unless it has no token to train on, before or after the cut."""
    if encoded.supervised[:limit].any():
        return encoded
    if not encoded.supervised.any():
        return Refused("no-target", "has no token to train on", "fill the answer or remove the row")
    first = int(np.argmax(encoded.supervised)) + 1
    return Refused(
        "all-cut",
        f"has its answer at token {first:,} of {len(encoded.tokens):,}, beyond the limit of {limit:,}",
        f"raise max_seq_length to {first + 1:,} or more, shorten the prompt, or remove the row",
    )


def ends_in_eos(codec: Codec, tokens: npt.NDArray[np.int32], mask: npt.NDArray[np.bool_]) -> bool:
    """Whether the last trained token ends the sequence; white space after it does not count."""
    for position in np.flatnonzero(mask)[::-1][:4]:
        token = int(tokens[position])
        if token in codec.eos_ids:
            return True
        if not codec.is_space(token):
            return False
    return False

"""Rows -> tokens and mask, a batch at a time, and sets of them in compact arrays.

A million rows cost the memory of their tokens and little more.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from droidft.data.codec import Codec, Encoding, Rendered, Wanted, adapted, answers, check_messages, render, supervised
from droidft.data.conversation import with_system
from droidft.data.report import Flag
from droidft.data.rows import Row
from droidft.support.faults import Refused

NO_TEMPLATE = Refused(
    "no-template",
    "is a conversation, but the model's tokenizer has no chat template",
    "choose an instruct model, or write prompt and completion as texts, which are joined as they are",
)


@dataclass(frozen=True)
class Encoded:
    """One row uncut: tokens (length,) int32, supervised (length,) bool, and what was noticed."""

    tokens: npt.NDArray[np.int32]
    supervised: npt.NDArray[np.bool_]
    flags: frozenset[Flag] = field(default_factory=frozenset)


@dataclass
class RowEncoder:
    """Encodes rows with one tokenizer.

    With `mask_prompt` the assistant's turns are the targets, or with `last_turn` the last of them; else every token
    but the first, and but those of turns that are masked.
    """

    codec: Codec
    mask_prompt: bool = False
    system_prompt: str | None = None
    last_turn: bool = False

    def encode(self, rows: Sequence[Row]) -> list[Encoded | Refused]:
        """Each row encoded, or why it cannot be."""
        texts, pairs, chats = [], [], []
        for index, row in enumerate(rows):
            if row.text is not None:
                texts.append(index)
            elif self.codec.has_template:
                chats.append(index)
            elif row.tools is None and row.joinable:
                pairs.append(index)
        ways: list[tuple[list[int], Callable[[list[Row]], Sequence[Encoded | Refused]]]]
        ways = [(texts, self._texts), (pairs, self.pairs), (chats, self._chats)]
        encoded: dict[int, Encoded | Refused] = {}
        for indices, encode in ways:
            encoded.update(zip(indices, encode([rows[index] for index in indices]), strict=True))
        return [encoded.get(index, NO_TEMPLATE) for index in range(len(rows))]

    def _texts(self, rows: list[Row]) -> list[Encoded]:
        """Plain text, ended by the end-of-sequence token."""
        pattern = self.codec.special_pattern
        texts = [row.text or "" for row in rows]
        encoded = []
        for text, ids in zip(texts, self.codec.encode_texts(texts), strict=True):
            encoded.append(self._closed(ids, 0, special=bool(pattern and pattern.search(text))))
        return encoded

    def pairs(self, rows: list[Row]) -> list[Encoded]:
        """Prompt and completion joined without a template.

        They are encoded separately, so that the prompt's tokens are those that generation will start from.
        """
        prompts = self.codec.encode_texts([row.messages[0]["content"] for row in rows])
        answers = self.codec.encode_rendered([row.messages[1]["content"] for row in rows])
        encoded = []
        for row, prompt, answer in zip(rows, prompts, answers, strict=True):
            open_end(self.codec, prompt)
            first = len(prompt) if self.mask_prompt else 0
            special = check_messages(self.codec, row.messages)
            encoded.append(self._closed([*prompt, *answer.ids], first, special=special))
        return encoded

    def _chats(self, rows: list[Row]) -> list[Encoded | Refused]:
        """Conversations as the chat template writes them."""
        rendered: list[Rendered | Refused] = []
        for row in rows:
            try:
                rendered.append(self._rendered(row))
            except Refused as why:
                rendered.append(why)
        encodings = iter(self.codec.encode_rendered([one.text for one in rendered if isinstance(one, Rendered)]))
        encoded: list[Encoded | Refused] = []
        for row, one in zip(rows, rendered, strict=True):
            if isinstance(one, Refused):
                encoded.append(one)
                continue
            encoding = next(encodings)
            mask = self._mask(encoding, one, masked=bool(row.masked))
            if check_messages(self.codec, row.messages):
                one.flags.add(Flag.SPECIAL_TOKENS)
            encoded.append(Encoded(np.array(encoding.ids, dtype=np.int32), mask, frozenset(one.flags)))
        return encoded

    def _rendered(self, row: Row) -> Rendered:
        """A conversation as text; its spans are the turns to train, or without `mask_prompt` those not to."""
        messages, flags = adapted(self.codec, with_system(row.messages, self.system_prompt))
        whole = row._replace(messages=messages, given=row.given if self.mask_prompt else 0)
        if self.last_turn:
            whole = whole.only_last()
        if not any(whole.trains(number) for number in range(len(answers(whole)))):
            raise Refused("no-target", "has no turn to train: the weight of each is 0", "give one a weight of 1")
        wanted: Wanted = "trained" if self.mask_prompt else "untrained" if row.masked else None
        rendered = render(self.codec, whole, wanted=wanted)
        rendered.flags |= flags
        return rendered

    def _mask(self, encoding: Encoding, rendered: Rendered, *, masked: bool) -> npt.NDArray[np.bool_]:
        if self.mask_prompt:
            return supervised(self.codec, encoding, rendered)
        trained = _from(1, len(encoding.ids))
        return trained & ~supervised(self.codec, encoding, rendered) if masked else trained

    def _closed(self, ids: list[int], first: int, *, special: bool) -> Encoded:
        """Tokens with the end-of-sequence token after them, trained from `first` on."""
        if self.codec.eos_id is not None and ids[-1:] != [self.codec.eos_id]:
            ids.append(self.codec.eos_id)
        flags = frozenset({Flag.SPECIAL_TOKENS} if special else ())
        return Encoded(np.array(ids, dtype=np.int32), _from(max(first, 1), len(ids)), flags)


def open_end(codec: Codec, ids: list[int]) -> list[int]:
    """A prompt without the end-of-sequence token that some tokenizers put after every text."""
    if len(ids) > 1 and ids[-1] == codec.eos_id:
        ids.pop()
    return ids


def _from(first: int, length: int) -> npt.NDArray[np.bool_]:
    return np.arange(length) >= first


def untrainable(encoded: Encoded, limit: int | None) -> Refused | None:
    """Why a row has no token to train on, before or after the cut; None if it has one."""
    if encoded.supervised[:limit].any():
        return None
    if not encoded.supervised.any():
        return Refused("no-target", "has no token to train on", "fill the answer or remove the row")
    first = int(np.argmax(encoded.supervised)) + 1
    return Refused(
        "all-cut",
        f"has its answer at token {first:,} of {len(encoded.tokens):,}, beyond the limit of {limit:,}",
        f"raise max_seq_length to {first + 1:,} or more, shorten the prompt, or remove the row",
    )


def windows(encoded: Encoded, limit: int) -> list[Encoded]:
    """A row as rows of at most `limit` tokens, each of whose tokens is a target once.

    The last token of a window is the first of the next, where it is what the first target is predicted from.
    """
    step = limit - 1
    starts = range(0, max(1, len(encoded.tokens) - 1), step)
    parts = []
    for start in starts:
        supervised = encoded.supervised[start : start + limit].copy()
        supervised[0] = False
        parts.append(Encoded(encoded.tokens[start : start + limit], supervised, encoded.flags))
    return parts


def ends_in_eos(codec: Codec, encoded: Encoded, limit: int | None) -> bool:
    """Whether the last trained token before the cut ends the sequence; white space after it does not count."""
    for position in np.flatnonzero(encoded.supervised[:limit])[::-1][:4]:
        token = int(encoded.tokens[position])
        if token in codec.eos_ids:
            return True
        if not codec.is_space(token):
            return False
    return False


def hash64(data: bytes) -> int:
    """A hash of 64 bits, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@dataclass(frozen=True)
class TokenizedRow:
    """One row, ready to train on.

    tokens      (length,) int32
    supervised  (length,) bool; `supervised[t]` makes token t a training target, and `supervised[0]` is False
    line        where the row stands in `file`, from 1
    """

    tokens: npt.NDArray[np.int32]
    supervised: npt.NDArray[np.bool_]
    line: int
    file: str


@dataclass(frozen=True)
class TokenSet:
    """Rows as arrays: `tokens` joined, row i at `offsets[i]:offsets[i + 1]`, the mask as bits of the same order.

    `full_lengths` are the lengths before the cut, `digests` 64-bit hashes of the uncut tokens, `groups` 64-bit
    hashes that are equal for rows that belong together.
    """

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    mask_bits: npt.NDArray[np.uint8]
    lines: npt.NDArray[np.int64]
    file_numbers: npt.NDArray[np.uint16]
    supervised_counts: npt.NDArray[np.int32]
    full_lengths: npt.NDArray[np.int32]
    digests: npt.NDArray[np.uint64]
    groups: npt.NDArray[np.uint64]
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> TokenizedRow:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        start, end = int(self.offsets[index]), int(self.offsets[index + 1])
        return TokenizedRow(
            self.tokens[start:end], self._mask(start, end), int(self.lines[index]), self.file_of(index)
        )

    def __iter__(self) -> Iterator[TokenizedRow]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each row, after the cut. Shape (rows,)."""
        return np.diff(self.offsets)

    @property
    def token_count(self) -> int:
        """Tokens of all rows, after the cut."""
        return len(self.tokens)

    @property
    def cut(self) -> npt.NDArray[np.int32]:
        """Tokens that each row lost. Shape (rows,)."""
        return (self.full_lengths - self.lengths).astype(np.int32)

    def file_of(self, index: int) -> str:
        """The file that row `index` came from."""
        return self.files[int(self.file_numbers[index])]

    def place(self, index: int) -> str:
        """`file:line` of row `index`, the file by its name."""
        return f"{Path(self.file_of(index)).name}:{int(self.lines[index])}"

    def take(self, rows: npt.NDArray[np.int64]) -> TokenSet:
        """The rows of these indices, in this order, as a set of their own."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = np.empty(int(offsets[-1]), dtype=np.int32)
        mask = np.empty(int(offsets[-1]), dtype=np.bool_)
        for new, old in enumerate(rows):
            start, end = int(self.offsets[old]), int(self.offsets[old + 1])
            tokens[offsets[new] : offsets[new + 1]] = self.tokens[start:end]
            mask[offsets[new] : offsets[new + 1]] = self._mask(start, end)
        return TokenSet(
            tokens,
            offsets,
            np.packbits(mask),
            self.lines[rows],
            self.file_numbers[rows],
            self.supervised_counts[rows],
            self.full_lengths[rows],
            self.digests[rows],
            self.groups[rows],
            self.files,
        )

    def update_hash(self, digest: hashlib._Hash) -> None:
        """Feed tokens, offsets and mask, as little-endian bytes, to a hash."""
        for part in (self.tokens.astype("<i4"), self.offsets.astype("<i8"), self.mask_bits):
            digest.update(np.ascontiguousarray(part).data)

    def sha256(self) -> str:
        """The hash of that alone, in hexadecimal."""
        digest = hashlib.sha256()
        self.update_hash(digest)
        return digest.hexdigest()

    def _mask(self, start: int, end: int) -> npt.NDArray[np.bool_]:
        bits = np.unpackbits(self.mask_bits[start // 8 : (end + 7) // 8])
        return bits[start % 8 : start % 8 + end - start].astype(np.bool_)


def _integers() -> array[int]:
    return array("q")


@dataclass
class TokenSetBuilder:
    """Gathers encoded rows, cut to `limit` tokens. Only arrays are kept, joined every few thousand rows."""

    limit: int | None = None
    _files: dict[str, int] = field(default_factory=dict)
    _tokens: list[npt.NDArray[np.int32]] = field(default_factory=list)
    _masks: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    _lines: array[int] = field(default_factory=_integers)
    _file_numbers: array[int] = field(default_factory=_integers)
    _lengths: array[int] = field(default_factory=_integers)
    _full: array[int] = field(default_factory=_integers)
    _counts: array[int] = field(default_factory=_integers)
    _digests: array[int] = field(default_factory=lambda: array("Q"))
    _groups: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, row: Encoded, file: str, line: int, *, group: int | None = None) -> None:
        """Add one row; without a `group`, it belongs together with equal ones only."""
        tokens, mask = row.tokens[: self.limit], row.supervised[: self.limit]
        self._tokens.append(tokens)
        # Whole bytes would not join; bits of a row are packed once all are known.
        self._masks.append(mask.view(np.uint8))
        self._lines.append(line)
        self._file_numbers.append(self._files.setdefault(file, len(self._files)))
        self._lengths.append(len(tokens))
        self._full.append(len(row.tokens))
        self._counts.append(int(np.count_nonzero(mask)))
        digest = hash64(row.tokens.tobytes())
        self._digests.append(digest)
        self._groups.append(digest if group is None else group)
        if len(self._tokens) >= 4096:
            self._tokens = [np.concatenate(self._tokens)]
            self._masks = [np.concatenate(self._masks)]

    def build(self) -> TokenSet:
        """The finished set."""
        return TokenSet(
            np.concatenate([np.zeros(0, dtype=np.int32), *self._tokens]),
            np.concatenate([[0], np.cumsum(self._lengths)]).astype(np.int64),
            np.packbits(np.concatenate([np.zeros(0, dtype=np.uint8), *self._masks])),
            np.array(self._lines, dtype=np.int64),
            np.array(self._file_numbers, dtype=np.uint16),
            np.array(self._counts, dtype=np.int32),
            np.array(self._full, dtype=np.int32),
            np.array(self._digests, dtype=np.uint64),
            np.array(self._groups, dtype=np.uint64),
            tuple(self._files),
        )

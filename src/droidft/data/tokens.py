"""Rows -> tokens and mask, a batch at a time, and sets of them in compact arrays.

A million rows cost the memory of their tokens and little more.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from droidft.data.codec import Codec, Encoding, Rendered, Wanted, adapted, answers, check_messages, render, supervised
from droidft.data.conversation import with_system
from droidft.data.report import Flag
from droidft.data.rows import Row
from droidft.support.faults import Refused

T = TypeVar("T")
Rest: TypeAlias = Callable[[], list[T]]
"""What is left to do for rows that the tokenizer works on meanwhile."""
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
        return self.begin(rows)()

    def begin(self, rows: Sequence[Row]) -> Rest[Encoded | Refused]:
        """What gives each row encoded, or why it cannot be; the tokenizer works on them meanwhile."""
        texts, pairs, chats = [], [], []
        for index, row in enumerate(rows):
            if row.text is not None:
                texts.append(index)
            elif self.codec.has_template:
                chats.append(index)
            elif row.tools is None and row.joinable:
                pairs.append(index)
        ways: list[tuple[list[int], Callable[[list[Row]], Rest[Any]]]]
        ways = [(texts, self._texts), (pairs, self._pairs), (chats, self._chats)]
        begun = [(indices, start([rows[index] for index in indices])) for indices, start in ways]

        def finish() -> list[Encoded | Refused]:
            encoded: dict[int, Encoded | Refused] = {}
            for indices, rest in begun:
                encoded.update(zip(indices, rest(), strict=True))
            return [encoded.get(index, NO_TEMPLATE) for index in range(len(rows))]

        return finish

    def pairs(self, rows: list[Row]) -> list[Encoded]:
        """Prompt and completion joined without a template.

        They are encoded separately, so that the prompt's tokens are those that generation will start from.
        """
        return self._pairs(rows)()

    def _texts(self, rows: list[Row]) -> Rest[Encoded]:
        """Plain text, ended by the end-of-sequence token."""
        pattern = self.codec.special_pattern
        texts = [row.text or "" for row in rows]
        encoding = self.codec.soon(self.codec.encode_texts, texts)

        def finish() -> list[Encoded]:
            return [
                self._closed(ids, 0, special=bool(pattern and pattern.search(text)))
                for text, ids in zip(texts, encoding(), strict=True)
            ]

        return finish

    def _pairs(self, rows: list[Row]) -> Rest[Encoded]:
        prompts = self.codec.soon(self.codec.encode_texts, [row.messages[0]["content"] for row in rows])
        answers = self.codec.soon(self.codec.encode_rendered, [row.messages[1]["content"] for row in rows])

        def finish() -> list[Encoded]:
            encoded = []
            for row, prompt, answer in zip(rows, prompts(), answers(), strict=True):
                open_end(self.codec, prompt)
                first = len(prompt) if self.mask_prompt else 0
                special = check_messages(self.codec, row.messages)
                encoded.append(self._closed([*prompt, *answer.ids], first, special=special))
            return encoded

        return finish

    def _chats(self, rows: list[Row]) -> Rest[Encoded | Refused]:
        """Conversations as the chat template writes them."""
        rendered = self._rendered(rows)
        texts = [one.text for one in rendered if isinstance(one, Rendered)]
        encoding = self.codec.soon(self.codec.encode_rendered, texts)

        def finish() -> list[Encoded | Refused]:
            encodings = iter(encoding())
            return [
                one if isinstance(one, Refused) else self._chat(row, one, next(encodings))
                for row, one in zip(rows, rendered, strict=True)
            ]

        return finish

    def _chat(self, row: Row, rendered: Rendered, encoding: Encoding) -> Encoded:
        mask = self._mask(encoding, rendered, masked=bool(row.masked))
        if check_messages(self.codec, row.messages):
            rendered.flags.add(Flag.SPECIAL_TOKENS)
        return Encoded(np.array(encoding.ids, dtype=np.int32), mask, frozenset(rendered.flags))

    def _rendered(self, rows: list[Row]) -> list[Rendered | Refused]:
        """Conversations as text; their spans are the turns to train, or without `mask_prompt` those not to."""
        adapted = [self._adapted(row) for row in rows]
        plain = [one[0].messages for one in adapted if not isinstance(one, Refused) and one[0].tools is None]
        texts = iter(self.codec.template.render_many(plain))
        rendered: list[Rendered | Refused] = []
        for one in adapted:
            if isinstance(one, Refused):
                rendered.append(one)
                continue
            row, flags = one
            wanted: Wanted = "trained" if self.mask_prompt else "untrained" if row.masked else None
            try:
                text = next(texts) if row.tools is None else None
                made = render(self.codec, row, wanted=wanted, text=text)
                made.flags |= flags
                rendered.append(made)
            except Refused as why:
                rendered.append(why)
        return rendered

    def _adapted(self, row: Row) -> tuple[Row, set[Flag]] | Refused:
        """A row as the template takes it, and what is to be known about that; or why it cannot be trained on."""
        try:
            messages, flags = adapted(self.codec, with_system(row.messages, self.system_prompt))
        except Refused as why:
            return why
        whole = row._replace(messages=messages, given=row.given if self.mask_prompt else 0)
        if self.last_turn:
            whole = whole.only_last()
        if not any(whole.trains(number) for number in range(len(answers(whole)))):
            return Refused("no-target", "has no turn to train: the weight of each is 0", "give one a weight of 1")
        return whole, flags

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
    """Rows as arrays: row i has `lengths[i]` tokens from `starts[i]` on, and its mask as bits from byte
    `mask_starts[i]` on. Sets that were taken from others share `tokens` and `mask_bits` with them.

    `tokens` are uint16 where that is enough, else int32. `full_lengths` are the lengths before the cut, `digests`
    64-bit hashes of the uncut tokens, `groups` 64-bit hashes that are equal for rows that belong together.
    """

    tokens: npt.NDArray[np.uint16] | npt.NDArray[np.int32]
    mask_bits: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    mask_starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    """Tokens of each row, after the cut. Shape (rows,)."""
    lines: npt.NDArray[np.int64]
    file_numbers: npt.NDArray[np.uint16]
    supervised_counts: npt.NDArray[np.int32]
    full_lengths: npt.NDArray[np.int32]
    digests: npt.NDArray[np.uint64]
    groups: npt.NDArray[np.uint64]
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> TokenizedRow:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        return TokenizedRow(self._tokens(index), self._mask(index), int(self.lines[index]), self.file_of(index))

    def __iter__(self) -> Iterator[TokenizedRow]:
        return (self[index] for index in range(len(self)))

    @property
    def token_count(self) -> int:
        """Tokens of all rows, after the cut."""
        return int(self.lengths.sum())

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
        """The rows of these indices, in this order, as a set of their own; no token is copied."""
        return TokenSet(
            self.tokens,
            self.mask_bits,
            self.starts[rows],
            self.mask_starts[rows],
            self.lengths[rows],
            self.lines[rows],
            self.file_numbers[rows],
            self.supervised_counts[rows],
            self.full_lengths[rows],
            self.digests[rows],
            self.groups[rows],
            self.files,
        )

    def update_hash(self, digest: hashlib._Hash) -> None:
        """Feed all tokens (int32), where rows begin and end in them (int64) and all masks (bits) to a hash.

        Numbers are little-endian; the bits of all rows are joined before they are packed into bytes.
        """
        for index in range(len(self)):
            digest.update(np.ascontiguousarray(self._tokens(index).astype("<i4", copy=False)).data)
        digest.update(np.concatenate([[0], np.cumsum(self.lengths)]).astype("<i8").data)
        left = np.zeros(0, dtype=np.bool_)
        for first in range(0, len(self), _HASHED_ROWS):
            rows = range(first, min(first + _HASHED_ROWS, len(self)))
            bits = np.concatenate([left, *(self._mask(index) for index in rows)])
            whole = len(bits) // 8 * 8
            digest.update(np.packbits(bits[:whole]).data)
            left = bits[whole:]
        digest.update(np.packbits(left).data)

    def sha256(self) -> str:
        """The hash of that alone, in hexadecimal."""
        digest = hashlib.sha256()
        self.update_hash(digest)
        return digest.hexdigest()

    def _tokens(self, index: int) -> npt.NDArray[np.int32]:
        start = int(self.starts[index])
        return self.tokens[start : start + int(self.lengths[index])].astype(np.int32, copy=False)

    def _mask(self, index: int) -> npt.NDArray[np.bool_]:
        start, length = int(self.mask_starts[index]), int(self.lengths[index])
        return np.unpackbits(self.mask_bits[start : start + (length + 7) // 8], count=length).view(np.bool_)


_HASHED_ROWS = 4096
_SHORT = 1 << 16


def _integers() -> array[int]:
    return array("q")


def _short() -> array[int]:
    return array("H")


@dataclass
class TokenSetBuilder:
    """Gathers encoded rows, cut to `limit` tokens, in arrays that grow."""

    limit: int | None = None
    _files: dict[str, int] = field(default_factory=dict)
    _tokens: array[int] = field(default_factory=_short)
    _masks: bytearray = field(default_factory=bytearray)
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
        if self._tokens.typecode == "H" and int(tokens.max(initial=0)) >= _SHORT:
            self._tokens = array("i", self._tokens)
        self._tokens.frombytes(tokens.astype(self._tokens.typecode).tobytes())
        self._masks += np.packbits(mask).tobytes()
        self._lines.append(line)
        self._file_numbers.append(self._files.setdefault(file, len(self._files)))
        self._lengths.append(len(tokens))
        self._full.append(len(row.tokens))
        self._counts.append(int(np.count_nonzero(mask)))
        digest = hash64(row.tokens.tobytes())
        self._digests.append(digest)
        self._groups.append(digest if group is None else group)

    def build(self) -> TokenSet:
        """The finished set; nothing can be added any more."""
        lengths = np.array(self._lengths, dtype=np.int64)
        short = self._tokens.typecode == "H"
        return TokenSet(
            np.frombuffer(self._tokens, np.uint16) if short else np.frombuffer(self._tokens, np.int32),
            np.frombuffer(self._masks, dtype=np.uint8),
            np.cumsum(lengths) - lengths,
            np.cumsum(mask_bytes := (lengths + 7) // 8) - mask_bytes,
            lengths,
            np.array(self._lines, dtype=np.int64),
            np.array(self._file_numbers, dtype=np.uint16),
            np.array(self._counts, dtype=np.int32),
            np.array(self._full, dtype=np.int32),
            np.array(self._digests, dtype=np.uint64),
            np.array(self._groups, dtype=np.uint64),
            tuple(self._files),
        )

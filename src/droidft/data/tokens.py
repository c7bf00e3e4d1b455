"""Tokenized rows in compact arrays: a million rows cost their tokens and little more."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droidft.data.encode import Encoded


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
    files: list[str] = field(default_factory=list)
    _tokens: list[npt.NDArray[np.int32]] = field(default_factory=list)
    _masks: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    _lines: array[int] = field(default_factory=_integers)
    _files: array[int] = field(default_factory=_integers)
    _lengths: array[int] = field(default_factory=_integers)
    _full: array[int] = field(default_factory=_integers)
    _counts: array[int] = field(default_factory=_integers)
    _digests: array[int] = field(default_factory=lambda: array("Q"))
    _groups: array[int] = field(default_factory=lambda: array("Q"))

    def __len__(self) -> int:
        return len(self._lines)

    def open_file(self, file: str) -> None:
        """The rows that follow come from this file."""
        self.files.append(file)

    def add(self, row: Encoded, line: int, *, group: int | None = None) -> None:
        """Add one row; without a `group`, it belongs together with equal ones only."""
        tokens, mask = row.tokens[: self.limit], row.supervised[: self.limit]
        self._tokens.append(tokens)
        # Whole bytes would not join; bits of a row are packed once all is known.
        self._masks.append(mask.view(np.uint8))
        self._lines.append(line)
        self._files.append(len(self.files) - 1)
        self._lengths.append(len(tokens))
        self._full.append(len(row.tokens))
        self._counts.append(int(np.count_nonzero(mask)))
        digest = row.digest
        self._digests.append(digest)
        self._groups.append(digest if group is None else group)
        if len(self._tokens) >= 4096:
            self._tokens = [np.concatenate(self._tokens)]
            self._masks = [np.concatenate(self._masks)]

    def build(self) -> TokenSet:
        """The finished set."""
        empty = np.zeros(0, dtype=np.int32)
        masks = np.concatenate(self._masks) if self._masks else np.zeros(0, dtype=np.uint8)
        return TokenSet(
            np.concatenate(self._tokens) if self._tokens else empty,
            np.concatenate([[0], np.cumsum(self._lengths)]).astype(np.int64),
            np.packbits(masks),
            np.array(self._lines, dtype=np.int64),
            np.array(self._files, dtype=np.uint16),
            np.array(self._counts, dtype=np.int32),
            np.array(self._full, dtype=np.int32),
            np.array(self._digests, dtype=np.uint64),
            np.array(self._groups, dtype=np.uint64),
            tuple(self.files),
        )

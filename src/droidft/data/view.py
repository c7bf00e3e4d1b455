"""The token view: a row token by token, each trained, masked or cut, exactly as training will see it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from droidft.config import TrainingConfig
from droidft.data.check import KINDS
from droidft.data.codec import Codec
from droidft.data.lines import Reading
from droidft.data.report import Piece, RowView, State
from droidft.data.rows import Content, Located, RowReader, batched
from droidft.data.sources import Fetch, Meter, locate
from droidft.data.tokens import Encoded
from droidft.errors import DataError
from droidft.support.faults import FaultLog, Refused


def view_rows(
    config: TrainingConfig,
    tokenizer: Any,
    *,
    rows: Collection[int] = (),
    lines: Collection[int] = (),
    context_length: int | None = None,
    fetch: Fetch | None = None,
) -> list[RowView]:
    """The rows of the training data with these numbers (from 0) or on these lines (from 1), in file order.

    Raises:
        DataError: there is no such row; the hint says how many there are.
        InvalidData: a wanted row, or the file, cannot be used.
    """
    train_from, _ = locate(config, fetch)
    reading = Reading(FaultLog())
    kind = KINDS[config.method.family](config, tokenizer, context_length)
    reader = RowReader[Content](kind.recogniser(config), reading)
    wanted = _Wanted(reader.rows(train_from, Meter(None, train_from)), set(rows), set(lines), {})
    views: list[RowView] = []
    shown = 0
    for batch in batched(wanted.rows()):
        for located, parts in zip(batch, kind.encode([each.row for each in batch]), strict=True):
            if isinstance(parts, Refused):
                reading.log.add(located.path, located.line, located.offset, parts)
                continue
            shown += 1
            whole = kind.pieces(located.row, parts)
            split = not isinstance(whole, Refused) and len(whole) > 1
            number = wanted.numbers[(str(located.path), located.line)]
            for part, encoded in parts.items():
                pieces = _pieces(kind.codec, encoded, None if split else kind.limit)
                flags = [str(flag) for flag in sorted(encoded.flags)]
                views.append(RowView(number, str(located.path), located.line, pieces, flags, part))
    if shown < len(set(rows)) + len(set(lines)):
        reading.log.raise_if_any()
    if wanted.missing:
        raise DataError(f"there is no {wanted.missing}", hint=f"the data has {wanted.seen:,} rows, counted from 0")
    return views


@dataclass
class _Wanted:
    source: Iterator[Located[Content]]
    row_numbers: set[int]
    lines: set[int]
    numbers: dict[tuple[str, int], int]
    seen: int = 0

    def rows(self) -> Iterator[Located[Content]]:
        """The chosen rows; reading ends with the last of them."""
        for number, located in enumerate(self.source):
            self.seen = number + 1
            if number in self.row_numbers or located.line in self.lines:
                self.row_numbers.discard(number)
                self.lines.discard(located.line)
                self.numbers[(str(located.path), located.line)] = number
                yield located
            if not self.row_numbers and not self.lines:
                return

    @property
    def missing(self) -> str:
        parts = [f"row {number}" for number in sorted(self.row_numbers)]
        parts += [f"row on line {line}" for line in sorted(self.lines)]
        return ", ".join(parts)


def _pieces(codec: Codec, encoded: Encoded, limit: int | None) -> list[Piece]:
    """Tokens as text. Tokens that hold only part of a character are shown with the ones that complete it."""
    pieces: list[Piece] = []
    waiting: list[int] = []
    for position, token in enumerate(encoded.tokens.tolist()):
        state: State = "trained" if encoded.supervised[position] else "masked"
        if limit is not None and position >= limit:
            state = "cut"
        waiting.append(token)
        text = codec.piece(token) if len(waiting) == 1 else codec.decode(waiting)
        if text.endswith("\ufffd") and len(waiting) < 4 and position + 1 < len(encoded.tokens):
            continue
        pieces.append(Piece(waiting, text, state))
        waiting = []
    return pieces

"""The token view: a row token by token, each trained, masked or cut, exactly as training will see it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from droidft.config import TrainingConfig
from droidft.engine.data.codec import Codec
from droidft.engine.data.encode import Encoded, RowEncoder
from droidft.engine.data.faults import FaultLog, Refused
from droidft.engine.data.located import Located, Meter, RowReader, batched, locate
from droidft.engine.data.readers import Reading
from droidft.engine.data.rows import Columns, Row, recognise
from droidft.engine.data.sources import Fetch
from droidft.errors import DataError


class State(StrEnum):
    """What becomes of a token."""

    TRAINED = "trained"
    MASKED = "masked"
    CUT = "cut"


@dataclass(frozen=True)
class Piece:
    """Tokens shown together: one, or the few that share a character. `ids` are their numbers."""

    ids: list[int]
    text: str
    state: State


@dataclass(frozen=True)
class RowView:
    """One row: its number from 0, its line from 1, and its pieces in order."""

    row: int
    file: str
    line: int
    pieces: list[Piece]
    warnings: list[str]

    def count(self, state: State) -> int:
        """How many tokens are in this state."""
        return sum(len(piece.ids) for piece in self.pieces if piece.state is state)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


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
    codec = Codec(tokenizer)
    encoder = RowEncoder(codec, config.mask_prompt, config.system_prompt)
    limit = config.max_seq_length or context_length
    reader = RowReader(partial(recognise, columns=Columns.of(config)), reading)
    wanted = _wanted(reader.rows(train_from, Meter(None, train_from)), set(rows), set(lines))
    found: list[RowView] = []
    for batch in batched(wanted.rows()):
        for located, encoded in zip(batch, encoder.encode([each.row for each in batch]), strict=True):
            if isinstance(encoded, Refused):
                reading.log.add(located.path, located.line, located.offset, encoded)
            else:
                number = wanted.numbers[(str(located.path), located.line)]
                pieces = _pieces(codec, encoded, limit)
                flags = [str(flag) for flag in sorted(encoded.flags)]
                found.append(RowView(number, str(located.path), located.line, pieces, flags))
    if len(found) < len(set(rows)) + len(set(lines)):
        reading.log.raise_if_any()
    if wanted.missing:
        raise DataError(f"there is no {wanted.missing}", hint=f"the data has {wanted.seen:,} rows, counted from 0")
    return found


@dataclass
class _Wanted:
    source: Iterator[Located[Row]]
    row_numbers: set[int]
    lines: set[int]
    numbers: dict[tuple[str, int], int]
    seen: int = 0

    def rows(self) -> Iterator[Located[Row]]:
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


def _wanted(source: Iterator[Located[Row]], rows: set[int], lines: set[int]) -> _Wanted:
    return _Wanted(source, rows, lines, {})


def _pieces(codec: Codec, encoded: Encoded, limit: int | None) -> list[Piece]:
    """Tokens as text. Tokens that hold only part of a character are shown with the ones that complete it."""
    found: list[Piece] = []
    waiting: list[int] = []
    for position, token in enumerate(encoded.tokens.tolist()):
        state = State.TRAINED if encoded.supervised[position] else State.MASKED
        if limit is not None and position >= limit:
            state = State.CUT
        waiting.append(token)
        text = codec.piece(token) if len(waiting) == 1 else codec.decode(waiting)
        if text.endswith("\ufffd") and len(waiting) < 4 and position + 1 < len(encoded.tokens):
            continue
        found.append(Piece(waiting, text, state))
        waiting = []
    return found

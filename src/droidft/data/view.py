"""The token view: a row token by token, each trained, masked or cut, exactly as training will see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from droidft.config import Family, TrainingConfig
from droidft.data.check import recogniser
from droidft.data.codec import Codec
from droidft.data.encode import Encoded, RowEncoder
from droidft.data.located import Content, Located, Meter, RowReader, batched, locate
from droidft.data.preference_rows import CHOSEN, REJECTED
from droidft.data.preferences import encode_choices
from droidft.data.prompts import Limit, encode_asks
from droidft.data.readers import Reading
from droidft.data.report import Piece, RowView, State
from droidft.data.sources import Fetch
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
    codec = Codec(tokenizer)
    kind = _kind(config, codec, context_length)
    reader = RowReader(recogniser(config), reading)
    wanted = _wanted(reader.rows(train_from, Meter(None, train_from)), set(rows), set(lines))
    found: list[RowView] = []
    shown = 0
    for batch in batched(wanted.rows()):
        for located, parts in zip(batch, kind.encode([each.row for each in batch]), strict=True):
            if isinstance(parts, Refused):
                reading.log.add(located.path, located.line, located.offset, parts)
                continue
            shown += 1
            number = wanted.numbers[(str(located.path), located.line)]
            for part, encoded in parts.items():
                pieces = _pieces(codec, encoded, kind.limit)
                flags = [str(flag) for flag in sorted(encoded.flags)]
                found.append(RowView(number, str(located.path), located.line, pieces, flags, part))
    if shown < len(set(rows)) + len(set(lines)):
        reading.log.raise_if_any()
    if wanted.missing:
        raise DataError(f"there is no {wanted.missing}", hint=f"the data has {wanted.seen:,} rows, counted from 0")
    return found


@dataclass(frozen=True)
class _Kind:
    """How the rows of a family become tokens: the parts of each by name, and where they are cut."""

    encode: Callable[[Sequence[Any]], Sequence[dict[str, Encoded] | Refused]]
    limit: int | None


def _kind(config: TrainingConfig, codec: Codec, context_length: int | None) -> _Kind:
    limit = config.max_seq_length or context_length
    match config.method.family:
        case Family.ANSWERS:
            encoder = RowEncoder(codec, config.mask_prompt, config.system_prompt)
            return _Kind(lambda rows: [_named(one, "") for one in encoder.encode(rows)], limit)
        case Family.REWARDS:
            longest = Limit.of(config, context_length)
            return _Kind(lambda asks: [_prompt(one, longest) for one in encode_asks(codec, asks, config)], None)
        case Family.PREFERENCES:
            return _Kind(
                lambda choices: [_both(one) for one in encode_choices(codec, choices, config.system_prompt)], limit
            )


def _named(encoded: Encoded | Refused, part: str) -> dict[str, Encoded] | Refused:
    return encoded if isinstance(encoded, Refused) else {part: encoded}


def _prompt(encoded: Encoded | Refused, longest: Limit) -> dict[str, Encoded] | Refused:
    if isinstance(encoded, Refused):
        return encoded
    return longest.refuse(len(encoded.tokens)) or {"prompt": encoded}


def _both(both: tuple[Encoded, Encoded] | Refused) -> dict[str, Encoded] | Refused:
    return both if isinstance(both, Refused) else dict(zip((CHOSEN, REJECTED), both, strict=True))


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


def _wanted(source: Iterator[Located[Content]], rows: set[int], lines: set[int]) -> _Wanted:
    return _Wanted(source, rows, lines, {})


def _pieces(codec: Codec, encoded: Encoded, limit: int | None) -> list[Piece]:
    """Tokens as text. Tokens that hold only part of a character are shown with the ones that complete it."""
    found: list[Piece] = []
    waiting: list[int] = []
    for position, token in enumerate(encoded.tokens.tolist()):
        state: State = "trained" if encoded.supervised[position] else "masked"
        if limit is not None and position >= limit:
            state = "cut"
        waiting.append(token)
        text = codec.piece(token) if len(waiting) == 1 else codec.decode(waiting)
        if text.endswith("\ufffd") and len(waiting) < 4 and position + 1 < len(encoded.tokens):
            continue
        found.append(Piece(waiting, text, state))
        waiting = []
    return found

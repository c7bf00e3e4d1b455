"""What the data is like: counts, lengths, and what the user should know before training on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from droidft.data.report import LISTED, Flag, LengthBin, Places, SetReport
from droidft.data.tokens import TokenSet
from droidft.support.words import count

PERCENTILES = {"min": 0, "p5": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "p99": 99, "max": 100}
_BINS = 12


@dataclass(frozen=True)
class Noticed:
    """What encoding noticed about the rows of a set; each array has shape (rows,)."""

    flags: dict[Flag, npt.NDArray[np.bool_]]
    ends: npt.NDArray[np.bool_]
    """Ends in EOS after the cut."""
    ended: npt.NDArray[np.bool_]
    """Ended in EOS before it."""

    def take(self, rows: npt.NDArray[np.int64]) -> Noticed:
        """The same for some of the rows."""
        return Noticed(
            {flag: flagged[rows] for flag, flagged in self.flags.items()}, self.ends[rows], self.ended[rows]
        )


class Measured(Protocol):
    """A set of rows that can be counted."""

    def __len__(self) -> int: ...

    @property
    def full_lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each row before the cut."""
        ...

    @property
    def cut(self) -> npt.NDArray[np.int32]:
        """Tokens that each row lost."""
        ...

    @property
    def token_count(self) -> int:
        """Tokens of all rows, after the cut."""
        ...

    @property
    def supervised_counts(self) -> npt.NDArray[np.int32]:
        """Trained tokens of each row."""
        ...

    @property
    def digests(self) -> npt.NDArray[np.uint64]:
        """A hash of each row, the same for equal ones."""
        ...

    def place(self, index: int) -> str:
        """`file:line` of row `index`."""
        ...


def measure(rows: Measured, noticed: Noticed) -> SetReport:
    """The statistics of one set."""
    full = rows.full_lengths
    repeated = np.ones(len(rows), dtype=np.bool_)
    repeated[np.unique(rows.digests, return_index=True)[1]] = False
    return SetReport(
        rows=len(rows),
        tokens=rows.token_count,
        supervised_tokens=int(rows.supervised_counts.sum()),
        lengths={
            name: int(np.percentile(full, share, method="higher")) for name, share in PERCENTILES.items() if len(full)
        },
        histogram=histogram(full) if len(full) else [],
        truncated=_places(rows, rows.cut > 0),
        cut_tokens=int(rows.cut.sum()),
        lost_end_of_turn=_places(rows, noticed.ended & ~noticed.ends),
        duplicates=_places(rows, repeated),
        flagged={flag: _places(rows, flagged) for flag, flagged in noticed.flags.items() if flagged.any()},
        ends_in_eos=int(noticed.ends.sum()),
    )


def overlap(train: Measured, validation: Measured) -> Places:
    """Validation rows that the training set holds too."""
    return _places(validation, np.isin(validation.digests, train.digests))


def alike(train: TokenSet, validation: TokenSet) -> Places | None:
    """Validation rows that belong together with rows of the training set, without being equal to one."""
    siblings = np.isin(validation.groups, train.groups) & ~np.isin(validation.digests, train.digests)
    return _places(validation, siblings) if siblings.any() else None


def histogram(lengths: npt.NDArray[np.int32]) -> list[LengthBin]:
    """Rows by length, in at most twelve bins of a round width."""
    longest = int(lengths.max())
    width = next(width for width in _round_widths() if (longest + 1) / width <= _BINS)
    counts = np.bincount(lengths // width)
    first = int(np.flatnonzero(counts)[0])
    return [LengthBin(index * width, (index + 1) * width, int(counts[index])) for index in range(first, len(counts))]


def _round_widths() -> Any:
    scale = 1
    while True:
        yield from (scale, 2 * scale, 5 * scale)
        scale *= 10


def _places(rows: Measured, chosen: npt.NDArray[np.bool_]) -> Places:
    indices = np.flatnonzero(chosen)
    return Places(len(indices), [rows.place(int(index)) for index in indices[:LISTED]])


def warnings(train: SetReport, validation: SetReport, both: Places, limit: int) -> list[str]:
    """What deserves attention, as sentences."""
    sentences = []
    for name, part in (("training", train), ("validation", validation)):
        sentences += [text for rule in _RULES if (text := rule(name, part, limit))]
    if both.count:
        sentences.append(
            f"{_rows(both.count)} of the validation set {_is(both.count)} in the training set too ({both}): "
            "the validation loss will look better than it is"
        )
    return sentences


def _truncated(name: str, part: SetReport, limit: int) -> str | None:
    if not part.truncated.count:
        return None
    share = 100 * part.truncated.count / part.rows
    return (
        f"{_rows(part.truncated.count)} of the {name} set ({share:.1f} %) "
        f"{'is' if part.truncated.count == 1 else 'are'} cut at {limit:,} tokens ({part.truncated}); "
        f"the longest has {part.lengths['max']:,}; long_rows can split plain text, or refuse such rows"
    )


def _lost(name: str, part: SetReport, limit: int) -> str | None:
    count = part.lost_end_of_turn.count
    if not count:
        return None
    return (
        f"{_rows(count)} of the {name} set {'loses its' if count == 1 else 'lose their'} end-of-turn token in the cut"
    )


def _no_eos(name: str, part: SetReport, limit: int) -> str | None:
    if not part.supervised_tokens or part.ends_in_eos >= 0.99 * part.rows:
        return None
    share = 100 * part.ends_in_eos / part.rows
    return (
        f"only {share:.0f} % of the {name} rows end in an end-of-sequence token: "
        "a model trained on them may not learn to stop"
    )


def _duplicates(name: str, part: SetReport, limit: int) -> str | None:
    count = part.duplicates.count
    return (
        f"{_rows(count)} of the {name} set {'repeats' if count == 1 else 'repeat'} earlier ones ({part.duplicates})"
        if count
        else None
    )


def _flagged(flag: Flag, text: str) -> Callable[[str, SetReport, int], str | None]:
    def rule(name: str, part: SetReport, limit: int) -> str | None:
        places = part.flagged.get(flag)
        return f"{_rows(places.count)} of the {name} set: {text} ({places})" if places else None

    return rule


_RULES: list[Callable[[str, SetReport, int], str | None]] = [
    _truncated,
    _lost,
    _no_eos,
    _duplicates,
    _flagged(
        Flag.SPECIAL_TOKENS, "the text itself spells out special tokens, which act as if the template wrote them"
    ),
    _flagged(
        Flag.PROMPT_DIFFERS,
        "the chat template opens the assistant's turn in another way than it writes a finished one, "
        "so generation starts from a prompt that training does not show",
    ),
    _flagged(Flag.CONTENT_ALTERED, "the chat template writes the text of a turn in another way than the row has it"),
    _flagged(
        Flag.THINKING_DROPPED,
        "the chat template leaves out the thinking of earlier turns; a turn that is trained without it is not what "
        "the model writes in answers, and train_on last-turn trains the last one only",
    ),
    _flagged(
        Flag.THINKING_OUTSIDE,
        "the chat template puts an empty think block before an answer's own thinking, which then counts as the "
        "answer; begin the content with <think>, or give the thinking as reasoning_content",
    ),
    _flagged(Flag.SYSTEM_LEFT_OUT, "the chat template leaves out the system text; system_role fold keeps it"),
    _flagged(Flag.TOOLS_LEFT_OUT, "the chat template leaves out the tools, or part of what is said about them"),
    _flagged(Flag.TURN_LEFT_OUT, "the chat template leaves out part of a turn that is not trained"),
    _flagged(
        Flag.DEVELOPER_AS_SYSTEM, "the chat template knows no developer's turn; its text is put as the system's"
    ),
    _flagged(
        Flag.BOUNDARY_MERGED, "one token joins the end of the prompt and the start of the answer; it is not trained"
    ),
]


def _rows(number: int) -> str:
    return count(number, "row")


def _is(count: int) -> str:
    return "is" if count == 1 else "are"

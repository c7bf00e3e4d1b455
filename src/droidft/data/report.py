"""What the checks of a data set report: shapes only, for the command line, the server and the run's events alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import with_config

from droidft.events import DataPrepared, TrainingPlan
from droidft.support.faults import Fault
from droidft.support.shapes import SHAPE, shape

LISTED = 100
State = Literal["trained", "masked", "cut"]
"""What becomes of a token."""


class Flag(StrEnum):
    """Something about a row that the user should know; each becomes a warning that counts the rows."""

    PROMPT_DIFFERS = "prompt-differs"
    """The assistant's opening differs from what the row has there, so inference sees another prompt."""
    CONTENT_ALTERED = "content-altered"
    """The template writes the text of a turn in another way than the row has it."""
    THINKING_DROPPED = "thinking-dropped"
    """The template leaves out the thinking of earlier turns."""
    THINKING_OUTSIDE = "thinking-outside"
    """The template closes a think block of its own before an answer's thinking."""
    SYSTEM_LEFT_OUT = "system-left-out"
    """The template leaves out a system or developer's turn."""
    TOOLS_LEFT_OUT = "tools-left-out"
    """The template leaves out the tools, or part of their description."""
    TURN_LEFT_OUT = "turn-left-out"
    """The template leaves out part of a turn that is not trained."""
    DEVELOPER_AS_SYSTEM = "developer-as-system"
    """The template knows no developer's turn; its text is put as the system's."""
    BOUNDARY_MERGED = "boundary-merged"
    """One token holds the end of the prompt and the start of the answer; it is not trained."""
    SPECIAL_TOKENS = "special-tokens"
    """The text contains special tokens written out."""


@with_config(SHAPE)
@dataclass
class Places:
    """Rows with one property: how many, and the first of them as `file:line`."""

    count: int
    first: list[str]

    def add(self, place: str) -> None:
        """One more row."""
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(place)

    def __str__(self) -> str:
        shown = ", ".join(self.first[:3])
        return f"{shown} …" if self.count > 3 else shown


@shape
class LengthBin:
    """Rows whose uncut length lies in [low, high)."""

    low: int
    high: int
    rows: int


@shape
class SetReport:
    """One of the two sets, in tokens. Lengths are those before the cut."""

    rows: int
    tokens: int
    supervised_tokens: int
    lengths: dict[str, int]
    """min, p5, p25, p50, p75, p95, p99, max."""
    histogram: list[LengthBin]
    truncated: Places
    cut_tokens: int
    lost_end_of_turn: Places
    duplicates: Places
    """Rows equal to an earlier one."""
    flagged: dict[str, Places]
    """By `Flag`."""
    ends_in_eos: int
    """Rows whose last trained token is an end-of-sequence token, after the cut."""


@shape
class TokenReport:
    """What training makes of the data: everything `DataPrepared` holds, and the statistics behind it."""

    train: SetReport
    validation: SetReport
    overlap: Places
    """Validation rows that are also in the training set, token for token."""
    max_seq_length: int
    format: str
    split: str
    data_hash: str
    warnings: list[str]
    notes: list[str]

    def event(self) -> DataPrepared:
        """The report as the run's event."""
        return DataPrepared(
            train_rows=self.train.rows,
            val_rows=self.validation.rows,
            train_tokens=self.train.tokens,
            val_tokens=self.validation.tokens,
            train_supervised_tokens=self.train.supervised_tokens,
            val_supervised_tokens=self.validation.supervised_tokens,
            truncated_rows=self.train.truncated.count + self.validation.truncated.count,
            dropped_rows=0,
            max_seq_length=self.max_seq_length,
            format=self.format,
            split=self.split,
            data_hash=self.data_hash,
        )


@shape
class FileReport:
    """One set, before tokens: its files, what they hold, and rows that repeat earlier ones."""

    files: list[str]
    format: str
    rows: int
    bytes: int
    duplicates: Places


@shape
class StructureReport:
    """The checks that need no tokenizer."""

    train: FileReport
    validation: FileReport | None
    overlap: Places
    notes: list[str]


@shape
class CheckReport:
    """The result of a check: the first hundred of `fault_count` faults, or what the data is.

    `tokens` and `plan` are None without a tokenizer, and where there are faults.
    """

    fault_count: int
    faults: list[Fault]
    structure: StructureReport
    tokens: TokenReport | None = None
    plan: TrainingPlan | None = None


@shape
class Piece:
    """Tokens shown together: one, or the few that share a character. `ids` are their numbers."""

    ids: list[int]
    text: str
    state: State


@shape
class RowView:
    """A row token by token: its number from 0, its line from 1, and its pieces in order."""

    row: int
    file: str
    line: int
    pieces: list[Piece]
    warnings: list[str]
    part: str = ""
    """`prompt` in data for rewards, `chosen` or `rejected` in preferences."""

    def count(self, state: State) -> int:
        """How many tokens are in this state."""
        return sum(len(piece.ids) for piece in self.pieces if piece.state == state)

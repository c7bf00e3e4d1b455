"""What a reader is asked about model files, and what it read: the same for every reader, ours included.

A request and its answer pass between processes through a folder: `request.json` and `reading.json`, and beside them
`logits-0.npy` … for arrays. Nothing here imports a framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

REQUEST, ANSWER = "request.json", "reading.json"
SHOWN = 64
"""Positions whose logits are compared: 64 of 262,144 tokens take 67 MB."""
CHUNK = 128
"""Positions whose logits are held at the same time."""


class _Passed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=True)


class Row(_Passed):
    """One row of tokens, and the positions of those to predict, ascending and from 1."""

    tokens: list[int]
    targets: list[int]

    @property
    def wanted(self) -> NDArray[np.int64]:
        """The tokens to predict."""
        return np.asarray(self.tokens, np.int64)[self.targets]


class Subject(_Passed):
    """Files to read: a model's folder or file, and an adapter for it."""

    model: Path
    adapter: Path | None = None
    tokenizer: Path | None = None
    """Folder of the tokenizer, where it is not that of `model`."""


class Request(_Passed):
    """What is asked about each subject."""

    rows: list[Row]
    shown: list[tuple[int, int]] = []
    """Row and place among its targets: where logits are kept."""
    conversations: list[str] = []
    """Conversations as the chat template writes them, to be tokenized."""
    prompts: list[list[int]] = []
    """To be answered greedily."""
    max_tokens: Annotated[int, Field(ge=0)] = 32
    """Of an answer."""
    ends: list[int] = []
    """Tokens that end an answer."""
    unused: list[int] = []
    """Rows of the embedding that are no token, of which no answer is made."""
    threads: Annotated[int, Field(ge=1)] = 1

    @property
    def counts(self) -> list[int]:
        """Tokens to predict in each row."""
        return [len(row.targets) for row in self.rows]


class Read(_Passed):
    """What a reader's process answers about one subject, without its logits."""

    losses: list[float]
    conversations: list[list[int]] = []
    answers: list[list[int]] = []
    template: str | None = None
    """The chat template among the files."""
    notes: list[str] = []


class Fault(_Passed):
    """Why a reader's process could not go on, and at which subject."""

    subject: int
    reason: str
    unfit: bool = False
    """Whether it says nothing about the files: memory ran out, or the reader is of another version."""


class Answer(_Passed):
    """All that a reader's process answers."""

    reader: str
    """Its packages and their versions."""
    read: list[Read] = []
    fault: Fault | None = None


class Reading:
    """What a reader made of one model's files."""

    def __init__(self, reader: str, request: Request, read: Read, logits: NDArray[np.float32]) -> None:
        self.reader = reader
        self.counts = request.counts
        self.losses = read.losses
        self.logits = logits
        """Shape (shown, vocabulary)."""
        self.conversations = read.conversations
        self.answers = read.answers
        self.template = read.template
        self.notes = read.notes

    @property
    def mean(self) -> float:
        """Nats per target over all rows."""
        return float(np.sum(self.losses) / np.sum(self.counts))

    def per_row(self) -> NDArray[np.float64]:
        """Nats per target of each row. Shape (rows,)."""
        return np.asarray(self.losses, np.float64) / np.asarray(self.counts, np.float64)


def shown_of(counts: Sequence[int], most: int = SHOWN) -> list[tuple[int, int]]:
    """At most so many targets, spread evenly over all rows: (row, place among its targets)."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places = np.unique(np.linspace(0, total - 1, min(most, total)).astype(np.int64)) if total else ends
    rows = [int(np.searchsorted(ends, place, side="right")) for place in places]
    return [(row, int(place - (ends[row] - counts[row]))) for row, place in zip(rows, places, strict=True)]


def chunks(targets: Sequence[int]) -> Iterable[slice]:
    """Slices of a row's targets, so that the logits of at most `CHUNK` positions exist at once."""
    return (slice(start, start + CHUNK) for start in range(0, len(targets), CHUNK))


def nll(logits: NDArray[np.float32], wanted: NDArray[np.int64]) -> float:
    """Summed negative log-likelihood, in nats, of tokens (N,) under logits (N, V): in float64 from float32 logits."""
    highest = logits.max(axis=-1, keepdims=True)
    normaliser = np.log(np.exp(logits - highest).sum(axis=-1, dtype=np.float64)) + highest[:, 0]
    return float((normaliser - logits[np.arange(len(wanted)), wanted]).sum())


class Kept:
    """The logits of the shown positions of one subject, filled row by row."""

    def __init__(self, request: Request) -> None:
        self._places: dict[int, list[tuple[int, int]]] = {}
        for number, (row, place) in enumerate(request.shown):
            self._places.setdefault(row, []).append((place, number))
        self._count = len(request.shown)
        self._logits: NDArray[np.float32] | None = None

    def take(self, row: int, part: slice, logits: NDArray[np.float32]) -> None:
        """Keep what is wanted of the logits (N, V) of the targets `part` of a row."""
        if self._logits is None:
            self._logits = np.zeros((self._count, logits.shape[-1]), np.float32)
        for place, number in self._places.get(row, []):
            if part.start <= place < part.start + len(logits):
                self._logits[number] = logits[place - part.start]

    @property
    def logits(self) -> NDArray[np.float32]:
        """Shape (shown, V)."""
        return np.zeros((self._count, 0), np.float32) if self._logits is None else self._logits


def likeliest(logits: NDArray[np.float32], unused: Sequence[int]) -> int:
    """The token with the largest of some logits (V,), those of no token left aside."""
    logits = logits.copy()
    logits[[index for index in unused if index < len(logits)]] = -np.inf
    return int(logits.argmax())


def largest_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """The largest difference between logits at the same positions; None where there are none to compare.

    Files may pad the vocabulary, so what both have is compared.
    """
    width = min(one.shape[-1], other.shape[-1])
    if width == 0 or len(one) == 0:
        return None
    return float(np.abs(one[:, :width] - other[:, :width]).max())

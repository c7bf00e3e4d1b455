"""The certificate of an export: the loss of base, base + adapter and the exported files on the same unseen rows.

Base and adapter are read by our own engine; the exported files by a reader that is not ours where one is installed.
The rule: the exported files may differ from base + adapter by `SHARE` of what the adapter changes, a quantised export
by `QUANTISED_SHARE`, and rendered conversations must become the same tokens. Where the adapter changes too little for
that to show anything, the export is neither passed nor failed, but unproven. Everything else is reported and no gate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from droidft.adapters.exports.evidence import MOST_NOISE, QUANTISED_SHARE, SHARE, Evidence
from droidft.adapters.exports.readers.reading import Reading, largest_difference
from droidft.support import durable, stored
from droidft.support.words import count, percent
from droidft.support.words import loss as shown_loss

Verdict = Literal["passed", "failed", "unproven"]

FILE = "certificate.json"
LEAST_RESOLUTION = 1e-4
"""Nats per token: two float32 implementations of the same model differ by a tenth of this."""


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


class Losses(_Part):
    """Nats per token on the same rows."""

    base: float
    trained: float
    """Of base + adapter, as trained."""
    exported: float | None
    """Of the exported files; None where they could not be read, or gave no finite number."""


class Tolerance(_Part):
    """How far the exported files may be from base + adapter, and how far they are; in nats per token."""

    share: float
    """Of the difference between base and base + adapter: 0.1, or 0.25 for a quantised export."""
    limit: float
    """What this share allows."""
    plain_limit: float
    """What the share of an export that is not quantised would allow."""
    difference: float | None
    """Between exported files and base + adapter."""
    resolution: float
    """The reader's own difference from ours on the base, from 0.0001 to 0.01: smaller differences say nothing."""
    by: Literal["loss", "rows", "nothing"]
    """What decided: the mean loss; the loss row by row, where the means of base and base + adapter are too close to
    tell apart; nothing, where the adapter changes too little in any row."""


class Apart(_Part):
    """The same positions read by two readers."""

    positions: int
    largest: float
    """Largest difference between their logits."""
    loss: float
    """Difference of the mean loss, in nats per token, without its sign."""


class SameTokens(_Part):
    """Rendered conversations as tokens, the begin-of-sequence token included."""

    conversations: int
    equal: int
    first_difference: str | None = None
    """Which conversation, and where."""
    same_template: bool | None = None
    """Whether the chat template among the files is that of the base. None: the reader does not say."""


class SameAnswers(_Part):
    """Greedy answers to the beginnings of rows. Where two tokens are nearly equally likely, rounding decides."""

    answers: int
    equal: int
    first_divergence: int | None = None
    """The earliest token at which an answer is another one, from 1."""


class Hashes(_Part):
    """SHA-256 of everything that the certificate is about."""

    base: str
    """Of the base model's weights."""
    adapter: str
    """Of the adapter's weights."""
    data: str
    """Of the tokens and masks of the rows."""
    files: dict[str, str]
    """Of each exported file, by its name in the folder."""


class Certificate(_Part):
    """`certificate.json` of an export."""

    format: Literal[1] = 1
    form: str
    quantisation: str | None = None
    """Type of quantised weights, such as `Q4_K_M` or `4 bits`."""
    verdict: Verdict
    """`unproven`: the adapter changes too little to show whether it is in the files."""
    sentence: str
    """The verdict with its figures."""
    reader: str
    """What read the exported files: its packages and their versions, or droidft."""
    reader_note: str = ""
    """Why the reader is ours, where it is."""
    rows: Annotated[int, Field(ge=1)]
    tokens: Annotated[int, Field(ge=1)]
    """Whose loss was measured."""
    loss: Losses
    tolerance: Tolerance
    noise: Apart | None
    """The reader against ours on the base alone; None where it did not read the base."""
    logits: Apart | None
    """The exported files against base + adapter."""
    moved: Apart | None
    """Base + adapter against the base: what the adapter changes."""
    tokens_equal: SameTokens
    greedy: SameAnswers
    hashes: Hashes
    versions: dict[str, str]
    command: str
    """What repeats the export."""
    notes: list[str] = []

    @property
    def passed(self) -> bool:
        """Whether the exported files are what was trained."""
        return self.verdict == "passed"

    @property
    def failed(self) -> bool:
        """Whether they are not: then nothing is to be made of them."""
        return self.verdict == "failed"

    def lines(self) -> list[tuple[str, str]]:
        """Label and text of each line that the terminal shows, the three losses first."""
        return [
            ("base", shown_loss(self.loss.base)),
            ("trained", shown_loss(self.loss.trained)),
            ("exported", shown_loss(self.loss.exported)),
            ("read by", self.reader + (f" ({self.reader_note})" if self.reader_note else "")),
            ("rows", f"{count(self.rows, 'row')}, {count(self.tokens, 'token')}"),
            ("logits", _logits(self)),
            ("tokens", _same_tokens(self.tokens_equal)),
            ("answers", _same_answers(self.greedy)),
        ]


@dataclass(frozen=True)
class Circumstances:
    """What is recorded beside the evidence."""

    form: str
    hashes: Hashes
    versions: Mapping[str, str]
    command: str
    quantisation: str | None = None
    notes: Sequence[str] = ()


def judge(evidence: Evidence, about: Circumstances) -> Certificate:
    """Compare the readings and decide."""
    tokens_equal = _compare_tokens(evidence)
    tolerance = _tolerance(evidence, quantised=about.quantisation is not None)
    verdict, sentence = _verdict(evidence, tolerance, tokens_equal, about.form)
    exported = evidence.exported
    return Certificate(
        form=about.form,
        quantisation=about.quantisation,
        verdict=verdict,
        sentence=sentence,
        reader=exported.reader if exported is not None else evidence.reader,
        reader_note=evidence.note,
        rows=len(evidence.base.losses),
        tokens=sum(evidence.base.counts),
        loss=Losses(base=evidence.base.mean, trained=evidence.trained.mean, exported=_finite(exported)),
        tolerance=tolerance,
        noise=_between(evidence.reader_base, evidence.base),
        logits=_between(exported, evidence.trained),
        moved=_between(evidence.trained, evidence.base),
        tokens_equal=tokens_equal,
        greedy=_compare_answers(evidence),
        hashes=about.hashes,
        versions=dict(about.versions),
        command=about.command,
        notes=list(about.notes),
    )


def write(folder: Path, certificate: Certificate) -> None:
    """Write it into the folder of the export. Raises StorageError as `durable.write_atomically`."""
    durable.write_atomically(folder / FILE, certificate.model_dump_json(indent=2).encode())


def read(folder: Path) -> Certificate:
    """The certificate of an export.

    Raises:
        DamagedFile: there is none, or it is not what was written.
    """
    return stored.model(folder / FILE, Certificate, hint="export again")


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but the certificate, by its path there; read piece by piece."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FILE)
    return {path.relative_to(folder).as_posix(): durable.sha256(path) for path in files}


def _finite(reading: Reading | None) -> float | None:
    return reading.mean if reading is not None and math.isfinite(reading.mean) else None


def _tolerance(evidence: Evidence, *, quantised: bool) -> Tolerance:
    share = QUANTISED_SHARE if quantised else SHARE
    moved = abs(evidence.base.mean - evidence.trained.mean)
    exported = _finite(evidence.exported)
    resolution = LEAST_RESOLUTION
    if (other := evidence.reader_base) is not None and math.isfinite(other.mean):
        resolution = max(resolution, min(MOST_NOISE, abs(other.mean - evidence.base.mean)))
    rows_moved = _rows_apart(evidence.base, evidence.trained)
    by: Literal["loss", "rows", "nothing"] = "nothing"
    if share * moved >= resolution:
        by = "loss"
    elif share * rows_moved >= resolution:
        by, moved = "rows", rows_moved
    difference = None
    if exported is not None and evidence.exported is not None:
        difference = abs(exported - evidence.trained.mean)
        if by == "rows":
            difference = _rows_apart(evidence.exported, evidence.trained)
    limit = resolution if by == "nothing" else share * moved
    plain = resolution if by == "nothing" else SHARE * moved
    return Tolerance(share=share, limit=limit, plain_limit=plain, difference=difference, resolution=resolution, by=by)


def _rows_apart(one: Reading, other: Reading) -> float:
    """Mean over the rows of the difference of their losses per token, without its sign."""
    return float(np.abs(one.per_row() - other.per_row()).mean())


def _verdict(evidence: Evidence, tolerance: Tolerance, tokens: SameTokens, form: str) -> tuple[Verdict, str]:
    if evidence.exported is None:
        return "failed", f"failed: {evidence.reader} cannot read the exported files: {evidence.refusal}"
    if tolerance.difference is None:
        return "failed", "failed: the exported files give no finite loss"
    close = tolerance.difference <= tolerance.limit
    figures = _figures(evidence, tolerance)
    if not close:
        return "failed", f"failed: {figures}{_when_quantised(tolerance, form)}"
    if tokens.equal < tokens.conversations:
        different = tokens.conversations - tokens.equal
        return "failed", (
            f"failed: {different} of {count(tokens.conversations, 'conversation')} become other tokens: "
            f"{tokens.first_difference}"
        )
    if tolerance.by == "nothing":
        return "unproven", f"unproven: {figures}"
    return "passed", f"passed: {figures}"


def _when_quantised(tolerance: Tolerance, form: str) -> str:
    """What to do about a quantised export that failed."""
    if tolerance.share == SHARE:
        return ""
    told = "; rounding to so few bits may change more than this adapter does: "
    if form in ("gguf", "ollama"):
        return f"{told}try F16 or BF16, or gguf-adapter, which leaves the base as it is"
    return f"{told}a type with more bits, or none, shows whether it did"


def _figures(evidence: Evidence, tolerance: Tolerance) -> str:
    assert evidence.exported is not None
    base, trained, exported = (shown_loss(it.mean) for it in (evidence.base, evidence.trained, evidence.exported))
    losses = f"the exported files have a loss of {exported}, the trained adapter {trained} and the base model {base}"
    difference, limit = shown_loss(tolerance.difference), shown_loss(tolerance.limit)
    match tolerance.by:
        case "loss":
            allowed = f"a difference of up to {limit} is allowed"
            if tolerance.share != SHARE:
                allowed += (
                    f": {percent(tolerance.share)} of what the adapter changes, since the weights are quantised"
                )
                allowed += f" ({shown_loss(tolerance.plain_limit)} if they were not)"
            return f"{losses}; {allowed}"
        case "rows":
            return (
                f"{losses}, too close to tell apart; row by row they differ by {difference} on average, "
                f"and up to {limit} is allowed"
            )
        case _ if tolerance.difference is not None and tolerance.difference > tolerance.limit:
            return (
                f"{losses}; the adapter changes next to nothing in these rows, and the files are off by {difference}"
            )
        case _ if _changes_nothing(evidence):
            return (
                f"the adapter changes nothing: base and trained are the same, with a loss of {base}, so this shows "
                f"only that the base was copied (the exported files have {exported})"
            )
        case _:
            return (
                f"{losses}; the adapter changes so little that these rows cannot show whether it is in the files: "
                f"differences below {limit} are the reader's own"
            )


def _changes_nothing(evidence: Evidence) -> bool:
    base, trained = evidence.base, evidence.trained
    return base.losses == trained.losses and np.array_equal(base.logits, trained.logits)


def _between(one: Reading | None, other: Reading) -> Apart | None:
    if one is None:
        return None
    largest = largest_difference(one.logits, other.logits)
    apart = abs(one.mean - other.mean)
    if largest is None or not math.isfinite(largest) or not math.isfinite(apart):
        return None
    return Apart(positions=len(one.logits), largest=largest, loss=apart)


def _compare_tokens(evidence: Evidence) -> SameTokens:
    ours = evidence.trained.conversations
    if (exported := evidence.exported) is None:
        return SameTokens(conversations=len(ours), equal=0, first_difference="the exported files were not read")
    equal, first = 0, None
    for number, (mine, theirs) in enumerate(zip(ours, exported.conversations, strict=True), 1):
        if mine == theirs:
            equal += 1
        elif first is None:
            first = f"conversation {number}, {_first_difference(mine, theirs)}"
    same = None if exported.template is None else exported.template == evidence.trained.template
    return SameTokens(conversations=len(ours), equal=equal, first_difference=first, same_template=same)


def _first_difference(mine: Sequence[int], theirs: Sequence[int]) -> str:
    at = next((at for at, pair in enumerate(zip(mine, theirs, strict=False)) if pair[0] != pair[1]), None)
    if at is not None:
        return f"token {at + 1}: {theirs[at]}, not {mine[at]}"
    return f"{count(len(theirs), 'token')}, not {len(mine):,}"


def _compare_answers(evidence: Evidence) -> SameAnswers:
    ours = evidence.trained.answers
    if evidence.exported is None:
        return SameAnswers(answers=len(ours), equal=0)
    pairs = list(zip(ours, evidence.exported.answers, strict=True))
    diverged = [_divergence(*pair) for pair in pairs if pair[0] != pair[1]]
    first = min(diverged, default=None)
    return SameAnswers(answers=len(pairs), equal=len(pairs) - len(diverged), first_divergence=first)


def _divergence(mine: Sequence[int], theirs: Sequence[int]) -> int:
    same = zip(mine, theirs, strict=False)
    return next((at for at, (one, other) in enumerate(same, 1) if one != other), min(len(mine), len(theirs)) + 1)


def _logits(certificate: Certificate) -> str:
    if (apart := certificate.logits) is None:
        return "not compared"
    text = f"differ by at most {apart.largest:.2g} at {count(apart.positions, 'position')}"
    if certificate.moved is not None:
        text += f"; the adapter changes them by {certificate.moved.largest:.2g}"
    return text if certificate.noise is None else f"{text}, the reader alone by {certificate.noise.largest:.2g}"


def _same_tokens(tokens: SameTokens) -> str:
    text = f"{tokens.equal:,} of {count(tokens.conversations, 'conversation')} equal"
    return text if tokens.first_difference is None else f"{text}; first difference: {tokens.first_difference}"


def _same_answers(answers: SameAnswers) -> str:
    text = f"{answers.equal:,} of {answers.answers:,} equal, token for token"
    return (
        text if answers.first_divergence is None else f"{text}; the first differs at token {answers.first_divergence}"
    )

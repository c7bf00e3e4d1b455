"""All rewards of a run together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.config.rewards import (
    ExactAnswer,
    KeywordCoverage,
    LengthWindow,
    LexicalF1,
    NumericAnswer,
    PythonReward,
    Reward,
    TagFormat,
)
from droidft.errors import RewardError
from droidft.events import SampledCompletion
from droidft.rewards.own import OwnFiles, OwnRule
from droidft.rewards.rules import (
    ExactAnswerRule,
    KeywordCoverageRule,
    LengthWindowRule,
    LexicalF1Rule,
    NumericAnswerRule,
    Rule,
    TagFormatRule,
    ToScore,
)
from droidft.support.faults import FaultLog
from droidft.support.shapes import shape
from droidft.support.strict_json import Refused


@shape
class Trial:
    """Completions of some training prompts by the model as it is, and what they earn."""

    rewards: list[str]
    """Names of the rewards, in order."""
    weights: list[float]
    rows: list[SampledCompletion]
    """Completions of one prompt stand together; `advantage` is the reward's lead over their mean."""
    tied_groups: float
    """Share of prompts whose completions all earned the same: nothing would be learned from them."""
    sampling_tokens_per_second: float
    seconds: float
    """From the first token to the last score."""
    seed: int
    warnings: list[str]


Scores = npt.NDArray[np.float64]


class Scorer:
    """Applies `rewards`; those of the user's own come from files in `folder`.

    Raises:
        RewardError: such a file is not there, or has no such function. Nothing of it is run yet.
    """

    def __init__(self, rewards: Sequence[Reward], folder: Path) -> None:
        files = OwnFiles(folder)
        self.names: list[str] = [reward.name for reward in rewards]
        self.weights: Scores = np.array([reward.weight for reward in rewards], dtype=np.float64)
        self._rules = [_rule(reward, files) for reward in rewards]
        own = sorted({reward.file for reward in rewards if isinstance(reward, PythonReward)})
        self.sources = ", ".join(f"{file} {files.digest(file)}" for file in own)
        """The user's own files with the SHA-256 of each; empty without any. What they import is not in it."""

    def prepare(self) -> None:
        """Run the user's own files, so that their errors come before the model is loaded.

        Raises:
            RewardError: one failed, or has no such function after all.
        """
        for rule in self._rules:
            if isinstance(rule, OwnRule):
                rule.function()

    def check(self, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Look at rows, given as (`file:line`, columns), before anything is scored. Runs no code of the user's.

        Raises:
            InvalidData: rows lack what a reward needs; all are counted, the first listed with file and line.
        """
        log = FaultLog()
        for place, columns in rows:
            self.look(place, columns, log)
        log.raise_if_any()

    def look(self, place: str, columns: Mapping[str, Any], log: FaultLog) -> None:
        """Note in `log` what a row lacks, once for each reward."""
        file, _, line = place.rpartition(":")
        for name, rule in zip(self.names, self._rules, strict=True):
            try:
                rule.check(columns)
            except Refused as why:
                fault = Refused(why.kind, f"reward {name}: {why.reason}", why.fix)
                log.add(file or place, int(line) if file and line.isdigit() else None, None, fault)

    def score(self, items: Sequence[ToScore]) -> Scores:
        """What each item earns by each reward, unweighted: [items, rewards]; NaN where a reward is not for an item.

        Raises:
            RewardError: a reward failed; the message names it, the row and the line of the user's file.
        """
        scores = np.zeros((len(items), len(self._rules)), dtype=np.float64)
        if items:
            for at, (name, rule) in enumerate(zip(self.names, self._rules, strict=True)):
                scores[:, at] = self._by(name, rule, items)
        return scores

    def total(self, scores: Scores) -> Scores:
        """The weighted sums: [items]; what a reward leaves out adds nothing, and an item that all leave out is NaN.

        Raises:
            RewardError: one is beyond what a number can hold.
        """
        left_out = np.isnan(scores)
        with np.errstate(over="ignore", invalid="ignore"):
            totals = np.asarray(np.where(left_out, 0.0, scores) @ self.weights, dtype=np.float64)
        if not np.isfinite(totals).all():
            raise RewardError("the weighted sum of rewards is too large for a number", hint="return smaller rewards")
        totals[left_out.all(axis=1)] = np.nan
        return totals

    def named(self, scores: Scores) -> dict[str, float]:
        """One item's scores by name, those that leave it out left out."""
        pairs = zip(self.names, map(float, scores), strict=True)
        return {name: score for name, score in pairs if not math.isnan(score)}

    def columns(self, scores: Scores) -> Iterator[tuple[str, Scores]]:
        """Each reward with what it gave to the items that it is for; rewards that are for none are left out."""
        for name, column in zip(self.names, scores.T, strict=True):
            if len(given := column[~np.isnan(column)]):
                yield name, given

    def _by(self, name: str, rule: Rule, items: Sequence[ToScore]) -> list[float]:
        try:
            return rule.score(items)
        except Refused as why:  # a row that `check` was not asked about
            raise RewardError(f"reward {name}: {why.reason}", hint=why.fix) from None


def _rule(reward: Reward, files: OwnFiles) -> Rule:
    match reward:
        case LexicalF1():
            return LexicalF1Rule(reward)
        case LengthWindow():
            return LengthWindowRule(reward)
        case KeywordCoverage():
            return KeywordCoverageRule(reward)
        case ExactAnswer():
            return ExactAnswerRule(reward)
        case NumericAnswer():
            return NumericAnswerRule(reward)
        case TagFormat():
            return TagFormatRule(reward)
        case PythonReward():
            return OwnRule(reward, files)

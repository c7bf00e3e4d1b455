"""From run folders to what an experiment has shown: reads, pairs and hands arrays to `stats`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np

from droidft.config.measurement import Measurements
from droidft.experiments.findings.account import best_at_an_end, notes, settings, table
from droidft.experiments.findings.comparison import (
    Done,
    Verdict,
    as_interval,
    compare,
    corrected,
    difference,
    interval,
    losses,
    mean_loss,
    read,
    verdicts,
)
from droidft.experiments.findings.efficiency import reaches
from droidft.experiments.findings.results import (
    Analysis,
    ArmResult,
    BaseResult,
    ContrastResult,
    Curve,
    CurvePoint,
    Kind,
    Needed,
    NoiseFloor,
    PerSeed,
    RateResult,
    Reaches,
    RunRow,
    ScoreResult,
    SweepRow,
)
from droidft.experiments.findings.stats import Paired, noise_floor
from droidft.experiments.plan.settled import FixedArm, FixedPlan, config_of, share_key
from droidft.experiments.plan.written import BASE, VERDICT_SEEDS
from droidft.experiments.runs.folder import Experiment
from droidft.experiments.runs.progress import CellState, Progress, look
from droidft.support.words import count


def analyse(experiment: Experiment) -> Analysis:
    """All that `experiment`, whose plan is fixed, has shown so far."""
    fixed = experiment.fixed()
    assert fixed is not None
    progress = look(experiment, fixed)
    evidence = _Evidence(
        fixed, progress, {cell.run_id: done for cell in progress.cells if (done := read(experiment, fixed, cell))}
    )
    return evidence.analysis()


def measurements(experiment: Experiment) -> dict[str, Measurements]:
    """What was measured in each run, row by row, by the run's id."""
    return {run.id: measured for run in experiment.runs() if (measured := run.measured()) is not None}


@dataclass
class _Evidence:
    fixed: FixedPlan
    progress: Progress
    runs: Mapping[str, Done]

    def analysis(self) -> Analysis:
        arms = [result for arm in self.fixed.arms if (result := self._arm(arm)) is not None]
        runs = [self._row(state) for state in self.progress.cells]
        contrasts = self._contrasts()
        curves = self._curves()
        floor = noise_floor([arm.test_loss.values for arm in arms])
        return Analysis(
            plan=self.fixed,
            complete=self.progress.complete,
            verdict=self._verdict(contrasts),
            runs=runs,
            base=self._base_result(),
            arms=arms,
            contrasts=contrasts,
            noise_floor=NoiseFloor(sd=floor.sd, difference=floor.difference) if floor else None,
            curves=curves,
            sweep=self._sweep(arms),
            table=table(self._base_result(), arms, contrasts, seeds=len(self.fixed.plan.seeds)) if arms else None,
            notes=notes(self.fixed, arms, runs, on_the_best=self._notes_on_the_best()),
        )

    # Runs

    @cached_property
    def _base(self) -> Done | None:
        return next((done for done in self.runs.values() if done.cell.arm == BASE), None)

    @cached_property
    def _rates(self) -> Mapping[str, int]:
        """The learning rate of each arm by which it is judged; until all are done, the first."""
        chosen = self.progress.chosen
        return {arm.name: 0 for arm in self.fixed.arms} if chosen is None else chosen

    @cached_property
    def _choices(self) -> int:
        """Among how many learning rates each arm's was chosen."""
        return len(self.fixed.plan.learning_rates or [0])

    @cached_property
    def _diverged(self) -> set[tuple[str, int]]:
        """Arms and learning rates with which a run diverged."""
        return {
            (state.cell.arm, state.cell.rate)
            for state in self.progress.cells
            if state.diverged and state.cell.share == 1
        }

    def _has_diverged(self, arm: str) -> bool:
        """Whether nothing can be said of an arm: runs diverged with each of its learning rates."""
        return all((arm, rate) in self._diverged for rate in range(self._choices))

    def _of(self, arm: str, *, share: float = 1.0, rate: int | None = None) -> dict[int, Done]:
        """The finished runs of an arm, by seed in the plan's order."""
        wanted = self._rates.get(arm) if rate is None else rate
        by_seed = {
            done.cell.seed: done
            for done in self.runs.values()
            if (done.cell.arm, done.cell.share, done.cell.rate) == (arm, share, wanted)
        }
        return {seed: by_seed[seed] for seed in self.fixed.plan.seeds if seed in by_seed}

    # Parts

    def _base_result(self) -> BaseResult | None:
        if (base := self._base) is None:
            return None
        questions = base.measured.questions
        return BaseResult(
            test_loss=base.measured.test.mean,
            test_interval=mean_loss([base]),
            general_loss=base.measured.general.mean,
            accuracy=_share(questions.right) if questions else None,
            questions=len(questions.right) if questions else None,
        )

    def _arm(self, arm: FixedArm) -> ArmResult | None:
        done = list(self._of(arm.name).values())
        if not done:
            return None
        answered = [each.measured.questions for each in done if each.measured.questions is not None]
        return ArmResult(
            arm=arm.name,
            rank=arm.rank,
            trainable=arm.trainable,
            total=arm.total,
            learning_rate=config_of(self.fixed, done[0].cell).learning_rate,
            seeds=[each.cell.seed for each in done],
            validation_loss=_per_seed(each.validation for each in done),
            test_loss=_per_seed(each.measured.test.mean for each in done),
            test_interval=mean_loss(done),
            general_loss=_per_seed(each.measured.general.mean for each in done),
            forgetting=interval(difference(done, [self._base] * len(done), "general")) if self._base else None,
            accuracy=_per_seed(_share(each.right) for each in answered) if answered else None,
            seconds=_per_seed(each.seconds for each in done),
            tokens_per_second=_per_seed(each.tokens / each.seconds for each in done if each.seconds),
            peak_bytes=max(each.peak_bytes for each in done),
            adapter_bytes=max(each.adapter_bytes for each in done),
            steps=_per_seed(float(each.measured.step) for each in done),
            rates=list(self._tried(arm.name)),
        )

    def _tried(self, arm: str) -> Iterator[RateResult]:
        """The learning rates of an arm with which a run is done."""
        chosen = self.progress.chosen
        for number, rate in enumerate(self.fixed.plan.learning_rates or []):
            done, diverged = self._of(arm, rate=number).values(), (arm, number) in self._diverged
            if done or diverged:
                yield RateResult(
                    learning_rate=rate,
                    validation_loss=None if diverged else _per_seed(each.validation for each in done),
                    chosen=chosen is not None and chosen.get(arm) == number,
                )

    def _contrasts(self) -> list[ContrastResult]:
        pairs = self._pairs()
        read = self._read(pairs)
        sides = {pair: both for pair in read if (both := self._both(*pair))[0]}
        sweep = self.fixed.plan.sweep
        compared = {pair: difference(*both) for pair, both in sides.items()}
        answers = verdicts(
            compared,
            self.fixed.plan.equivalence_margin,
            names={arm.name: f"{arm.name} ({settings(arm.differs)})" for arm in self.fixed.arms if sweep},
            choices=self._choices,
            to_come=len(read) - len(sides),
        )
        scores = corrected({pair: compare(*both) for pair, both in sides.items()}, choices=self._choices)
        return [
            self._contrast(pair, sides[pair], compared[pair], answers[pair], scores[pair])
            if pair in sides
            else self._without(pair)
            for pair in pairs
        ]

    def _pairs(self) -> list[tuple[str, str]]:
        """The contrasts; of a sweep, its best arm with its first, once all is done."""
        if self.fixed.contrasts or not self.fixed.plan.sweep or self.progress.chosen is None:
            return list(self.fixed.contrasts)
        best, first = self._best(), self._first()
        return [(best, first)] if best is not None and first is not None and best != first else []

    def _best(self) -> str | None:
        """The arm of a sweep with the lowest validation loss; None where all diverged."""
        losses = {
            arm.name: _per_seed(each.validation for each in done.values()).mean
            for arm in self.fixed.arms
            if not self._has_diverged(arm.name) and (done := self._of(arm.name))
        }
        return min(losses, key=lambda name: losses[name], default=None)

    def _first(self) -> str | None:
        """The first arm that did not diverge."""
        return next((arm.name for arm in self.fixed.arms if not self._has_diverged(arm.name)), None)

    def _read(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The contrasts that p-values are corrected for.

        The best arm of a sweep was chosen among all, by runs that it is then judged by: all against the first count.
        """
        if self.fixed.contrasts or not pairs:
            return pairs
        first = pairs[0][1]
        return [
            (arm.name, first) for arm in self.fixed.arms if arm.name != first and not self._has_diverged(arm.name)
        ]

    def _without(self, pair: tuple[str, str]) -> ContrastResult:
        gone = [name for name in pair if self._has_diverged(name)]
        why = f"{' and '.join(gone)} diverged" if gone else ""
        return _pending(pair, why)

    def _both(self, first: str, second: str) -> tuple[list[Done], list[Done]]:
        """Runs of two arms with the same seeds."""
        one, two = self._of(first), self._of(second)
        seeds = [seed for seed in one if seed in two]
        return [one[seed] for seed in seeds], [two[seed] for seed in seeds]

    def _contrast(
        self,
        pair: tuple[str, str],
        sides: tuple[list[Done], list[Done]],
        measured: Paired,
        verdict: Verdict,
        scores: list[ScoreResult],
    ) -> ContrastResult:
        first, second = pair
        sentence, waiting = verdict.sentence, self.progress.chosen is None
        if waiting:
            rates = " at the first learning rate" if self._choices > 1 else ""
            sentence = (
                f"So far, with {measured.seeds} of {len(self.fixed.plan.seeds)} seeds{rates}, and no verdict before "
                f"all are done: {sentence}"
            )
        missing = verdict.kind is Kind.NO_DETECTABLE_DIFFERENCE and measured.seeds > 1
        low, high = measured.interval()
        return ContrastResult(
            first=first,
            second=second,
            kind=verdict.kind,
            exploratory=verdict.exploratory or waiting,
            sentence=sentence,
            difference=interval(measured),
            p=measured.p_value,
            adjusted_p=verdict.difference_p,
            equivalence_p=verdict.equivalence_p,
            degrees_of_freedom=measured.degrees_of_freedom,
            per_seed=list(measured.per_seed),
            seed_sd=measured.seed_sd,
            variance_of_seeds=measured.spread.seeds,
            variance_of_examples=measured.spread.clusters,
            perplexity_ratio=as_interval(math.exp(measured.estimate), _exp(low), _exp(high)),
            examples_better=measured.rows_below,
            forgetting=interval(difference(*sides, "general")),
            scores=scores,
            reaches=self._reaches(first, second),
            needed=Needed(
                effect=self.fixed.plan.equivalence_margin,
                seeds=verdict.seeds_needed,
                examples=verdict.examples_needed,
            )
            if missing
            else None,
        )

    def _reaches(self, first: str, second: str) -> Reaches | None:
        if len(self.fixed.plan.shares) < 2:
            return None
        by_share = [self._of(first, share=share) for share in self.fixed.plan.shares]
        other = self._of(second)
        seeds = [seed for seed in self.fixed.plan.seeds if all(seed in each for each in [*by_share, other])]
        if not seeds:
            return None
        shares = [each[seeds[0]].rows / self.fixed.sizes.train_rows for each in by_share]
        curve = np.stack([losses([each[seed] for seed in seeds]) for each in by_share])
        test = other[seeds[0]].measured.test
        reached = reaches(curve, shares, losses([other[seed] for seed in seeds]), test.tokens, test.clusters)
        return Reaches(
            share=reached.share,
            low=reached.low,
            high=reached.high,
            smallest=reached.smallest,
            below=reached.below,
            sentence=self._qualified(len(seeds)) + reached.sentence(first, second),
        )

    def _qualified(self, seeds: int) -> str:
        """What goes before a sentence that is drawn from so many seeds."""
        wanted = len(self.fixed.plan.seeds)
        if seeds < wanted:
            return f"{'With' if self.progress.complete else 'So far, with'} {seeds} of {wanted} seeds: "
        return f"Exploratory ({count(seeds, 'seed')}): " if seeds < VERDICT_SEEDS else ""

    def _curves(self) -> list[Curve]:
        if len(self.fixed.plan.shares) < 2:
            return []
        curves = []
        for arm in self.fixed.arms:
            points = []
            for share in self.fixed.plan.shares:
                if done := list(self._of(arm.name, share=share).values()):
                    points.append(
                        CurvePoint(
                            share=done[0].rows / self.fixed.sizes.train_rows,
                            rows=done[0].rows,
                            loss=mean_loss(done),
                            values=[each.measured.test.mean for each in done],
                        )
                    )
            curves.append(Curve(arm=arm.name, points=points))
        return curves

    def _sweep(self, arms: Sequence[ArmResult]) -> list[SweepRow]:
        if not self.fixed.plan.sweep:
            return []
        done = {arm.arm: arm.validation_loss for arm in arms}
        rows, best = [], math.inf
        for arm in self.fixed.arms:
            gone = self._has_diverged(arm.name)
            if not gone and arm.name not in done:
                continue
            figure = None if gone else done[arm.name]
            best = best if figure is None else min(best, figure.mean)
            rows.append(
                SweepRow(
                    arm=arm.name,
                    settings=arm.differs,
                    validation_loss=figure,
                    best_so_far=best if math.isfinite(best) else None,
                )
            )
        return rows

    def _row(self, state: CellState) -> RunRow:
        cell, done = state.cell, self.runs.get(state.run_id)
        base = cell.arm == BASE
        questions = done.measured.questions if done else None
        return RunRow(
            run=state.run_id,
            arm=cell.arm,
            seed=None if base else cell.seed,
            share=cell.share,
            learning_rate=None if base else config_of(self.fixed, cell).learning_rate,
            status="diverged" if state.diverged else "waiting" if state.status is None else state.status.value,
            validation_loss=done.validation if done else None,
            test_loss=done.measured.test.mean if done else None,
            general_loss=done.measured.general.mean if done else None,
            right=sum(questions.right) if questions else None,
            seconds=done.seconds if done else None,
            whole_seconds=done.whole_seconds if done else None,
            step=done.measured.step if done else None,
            steps=None if base else self.fixed.arm(cell.arm).steps[share_key(cell.share)],
            tokens=done.tokens if done and not base else None,
            peak_bytes=done.peak_bytes if done and not base else None,
            adapter_bytes=done.adapter_bytes if done and not base else None,
        )

    def _verdict(self, contrasts: Sequence[ContrastResult]) -> str:
        sentences = [each.sentence for each in contrasts if each.kind is not Kind.PENDING]
        if sentences:
            return " ".join(sentences)
        if self.progress.complete and self.fixed.plan.sweep and not self.fixed.contrasts:
            if (best := self._best()) is None:
                return "Every combination of the sweep diverged."
            which = (
                "The first combination" if best == self.fixed.arms[0].name else f"{best}, the first that converged,"
            )
            return f"{which} of the sweep has the lowest validation loss: no other is compared with it."
        if self.progress.complete and contrasts:
            return " ".join(each.sentence for each in contrasts)
        return "Nothing can be said yet: no two arms have a finished run with the same seed."

    def _notes_on_the_best(self) -> list[str]:
        """What a reader should know of the best arm of a sweep."""
        if not self.fixed.plan.sweep or self.fixed.contrasts or self.progress.chosen is None:
            return []
        if (best := self._best()) is None:
            return []
        limits, pairs = best_at_an_end(self.fixed, best), self._pairs()
        if pairs:
            limits.append(
                f"The best of {len(self.fixed.arms)} combinations was chosen by runs that it is judged by: its "
                f"p-values are corrected for {count(len(self._read(pairs)), 'comparison')} with {pairs[0][1]}, its "
                "interval is not."
            )
            if (first := self.fixed.arms[0].name) != pairs[0][1]:
                limits.append(f"{first} diverged, so {best} is compared with {pairs[0][1]}, the first that did not.")
        return limits


def _pending(pair: tuple[str, str], why: str) -> ContrastResult:
    nothing = dict.fromkeys(
        name for name, field in ContrastResult.model_fields.items() if type(None) in get_args(field.annotation)
    )
    sentence = f"{pair[0]} and {pair[1]} cannot be compared" + (f": {why}." if why else " yet.")
    return ContrastResult.model_validate(
        {"first": pair[0], "second": pair[1], "kind": Kind.PENDING, "exploratory": False, "sentence": sentence}
        | {"per_seed": [], "scores": []}
        | nothing
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _per_seed(values: Iterable[float | None]) -> PerSeed:
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else math.nan
    return PerSeed(mean=mean, values=known, sd=float(np.std(known, ddof=1)) if len(known) > 1 else None)


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)

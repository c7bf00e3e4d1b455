"""The figures side by side, as text: one column for the base model, each arm and each contrast."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from droidft.experiments.findings.results import ArmResult, BaseResult, ContrastResult, Table, TableRow
from droidft.support.words import NOTHING, difference, duration, loss, percent, points, size


def table(
    base: BaseResult | None, arms: Sequence[ArmResult], contrasts: Sequence[ContrastResult], *, seeds: int
) -> Table:
    """Losses and scores with the difference and its interval; costs with their ratio.

    An arm that is not yet trained with all of the plan's `seeds` says with how many.
    """
    found = _Columns(base, {arm.arm: arm for arm in arms}, contrasts)
    return Table(
        arms=["base", *(_titled(arm, seeds) for arm in arms)],
        contrasts=[f"{each.first} − {each.second}" for each in contrasts],
        rows=[*found.losses(), *found.costs(), *found.scores(), *found.efficiency()],
    )


def _titled(arm: ArmResult, seeds: int) -> str:
    done = len(arm.seeds)
    return arm.arm if done == seeds else f"{arm.arm} ({done} of {seeds} seeds)"


class _Columns:
    def __init__(
        self, base: BaseResult | None, arms: dict[str, ArmResult], contrasts: Sequence[ContrastResult]
    ) -> None:
        self._base, self._arms, self._contrasts = base, arms, contrasts

    def losses(self) -> list[TableRow]:
        base = self._base
        return [
            self._row("Validation loss", lambda arm: loss(arm.validation_loss.mean)),
            self._row(
                "Test loss, nats per token",
                lambda arm: loss(arm.test_loss.mean),
                base=loss(base.test_loss) if base else NOTHING,
                differences=[difference(each.difference) for each in self._contrasts],
            ),
            self._row(
                "General text, nats per token",
                lambda arm: loss(arm.general_loss.mean),
                base=loss(base.general_loss) if base else NOTHING,
                differences=[difference(each.forgetting) for each in self._contrasts],
            ),
        ]

    def costs(self) -> list[TableRow]:
        return [
            self._row("Rank", lambda arm: str(arm.rank)),
            self._row("Learning rate", lambda arm: f"{arm.learning_rate:g}"),
            self._cost(
                "Trainable parameters",
                lambda arm: f"{arm.trainable:,} ({arm.trainable / arm.total:.2%})",
                lambda arm: arm.trainable,
            ),
            self._cost("Training time", lambda arm: duration(arm.seconds.mean), lambda arm: arm.seconds.mean),
            self._cost(
                "Tokens per second",
                lambda arm: f"{arm.tokens_per_second.mean:,.0f}",
                lambda arm: arm.tokens_per_second.mean,
            ),
            self._cost("Peak memory", lambda arm: size(arm.peak_bytes), lambda arm: arm.peak_bytes),
            self._cost("Adapter on disk", lambda arm: size(arm.adapter_bytes), lambda arm: arm.adapter_bytes),
        ]

    def scores(self) -> list[TableRow]:
        if not any(arm.accuracy for arm in self._arms.values()):
            return []
        base = self._base
        return [
            self._row(
                "Questions answered rightly",
                lambda arm: f"{arm.accuracy.mean:.1%}" if arm.accuracy else NOTHING,
                base=f"{base.accuracy:.1%}" if base and base.accuracy is not None else NOTHING,
                differences=[
                    points(each.scores[0].difference) if each.scores else NOTHING for each in self._contrasts
                ],
            )
        ]

    def efficiency(self) -> list[TableRow]:
        if not any(each.reaches for each in self._contrasts):
            return []
        found = [_reached(each) for each in self._contrasts]
        return [self._row("Share of the data for the other's loss", lambda _: NOTHING, differences=found)]

    def _cost(self, name: str, shown: Callable[[ArmResult], str], figure: Callable[[ArmResult], float]) -> TableRow:
        """With the first arm's figure as a multiple of the second's."""
        ratios = []
        for each in self._contrasts:
            sides = [self._arms.get(name) for name in (each.first, each.second)]
            one, two = (figure(arm) if arm is not None else 0.0 for arm in sides)
            ratios.append(f"× {one / two:.2f}" if one and two else NOTHING)
        return self._row(name, shown, differences=ratios)

    def _row(
        self,
        name: str,
        shown: Callable[[ArmResult], str],
        *,
        base: str = NOTHING,
        differences: Sequence[str] | None = None,
    ) -> TableRow:
        blank = [NOTHING] * len(self._contrasts)
        values = [base, *map(shown, self._arms.values())]
        return TableRow(name=name, values=values, differences=blank if differences is None else list(differences))


def _reached(contrast: ContrastResult) -> str:
    found = contrast.reaches
    if found is None:
        return NOTHING
    low = f"below {percent(found.smallest)}" if found.low is None else f"{found.low:.0%}"
    high = "above 100%" if found.high is None else f"{found.high:.0%}"
    share = f"{found.share:.0%}" if found.share is not None else f"{percent(found.smallest)} or less"
    return f"{'not reached' if found.share is None and not found.below else share} [{low}, {high}]"

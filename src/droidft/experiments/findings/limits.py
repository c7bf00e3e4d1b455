"""Choices that ended at an end of what was tried: the best may lie beyond it."""

from __future__ import annotations

from collections.abc import Sequence

from droidft.experiments.findings.results import ArmResult
from droidft.experiments.plan.settled import FixedPlan


def rates_at_an_end(arms: Sequence[ArmResult]) -> list[str]:
    """Arms whose chosen learning rate is the largest or smallest that was tried: the best may lie beyond it."""
    names: dict[tuple[str, float], list[str]] = {}
    for arm in arms:
        rates = sorted(rate.learning_rate for rate in arm.rates)
        for end, at in (("smallest", 0), ("largest", -1)):
            if len(rates) > 1 and any(rate.chosen and rate.learning_rate == rates[at] for rate in arm.rates):
                names.setdefault((end, rates[at]), []).append(arm.arm)
    return [
        f"The learning rate chosen for {', '.join(those)} is the {end} that was tried, {rate:g}: one "
        f"{'below' if end == 'smallest' else 'above'} it may suit better."
        for (end, rate), those in names.items()
    ]


def best_at_an_end(fixed: FixedPlan, best: str) -> list[str]:
    """Numbers that a sweep's best arm has at an end of those that were tried."""
    found = []
    for name, values in fixed.plan.sweep.items():
        numbers = [number for value in values if (number := _number(value)) is not None]
        chosen = _number(fixed.arm(best).differs[name])
        if chosen is None or len(numbers) < 2 or chosen not in (min(numbers), max(numbers)):
            continue
        end, beyond = ("smallest", "smaller") if chosen == min(numbers) else ("largest", "larger")
        found.append(
            f"The best combination has the {end} {name} that was tried, {chosen:g}: a {beyond} one may be better."
        )
    return found


def _number(value: object) -> float | None:
    """Also one that YAML takes for a text, such as `1e-4`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None

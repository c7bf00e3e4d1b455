"""What a comparison says, in one sentence that claims no more than was measured.

The criterion is fixed before the first step: three seeds or more; level 5 %, corrected by Holm for all contrasts that
are read; a margin below which a difference does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from droidft.experiments.findings.results import Kind
from droidft.experiments.findings.stats import LEVEL, Paired, examples_needed, holm, seeds_needed
from droidft.experiments.plan.written import VERDICT_SEEDS
from droidft.support.words import signed

ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class Verdict:
    """One contrast's answer; p-values are Holm's."""

    kind: Kind
    exploratory: bool
    sentence: str
    difference_p: float
    equivalence_p: float
    seeds_needed: int | None = None
    examples_needed: int | None = None


def verdicts(
    contrasts: Mapping[tuple[str, str], Paired],
    margin: float,
    *,
    names: Mapping[str, str] | None = None,
    choices: int = 1,
    to_come: int = 0,
) -> dict[tuple[str, str], Verdict]:
    """The answer of each contrast, all of them being read; `names` are what sentences call arms.

    p-values are multiplied by `choices`, the learning rates among which each arm had its own chosen by the runs that
    it is judged by (Bonferroni), then corrected by Holm over these contrasts and those `to_come`.
    """
    pairs, called = list(contrasts), names or {}
    rest = [1.0] * to_come
    differences = holm([*(min(1.0, choices * contrasts[pair].p_value) for pair in pairs), *rest])
    equivalences = holm([*(min(1.0, choices * contrasts[pair].equivalence_p(margin)) for pair in pairs), *rest])
    return {
        pair: _verdict(
            (called.get(pair[0], pair[0]), called.get(pair[1], pair[1])),
            contrasts[pair],
            margin,
            difference,
            equivalence,
            tests=choices * (len(pairs) + to_come),
        )
        for pair, difference, equivalence in zip(pairs, differences, equivalences, strict=False)
    }


def with_interval(found: Paired) -> str:
    """`−0.0123 [−0.0200, −0.0046]`."""
    low, high = found.interval()
    if not math.isfinite(low):
        return f"{signed(found.estimate)} [no interval: a single group of rows]"
    return f"{signed(found.estimate)} [{signed(low)}, {signed(high)}]"


def _verdict(
    pair: tuple[str, str], found: Paired, margin: float, difference_p: float, equivalence_p: float, *, tests: int
) -> Verdict:
    exploratory = found.seeds < VERDICT_SEEDS
    differs, same = difference_p < ALPHA, equivalence_p < ALPHA
    if differs:
        kind = Kind.BETTER if found.estimate < 0 else Kind.WORSE
    else:
        kind = Kind.EQUIVALENT if same else Kind.NO_DETECTABLE_DIFFERENCE
    missing = kind is Kind.NO_DETECTABLE_DIFFERENCE and found.seeds > 1
    level = 1 - ALPHA / tests  # what any one of these contrasts has to pass at worst
    seeds = seeds_needed(found, margin, level=level) if missing else None
    examples = examples_needed(found, margin, level=level) if missing else None
    sentence = _sentence(pair, found, margin, kind, same) + (
        _needs(found, seeds, examples, margin) if missing else ""
    )
    if exploratory:
        count = f"{found.seeds} seed{'s' * (found.seeds > 1)}"
        sentence = f"Exploratory ({count}; a verdict takes {VERDICT_SEEDS}): {sentence}"
        if found.seeds == 1:
            sentence += " The interval leaves out what another seed would change."
    return Verdict(kind, exploratory, sentence, difference_p, equivalence_p, seeds, examples)


def _sentence(pair: tuple[str, str], found: Paired, margin: float, kind: Kind, same: bool) -> str:
    first, second = pair
    numbers = f"{with_interval(found)} nats per token"
    match kind:
        case Kind.BETTER | Kind.WORSE:
            small = f" The difference is within the margin of {margin:g}: too small to matter." if same else ""
            return f"{first} is {kind.value} than {second}: test loss {numbers}.{small}"
        case Kind.EQUIVALENT:
            return (
                f"{first} and {second} are equivalent: they differ by {numbers}, by two one-sided tests less than "
                f"the margin of {margin:g}."
            )
        case _:
            low, high = found.interval()
            alone = " Its own interval leaves out 0; corrected for all contrasts it does not." * (
                not low <= 0 <= high
            )
            return f"No detectable difference between {first} and {second}: {numbers}.{alone}"


def _needs(found: Paired, seeds: int | None, examples: int | None, margin: float) -> str:
    if seeds == found.seeds:
        return f" One of {margin:g} would most likely have been found."
    ways = []
    if seeds is not None:
        ways.append(f"about {seeds:,} seeds")
    if examples is not None:
        ways.append(f"about {examples:,} test rows")
    if not ways:
        return f" A difference of {margin:g} would not be found with more seeds or more test rows alone."
    return f" To find one of {margin:g}, {' or '.join(ways)} would be needed."

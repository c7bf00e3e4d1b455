"""What is said of a comparison, and with what share of the data an arm is as good as another."""

from __future__ import annotations

import numpy as np
import pytest
from bench.calibration import World, false_better

from droidft.experiments.findings.comparison import Verdict, verdicts, with_interval
from droidft.experiments.findings.efficiency import reaches
from droidft.experiments.findings.results import Kind
from droidft.experiments.findings.stats import Paired, paired

PAIR = ("new", "old")


def compared(shift: float, *, seeds: int = 3, sd: float = 0.01, rows: int = 80) -> Paired:
    random = np.random.default_rng(0)
    values = shift + sd * random.standard_normal((seeds, 1)) / 10 + sd * random.standard_normal((seeds, rows))
    return paired(values * 50, np.full(rows, 50.0), np.arange(rows))


def said(found: Paired, margin: float = 0.02) -> Verdict:
    return verdicts({PAIR: found}, margin)[PAIR]


def test_each_kind_is_said_in_its_own_words() -> None:
    better, worse = said(compared(-0.1)), said(compared(0.1))
    assert (better.kind, worse.kind) == (Kind.BETTER, Kind.WORSE)
    assert better.sentence.startswith("new is better than old: test loss −0.")
    assert worse.sentence.startswith("new is worse than old: test loss +0.")
    same = said(compared(0.0002, sd=0.03), margin=0.05)
    assert same.kind is Kind.EQUIVALENT
    assert "are equivalent: they differ by" in same.sentence
    unknown = said(compared(0.001, sd=0.5))
    assert unknown.kind is Kind.NO_DETECTABLE_DIFFERENCE
    assert unknown.sentence.startswith("No detectable difference between new and old: ")
    assert unknown.examples_needed is not None
    assert f"about {unknown.examples_needed:,} test rows" in unknown.sentence


def test_a_difference_that_is_sure_and_small_is_said_not_to_matter() -> None:
    found = said(compared(-0.005, sd=0.002))
    assert found.kind is Kind.BETTER
    assert found.sentence.endswith("The difference is within the margin of 0.02: too small to matter.")


@pytest.mark.parametrize(("seeds", "words"), [(1, "1 seed"), (2, "2 seeds")])
def test_fewer_than_three_seeds_are_exploratory(seeds: int, words: str) -> None:
    found = said(compared(-0.1, seeds=seeds))
    assert found.exploratory
    assert found.sentence.startswith(f"Exploratory ({words}; a verdict takes 3): ")
    assert ("leaves out what another seed would change" in found.sentence) == (seeds == 1)


def test_several_contrasts_are_corrected_together() -> None:
    alone = said(compared(-0.003, sd=0.008))
    pairs = {("new", f"old-{number}"): compared(-0.003, sd=0.008) for number in range(8)}
    together = verdicts(pairs, 0.0001)
    assert alone.difference_p < 0.05
    assert together["new", "old-0"].difference_p == pytest.approx(min(1.0, 8 * alone.difference_p))


def test_a_choice_among_learning_rates_and_contrasts_to_come_are_corrected_for() -> None:
    found = compared(-0.003, sd=0.008)
    chosen = verdicts({PAIR: found}, 0.001, choices=3, to_come=1)[PAIR]
    assert chosen.difference_p == pytest.approx(min(1.0, 2 * 3 * found.p_value))
    assert chosen.equivalence_p == pytest.approx(min(1.0, 2 * 3 * found.equivalence_p(0.001)))
    assert said(found).difference_p == found.p_value


@pytest.mark.parametrize("rates", [1, 5])
def test_an_arm_with_several_good_rates_is_not_better_for_that(rates: int) -> None:
    assert false_better(rates, seeds=5, experiments=150) <= 0.05 + 2 * (0.05 * 0.95 / 150) ** 0.5


def test_a_sentence_does_not_contradict_the_interval_it_gives() -> None:
    pairs = {("new", f"old-{number}"): compared(-0.003, sd=0.008) for number in range(8)}
    assert "Its own interval leaves out 0; corrected" in verdicts(pairs, 0.0001)["new", "old-0"].sentence
    enough = said(compared(-0.012, sd=0.05), margin=0.02)
    assert enough.seeds_needed == 3
    assert enough.sentence.endswith("One of 0.02 would most likely have been found.")


def test_a_single_group_of_rows_has_no_interval() -> None:
    found = paired(np.array([[1.0], [2.0], [3.0]]), [10.0], [0])
    assert with_interval(found) == "+0.2000 [no interval: a single group of rows]"
    assert said(found).kind is Kind.NO_DETECTABLE_DIFFERENCE


# -- data efficiency

SHARES = (0.1, 0.25, 0.5, 1.0)


def curve(slope: float, *, seed: int, seeds: int = 5, rows: int = 120, sd: float = 0.05) -> np.ndarray:
    """Losses that fall by `slope` a natural logarithm of the share, around 1 at all of the data: [F, S, N]."""
    random = np.random.default_rng(seed)
    common = 0.3 * random.standard_normal(rows) + 0.02 * random.standard_normal((seeds, 1))
    return np.stack(
        [1 - slope * np.log(share) + common + sd * random.standard_normal((seeds, rows)) for share in SHARES]
    )


def held(slope: float, gap: float, *, seed: int) -> tuple[float | None, bool]:
    """The share that was found, and whether its set holds the true one: exp(−gap / slope)."""
    first = curve(slope, seed=seed)
    random = np.random.default_rng([seed, 1])
    second = first[-1] + gap + 0.05 * random.standard_normal(first[-1].shape)
    found = reaches(first, SHARES, second, np.ones(120), np.arange(120))
    truth = float(np.exp(-gap / slope))
    above = found.low is None or found.low <= truth + 1e-9
    return found.share, above and (found.high is None or truth <= found.high + 1e-9)


def test_the_share_is_where_the_curves_meet() -> None:
    first = np.stack([np.full((3, 30), 1 - 0.1 * np.log(share)) for share in SHARES])
    first += 1e-9 * np.random.default_rng(0).standard_normal(first.shape)
    second = np.full((3, 30), 1 + 0.1 * np.log(2))
    found = reaches(first, SHARES, second, np.ones(30), np.arange(30))
    assert found.share == pytest.approx(0.5, rel=1e-3)
    assert found.sentence("a", "b").startswith("a reaches b's loss with 50% of the data")


def test_its_set_holds_the_truth_19_times_out_of_20() -> None:
    results = [held(0.1, 0.07, seed=seed) for seed in range(300)]
    assert 0.91 <= np.mean([inside for _, inside in results]) <= 0.99
    assert np.median([share for share, _ in results if share is not None]) == pytest.approx(np.exp(-0.7), rel=0.1)


def test_ends_that_were_not_measured_are_open() -> None:
    steep = curve(0.1, seed=0)
    far = reaches(steep, SHARES, steep[-1] - 0.2, np.ones(120), np.arange(120))
    assert (far.share, far.high, far.below) == (None, None, False)
    assert "does not reach b's loss with all of the data" in far.sentence("a", "b")
    near = reaches(steep, SHARES, steep[0] + 0.2, np.ones(120), np.arange(120))
    assert (near.share, near.low, near.below) == (None, None, True)
    assert "with 10% of the data or less" in near.sentence("a", "b")


def test_a_simulated_world_is_as_wide_as_it_says() -> None:
    """The spread of estimates over many experiments is what one experiment's parts of the variance predict."""
    world, random = World(5, 60, 1.0, 1.0, 1.0, "normal"), np.random.default_rng(0)
    found = [paired(*world.draw(random, 0.0)) for _ in range(1500)]
    predicted = np.mean([each.spread.standard_error**2 for each in found])
    assert np.var([each.estimate for each in found]) == pytest.approx(predicted, rel=0.12)

"""The paired difference and its interval: against SciPy, against resampling, and by simulation."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from bench.calibration import EFFECT, World, coverage
from hypothesis import given
from hypothesis import strategies as st

from droidft.experiments.findings.stats import (
    Paired,
    Spread,
    examples_needed,
    holm,
    mcnemar,
    noise_floor,
    of_most_seeds,
    paired,
    seeds_needed,
)
from tests.experiments.findings import bootstrap


def draw(
    seed: int = 0, *, seeds: int = 4, rows: int = 30, clusters: int = 12
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    tokens = random.integers(5, 60, rows).astype(float)
    groups = np.concatenate([np.arange(clusters), random.integers(0, clusters, rows - clusters)])
    effects = (
        random.standard_normal((seeds, 1)) * 0.2
        + random.standard_normal(rows)
        + random.standard_normal((seeds, rows))
    )
    return (effects - 0.3) * tokens, tokens, groups


# -- against SciPy


def test_one_seed_and_rows_of_one_token_are_students_t() -> None:
    values = np.random.default_rng(1).standard_normal((1, 25)) + 0.4
    found = paired(values, np.ones(25), np.arange(25))
    test = scipy.stats.ttest_1samp(values[0], 0.0)
    assert found.interval() == pytest.approx(tuple(test.confidence_interval(0.95)), abs=1e-12)
    assert found.interval(0.8) == pytest.approx(tuple(test.confidence_interval(0.8)), abs=1e-12)
    assert found.p_value == pytest.approx(test.pvalue, rel=1e-9)
    assert found.spread.standard_error == pytest.approx(values.std(ddof=1) / 5, rel=1e-12)
    assert found.degrees_of_freedom == pytest.approx(24, rel=1e-6)


def test_two_arms_of_one_seed_are_the_paired_t_test() -> None:
    random = np.random.default_rng(2)
    first, second = random.standard_normal((2, 18))
    test = scipy.stats.ttest_rel(first, second)
    found = paired((first - second)[None], np.ones(18), np.arange(18))
    assert found.p_value == pytest.approx(test.pvalue, rel=1e-9)
    assert found.interval() == pytest.approx(tuple(test.confidence_interval()), abs=1e-12)


def test_seeds_that_shift_all_rows_alike_are_students_t_over_seeds() -> None:
    shifts = np.array([0.1, -0.4, 0.35, 0.2, 0.6])
    tokens = np.array([3.0, 8.0, 5.0, 1.0])
    found = paired(shifts[:, None] * tokens, tokens, np.arange(4))
    test = scipy.stats.ttest_1samp(shifts, 0.0)
    assert found.interval() == pytest.approx(tuple(test.confidence_interval()), abs=1e-9)
    assert found.p_value == pytest.approx(test.pvalue, rel=1e-6)
    assert found.spread.clusters == pytest.approx(0, abs=1e-20)


def test_equivalence_is_two_one_sided_tests() -> None:
    values = np.random.default_rng(3).standard_normal((1, 40)) * 0.1 + 0.02
    found = paired(values, np.ones(40), np.arange(40))
    for margin in (0.02, 0.05, 0.1):
        lower = scipy.stats.ttest_1samp(values[0], -margin, alternative="greater").pvalue
        upper = scipy.stats.ttest_1samp(values[0], margin, alternative="less").pvalue
        assert found.equivalence_p(margin) == pytest.approx(max(lower, upper), rel=1e-9)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    first = [True] * only_first + [False] * only_second + [True, False]
    second = [False] * only_first + [True] * only_second + [True, False]
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (only_first, only_second)
    expected = (
        1.0 if only_first + only_second == 0 else scipy.stats.binomtest(only_first, only_first + only_second).pvalue
    )
    assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_holm_is_what_the_paper_does_step_by_step() -> None:
    # Holm (1979): the smallest p-value is multiplied by their number, the next by one less, never falling.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5]) == [0.5]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# -- against sums written out and against resampling


def test_the_parts_of_the_variance_are_the_sums_of_the_docstring() -> None:
    values, tokens, groups = draw()
    seeds, total = len(values), tokens.sum()
    names = sorted(set(groups.tolist()))
    per_seed = [sum(row) / total for row in values]
    mean = sum(per_seed) / seeds
    residual = [
        [sum(values[s][i] - mean * tokens[i] for i in range(len(tokens)) if groups[i] == c) for c in names]
        for s in range(seeds)
    ]
    size = [sum(tokens[i] for i in range(len(tokens)) if groups[i] == c) for c in names]
    count = len(names)
    average = [sum(residual[s][c] for s in range(seeds)) / seeds for c in range(count)]
    of_clusters = count / (count - 1) * sum(each**2 for each in average) / total**2
    both = sum(
        (residual[s][c] - average[c] - size[c] * (per_seed[s] - mean)) ** 2
        for s in range(seeds)
        for c in range(count)
    )
    interaction = count * both / (seeds * total**2 * (seeds - 1) * (count - 1))
    of_seeds = sum((each - mean) ** 2 for each in per_seed) / (seeds - 1) / seeds
    found = paired(values, tokens, groups)
    assert found.estimate == pytest.approx(mean, rel=1e-12)
    assert found.spread.clusters == pytest.approx(of_clusters - interaction, rel=1e-10)
    assert found.spread.interaction == pytest.approx(interaction, rel=1e-10)
    assert found.spread.seeds == pytest.approx(of_seeds, rel=1e-10)
    assert min(of_clusters - interaction, of_seeds) > 0


def test_resampling_all_seeds_has_the_variance_that_students_t_is_made_of() -> None:
    """The exact bootstrap variance of a mean over S seeds is (S−1)/S of its unbiased estimate."""
    values, tokens, groups = draw(5, seeds=3)
    resamples = list(bootstrap.every_seed_resample(values.tolist(), tokens.tolist()))
    assert len(resamples) == 27
    found = paired(values, tokens, groups)
    assert np.mean(resamples) == pytest.approx(found.estimate, abs=1e-9)
    assert np.var(resamples) == pytest.approx(found.seed_sd**2 / 3 * 2 / 3, rel=1e-9)


def test_resampling_all_rows_has_the_variance_of_the_clusters() -> None:
    random = np.random.default_rng(6)
    values = 3 * random.standard_normal(5) + random.standard_normal((2, 5))
    resamples = list(bootstrap.every_row_resample(values.tolist(), [1.0] * 5))
    found = paired(values, np.ones(5), np.arange(5))
    assert found.spread.clusters > 0
    whole = found.spread.clusters + found.spread.interaction
    assert np.var(resamples) == pytest.approx(whole * 4 / 5, rel=1e-9)


def test_the_crossed_bootstrap_agrees() -> None:
    """It overestimates by the interaction's part (Owen 2007), and by (n−1)/n it underestimates each factor's."""
    values, tokens, groups = draw(7, seeds=6, rows=160, clusters=60)
    found = paired(values, tokens, groups).spread
    resamples = bootstrap.crossed(values, tokens, groups, times=4000, random=np.random.default_rng(0))
    expected = 5 / 6 * found.seeds + found.clusters + found.interaction
    assert np.var(resamples) == pytest.approx(expected, rel=0.12)


# -- by simulation


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("ratio", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("alone", [0.0, 1.0])
def test_intervals_hold_the_truth_19_times_out_of_20(seeds: int, ratio: float, alone: float) -> None:
    """A small version of `python -m bench.calibration`; four standard errors of a count of 1,200 are 2.5 %."""
    held, found = coverage(World(seeds, 40, ratio, alone, 1.0, "normal"), experiments=1200, seed=1)
    assert 0.925 <= held <= 0.99
    assert found > 0.3


def test_what_is_said_to_be_needed_is_enough() -> None:
    """Experiments of the size that `examples_needed` names find the effect about four times out of five."""
    random = np.random.default_rng(8)
    effect = 0.25
    pilots = [paired(*World(3, 60, 0.0, 1.0, 0.5, "normal").draw(random, 0.0)) for _ in range(60)]
    needs = [each for pilot in pilots if (each := examples_needed(pilot, effect)) is not None]
    assert len(needs) > 50
    larger = World(3, round(60 * np.median(needs) / 150), 0.0, 1.0, 0.5, "normal")  # 2.5 rows a conversation
    found = [paired(*larger.draw(random, effect)).interval()[0] > 0 for _ in range(400)]
    assert 0.7 <= np.mean(found) <= 0.92


def test_more_seeds_do_not_help_where_rows_are_the_limit() -> None:
    limited = Paired(0.1, Spread(1e-9, 0.01, 1e-9, 2, 50), (0.1, 0.1, 0.1), 0.4, 100, 51, 5000.0)
    assert seeds_needed(limited, 0.05) is None
    assert examples_needed(limited, 0.05) is not None
    noisy = Paired(0.1, Spread(0.01, 1e-9, 1e-10, 2, 50), (0.0, 0.1, 0.2), 0.4, 100, 51, 5000.0)
    assert examples_needed(noisy, 0.05) is None
    assert seeds_needed(noisy, 0.3) is not None


# -- properties

KINDS = {"seeds": st.integers(2, 5), "rows": st.integers(6, 25), "seed": st.integers(0, 10_000)}


@given(**KINDS)
def test_swapping_the_arms_changes_the_sign_and_nothing_else(seeds: int, rows: int, seed: int) -> None:
    values, tokens, groups = draw(seed, seeds=seeds, rows=rows, clusters=5)
    one, other = paired(values, tokens, groups), paired(-values, tokens, groups)
    assert other.estimate == pytest.approx(-one.estimate)
    assert other.interval() == pytest.approx(tuple(-end for end in reversed(one.interval())))
    assert other.p_value == pytest.approx(one.p_value)
    assert other.rows_below == pytest.approx(1 - one.rows_below)


@given(**KINDS)
def test_order_and_names_do_not_matter(seeds: int, rows: int, seed: int) -> None:
    values, tokens, groups = draw(seed, seeds=seeds, rows=rows, clusters=5)
    random = np.random.default_rng(seed)
    order, turn = random.permutation(rows), random.permutation(seeds)
    one = paired(values, tokens, groups)
    other = paired(values[np.ix_(turn, order)], tokens[order], 100 - groups[order])
    assert other.interval() == pytest.approx(one.interval())


@given(factor=st.floats(0.01, 100), **KINDS)
def test_the_unit_does_not_matter(factor: float, seeds: int, rows: int, seed: int) -> None:
    values, tokens, groups = draw(seed, seeds=seeds, rows=rows, clusters=5)
    one, other = paired(values, tokens, groups), paired(values * factor, tokens, groups)
    assert other.interval() == pytest.approx(tuple(factor * end for end in one.interval()))
    assert other.p_value == pytest.approx(one.p_value)


@given(**KINDS)
def test_cutting_a_row_in_two_of_one_cluster_changes_nothing(seeds: int, rows: int, seed: int) -> None:
    values, tokens, groups = draw(seed, seeds=seeds, rows=rows, clusters=5)
    parts = np.concatenate([values[:, :1] * 0.3, values[:, :1] * 0.7, values[:, 1:]], axis=1)
    sizes = np.concatenate([tokens[:1] * 0.5, tokens[:1] * 0.5, tokens[1:]])
    whole, cut = paired(values, tokens, groups), paired(parts, sizes, np.concatenate([groups[:1], groups]))
    assert cut.interval() == pytest.approx(whole.interval())


@given(**KINDS)
def test_the_p_value_is_where_the_interval_touches_zero(seeds: int, rows: int, seed: int) -> None:
    found = paired(*draw(seed, seeds=seeds, rows=rows, clusters=5))
    if 1e-9 < found.p_value < 1 - 1e-9:
        ends = found.interval(1 - found.p_value)
        assert min(abs(end) for end in ends) == pytest.approx(0, abs=1e-6 * abs(found.estimate) + 1e-12)


# -- edges


def test_a_single_cluster_says_nothing_about_others() -> None:
    found = paired(np.array([[1.0, 2.0], [1.5, 2.5]]), np.ones(2), [7, 7])
    assert found.interval() == (-math.inf, math.inf)
    assert found.p_value == 1.0
    assert found.degrees_of_freedom is None


def test_equal_results_have_no_difference_and_no_width() -> None:
    found = paired(np.zeros((3, 10)), np.ones(10), np.arange(10))
    assert found.interval() == (0.0, 0.0)
    assert (found.p_value, found.equivalence_p(0.01), found.rows_below) == (1.0, 0.0, 0.5)


def test_shapes_that_do_not_fit_are_refused() -> None:
    bad: list[tuple[Any, Any, Any]] = [
        (np.zeros((2, 3)), np.ones(4), np.arange(4)),
        (np.zeros(3), np.ones(3), np.arange(3)),
        (np.zeros((0, 0)), np.ones(0), np.arange(0)),
    ]
    for values, tokens, groups in bad:
        with pytest.raises(ValueError, match="do not fit"):
            paired(values, tokens, groups)


def test_the_noise_floor_is_the_pooled_spread_between_seeds() -> None:
    found = noise_floor([[1.0, 1.2, 1.4], [2.0, 2.0, 2.3]])
    assert found is not None
    variance = (np.var([1.0, 1.2, 1.4], ddof=1) + np.var([2.0, 2.0, 2.3], ddof=1)) / 2
    assert found.sd == pytest.approx(math.sqrt(variance))
    assert found.difference == pytest.approx(scipy.stats.t.ppf(0.975, 4) * math.sqrt(2 * variance / 3))
    assert noise_floor([[1.0], [2.0]]) is None


def test_most_seeds_is_more_than_half() -> None:
    right = np.array([[True, True, False], [False, True, False]])
    assert of_most_seeds(right).tolist() == [False, True, False]
    assert EFFECT != 0

"""The statistics of a paired experiment: arrays in, numbers out.

Every arm is trained with S seeds and every model measured on the same N rows of C clusters (conversations). Seeds
and clusters are both samples: another seed, or another conversation, would have given another difference. With
d[s, i] the difference of two arms' summed losses on row i under seed s, and t[i] the row's tokens,

    estimate  δ = mean over s of δ_s,   δ_s = Σ_i d[s, i] / Σ_i t[i]
    residuals r[s, c] = Σ over rows i of cluster c of (d[s, i] − δ t[i]),   u[c] = mean over s of r[s, c]

    V_s  = var(δ_s)/S                          seeds, and what varies with cluster and seed together
    V_sc = C/(S T² (S−1)(C−1)) Σ (r − u − t (δ_s − δ))²          the latter alone
    V_c  = max(0, C/(C−1) Σ_c u[c]² / T² − V_sc)                 clusters alone

    interval  δ ± √(t²[S−1] V_s + t²[C−1] V_c)

This is the analysis of variance of two crossed random factors (Owen 2007; Cameron, Gelbach and Miller 2011), each
part of the variance weighted by the t quantile of its own degrees of freedom, as Graybill and Wang (1980) do for
sums of variances. Where rows make no difference of their own, it is the t interval over seeds. With one seed, V_sc is
not known and not taken off. `bench/calibration.py` shows how it covers, docs/decisions/0007 what else was tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEVEL = 0.95
POWER = 0.8
MOST_SEEDS = 1000
MOST_TIMES = 1000
"""Beyond so many seeds, or times as many examples, no number is given."""
SMALLEST_P = 1e-100
FEW = 5
"""With fewer questions that two arms answer differently, no interval is given for their scores."""


@dataclass(frozen=True)
class Spread:
    """The variance of an estimate, in its parts, and how well each is known.

    `seeds` and `clusters` are variances in squared units of the estimate. Degrees of freedom of 0 mean that nothing
    is known of a part: of seeds (there is one), it is left out; of clusters, the interval is infinite.
    """

    seeds: float
    clusters: float
    interaction: float
    """The part of `seeds` that varies with the cluster too."""
    seeds_df: int
    clusters_df: int

    @property
    def standard_error(self) -> float:
        """Root of the sum of both parts."""
        return math.sqrt(self.seeds + self.clusters)

    def half_width(self, level: float = LEVEL) -> float:
        """Half of the interval of this level."""
        return self._reach((1 - level) / 2)

    def tail(self, distance: float) -> float:
        """Probability that an estimate lies so far, or further, to one side of the truth."""
        if self.clusters_df == 0:
            return 0.5
        if distance <= 0:
            return 1 - self.tail(-distance) if distance < 0 else 0.5
        if self.standard_error == 0:
            return 0.0
        low, high = math.log(SMALLEST_P), math.log(0.5)
        if self._reach(SMALLEST_P) <= distance:
            return 0.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (low, middle) if self._reach(math.exp(middle)) < distance else (middle, high)
        return math.exp((low + high) / 2)

    def _reach(self, tail: float) -> float:
        if self.clusters_df == 0:
            return math.inf
        squared = special.stdtrit(self.clusters_df, tail) ** 2 * self.clusters
        if self.seeds_df:
            squared += special.stdtrit(self.seeds_df, tail) ** 2 * self.seeds
        return math.sqrt(squared)

    def of_size(self, *, seeds: float, examples: float) -> Spread:
        """The variance to be expected with so many times as many seeds and examples."""
        alone = max(0.0, self.seeds - self.interaction)
        both = min(self.seeds, self.interaction) / (seeds * examples)
        return Spread(
            seeds=alone / seeds + both,
            clusters=self.clusters / examples,
            interaction=both,
            seeds_df=max(1, round((self.seeds_df + 1) * seeds) - 1),
            clusters_df=max(1, round((self.clusters_df + 1) * examples) - 1),
        )


@dataclass(frozen=True)
class Paired:
    """A difference between two arms (or the mean of one), with all that its interval is made of."""

    estimate: float
    """Nats per token, or whatever the rows are measured in."""
    spread: Spread
    per_seed: tuple[float, ...]
    rows_below: float
    """Share of rows whose difference is below zero, ties counting half; a mean over seeds."""
    examples: int
    clusters: int
    tokens: float

    @property
    def seeds(self) -> int:
        """How many pairs of runs."""
        return len(self.per_seed)

    @property
    def seed_sd(self) -> float | None:
        """Standard deviation of the difference between seeds."""
        return float(np.std(self.per_seed, ddof=1)) if self.seeds > 1 else None

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Both ends; infinite with a single cluster."""
        half = self.spread.half_width(level)
        return self.estimate - half, self.estimate + half

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference."""
        if self.estimate == 0:
            return 1.0
        return min(1.0, 2 * self.spread.tail(abs(self.estimate)))

    def equivalence_p(self, margin: float) -> float:
        """Of two one-sided tests (Schuirmann 1987): small when the difference lies within the margin."""
        return self.spread.tail(margin - abs(self.estimate))

    @property
    def degrees_of_freedom(self) -> float | None:
        """Of the t distribution with the same 95 % interval at the same standard error: between S−1 and C−1."""
        if self.spread.standard_error == 0 or self.spread.clusters_df == 0:
            return None
        wanted = self.spread.half_width() / self.spread.standard_error
        low, high = 0.5, 1e9
        for _ in range(200):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if special.stdtrit(middle, (1 + LEVEL) / 2) > wanted else (low, middle)
        return math.sqrt(low * high)


def paired(differences: Floats, tokens: npt.ArrayLike, clusters: npt.ArrayLike) -> Paired:
    """The mean difference per token with both sources of variance.

    `differences` [S, N] are summed over each row's tokens [N], `clusters` [N] say which rows belong together.

    Raises:
        ValueError: the shapes do not fit, or there is nothing.
    """
    values = np.asarray(differences, dtype=np.float64)
    weights, groups = np.asarray(tokens, dtype=np.float64), np.asarray(clusters)
    if values.ndim != 2 or values.shape[1:] != weights.shape or weights.shape != groups.shape or not values.size:
        raise ValueError(f"differences {values.shape}, tokens {weights.shape} and clusters {groups.shape} do not fit")
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    total = float(weights.sum())
    per_seed = values.sum(axis=1) / total
    estimate = float(per_seed.mean())
    sums = np.stack([np.bincount(numbers, weights=row, minlength=count) for row in values]).astype(np.float64)
    sizes = np.bincount(numbers, weights=weights, minlength=count).astype(np.float64)
    below = float(np.mean((values < 0) + 0.5 * (values == 0)))
    return Paired(
        estimate=estimate,
        spread=_spread(sums - estimate * sizes, sizes, per_seed - estimate, total),
        per_seed=tuple(per_seed.tolist()),
        rows_below=below,
        examples=values.shape[1],
        clusters=count,
        tokens=total,
    )


def _spread(residuals: Floats, sizes: Floats, seed_effects: Floats, total: float) -> Spread:
    """Parts of the variance from residuals [S, C], cluster sizes [C] and seed effects [S]."""
    seeds, clusters = residuals.shape
    if clusters == 1:
        return Spread(0.0, 0.0, 0.0, seeds - 1, 0)
    means = residuals.mean(axis=0)
    of_clusters = clusters / (clusters - 1) * float((means**2).sum()) / total**2
    if seeds == 1:
        return Spread(0.0, of_clusters, 0.0, 0, clusters - 1)
    apart = residuals - means - sizes * seed_effects[:, None]
    scale = clusters / (seeds * total**2 * (seeds - 1) * (clusters - 1))
    interaction = scale * float((apart**2).sum())
    of_seeds = float((seed_effects**2).sum()) / (seeds - 1) / seeds
    return Spread(of_seeds, max(0.0, of_clusters - interaction), interaction, seeds - 1, clusters - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values, in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True)
class McNemar:
    """Questions that only one of two arms answers rightly (McNemar 1947)."""

    only_first: int
    only_second: int

    @property
    def p_value(self) -> float:
        """Exact and two-sided: each of these questions is as likely to be either arm's."""
        several = self.only_first + self.only_second
        if several == 0:
            return 1.0
        return min(1.0, 2 * float(special.bdtr(min(self.only_first, self.only_second), several, 0.5)))


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike) -> McNemar:
    """Right or wrong of each question, `first` and `second` [N]."""
    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    return McNemar(int((one & ~two).sum()), int((~one & two).sum()))


def of_most_seeds(right: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether each question [N] is answered rightly under more than half of the seeds, from [S, N]."""
    return np.asarray(right.mean(axis=0) > 0.5)


@dataclass(frozen=True)
class Floor:
    """How much seeds alone move an arm: `sd` between seeds, pooled over arms; `difference` as 95 % of differences
    between two means of S seeds of one arm stay below it, the data and everything else being the same."""

    sd: float
    difference: float


def noise_floor(losses: Sequence[Sequence[float]]) -> Floor | None:
    """From each arm's mean loss under each seed; None where no arm has two seeds."""
    several = [np.asarray(arm, dtype=np.float64) for arm in losses if len(arm) > 1]
    if not several:
        return None
    df = sum(len(arm) - 1 for arm in several)
    variance = sum(float(((arm - arm.mean()) ** 2).sum()) for arm in several) / df
    seeds = min(len(arm) for arm in several)
    sd = math.sqrt(variance)
    return Floor(sd, float(special.stdtrit(df, (1 + LEVEL) / 2)) * sd * math.sqrt(2 / seeds))


def seeds_needed(measured: Paired, effect: float, *, level: float = LEVEL) -> int | None:
    """Seeds that would detect `effect` at `level`, with a power of 80 %, on these examples; None: no number would."""
    for seeds in range(max(2, measured.seeds), MOST_SEEDS + 1):
        if _detects(measured.spread.of_size(seeds=seeds / measured.seeds, examples=1), effect, level):
            return seeds
    return None


def examples_needed(measured: Paired, effect: float, *, level: float = LEVEL) -> int | None:
    """Examples of this kind that would do so with these seeds; None: no number would."""
    low, high = 1.0, float(MOST_TIMES)
    if not _detects(measured.spread.of_size(seeds=1, examples=high), effect, level):
        return None
    for _ in range(60):
        middle = math.sqrt(low * high)
        enough = _detects(measured.spread.of_size(seeds=1, examples=middle), effect, level)
        low, high = (low, middle) if enough else (middle, high)
    return math.ceil(high * measured.examples)


def _detects(spread: Spread, effect: float, level: float) -> bool:
    return effect >= spread.half_width(level) + float(special.ndtri(POWER)) * spread.standard_error

"""Are the intervals of an experiment right? python -m bench.calibration [--experiments 2000] [--trained 40]

Simulated: results with a known difference, in which seeds, conversations and both together vary, from hardly any
seed variance to almost nothing else, with rows of unequal length, conversations of unequal size and heavy tails.
Counts how often the 95 % interval holds the truth, how often an experiment without a difference gives a verdict, and
how often a planted difference is found.

Trained: a tiny model, many times, with the same settings under other seeds (A/A), and with a third of the learning
rate: how often does an experiment of three seeds a side say "better" or "worse"?
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.experiments.findings.comparison import verdicts
from droidft.experiments.findings.stats import Paired, paired

SEEDS = (3, 5, 10)
RATIOS = (0.0, 0.3, 1.0, 3.0, 10.0)
"""Variance that seeds bring to the estimate, as a multiple of what conversations bring."""
EFFECTS = ((1.0, 0.3), (1.0, 1.0), (1.0, 2.0), (0.3, 1.0), (0.0, 1.0))
"""Standard deviations of what varies with conversation and row alone, and with conversation and seed together. The
last is A/A: two arms that differ by nothing but chance differ on no row in particular."""
TAILS = ("normal", "heavy")
CLUSTERS = (40, 200)
EFFECT = 0.3


@dataclass(frozen=True)
class World:
    """Where simulated results come from."""

    seeds: int
    clusters: int
    ratio: float
    alone: float
    interaction: float
    tails: str

    def draw(self, random: np.random.Generator, effect: float) -> tuple[npt.NDArray[np.float64], ...]:
        """Differences [S, N], tokens [N] and clusters [N] of one experiment whose true difference is `effect`."""
        sizes = random.integers(1, 5, self.clusters)
        clusters = np.repeat(np.arange(self.clusters), sizes)
        tokens = random.integers(20, 200, len(clusters)).astype(np.float64)
        deviates = self._normal if self.tails == "normal" else self._heavy
        of_cluster = deviates(random, self.clusters)[clusters]
        of_row = deviates(random, len(clusters))
        both = deviates(random, (self.seeds, self.clusters))[:, clusters] * self.interaction
        seed = self._normal(random, (self.seeds, 1)) * self.seed_sd
        return (
            (effect + seed + self.alone * (of_cluster + of_row) + both) * tokens,
            tokens,
            clusters.astype(np.float64),
        )

    @property
    def seed_sd(self) -> float:
        """So that seeds bring `ratio` times the variance of conversations to the mean over seeds."""
        return float(np.sqrt(self.ratio * self.of_clusters * self.seeds))

    @property
    def of_clusters(self) -> float:
        """The variance that conversations bring to the mean, alone and together with seeds, roughly."""
        return (1.5 * self.alone**2 + self.interaction**2 / self.seeds) / self.clusters

    @staticmethod
    def _normal(random: np.random.Generator, size: Any) -> npt.NDArray[np.float64]:
        return random.standard_normal(size)

    @staticmethod
    def _heavy(random: np.random.Generator, size: Any) -> npt.NDArray[np.float64]:
        """Student's t with five degrees of freedom, of variance one."""
        return random.standard_t(5, size) * np.sqrt(3 / 5)


def worlds(seeds: int) -> Iterator[World]:
    """All worlds with so many seeds."""
    for clusters, ratio, effects, tails in itertools.product(CLUSTERS, RATIOS, EFFECTS, TAILS):
        yield World(seeds, clusters, ratio, *effects, tails)


def coverage(world: World, *, experiments: int, seed: int) -> tuple[float, float]:
    """Share of experiments whose interval holds the truth; share that finds a difference of 3.5 standard errors."""
    random = np.random.default_rng(
        [seed, world.seeds, world.clusters, int(10 * world.ratio), int(10 * world.alone), int(10 * world.interaction)]
    )
    held = found = 0
    size = 3.5 * _standard_error(world)
    for _ in range(experiments):
        low, high = paired(*world.draw(random, EFFECT)).interval()
        held += low <= EFFECT <= high
        low, high = paired(*world.draw(random, size)).interval()
        found += low > 0
    return held / experiments, found / experiments


def _standard_error(world: World) -> float:
    """Of the estimate, roughly: conversations and rows, both together, seeds."""
    return float(np.sqrt((1 + world.ratio) * world.of_clusters))


def false_better(rates: int, *, seeds: int, experiments: int) -> float:
    """How often an arm is said to be better, nothing being different, but for the best of equal rates being taken.

    The other arm has one good rate. Seeds bring ten times the variance of conversations; validation and test losses
    of a run are moved by its seed alike, and are new for each rate: the worst case.
    """
    random = np.random.default_rng([rates, seeds])
    world, better = World(seeds, 40, 0.0, 1.0, 0.0, "normal"), 0
    sd = np.sqrt(10 * world.of_clusters * seeds)
    for _ in range(experiments):
        values, tokens, clusters = world.draw(random, 0.0)
        tried = sd * random.standard_normal((rates, seeds))
        chosen = tried[tried.mean(axis=1).argmin()]
        found = paired(values + chosen[:, None] * tokens, tokens, clusters)
        better += verdicts({("a", "b"): found}, 0.02, choices=rates)["a", "b"].kind.value == "better"
    return better / experiments


def simulated(experiments: int) -> None:
    """Print the table."""
    count = len(list(worlds(SEEDS[0])))
    print(f"95 % intervals over {experiments:,} simulated experiments in each of {count} worlds")
    print("seeds  coverage   lowest  highest  worlds in 93-97 %  false verdicts  difference of 3.5 s.e. found")
    for seeds in SEEDS:
        results = {world: coverage(world, experiments=experiments, seed=0) for world in worlds(seeds)}
        held = {world: each[0] for world, each in results.items()}
        mean, power = np.mean(list(held.values())), np.mean([each[1] for each in results.values()])
        ends = f"{min(held.values()):>7.2%}  {max(held.values()):>7.2%}"
        within = sum(0.93 <= each <= 0.97 for each in held.values())
        print(f"{seeds:>5}  {mean:>8.2%}  {ends}  {within:>17}  {1 - mean:>14.2%}  {power:>28.1%}")
        print(f"       lowest: {min(held, key=lambda world: held[world])}")
        for ratio in RATIOS:
            cells = [each for world, each in held.items() if world.ratio == ratio]
            print(f"       variance of seeds {ratio:>4g} x that of conversations: {np.mean(cells):.2%}")
        for effects in EFFECTS:
            cells = [each for world, each in held.items() if (world.alone, world.interaction) == effects]
            print(f"       rows alone {effects[0]:g}, with seeds {effects[1]:g}: {np.mean(cells):.2%}")


def chosen_rates(experiments: int) -> None:
    """Print how often the choice of a learning rate alone makes an arm better."""
    print("\nbetter, though nothing differs, where an arm has several equally good learning rates (2.5 % with one)")
    print("rates  " + "".join(f"{seeds:>3} seeds" for seeds in SEEDS))
    for rates in (1, 3, 5, 16):
        found = [false_better(rates, seeds=seeds, experiments=experiments) for seeds in SEEDS]
        print(f"{rates:>5}  " + "".join(f"{each:>8.1%} " for each in found))


def trained(experiments: int) -> None:
    """Train A/A experiments and one with a planted difference, and print what they say."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        same = [lab.losses(seed) for seed in range(6 * experiments)]
        counts = dict.fromkeys(("better", "worse", "equivalent", "no_detectable_difference"), 0)
        estimates = []
        for number in range(experiments):
            runs = same[6 * number : 6 * number + 6]
            found = lab.compare(runs[:3], runs[3:])
            estimates.append(found.estimate)
            counts[verdicts({("a", "a"): found}, 0.02)["a", "a"].kind.value] += 1
        slow = [lab.losses(seed, learning_rate=lab.rate / 3) for seed in range(3 * min(experiments, 10))]
        planted = [lab.compare(same[3 * n : 3 * n + 3], slow[3 * n : 3 * n + 3]) for n in range(len(slow) // 3)]
    false = counts["better"] + counts["worse"]
    print(f"\nA/A: {experiments} experiments of 3 seeds a side, each model trained ({6 * experiments} runs)")
    print(f"  false verdicts {false} of {experiments}; at a rate of 5 %, 97.5 % of such counts are at most ", end="")
    print(false_verdicts_allowed(experiments))
    print(f"  verdicts {counts}; spread of the estimates {np.std(estimates):.4f} nats per token")
    right = sum(verdicts({("a", "b"): found}, 0.02)["a", "b"].kind.value == "better" for found in planted)
    print(f"planted (a third of the learning rate): found in {right} of {len(planted)} experiments, ", end="")
    print(f"by {np.mean([found.estimate for found in planted]):+.4f} nats per token")
    print(f"  {time.perf_counter() - began:.0f} s")


def false_verdicts_allowed(experiments: int) -> int:
    """The most false verdicts that agree with a rate of 5 %: 97.5 % of binomial counts are no larger."""
    from scipy.stats import binom

    return int(binom.ppf(0.975, experiments, 0.05))


class Lab:
    """A tiny model, some conversations, and the losses of its test rows after training with a seed."""

    rate = 0.01

    def __init__(self, folder: Path) -> None:
        from tests import tiny

        self._folder = folder
        self._model = tiny.write_model(folder / "model")
        self._data = tiny.write_chat(folder / "chat.jsonl", rows=160)
        self._tokens: list[int] = []
        self._clusters: list[int] = []

    def losses(self, seed: int, **settings: Any) -> list[float]:
        """Summed loss of each test row after training, in nats."""
        from droidft.config import TrainingConfig
        from droidft.engine.assemble import assembled
        from droidft.engine.evaluation.measure import Rows, row_losses
        from droidft.engine.machine.device import prepare
        from droidft.engine.model.loss import SplitModel
        from droidft.engine.training.loop import train
        from droidft.support.places import Places

        config = TrainingConfig.model_validate(
            {"model_path": str(self._model), "train_data_path": str(self._data), "mask_prompt": True, "seed": seed}
            | {"split_seed": 0, "test_fraction": 0.4, "lora_rank": 4, "lora_alpha": 4, "learning_rate": self.rate}
            | {"batch_size": 8, "epochs": 2, "early_stop": False, "save_every": 10_000, "steps_per_eval": 10_000}
            | settings
        )
        with tempfile.TemporaryDirectory(dir=self._folder) as run:
            home = self._folder / "home"
            places = Places(models=home, adapters=home, cache=home, checkpoints=Path(run), rewards=home)
            home.mkdir(exist_ok=True)
            assembly = assembled(config, places, prepare(home))
            for _ in train(assembly.job):
                pass
            model = assembly.job.model
            model.eval()
            test = assembly.data.test
            rows = Rows(test, list(range(len(test))))
            found = row_losses(SplitModel(model), rows, batch_size=16, should_stop=lambda: False)
        self._tokens, self._clusters = found.tokens, found.clusters
        return found.losses

    def compare(self, first: list[list[float]], second: list[list[float]]) -> Paired:
        """The paired difference of two sides."""
        return paired(np.array(first) - np.array(second), self._tokens, self._clusters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000, help="simulated experiments in each world")
    parser.add_argument("--trained", type=int, default=40, help="A/A experiments that are really trained; 0: none")
    args = parser.parse_args()
    simulated(args.experiments)
    chosen_rates(args.experiments)
    if args.trained:
        trained(args.trained)


if __name__ == "__main__":
    main()

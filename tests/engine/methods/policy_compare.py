"""How far the engine's policy loss lies from NumPy's and TRL's, quantity by quantity: for tests and `bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from numpy.typing import NDArray

from droidft.config import LossType, ScaleRewards, TrainingConfig
from droidft.data.batches import make_batch
from droidft.engine.methods.policy import PolicyBatch, advantages, policy_loss, tied, token_weights
from droidft.engine.model import lora
from droidft.engine.model.loss import SplitModel, cross_entropy, log_probabilities
from tests import parity, tiny
from tests.engine.methods import policy_cases as cases
from tests.engine.methods import reference_policy as reference
from tests.engine.methods.policy_cases import Case, Section
from tests.engine.methods.policy_steps import Step
from tests.engine.methods.reference_policy import Completion, Settings

Differences = dict[str, float]
"""Largest absolute difference by quantity; of gradients, over the largest number in the gradient."""


def batch_of(step: Step, *, reference_needed: bool) -> PolicyBatch:
    """The completions of a step as the engine takes them, without any model's inputs."""
    lengths = np.array(step.lengths)
    kept = np.array([one.kept for one in step.completions])
    loss_type = LossType(step.settings.loss_type)
    shares = token_weights(lengths, kept, loss_type, longest=step.settings.max_completion_length)
    numbers = np.arange(int(lengths.sum()), dtype=np.int32)
    return PolicyBatch(
        inputs=np.tile(numbers, (len(lengths), 1)),  # a row for each completion
        positions=numbers,
        targets=numbers,
        rows=tuple(range(len(lengths))),
        tokens=len(numbers),
        sequences=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        old=_joined([one.old for one in step.completions]),
        reference=_joined([one.base for one in step.completions]) if reference_needed else None,
        advantages=np.repeat([one.advantage for one in step.completions], lengths).astype(np.float32),
        weights=np.repeat(shares, lengths).astype(np.float32),
    )


def loss_of(logps: mx.array, batch: PolicyBatch, settings: Settings | Case) -> tuple[mx.array, dict[str, mx.array]]:
    """The engine's loss and sums under the settings of the reference."""
    return policy_loss(
        logps,
        batch,
        sequence_level=settings.sequence_level,
        epsilon=settings.epsilon,
        epsilon_high=settings.epsilon_high,
        beta=settings.beta,
    )


def from_numpy(step: Step) -> Differences:
    """Advantages, weights, loss, gradient and statistics of one step, from log-probabilities on."""
    wanted = reference.outcome(step.completions, step.settings)
    batch = batch_of(step, reference_needed=True)
    now = mx.array(_joined([one.now for one in step.completions]))
    (loss, sums), gradient = mx.value_and_grad(lambda logps: loss_of(logps, batch, step.settings))(now)
    kept = [one.kept for one in step.completions]
    tokens = max(sum(length for length, keep in zip(step.lengths, kept, strict=True) if keep), 1)
    ratios = max(sum(kept), 1) if step.settings.sequence_level else tokens
    shares = reference.token_weights(step.lengths, kept, step.settings)
    ours = advantages(step.rewards, ScaleRewards(step.scale))
    return {
        "advantages": _apart(ours, reference.advantages(step.rewards, step.scale)),
        "weights": _apart(batch.weights, np.repeat(shares, step.lengths)),
        "tied groups": abs(float(tied(step.rewards).mean()) - reference.tied_groups(step.rewards)),
        "loss": abs(loss.item() - wanted.loss),
        "gradient": _relative(np.array(gradient), np.concatenate(wanted.gradients)),
        "KL": abs(sums["kl"].item() / tokens - wanted.kl),
        "clipped low": abs(sums["clip_low"].item() / ratios - wanted.clip_low),
        "clipped high": abs(sums["clip_high"].item() / ratios - wanted.clip_high),
    }


def from_numpy_logits(step: Step, temperature: float, *, seed: int, vocabulary: int = 11) -> Differences:
    """The same from logits on: what is moved is the logits of each position."""
    generator = np.random.default_rng(seed)
    total = sum(step.lengths)
    logits = (3 * generator.standard_normal((total, vocabulary))).astype(np.float32).astype(np.float64)
    targets = generator.integers(0, vocabulary, total).astype(np.int32)
    logps = reference.log_softmax(logits, temperature)[np.arange(total), targets]
    ends = np.cumsum(step.lengths)
    moved = []
    for one, piece in zip(step.completions, np.split(logps, ends[:-1]), strict=True):
        # The step's own ratios and divergences, from other log-probabilities.
        old, base = (np.float32(piece + (other - one.now)).astype(np.float64) for other in (one.old, one.base))
        moved.append(Completion(piece, old, base, one.advantage, one.kept))
    wanted = reference.outcome(moved, step.settings)
    batch = batch_of(Step(moved, step.settings, step.scale, step.rewards), reference_needed=True)

    def loss(array: mx.array) -> tuple[mx.array, Any]:
        return loss_of(-cross_entropy(array / temperature, mx.array(targets)), batch, step.settings)

    (value, _), gradient = mx.value_and_grad(loss)(mx.array(logits.astype(np.float32)))
    to_logits = reference.to_logits(logits, targets, temperature, np.concatenate(wanted.gradients))
    return {
        "loss (from logits)": abs(value.item() - wanted.loss),
        "gradient to logits": _relative(np.array(gradient), to_logits),
    }


@dataclass(frozen=True, eq=False)
class Sampled:
    """Prompts with completions as rows: the completion is what is predicted."""

    rows: list[tiny.Row]

    @classmethod
    def of(cls, sampling: int = 0) -> Sampled:
        """The completions of `policy_cases`."""
        asked = [prompt for prompt in cases.prompts() for _ in range(cases.SIZE)]
        return cls([_row(*pair) for pair in zip(asked, cases.completions(sampling), strict=True)])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tiny.Row:
        return self.rows[index]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.array([len(row.tokens) for row in self.rows], np.int64)


def model() -> nn.Module:
    """The tiny Llama with the adapter of `policy_cases`."""
    found: nn.Module = tiny.llama()
    found.load_weights([(name, mx.array(array)) for name, array in parity.weights().items()])
    config = TrainingConfig(
        method="grpo",
        model_path="tiny",
        train_data_path="prompts",
        rewards=[{"kind": "length_window", "minimum": 1, "maximum": 9}],
        lora_rank=cases.RANK,
        lora_alpha=cases.RANK * cases.SCALE,
    )
    lora.attach(found, lora.targets_of(found, config), config)
    start = []
    for path, width, out in cases.modules():
        start += [(f"{path}.lora_a", mx.array(cases.lora_a(path, width)))]
        start += [(f"{path}.lora_b", mx.array(cases.lora_b(path, out)))]
    assert {name for name, _ in start} == set(lora.trainable(found))
    found.load_weights(start, strict=False)
    return found


def case_batch(
    case: Case, old: Sequence[Sequence[float]], base: Sequence[Sequence[float]], sampling: int = 0
) -> PolicyBatch:
    """All completions of a sampling as one batch under `case`."""
    source = Sampled.of(sampling)
    completions = cases.completions(sampling)
    lengths = np.array([len(completion) for completion in completions])
    kept = np.array([not case.mask_truncated or tokens[-1] == cases.END for tokens in completions])
    totals = (cases.rewards(sampling) @ np.array(cases.REWARD_WEIGHTS)).reshape(cases.GROUPS, cases.SIZE)
    shares = token_weights(lengths, kept, LossType(case.loss_type), longest=cases.LONGEST)
    return PolicyBatch(
        **vars(make_batch(source, range(len(source)))),
        sequences=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        old=_joined(old),
        reference=_joined(base) if case.beta else None,
        advantages=np.repeat(advantages(totals, ScaleRewards(case.scale)), lengths).astype(np.float32),
        weights=np.repeat(shares, lengths).astype(np.float32),
    )


def measured(case: Case, sums: Mapping[str, mx.array], sampling: int = 0) -> dict[str, float]:
    """Sums of a step as TRL's means."""
    completions = cases.completions(sampling)
    kept = [len(tokens) for tokens in completions if not case.mask_truncated or tokens[-1] == cases.END]
    # At the level of sequences TRL counts those that are left out as not clipped.
    ratios = len(completions) if case.sequence_level else sum(kept)
    found = {name: sums[name].item() / ratios for name in ("clip_low", "clip_high")}
    return found | ({"kl": sums["kl"].item() / sum(kept)} if case.beta else {})


def from_trl(case: Case, golden: Mapping[str, Section], split: SplitModel) -> Differences:
    """One loss of TRL's trainer: through the model, its adapter's gradient included."""
    policy, wanted = golden[cases.policy_name(case)], golden[f"case {case.name}"]
    batch = case_batch(case, golden[cases.old_name(case)].rows("old"), policy.rows("base"))

    def loss() -> tuple[mx.array, Any, mx.array]:
        logps = log_probabilities(split, batch, temperature=case.temperature)
        value, sums = loss_of(logps, batch, case)
        return value, sums, logps

    (value, sums, logps), tree = nn.value_and_grad(split.model, loss)()
    starts = np.cumsum([0, *cases.LENGTHS[:-1]])
    found = {
        "advantages": _apart(batch.advantages[starts], wanted.values["advantages"]),
        "log-probabilities": _apart(np.array(logps), np.concatenate(policy.rows("logps"))),
        "loss": abs(value.item() - wanted.one("loss")),
        **_gradients(dict(tree_flatten(tree)), wanted),
    }
    for name, ours in measured(case, sums).items():
        found[name] = abs(ours - wanted.one(name))
    return found


def _gradients(ours: Mapping[str, mx.array], wanted: Section) -> Differences:
    flat = {name: np.array(array).reshape(-1) for name, array in ours.items()}
    norms = {name: float(np.linalg.norm(array.astype(np.float64))) for name, array in flat.items()}
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    assert flat.keys() == {key.removeprefix("norm ") for key in wanted.values if key.startswith("norm ")}
    return {
        "gradient norm": abs(total / wanted.one("gradient_norm") - 1),
        "gradient norms of tensors": max(abs(norms[name] / wanted.one(f"norm {name}") - 1) for name in flat),
        "gradient": max(
            _relative(np.array(cases.shown(flat[name])), wanted.values[f"values {name}"]) for name in flat
        ),
    }


def _row(prompt: list[int], completion: list[int]) -> tiny.Row:
    tokens = np.array(prompt + completion, np.int32)
    return tiny.Row(tokens, np.arange(len(tokens)) >= len(prompt), "prompts.jsonl", 1)


def _joined(pieces: Sequence[Sequence[float] | NDArray[np.float64]]) -> NDArray[np.float32]:
    return np.concatenate([np.asarray(piece) for piece in pieces]).astype(np.float32)


def _apart(ours: Any, wanted: Any) -> float:
    return float(np.abs(np.asarray(ours, np.float64) - np.asarray(wanted, np.float64)).max())


def _relative(ours: Any, wanted: Any) -> float:
    largest = float(np.abs(np.asarray(wanted)).max())
    apart = _apart(ours, wanted)
    return apart / largest if largest else apart

"""DPO and ORPO: of two answers to a prompt, the chosen one is to become likelier than the rejected one.

    DPO    -log sigmoid(beta ((log p(chosen) - log p0(chosen)) - (log p(rejected) - log p0(rejected))))
    ORPO   nll(chosen) - beta log sigmoid(log odds(chosen) - log odds(rejected)),  odds(y) = m / (1 - m)

log p(y) is summed over the answer's tokens and p0 is the reference: an adapter, or the base model. m is the geometric
mean of the tokens' probabilities. The loss is summed over pairs and divided by their number, so that how pairs are
batched changes nothing.

Suffixes name dimensions: P pairs, R rows (the chosen answers, then the rejected ones), N targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from droidft.config import Family, TrainingConfig
from droidft.config import Method as Methods
from droidft.data import batches
from droidft.data.batches import Batch
from droidft.data.preferences import PairSet
from droidft.data.shapes import Shapes, filled
from droidft.data.tokens import TokenizedRow, TokenSet
from droidft.engine.model.lora import reference
from droidft.engine.model.loss import SplitModel, log_probabilities, losses
from droidft.engine.training.method import Evaluation, Interrupted, OverRows, Sums
from droidft.events import Event, Warned

CERTAIN = -1e-7
"""Largest mean log-probability of which odds are taken: beyond it 1 - p is nothing in float32."""


LITTLE_TO_LEARN = 0.2
"""Loss of DPO below which hardly any gradient is left: a mean margin of 1.5."""


@dataclass(frozen=True, eq=False)
class PairBatch(Batch):
    """The chosen answers of some pairs, then their rejected ones in the same order.

    answers    (rows, targets): which targets are tokens of whose answer
    counted    (rows, targets): the same, with the prompt's where these count in the loss on chosen answers
    reference  (targets,): log-probability of each target by the reference, where it is needed
    """

    answers: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    reference: NDArray[np.float32] | None = None

    @property
    def pairs(self) -> int:
        """How many pairs, with those that fill the batch up."""
        return len(self.inputs) // 2


def pair_batch(
    pairs: PairSet,
    chosen: Sequence[int] | NDArray[np.int64],
    *,
    with_prompts: bool = False,
    shapes: Shapes | None = None,
) -> PairBatch:
    """The pairs of these indices side by side; `with_prompts` makes the chosen answers' prompts targets too."""
    first = 2 * np.asarray(chosen, np.int64)
    none = np.full(0 if shapes is None else max(0, shapes.rows // 2 - len(first)), -1)
    rows = np.concatenate([first, none, first + 1, none])
    source = _Targets(pairs.rows, with_prompts)
    plain = batches.make_batch(source, rows, shapes)
    owner = plain.positions // plain.inputs.shape[1]
    counted = owner[None] == np.arange(len(rows))[:, None]
    answers = counted
    if with_prompts:
        marks = [pairs.rows[row].supervised[1:][source[row].supervised[1:]] for row in plain.rows]
        answers = counted & filled(np.concatenate(marks), len(plain.positions), False)[None]
    return PairBatch(**vars(plain), answers=answers, counted=counted)


@dataclass(frozen=True)
class _Targets:
    """Rows with their targets: the answers, and with `prompts` all of a chosen answer's row."""

    rows: TokenSet
    prompts: bool

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.rows.lengths

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TokenizedRow:
        row = self.rows[index]
        if not self.prompts or index % 2:
            return row
        return replace(row, supervised=np.arange(len(row.tokens)) > 0)


def dpo_loss(logps_N: mx.array, batch: PairBatch, *, beta: float) -> tuple[mx.array, Sums]:
    """The loss of DPO summed over the pairs of a batch, from the log-probability of each target; and statistics."""
    assert batch.reference is not None
    answers_RN = mx.array(batch.answers)
    # Token by token before the sum: two large sums would leave little of their difference in float32.
    gains_R = beta * _summed(logps_N - mx.array(batch.reference), answers_RN)
    losses_P = _softplus(gains_R[batch.pairs :] - gains_R[: batch.pairs])
    return _of_pairs(losses_P, answers_RN), _statistics(gains_R, _summed(logps_N, answers_RN), answers_RN)


def orpo_loss(logps_N: mx.array, batch: PairBatch, *, beta: float) -> tuple[mx.array, Sums]:
    """The loss of ORPO summed over the pairs of a batch, from the log-probability of each target; and statistics."""
    answers_RN, pairs = mx.array(batch.answers), batch.pairs
    means_R = _summed(logps_N, answers_RN) / mx.maximum(answers_RN.sum(axis=-1), 1)
    odds_R = means_R - _log_of_rest(means_R)
    log_odds_P = odds_R[:pairs] - odds_R[pairs:]
    counted_PN = mx.array(batch.counted[:pairs])
    nll_P = -_summed(logps_N, counted_PN) / mx.maximum(counted_PN.sum(axis=-1), 1)
    loss = _of_pairs(nll_P + beta * _softplus(-log_odds_P), answers_RN)
    sums = {"nll": _of_pairs(nll_P, answers_RN), "log_odds": _of_pairs(log_odds_P, answers_RN)}
    return loss, _statistics(beta * means_R, means_R, answers_RN) | sums


def _statistics(ratings_R: mx.array, logps_R: mx.array, answers_RN: mx.array) -> Sums:
    pairs = len(ratings_R) // 2
    chosen_P, rejected_P = ratings_R[:pairs], ratings_R[pairs:]
    values = {
        "pairs": mx.ones(pairs),
        "accuracy": (chosen_P > rejected_P).astype(mx.float32),
        "margin": chosen_P - rejected_P,
        "reward_chosen": chosen_P,
        "reward_rejected": rejected_P,
        "logp_chosen": logps_R[:pairs],
        "logp_rejected": logps_R[pairs:],
    }
    return {name: _of_pairs(value, answers_RN) for name, value in values.items()}


def _of_pairs(values_P: mx.array, answers_RN: mx.array) -> mx.array:
    """The sum over pairs that have answers: others only fill the batch up."""
    return mx.where(answers_RN[: len(values_P)].any(axis=-1), values_P, 0).sum()


def _summed(values_N: mx.array, of_RN: mx.array) -> mx.array:
    """For each row of the mask, the sum of its values, [R]."""
    return mx.where(of_RN, values_N[None], 0).sum(axis=-1)


def _softplus(values: mx.array) -> mx.array:
    """log(1 + exp(x)), which is -log sigmoid(-x)."""
    return mx.logaddexp(values, 0)


def _log_of_rest(logps: mx.array) -> mx.array:
    """log(1 - p) from log p."""
    return mx.log(-mx.expm1(mx.minimum(logps, CERTAIN)))


class Preference(OverRows):
    """Two answers a prompt, of which one is preferred; a fixed set of pairs."""

    def __init__(self, config: TrainingConfig, train: PairSet, validation: PairSet) -> None:
        assert config.method.family is Family.PREFERENCES
        super().__init__(config, train.lengths, _extents(train, with_prompts=self._with_prompts(config)))
        self._train = train
        self._validation = validation
        self._dpo = config.method is Methods.DPO
        self._step: tuple[int, list[PairBatch]] = (0, [])

    def prepare(self, step: int, model: SplitModel, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Read the step's answers with the reference, where the loss compares with it.

        Again in every step: a step may depend on the steps before it through the weights alone.
        """
        made = []
        for rows in self.rows_of(step):
            if should_stop():
                raise Interrupted
            made.append(self._with_reference(model, self._batch(self._train, rows, self.shapes)))
        self._step = (step, made)
        if step == 1 and self._dpo:
            yield from self._start(model, made)

    def _start(self, model: SplitModel, made: list[PairBatch]) -> Iterator[Event]:
        """A warning where the policy is so far from its reference at the start that there is nothing to learn."""
        training = model.model.training
        model.model.eval()
        try:
            parts = [self._of(-losses(model, batch), batch) for batch in made]
        finally:
            model.model.train(training)
        pairs = sum(len(batch.rows) // 2 for batch in made)
        loss = sum(float(np.asarray(part)) for part, _ in parts) / pairs
        right = sum(float(np.asarray(sums["accuracy"])) for _, sums in parts) / pairs
        if loss > LITTLE_TO_LEARN:
            return
        start, compared = self._config.init_adapter, self._config.reference
        message = (
            f"nothing to learn: the run starts with a loss of {loss:.4f} ({math.log(2):.4f} where policy and "
            f"reference are one) and an accuracy of {right:.0%}. It starts from {_called(start)} and is compared "
            f"with {_called(compared)}: leave reference_adapter out, so that it is compared with what it starts from"
        )
        yield Warned(code="nothing_to_learn", message=message)

    def batches(self, step: int) -> list[PairBatch]:
        """The pairs that optimizer step `step` (1-based) accumulates."""
        assert self._step[0] == step
        return self._step[1]

    def weight(self, batches: Sequence[Batch]) -> float:
        """How many pairs there are."""
        return sum(len(batch.rows) // 2 for batch in batches)

    def loss(self, model: SplitModel, batch: Batch) -> tuple[mx.array, Sums]:
        """The loss summed over the batch's pairs."""
        assert isinstance(batch, PairBatch)
        return self._of(log_probabilities(model, batch), batch)

    def metrics(self, step: int, sums: dict[str, float]) -> dict[str, float]:
        """Means over the step's pairs."""
        return self._means(sums)

    def evaluate(self, model: SplitModel, *, should_stop: Callable[[], bool]) -> Evaluation:
        """Mean loss and statistics over all validation pairs."""
        total, tokens, sums = 0.0, 0, dict[str, float]()
        for rows in batches.evaluation_order(self._validation.lengths, batch_size=self._config.batch_size):
            if should_stop():
                raise Interrupted
            batch = self._with_reference(model, self._batch(self._validation, rows))
            loss, statistics = self._of(-losses(model, batch), batch)
            mx.eval(loss, statistics)
            total += float(np.asarray(loss))
            tokens += batch.supervised
            for name, part in statistics.items():
                sums[name] = sums.get(name, 0.0) + float(np.asarray(part))
        return Evaluation(total / len(self._validation), tokens, self._means(sums))

    def locate(self, batch: Batch) -> list[tuple[Batch, str]]:
        """Each pair of a batch by itself, with the file and line it came from."""
        assert isinstance(batch, PairBatch)
        singles: list[tuple[Batch, str]] = []
        for number in range(len(batch.rows) // 2):
            pair = batch.rows[number] // 2
            single = self._batch(self._train, [pair])
            if batch.reference is not None:
                own = batch.counted[number] | batch.counted[number + batch.pairs]
                single = replace(single, reference=np.asarray(batch.reference)[own])
            row = self._train[pair][0]
            singles.append((single, f"{row.file}:{row.line}"))
        return singles

    def _of(self, logps: mx.array, batch: PairBatch) -> tuple[mx.array, Sums]:
        return (dpo_loss if self._dpo else orpo_loss)(logps, batch, beta=self._config.beta)

    def _batch(
        self, pairs: PairSet, rows: Sequence[int] | NDArray[np.int64], shapes: Shapes | None = None
    ) -> PairBatch:
        return pair_batch(pairs, rows, with_prompts=self._with_prompts(self._config), shapes=shapes)

    @staticmethod
    def _with_prompts(config: TrainingConfig) -> bool:
        return config.method is not Methods.DPO and not config.mask_prompt

    def _with_reference(self, model: SplitModel, batch: PairBatch) -> PairBatch:
        if not self._dpo:
            return batch
        training = model.model.training
        model.model.eval()
        try:
            with reference(model.model):
                return replace(batch, reference=-np.array(losses(model, batch)))
        finally:
            model.model.train(training)

    def _means(self, sums: dict[str, float]) -> dict[str, float]:
        means = {name: total / sums["pairs"] for name, total in sums.items() if name != "pairs"}
        if not self._dpo:  # there is no base whose gain a rating could be
            del means["reward_chosen"], means["reward_rejected"]
        return means


def _extents(pairs: PairSet, *, with_prompts: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Tokens of each pair, its targets at most, and how many rows it takes."""
    lengths = pairs.rows.lengths.reshape(-1, 2)
    targets = pairs.rows.supervised_counts.reshape(-1, 2).astype(np.int64)
    if with_prompts:
        targets[:, 0] = lengths[:, 0]
    return lengths.sum(axis=1), targets.sum(axis=1), 2


def _called(adapter: str | None) -> str:
    return "the bare base model" if adapter is None else f"the adapter {adapter}"

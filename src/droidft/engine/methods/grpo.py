"""GRPO, GSPO and Dr. GRPO: groups of completions are sampled, scored and learned from. The loop does the rest.

A rollout serves `steps_per_generation` x `num_iterations` optimizer steps. Its prompts, and the random numbers of
every completion, are functions of (seed, number of the rollout); it is part of each checkpoint for as long as steps
are still to be made from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from droidft.config import Family, TrainingConfig
from droidft.config import Method as Methods
from droidft.data import batches
from droidft.data.batches import Batch
from droidft.data.prompts import PromptRow, PromptSet
from droidft.data.shapes import Shapes, filled, ladder
from droidft.data.tokens import TokenizedRow
from droidft.engine.methods.policy import PolicyBatch, advantages, policy_loss, tied, token_weights
from droidft.engine.methods.rollouts import Completion, Rollout, Sampler, Texts, streams
from droidft.engine.model.lora import reference
from droidft.engine.model.loss import SplitModel, log_probabilities, losses
from droidft.engine.training.method import Evaluation, Interrupted, Method, Sums
from droidft.errors import RewardError
from droidft.events import Completions, Event, Phase, PhaseName, SampledCompletion, Warned
from droidft.rewards import calls
from droidft.rewards.scorer import Scorer

NOTHING_LEARNED = 5
"""Rollouts in a row without any signal after which the user is warned."""
PROGRESS_SECONDS = 5.0
SHOWN_CHARACTERS = 4000
EVALUATION = 2**31
"""Takes the place of the rollout's number in the random numbers of evaluations."""


class GroupRelative(Method):
    """Policy gradients on completions that are compared with others of the same prompt."""

    samples = True

    def __init__(
        self,
        config: TrainingConfig,
        train: PromptSet,
        validation: PromptSet,
        *,
        scorer: Scorer,
        texts: Texts,
    ) -> None:
        assert config.method.family is Family.REWARDS
        self._config = config
        self._train = train
        self._validation = validation
        self._scorer = scorer
        self._texts = texts
        self._sampler = Sampler(
            texts.ends, config.max_completion_length, config.temperature, config.sampling_batch_size, texts.known
        )
        self.steps_per_epoch = batches.steps_per_epoch(config, len(train))
        self._updates = config.steps_per_generation * config.num_iterations
        self._rollout: Rollout | None = None
        self._advantages = np.zeros(0)
        self._silent = 0
        self._told_unscored = False

    # -- sampling

    def prepare(self, step: int, model: SplitModel, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Sample and score completions, where step `step` needs new ones."""
        number = (step - 1) // self._updates
        if self._rollout is not None and self._rollout.number == number:
            return
        self._rollout = None
        rows = self._prompts_of(number)
        count = len(rows) * self._config.num_generations
        yield Phase(name=PhaseName.SAMPLING, detail=f"step {step}: {count} completions")
        began = reported = time.perf_counter()
        prompts = [self._train[int(row)] for row in rows]
        drawn: dict[tuple[int, int], Completion] = {}
        for prompt, member, completion in self._sample(model, prompts, number, should_stop):
            drawn[prompt, member] = completion
            if (now := time.perf_counter()) - reported > PROGRESS_SECONDS:
                reported = now
                yield Phase(name=PhaseName.SAMPLING, detail=f"step {step}: {len(drawn)} of {count} completions")
        seconds = time.perf_counter() - began
        completions = [drawn[place] for place in sorted(drawn)]
        asked = [prompt for prompt in prompts for _ in range(self._config.num_generations)]
        scores, _ = self._scored(asked, completions)
        rollout = Rollout.of(
            number, np.repeat(rows, self._config.num_generations), completions, scores, seconds=seconds
        )
        self._reread(model, rollout, should_stop)
        # Only now: a stop before this leaves nothing half made for a checkpoint.
        self._adopt(rollout)
        yield from self._warnings(rollout)
        yield Phase(name=PhaseName.TRAINING)

    def _prompts_of(self, number: int) -> NDArray[np.int64]:
        """Prompts of a rollout: the next ones of the epochs' orders laid end to end."""
        count = self._config.prompts_per_step * self._config.steps_per_generation
        places = np.arange(number * count, (number + 1) * count)
        epochs, within = np.divmod(places, len(self._train))
        orders = {epoch: self._order(int(epoch)) for epoch in np.unique(epochs)}
        return np.array([orders[epoch][place] for epoch, place in zip(epochs, within, strict=True)], np.int64)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._config.seed, epoch])))
        return generator.permutation(len(self._train))

    def _sample(
        self, model: SplitModel, prompts: Sequence[PromptRow], number: int, should_stop: Callable[[], bool]
    ) -> Iterator[tuple[int, int, Completion]]:
        group = 1 if number == EVALUATION else self._config.num_generations
        numbers = streams(self._config.seed, number, len(prompts), group)
        training = model.model.training
        model.model.eval()
        try:
            yield from self._sampler.sample(
                model.model, [prompt.tokens for prompt in prompts], numbers, should_stop=should_stop
            )
        finally:
            model.model.train(training)

    def _scored(
        self, prompts: Sequence[PromptRow], completions: Sequence[Completion]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each completion earns by each reward, and in all."""
        items = [self._texts.to_score(prompt, it) for prompt, it in zip(prompts, completions, strict=True)]
        try:
            scores = self._scorer.score(items)
        except calls.Abandoned:
            raise Interrupted from None
        totals = self._scorer.total(scores)
        if np.isnan(totals).all():
            raise RewardError(
                f"every reward returned None for all {len(items)} completions, the first for row {items[0].place}",
                hint="let at least one reward return a number, or leave such rows out of the data",
            )
        return scores, totals

    def _adopt(self, rollout: Rollout) -> None:
        """Make `rollout` what the next steps learn from."""
        rewards_PG = self._scorer.total(rollout.scores).reshape(-1, self._config.num_generations)
        self._rollout = rollout
        self._advantages = advantages(rewards_PG, self._config.scale_rewards).reshape(-1)

    def _reread(self, model: SplitModel, rollout: Rollout, should_stop: Callable[[], bool]) -> None:
        """Compute log-probabilities with the training pass: the base's and, in short types, the policy's again.

        Below float32, drawing token by token and reading a whole row round differently, by more than GSPO clips.
        """
        model.model.eval()
        try:
            if model.rounds:
                rollout.old = self._read(model, rollout, should_stop)
            if self._config.needs_reference:
                with reference(model.model):
                    rollout.reference = self._read(model, rollout, should_stop)
        finally:
            model.model.train()

    def _read(self, model: SplitModel, rollout: Rollout, should_stop: Callable[[], bool]) -> NDArray[np.float32]:
        logps = np.zeros(len(rollout.tokens), np.float32)
        for chosen in self._by_length(rollout, np.arange(len(rollout))):
            if should_stop():
                raise Interrupted
            values = -np.array(losses(model, self._plain(rollout, chosen), temperature=self._config.temperature))
            ends = np.cumsum(rollout.lengths[chosen])
            for index, end in zip(chosen, ends, strict=True):
                logps[rollout.span(index)] = values[end - rollout.lengths[index] : end]
        return logps

    def _warnings(self, rollout: Rollout) -> Iterator[Event]:
        """What keeps the run from learning anything, once it has done so for a while."""
        self._silent = 0 if self._advantages.any() else self._silent + 1
        if self._silent == NOTHING_LEARNED:
            constant = [
                f"{name} gives {column[0]:g} to every completion" if (column == column[0]).all() else ""
                for name, column in self._scorer.columns(rollout.scores)
            ]
            why = "; ".join(filter(None, constant)) or "within each group they are equal"
            message = (
                f"nothing is learned: in {self._silent} rollouts in a row all completions of each prompt earned the "
                f"same ({why}). The task is too hard or too easy for this model, or the rewards cannot tell "
                "completions apart: look at the completions, add a reward that gives partial credit, raise "
                "temperature or num_generations, or choose other prompts"
            )
            yield Warned(code="all_tied", message=message)
        totals = self._scorer.total(rollout.scores)
        if rollout.number == 0 and tied(totals[None])[0] and not rollout.truncated.all():
            message = (
                f"all {len(rollout)} completions of the first rollout earned the same ({np.nanmax(totals):g}): "
                "nothing is learned from equal rewards. Look at the completions (`droidft rewards try`), and add a "
                "reward that tells them apart"
            )
            yield Warned(code="equal_rewards", message=message)
        unscored = np.isnan(totals)
        if unscored.any() and not self._told_unscored:
            self._told_unscored = True
            place = self._train[int(rollout.prompts[np.argmax(unscored)])].place
            message = (
                f"every reward returned None for {unscored.sum()} of {len(rollout)} completions, the first for row "
                f"{place}: nothing is learned from them"
            )
            yield Warned(code="unscored", message=message)
        if rollout.number == 0 and rollout.truncated.all():
            message = (
                f"every completion was cut off at max_completion_length {self._config.max_completion_length}: "
                "raise it, or reward shorter answers"
            )
            yield Warned(code="all_truncated", message=message)

    # -- learning

    def batches(self, step: int) -> Sequence[Batch]:
        """The completions of step `step`; those without any effect on the update are left out."""
        rollout, part = self._part(step)
        weights = self._weights(rollout, part)
        moves = (self._advantages[part] != 0) | (self._config.beta > 0)
        chosen = part[(weights > 0) & moves]
        by_index = dict(zip(part.tolist(), weights.tolist(), strict=True))
        return [self._batch(rollout, indices, by_index, self.shapes) for indices in self._by_length(rollout, chosen)]

    def few_shapes(self) -> Shapes:
        """Evenly spread widths: how long completions will be is not known."""
        most = self._config.max_completion_length
        return ladder(int(self._train.lengths.max()) + most, most, batch_size=self._config.batch_size)

    def weight(self, batches: Sequence[Batch]) -> float:
        """Weights of tokens make the sum a mean already."""
        return 1.0

    def loss(self, model: SplitModel, batch: Batch) -> tuple[mx.array, Sums]:
        """The batch's part of the step's loss."""
        assert isinstance(batch, PolicyBatch)
        config = self._config
        return policy_loss(
            log_probabilities(model, batch, temperature=config.temperature),
            batch,
            sequence_level=config.method is Methods.GSPO,
            epsilon=config.epsilon,
            epsilon_high=config.epsilon if config.epsilon_high is None else config.epsilon_high,
            beta=config.beta,
        )

    def _part(self, step: int) -> tuple[Rollout, NDArray[np.int64]]:
        """The rollout that step `step` learns from, and which of its completions."""
        assert self._rollout is not None
        size = self._config.completions_per_step
        first = (step - 1) % self._config.steps_per_generation * size
        return self._rollout, np.arange(first, first + size)

    def _weights(self, rollout: Rollout, part: NDArray[np.int64]) -> NDArray[np.float64]:
        return token_weights(
            rollout.lengths[part],
            self._kept(rollout, part),
            self._config.loss_type,
            longest=self._config.max_completion_length,
        )

    def _kept(self, rollout: Rollout, part: NDArray[np.int64]) -> NDArray[np.bool_]:
        masked = rollout.truncated[part] & self._config.mask_truncated_completions
        return np.asarray(~masked)

    def _by_length(self, rollout: Rollout, chosen: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Batches of completions of like length, prompt included."""
        lengths = _Rows(self._train, rollout).lengths[chosen]
        order = chosen[np.argsort(lengths, kind="stable")]
        size = self._config.batch_size
        return [order[at : at + size] for at in range(0, len(order), size)]

    def _plain(self, rollout: Rollout, chosen: NDArray[np.int64], shapes: Shapes | None = None) -> Batch:
        return batches.make_batch(_Rows(self._train, rollout), chosen, shapes)

    def _batch(
        self,
        rollout: Rollout,
        chosen: NDArray[np.int64],
        weights: dict[int, float],
        shapes: Shapes | None = None,
    ) -> PolicyBatch:
        plain = self._plain(rollout, chosen, shapes)
        size = len(plain.targets)
        lengths = rollout.lengths[chosen]
        spans = [rollout.span(int(index)) for index in chosen]
        reference = rollout.reference

        def spread(values: NDArray[np.float64]) -> NDArray[np.float32]:
            return filled(np.repeat(values, lengths).astype(np.float32), size, 0)

        def gathered(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return filled(np.concatenate([values[span] for span in spans]), size, 0)

        return PolicyBatch(
            **vars(plain),
            sequences=filled(np.repeat(np.arange(len(chosen), dtype=np.int32), lengths), size, -1),
            old=gathered(rollout.old),
            reference=None if reference is None else gathered(reference),
            advantages=spread(self._advantages[chosen]),
            weights=spread(np.array([weights[int(index)] for index in chosen])),
        )

    # -- reports

    def metrics(self, step: int, sums: dict[str, float]) -> dict[str, float]:
        """Rewards and lengths of the step's completions, and what its loss has measured."""
        rollout, part = self._part(step)
        config, kept = self._config, self._kept(rollout, part)
        lengths = rollout.lengths[part]
        totals = self._scorer.total(rollout.scores[part])
        entropies = np.concatenate([rollout.entropies[rollout.span(int(index))] for index in part])
        tokens = max(int(lengths[kept].sum()), 1)
        ratios = max(int(kept.sum()), 1) if config.method is Methods.GSPO else tokens
        scored = totals[~np.isnan(totals)]
        values = {"reward": scored.mean() if len(scored) else 0.0, "reward_std": _spread(scored)}
        for name, column in self._scorer.columns(rollout.scores[part]):
            values |= {f"reward/{name}": column.mean(), f"reward_std/{name}": _spread(column)}
        values |= {
            "tied_groups": tied(totals.reshape(-1, config.num_generations)).mean(),
            "clip_low": sums.get("clip_low", 0.0) / ratios,
            "clip_high": sums.get("clip_high", 0.0) / ratios,
            "entropy": entropies.mean(dtype=np.float64),
            "completion_length": lengths.mean(),
            "completion_length_max": lengths.max(),
            "truncated": rollout.truncated[part].mean(),
            "sampling_tokens_per_second": rollout.tokens_per_second,
        }
        if config.beta > 0:
            values["kl"] = sums.get("kl", 0.0) / tokens
        return {name: float(value) for name, value in values.items()}

    def report(self, step: int) -> Iterator[Event]:
        """Some of the step's completions."""
        rollout, part = self._part(step)
        shown = part[: self._config.shown_completions]
        if len(shown):
            totals = self._scorer.total(rollout.scores)
            yield Completions(step=step, rows=[self._shown(rollout, int(index), totals) for index in shown])

    def _shown(self, rollout: Rollout, index: int, totals: NDArray[np.float64]) -> SampledCompletion:
        prompt = self._train[int(rollout.prompts[index])]
        return SampledCompletion(
            place=prompt.place,
            prompt=prompt.asked[-SHOWN_CHARACTERS:],
            completion=self._texts.completion(prompt, rollout.tokens[rollout.span(index)])[:SHOWN_CHARACTERS],
            rewards=self._scorer.named(rollout.scores[index]),
            reward=float(np.nan_to_num(totals[index])),
            advantage=float(self._advantages[index]),
            tokens=int(rollout.lengths[index]),
            truncated=bool(rollout.truncated[index]),
        )

    def evaluate(self, model: SplitModel, *, should_stop: Callable[[], bool]) -> Evaluation:
        """Rewards of one completion for each validation prompt, drawn with the same random numbers every time."""
        count = min(len(self._validation), self._config.max_eval_prompts)
        prompts = [self._validation[index] for index in range(count)]
        drawn = {
            prompt: completion for prompt, _, completion in self._sample(model, prompts, EVALUATION, should_stop)
        }
        completions = [drawn[index] for index in range(count)]
        scores, totals = self._scored(prompts, completions)
        lengths = [len(completion.tokens) for completion in completions]
        metrics = {"reward": float(totals[~np.isnan(totals)].mean())}
        metrics |= {f"reward/{name}": float(column.mean()) for name, column in self._scorer.columns(scores)}
        metrics["completion_length"] = float(np.mean(lengths))
        metrics["truncated"] = float(np.mean([completion.truncated for completion in completions]))
        return Evaluation(-metrics["reward"], sum(lengths), metrics)

    def locate(self, batch: Batch) -> list[tuple[Batch, str]]:
        """Each completion of a batch by itself, with the place of its prompt."""
        rollout = self._rollout
        assert rollout is not None
        return [
            (
                self._batch(rollout, np.array([index]), {index: 1 / int(rollout.lengths[index])}),
                self._train[int(rollout.prompts[index])].place,
            )
            for index in batch.rows
        ]

    # -- what a checkpoint keeps

    def state(self) -> dict[str, mx.array]:
        """The completions that steps may still learn from."""
        if self._updates == 1 or self._rollout is None:
            return {}
        return self._rollout.arrays()

    def restore(self, arrays: dict[str, mx.array]) -> None:
        """Continue with the completions of a checkpoint."""
        if arrays:
            self._adopt(Rollout.from_arrays(arrays))


def _spread(values: NDArray[np.float64]) -> float:
    """Standard deviation with n - 1; zero of fewer than two."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class _Rows:
    """Prompts with their completions, as rows whose completion is the target."""

    prompts: PromptSet
    rollout: Rollout

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.prompts.lengths[self.rollout.prompts] + self.rollout.lengths

    def __len__(self) -> int:
        return len(self.rollout)

    def __getitem__(self, index: int) -> TokenizedRow:
        prompt = self.prompts[int(self.rollout.prompts[index])]
        completion = self.rollout.tokens[self.rollout.span(index)]
        supervised = np.zeros(len(prompt.tokens) + len(completion), np.bool_)
        supervised[len(prompt.tokens) :] = True
        return TokenizedRow(np.concatenate([prompt.tokens, completion]), supervised, prompt.line, prompt.file)

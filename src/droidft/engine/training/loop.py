"""The training loop: a generator of events.

    for event in train(job, should_stop=lambda: False): ...

One optimizer step is: gradients of the summed loss over all its batches, divided by their supervised tokens;
a check that everything is finite; clipping; the update. A step either happens whole or not at all, so a
checkpoint between two steps is all that resuming needs.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from droidft.config import TrainingConfig, Validation
from droidft.config.continuation import CHANGEABLE
from droidft.config.schedule import learning_rate
from droidft.data.batches import Batch, plan
from droidft.engine.model.lora import trainable
from droidft.engine.model.loss import SplitModel
from droidft.engine.model.recompute import recomputed_blocks, seed_dropout
from droidft.engine.training import checkpoint, optimizer
from droidft.engine.training.checkpoint import RunState
from droidft.engine.training.meter import Meter
from droidft.engine.training.method import Interrupted, Method, Sums
from droidft.errors import CheckpointError, NonFiniteError
from droidft.events import (
    CheckpointSaved,
    EarlyStopped,
    EvalReport,
    Event,
    Finished,
    Phase,
    PhaseName,
    Stopped,
    Warned,
)

WITHOUT_TRACE = frozenset(
    {"model_path", "train_data_path", "val_data_path", "init_adapter", "reference_adapter", "adapter_name"}
    | {"resume", "offline", "keep_checkpoints", "save_every", "steps_per_report", "shown_completions"}
)
"""Settings that leave no trace in the weights."""


@dataclass
class Job:
    """A prepared training: model with adapters attached, method with its data, and where checkpoints go."""

    config: TrainingConfig
    model: nn.Module
    method: Method
    checkpoints: Path
    data_hash: str
    base_hash: str = ""
    """Hash of the base model's weights."""
    model_config_hash: str = ""
    """Hash of what its config.json says."""
    rewards_hash: str = ""
    """Hash of the reward files of the user's own."""
    reference_hash: str = ""
    """Hash of the adapter that the loss compares with."""
    former: Sequence[TrainingConfig] = ()
    """Settings with which earlier workers of the run began."""
    template_date: str | None = None
    """The day that the chat template wrote into the data, where it writes one."""
    compute_dtype: str | None = None
    """What frozen weights are multiplied in; None as stored."""
    versions: dict[str, str] = field(default_factory=dict)
    resume_from: tuple[Path, RunState] | None = None


def train(job: Job, *, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Run `job` to its end, yielding events.

    `should_stop` is asked before every batch; when it returns True a checkpoint is saved and `Stopped` ends the
    stream.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite; the step was not applied.
        StorageError: a checkpoint could not be written.
    """
    with recomputed_blocks(job.model) if job.config.grad_checkpoint else nullcontext():
        yield from _Run(job, should_stop).events()


def step_once(job: Job) -> Callable[[int], int]:
    """A function that does the optimizer step of a number, out of turn, and returns how many tokens it saw."""
    run = _Run(job, lambda: False)

    def one(step: int) -> int:
        run.state = run.state.model_copy(update={"step": step - 1})
        before = run.meter.tokens
        for _ in run.step():
            pass
        return run.meter.tokens - before

    return one


def config_hash(config: TrainingConfig) -> str:
    """SHA-256 over every setting that can change a trained bit and is not at its default.

    Paths are left out: what lies there is compared by its contents.
    """
    return _hash(config, WITHOUT_TRACE)


def core_hash(config: TrainingConfig) -> str:
    """The same without the settings that a run may change when it goes on."""
    return _hash(config, WITHOUT_TRACE.union(CHANGEABLE))


def _hash(config: TrainingConfig, left_out: frozenset[str]) -> str:
    defaults = config.defaults()
    given = config.model_dump(mode="json")
    values = {name: given[name] for name in given if given[name] != defaults[name] and name not in left_out}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class _Run:
    def __init__(self, job: Job, should_stop: Callable[[], bool]) -> None:
        config = job.config
        self.job, self.config, self.method = job, config, job.method
        self.should_stop = should_stop
        self.began = time.perf_counter()
        self.earlier_seconds = 0.0
        self.model = SplitModel(job.model)
        self.optimizer = optimizer.build(config)
        self.optimizer.init(job.model.trainable_parameters())
        self.plan = plan(config, job.method.steps_per_epoch)
        self.total = self.plan.steps
        self.value_and_gradients = nn.value_and_grad(job.model, self._share_of_loss)
        self.meter = Meter(self.total, job.method.steps_per_epoch, config.steps_per_eval)
        self.state = RunState(
            step=0,
            config_hash=config_hash(config),
            core_hash=core_hash(config),
            data_hash=job.data_hash,
            base_hash=job.base_hash,
            model_config_hash=job.model_config_hash,
            rewards_hash=job.rewards_hash,
            template_date=job.template_date,
            compute_dtype=job.compute_dtype,
            reference_hash=job.reference_hash,
            versions=job.versions,
        )
        self.saved: RunState | None = None
        if job.resume_from is not None:
            self._restore(*job.resume_from)

    def events(self) -> Iterator[Event]:
        yield self.plan
        if not self.model.split:
            message = "this architecture's head cannot be split off: the loss holds all logits of a batch at once"
            yield Warned(code="whole_logits", message=message)
        try:
            yield from self._train()
        except Interrupted:
            if self.saved != self.state:
                yield from self._save(best=False)
            yield Stopped(step=self.state.step)
            return
        yield Finished(
            step=self.state.step,
            best_step=self.state.best_step,
            best_loss=self.state.best_loss,
            final_loss=self.state.last_loss,
            seconds=self._seconds(),
        )

    def _train(self) -> Iterator[Event]:
        yield from self._settle()
        yield Phase(name=PhaseName.TRAINING)
        while self.state.step < self.total and not self._patience_is_over():
            yield from self.step()
            if self.state.step % self.config.steps_per_report == 0 or self.state.step == self.total:
                yield self._report()
                yield from self.method.report(self.state.step)
            yield from self._settle()
        if self._patience_is_over():
            assert self.state.best_step is not None
            assert self.state.best_loss is not None
            yield EarlyStopped(
                step=self.state.step,
                best_step=self.state.best_step,
                best_loss=self.state.best_loss,
                evaluations_without_improvement=self.state.evaluations_without_improvement,
            )

    def _settle(self) -> Iterator[Event]:
        """Evaluate and save, where the present step asks for it."""
        step, best = self.state.step, False
        if self._evaluation_is_due():
            yield Phase(name=PhaseName.EVALUATING, detail=f"step {step}")
            report = self._evaluate()
            best = report.best
            yield report
            if 0 < step < self.total:
                yield Phase(name=PhaseName.TRAINING)
        last = step == self.total or self._patience_is_over()
        if best or last or (step > 0 and step % self.config.save_every == 0):
            yield from self._save(best=best)

    def step(self) -> Iterator[Event]:
        """One optimizer step, all of it or, if interrupted or not finite, nothing of it."""
        step = self.state.step + 1
        began = time.perf_counter()
        yield from self.method.prepare(step, self.model, self.should_stop)
        batches = self.method.batches(step)
        weight = self.method.weight(batches)
        loss_sum, gradients, sums = 0.0, None, dict[str, float]()
        for number, batch in enumerate(batches):
            if self.should_stop():
                raise Interrupted
            # Dropout is a function of (seed, step, batch): a resumed run needs no generator's state.
            seed_dropout(_step_seed(self.config.seed, step, number))
            (value, statistics), gradient = self.value_and_gradients(batch, weight)
            if gradients is not None:
                gradient = tree_map(lambda a, b: a + b, gradients, gradient)
            mx.eval(value, statistics, gradient)
            gradients = gradient
            loss_sum += value.item() * weight
            for name, part in statistics.items():
                sums[name] = sums.get(name, 0.0) + part.item()
        norm = 0.0 if gradients is None else optimizer.global_norm(gradients)
        if not (math.isfinite(loss_sum) and math.isfinite(norm)):
            raise self._non_finite(step, batches, loss_sum)
        # Without a signal nothing moves, not even by momentum or decay.
        if norm > 0:
            self._apply(gradients, norm, step)
        seconds = time.perf_counter() - began
        self.meter.add(batches, loss_sum=loss_sum, weight=weight, grad_norm=norm, seconds=seconds)
        self.meter.measure(self.method.metrics(step, sums))
        self._remember(step)

    def _share_of_loss(self, batch: Batch, weight: float) -> tuple[mx.array, Sums]:
        """This batch's part of the step's mean loss, so that parts add up to the mean over the step."""
        loss, statistics = self.method.loss(self.model, batch)
        return loss / weight, statistics

    def _apply(self, gradients: Any, norm: float, step: int) -> None:
        self.optimizer.learning_rate = self._rate(step)
        clipped = optimizer.clip(gradients, norm=norm, limit=self.config.max_grad_norm)
        self.optimizer.update(self.job.model, clipped)
        mx.eval(self.job.model.trainable_parameters(), self.optimizer.state)

    def _rate(self, step: int) -> float:
        return learning_rate(self.config, step=step, total=self.total)

    def _report(self) -> Event:
        return self.meter.report(step=self.state.step, learning_rate=self._rate(self.state.step))

    def _evaluation_is_due(self) -> bool:
        step = self.state.step
        if self.config.validation is Validation.NONE:
            return False
        return self.state.last_evaluated != step and (step % self.config.steps_per_eval == 0 or step == self.total)

    def _evaluate(self) -> EvalReport:
        began = time.perf_counter()
        self.job.model.eval()
        try:
            evaluation = self.method.evaluate(self.model, should_stop=self.should_stop)
        finally:
            self.job.model.train()
        loss = evaluation.loss
        step, state = self.state.step, self.state
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"step {step}: the validation loss is {loss}",
                hint="lower learning_rate; the last checkpoint is from before this step"
                if step
                else "nothing is trained yet: the weights that the run starts from are damaged, or overflow in their "
                "data type; get them again",
            )
        best = state.best_loss is None or loss < state.best_loss
        enough = state.reference_loss is None or loss < state.reference_loss - self.config.min_delta
        self.state = state.model_copy(
            update={
                "last_evaluated": step,
                "best_step": step if best else state.best_step,
                "best_loss": loss if best else state.best_loss,
                "reference_loss": loss if enough else state.reference_loss,
                "last_loss": loss,
                "evaluations_without_improvement": 0 if enough else state.evaluations_without_improvement + 1,
            }
        )
        self.meter.evaluation_seconds = time.perf_counter() - began
        return EvalReport(
            step=step,
            loss=loss,
            tokens=evaluation.tokens,
            best=best,
            best_loss=loss if best or state.best_loss is None else state.best_loss,
            best_step=step if best or state.best_step is None else state.best_step,
            seconds=self.meter.evaluation_seconds,
            metrics=evaluation.metrics,
        )

    def _patience_is_over(self) -> bool:
        return self.config.early_stop and self.state.evaluations_without_improvement >= self.config.patience

    def _save(self, *, best: bool) -> Iterator[Event]:
        self._remember(self.state.step)
        folder = checkpoint.save(
            self.job.checkpoints,
            self.state,
            trainable(self.job.model),
            optimizer.state_arrays(self.optimizer),
            self.method.state(),
        )
        self.saved = self.state
        size = sum(path.stat().st_size for path in folder.iterdir())
        yield CheckpointSaved(step=self.state.step, best=best, bytes=size)
        # Only after the event has been consumed (and the adapter published) may older ones go.
        checkpoint.prune(self.job.checkpoints, keep=self.config.keep_checkpoints)

    def _remember(self, step: int) -> None:
        self.state = self.state.model_copy(update={"step": step, "seconds": self._seconds(), **self.meter.state()})

    def _seconds(self) -> float:
        return self.earlier_seconds + time.perf_counter() - self.began

    def _restore(self, folder: Path, state: RunState) -> None:
        for what, saved, present in (
            ("configuration", *self._compared(state)),
            ("data", state.data_hash, self.state.data_hash),
            ("base model", state.base_hash, self.state.base_hash),
            (
                "base model's config.json",
                state.model_config_hash or self.state.model_config_hash,
                self.state.model_config_hash,
            ),
            ("file of rewards", state.rewards_hash, self.state.rewards_hash),
            ("reference adapter", state.reference_hash, self.state.reference_hash),
        ):
            if saved != present:
                raise CheckpointError(
                    f"the {what} is not the one that {folder} was saved with",
                    hint="put it back as it was, or start a new run with init_adapter",
                )
        weights, optimizer_state, method_state = checkpoint.load_arrays(folder)
        self.job.model.load_weights(list(weights.items()), strict=False)
        optimizer.restore(self.optimizer, optimizer_state)
        self.method.restore(method_state)
        mx.eval(self.job.model.trainable_parameters(), self.optimizer.state)
        if self.total < state.step:
            raise CheckpointError(
                f"the run is {self.total} steps long now, and {folder} was saved after {state.step}",
                hint="give more iterations or epochs",
            )
        self.saved = state
        self.state = state.model_copy(
            update={name: getattr(self.state, name) for name in ("config_hash", "core_hash", "model_config_hash")}
        )
        self.earlier_seconds = state.seconds
        self.meter.restore(state)

    def _compared(self, state: RunState) -> tuple[str, str]:
        """The configuration's hash in a checkpoint, and that of the present one, over what cannot change."""
        if state.core_hash:
            return state.core_hash, self.state.core_hash
        # Older checkpoints hold one over all settings: it is that of an earlier worker, if some were changed since.
        for earlier in self.job.former:
            if core_hash(earlier) == self.state.core_hash and config_hash(earlier) == state.config_hash:
                return state.config_hash, state.config_hash
        return state.config_hash, self.state.config_hash

    def _non_finite(self, step: int, batches: Sequence[Batch], loss_sum: float) -> NonFiniteError:
        """The error for a step whose loss or gradient is not finite, naming the rows that cause it."""
        rows = [
            name for batch in batches for single, name in self.method.locate(batch) if not self._row_is_finite(single)
        ]
        what = "gradient" if math.isfinite(loss_sum) else "loss"
        where = f"rows {', '.join(rows)}" if rows else "no single row by itself, only their sum"
        return NonFiniteError(
            f"step {step}: the {what} is NaN or infinite ({where}); the step was not applied",
            hint="look at these rows with `droidft data show`; else lower learning_rate or add warmup_steps"
            + ("; nothing is trained yet, so the model's own weights may be damaged as well" if step == 1 else ""),
        )

    def _row_is_finite(self, batch: Batch) -> bool:
        (value, _), gradients = self.value_and_gradients(batch, max(self.method.weight([batch]), 1))
        return math.isfinite(value.item()) and math.isfinite(optimizer.global_norm(gradients))


def _step_seed(seed: int, step: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed}:{step}:{number}".encode()).digest()
    return int.from_bytes(digest[:8], "little")

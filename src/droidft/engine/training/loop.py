"""The training loop: a generator of events.

    for event in train(job, should_stop=lambda: False): ...

A step either happens whole or not at all (`steps`), so a checkpoint between two steps is all that resuming needs.
Where steps are compiled, the loop begins one after the other and reads what they measured only when it reports,
evaluates or saves.
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

import mlx.nn as nn

from droidft.config import TrainingConfig, Validation
from droidft.config.continuation import CHANGEABLE
from droidft.config.schedule import learning_rate
from droidft.data.batches import Batch, plan
from droidft.engine.model.lora import trainable
from droidft.engine.model.loss import SplitModel
from droidft.engine.model.recompute import recomputed_blocks
from droidft.engine.training import checkpoint
from droidft.engine.training.checkpoint import RunState
from droidft.engine.training.meter import Meter
from droidft.engine.training.method import Interrupted, Method
from droidft.engine.training.steps import steps_for
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
    compiled: bool | None = None
    """Whether steps are compiled. Default: unless the CPU's kernels are in place."""


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
        run.read()
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
        self.steps = steps_for(self.model, job.method, config, compiled=job.compiled)
        self.plan = plan(config, job.method.steps_per_epoch, job.method.shapes)
        self.total = self.plan.steps
        self.unread: list[tuple[int, Sequence[Batch], float]] = []
        self.unread_since = 0.0
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
        if self.steps.warning is not None:
            yield Warned(code="not_compiled", message=self.steps.warning)
        try:
            yield from self._train()
        except Interrupted:
            self.read()
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
                self.read()
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
            self.read()
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
        if self.method.samples:
            self.read()
        yield from self.method.prepare(step, self.model, self.should_stop)
        batches = self.method.batches(step)
        weight = self.method.weight(batches)
        self.steps.start(step, batches, weight, self._rate(step), self.should_stop)
        if not self.unread:
            self.unread_since = began
        self.unread.append((step, batches, weight))
        self.state = self.state.model_copy(update={"step": step})
        if self.method.samples or not self.steps.lazy:
            self.read()

    def read(self) -> None:
        """Wait for the steps that were begun, and count what they measured.

        Raises:
            NonFiniteError: one of them was not finite; neither it nor those after it were applied.
        """
        if not self.unread:
            return
        unread, self.unread = self.unread, []
        measured = self.steps.read()
        seconds = (time.perf_counter() - self.unread_since) / len(unread)
        for (step, batches, weight), found in zip(unread, measured, strict=False):
            if not found.finite:
                self._remember(step - 1)
                raise self._non_finite(step, batches, found.loss_sum)
            self.meter.add(batches, loss_sum=found.loss_sum, weight=weight, grad_norm=found.norm, seconds=seconds)
            self.meter.measure(self.method.metrics(step, found.sums))
        self._remember(self.state.step)

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
        self.read()
        self._remember(self.state.step)
        folder = checkpoint.save(
            self.job.checkpoints,
            self.state,
            trainable(self.job.model),
            self.steps.state(),
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
        self.steps.restore(optimizer_state)
        self.method.restore(method_state)
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
            name
            for batch in batches
            for single, name in self.method.locate(batch)
            if not self.steps.row_is_finite(single)
        ]
        what = "gradient" if math.isfinite(loss_sum) else "loss"
        where = f"rows {', '.join(rows)}" if rows else "no single row by itself, only their sum"
        return NonFiniteError(
            f"step {step}: the {what} is NaN or infinite ({where}); the step was not applied",
            hint="look at these rows with `droidft data show`; else lower learning_rate or add warmup_steps"
            + ("; nothing is trained yet, so the model's own weights may be damaged as well" if step == 1 else ""),
        )

"""Optimizer steps: eager with the CPU's kernels, compiled wherever plain MLX computes, be it on Metal, CUDA or a CPU.

Both take the weights through the same step: gradients of the summed loss over all batches, divided by their weight; a
check that everything is finite; clipping; the update. What they measured is read with `read`: the eager step's at
once, of the compiled ones whenever the loop has to know.

A compiled step leaves everything on the device. Where a loss or a gradient is not finite it keeps the weights and the
optimizer as they were, and so does every step after it, until that is read.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.optimizers import Optimizer
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from droidft.config import Family, TrainingConfig
from droidft.data.batches import Batch
from droidft.engine.machine import kernels
from droidft.engine.model.lora import trained_places
from droidft.engine.model.loss import SplitModel
from droidft.engine.model.recompute import forget_seed, seed_array, seed_dropout
from droidft.engine.training import optimizer as update
from droidft.engine.training.method import Interrupted, Method, Sums


@dataclass(frozen=True)
class Measured:
    """What a step measured: its mean loss times its weight, the gradient's global norm, the method's sums."""

    loss_sum: float
    norm: float
    sums: dict[str, float]

    @property
    def finite(self) -> bool:
        """Whether the step was applied, or would have been with any signal."""
        return math.isfinite(self.loss_sum) and math.isfinite(self.norm)


class Steps(ABC):
    """What takes a model from one optimizer step to the next."""

    warning: str | None = None
    """Why steps are not of the kind that would be fastest here."""
    lazy = False
    """Whether steps may be read later than they are begun."""

    def __init__(self, model: SplitModel, method: Method, config: TrainingConfig) -> None:
        self.model, self.method, self.config = model, method, config
        self.optimizer: Optimizer = update.build(config)
        self.optimizer.init(model.model.trainable_parameters())
        self.value_and_gradients = nn.value_and_grad(model.model, self._share_of_loss)

    @abstractmethod
    def start(
        self, step: int, batches: Sequence[Batch], weight: float, rate: float, should_stop: Callable[[], bool]
    ) -> None:
        """Do step `step` with a learning rate of `rate`, or have it done.

        Raises:
            Interrupted: `should_stop` returned True before one of the batches; the step was not applied.
        """

    @abstractmethod
    def read(self) -> list[Measured]:
        """What the steps since the last call measured; the first that is not finite ends the list."""

    @abstractmethod
    def state(self) -> dict[str, mx.array]:
        """The optimizer's whole state, by name, as it is saved."""

    @abstractmethod
    def restore(self, arrays: dict[str, mx.array]) -> None:
        """Put back what `state` returned."""

    def row_is_finite(self, batch: Batch) -> bool:
        """Whether loss and gradients of a batch are."""
        (value, _), gradients = self.value_and_gradients(batch, max(self.method.weight([batch]), 1))
        return math.isfinite(value.item()) and math.isfinite(update.global_norm(gradients))

    def _share_of_loss(self, batch: Batch, weight: float | mx.array) -> tuple[mx.array, Sums]:
        """This batch's part of the step's mean loss, so that parts add up to the mean over the step."""
        loss, statistics = self.method.loss(self.model, batch)
        return loss / weight, statistics


def steps_for(model: SplitModel, method: Method, config: TrainingConfig, *, compiled: bool | None = None) -> Steps:
    """Steps of the kind that is fastest here, or compiled ones or not as is asked for."""
    wanted = kernels.active() is None if compiled is None else compiled
    if wanted and (why := _why_not_compiled(model)) is None:
        return Compiled(model, method, config)
    steps = Eager(model, method, config)
    if wanted:
        steps.warning = f"this architecture's step cannot be compiled and is slower than others on this device: {why}"
    return steps


def _why_not_compiled(model: SplitModel) -> str | None:
    """What MLX says where the model's code looks at numbers while it builds its graph; nothing is computed."""
    try:
        mx.compile(model.model.__call__)(mx.zeros((1, 8), mx.int32))
    except ValueError as error:
        return str(error)
    return None


class Eager(Steps):
    """Operation by operation; every step is finished and read before the next begins."""

    def __init__(self, model: SplitModel, method: Method, config: TrainingConfig) -> None:
        super().__init__(model, method, config)
        self._measured: list[Measured] = []

    def start(
        self, step: int, batches: Sequence[Batch], weight: float, rate: float, should_stop: Callable[[], bool]
    ) -> None:
        """Do step `step`; nothing is applied of one that is not finite."""
        loss_sum, gradients, sums = 0.0, None, dict[str, float]()
        for number, batch in enumerate(batches):
            if should_stop():
                raise Interrupted
            # Dropout is a function of (seed, step, batch): a resumed run needs no generator's state.
            seed_dropout(step_seed(self.config.seed, step, number))
            (value, statistics), gradient = self.value_and_gradients(batch, weight)
            if gradients is not None:
                gradient = tree_map(lambda a, b: a + b, gradients, gradient)
            mx.eval(value, statistics, gradient)
            gradients = gradient
            loss_sum += value.item() * weight
            for name, part in statistics.items():
                sums[name] = sums.get(name, 0.0) + part.item()
        norm = 0.0 if gradients is None else update.global_norm(gradients)
        measured = Measured(loss_sum, norm, sums)
        # Without a signal nothing moves, not even by momentum or decay.
        if measured.finite and norm > 0:
            self._apply(gradients, norm, rate)
        self._measured.append(measured)

    def _apply(self, gradients: Any, norm: float, rate: float) -> None:
        self.optimizer.learning_rate = rate
        clipped = update.clip(gradients, norm=norm, limit=self.config.max_grad_norm)
        self.optimizer.update(self.model.model, clipped)
        mx.eval(self.model.model.trainable_parameters(), self.optimizer.state)

    def read(self) -> list[Measured]:
        """What the steps since the last call measured."""
        measured, self._measured = self._measured, []
        return measured

    def state(self) -> dict[str, mx.array]:
        """The optimizer's state."""
        return update.state_arrays(self.optimizer)

    def restore(self, arrays: dict[str, mx.array]) -> None:
        """Put back what `state` returned."""
        update.restore(self.optimizer, arrays)
        mx.eval(self.model.model.trainable_parameters(), self.optimizer.state)


@dataclass(frozen=True)
class _Unread:
    """A step's results on the device: each batch's share of the loss and sums, the norm, whether all was finite."""

    weight: float
    values: list[mx.array]
    sums: list[list[mx.array]]
    norm: mx.array


class Compiled(Steps):
    """A step as one compiled function for each shape of its batch; steps of several batches as two.

    Arrays are handed over in lists, since MLX looks for every array of a model's tree in Python otherwise.
    """

    lazy = True

    def __init__(self, model: SplitModel, method: Method, config: TrainingConfig) -> None:
        super().__init__(model, method, config)
        method.shapes = method.few_shapes()
        self.compilations = 0
        """How often a function was traced so far, for a shape that it had not seen."""
        self._trained, self._places = trained_places(model.model)
        state = update.state_arrays(self.optimizer)
        self._names, self._optimizer = [*state], [*state.values()]
        self._alive = mx.array(True)
        self._zeros: list[mx.array] = []
        self._template: Batch | None = None
        self._sums: list[str] = []
        self._unread: list[_Unread] = []
        self._single = config.grad_accumulation_steps == 1 and config.method.family is not Family.REWARDS
        self._whole: Callable[..., Any] = mx.compile(self._traced_whole)
        self._part: Callable[..., Any] = mx.compile(self._traced_part)
        self._update: Callable[..., Any] = mx.compile(self._traced_update)

    def start(
        self, step: int, batches: Sequence[Batch], weight: float, rate: float, should_stop: Callable[[], bool]
    ) -> None:
        """Hand step `step` to the device."""
        weights = [holder[key] for holder, key in self._places]
        state = [weights, self._optimizer, self._alive, mx.array(rate)]
        values: list[mx.array] = []
        sums: list[list[mx.array]] = []
        results: Any = ()
        gradients, total = self._none(weights) if not self._single else [], mx.array(0.0)
        for number, batch in enumerate(batches):
            if should_stop():
                raise Interrupted
            given = self._given(batch, weight, step_seed(self.config.seed, step, number))
            if self._single:
                value, parts, *results = self._whole(*state, *given)
            else:
                value, parts, gradients, total = self._part(weights, gradients, total, *given)
            values.append(value)
            sums.append(parts)
        if batches and not self._single:
            results = self._update(*state, gradients, total)
        norm = mx.array(0.0)
        if batches:
            weights, self._optimizer, self._alive, norm = results
            self._put(weights)
            mx.async_eval(weights, self._optimizer, self._alive, norm, values, sums)  # type: ignore[no-untyped-call]
        self._unread.append(_Unread(weight, values, sums, norm))

    def read(self) -> list[Measured]:
        """What the steps since the last call measured; the weights are those before the first that is not finite."""
        unread, self._unread = self._unread, []
        mx.eval([[each.values, each.sums, each.norm] for each in unread], self._alive)
        measured = []
        for each in unread:
            loss_sum = sum(_number(value) * each.weight for value in each.values)
            sums = {name: sum(_number(part[at]) for part in each.sums) for at, name in enumerate(self._sums)}
            measured.append(Measured(loss_sum, _number(each.norm), sums))
            if not measured[-1].finite:
                break
        return measured

    def state(self) -> dict[str, mx.array]:
        """The optimizer's state."""
        return dict(zip(self._names, self._optimizer, strict=True))

    def restore(self, arrays: dict[str, mx.array]) -> None:
        """Put back what `state` returned."""
        self._optimizer = [arrays[name] for name in self._names]
        mx.eval(self.model.model.trainable_parameters(), self._optimizer)

    def _given(self, batch: Batch, weight: float, seed: int) -> tuple[mx.array, mx.array, list[mx.array]]:
        self._template = batch
        return mx.array(weight), seed_array(seed), [mx.array(getattr(batch, name)) for name in _array_fields(batch)]

    def _none(self, weights: list[mx.array]) -> list[mx.array]:
        """Gradients of no batch at all."""
        if not self._zeros:
            self._zeros = [mx.zeros_like(array) for array in weights]
        return self._zeros

    # What follows runs only while MLX traces it.

    def _traced_whole(
        self, weights: Any, state: Any, alive: Any, rate: Any, weight: Any, seed: Any, arrays: Any
    ) -> tuple[Any, ...]:
        self.compilations += 1
        (value, parts), gradients = self._differentiated(weights, weight, seed, arrays)
        return value, parts, *self._applied(weights, state, alive, rate, gradients, value)

    def _traced_part(
        self, weights: Any, gradients: Any, total: Any, weight: Any, seed: Any, arrays: Any
    ) -> tuple[Any, ...]:
        self.compilations += 1
        (value, parts), own = self._differentiated(weights, weight, seed, arrays)
        return value, parts, [a + b for a, b in zip(gradients, own, strict=True)], total + value

    def _traced_update(
        self, weights: Any, state: Any, alive: Any, rate: Any, gradients: Any, total: Any
    ) -> tuple[Any, ...]:
        self.compilations += 1
        return self._applied(weights, state, alive, rate, gradients, total)

    def _differentiated(self, weights: Any, weight: Any, seed: Any, arrays: Any) -> tuple[Any, Any]:
        template = self._template
        assert template is not None
        batch = replace(template, **dict(zip(_array_fields(template), arrays, strict=True)))
        own = [holder[key] for holder, key in self._places]

        def share(weights: list[mx.array]) -> tuple[mx.array, list[mx.array]]:
            self._put(weights)
            seed_dropout(seed)
            value, sums = self._share_of_loss(batch, weight)
            self._sums = list(sums)
            return value, list(sums.values())

        try:
            value, gradients = mx.value_and_grad(share)(weights)
            return value, gradients
        finally:
            self._put(own)
            forget_seed()

    def _applied(
        self, weights: list[mx.array], state: Any, alive: mx.array, rate: mx.array, gradients: Any, total: mx.array
    ) -> tuple[Any, ...]:
        norm = mx.sqrt(mx.stack([mx.square(g.astype(mx.float32)).sum() for g in gradients]).sum())
        alive = alive & mx.isfinite(norm) & mx.isfinite(total)
        if limit := self.config.max_grad_norm:
            factor = mx.where(norm > limit, limit / (norm + 1e-6), 1)
            gradients = [(g * factor).astype(g.dtype) for g in gradients]
        before = self.optimizer.state
        try:
            self.optimizer.state = tree_unflatten([*zip(self._names, state, strict=True)])
            self.optimizer.learning_rate = rate
            tree = self.optimizer.apply_gradients(self._tree(gradients), self._tree(weights))
            moved, after = _in_order(tree, self._trained), _in_order(self.optimizer.state, self._names)
        finally:
            self.optimizer.state = before
        # Without a signal nothing moves, not even by momentum or decay.
        moves = alive & (norm > 0)

        def kept(new: list[mx.array], old: list[mx.array]) -> list[mx.array]:
            return [mx.where(moves, a, b) for a, b in zip(new, old, strict=True)]

        return kept(moved, weights), kept(after, state), alive, norm

    def _tree(self, arrays: list[mx.array]) -> Any:
        return tree_unflatten([*zip(self._trained, arrays, strict=True)])

    def _put(self, weights: list[mx.array]) -> None:
        for (holder, key), array in zip(self._places, weights, strict=True):
            holder[key] = array


def _number(array: mx.array) -> float:
    return float(np.asarray(array))


def _array_fields(batch: Batch) -> list[str]:
    return [field.name for field in fields(batch) if hasattr(getattr(batch, field.name), "dtype")]


def _in_order(tree: Any, names: list[str]) -> list[mx.array]:
    arrays = dict(tree_flatten(tree))
    return [arrays[name] for name in names]


def step_seed(seed: int, step: int, number: int) -> int:
    """The seed of dropout for batch `number` of a step."""
    digest = hashlib.sha256(f"{seed}:{step}:{number}".encode()).digest()
    return int.from_bytes(digest[:8], "little")

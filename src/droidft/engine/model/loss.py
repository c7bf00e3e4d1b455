"""Cross-entropy at supervised positions only, in chunks, so that the logits of a batch never exist at once.

The vocabulary is the widest thing in a language model: 4 rows of 256 tokens over 49,152 words are 201 MB of
float32 logits, and a plain loss holds several copies. Here the hidden states of the supervised positions are
gathered first, and the head (final projection and whatever the architecture does after it) is applied to a
few hundred of them at a time.

Suffixes name dimensions: B rows, T positions, H width of a hidden state, V vocabulary, N targets of a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from droidft.data.batches import Batch
from droidft.engine.machine import kernels

CHUNK_LOGITS = 1 << 22
"""Logits computed at once: 4.2 million, 17 MB in float32. MLX runs ten operations ahead, with as many results."""
LARGE_CHUNK_LOGITS = 1 << 24
LARGE_MEMORY = 32 << 30
"""The same on a GPU of so much memory, which reads the whole head for each chunk, however few its rows."""


class SplitModel:
    """A model as backbone (tokens to hidden states) and head (hidden states to logits).

    The head is the model's own `__call__` with the backbone's answer put in place, so logit scaling,
    soft-capping and tied embeddings are the architecture's own. Where the two parts do not compose to the
    whole (an architecture that does more outside its backbone), `split` is False and `backbone` returns
    logits.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._path = _backbone_path(model)
        training = model.training
        model.eval()  # dropout would make any two passes differ
        self.split = self._path is not None and self._composes()
        # An adapter that is still zero on the head does not show in the logits.
        self._projection = self._plain_projection() if self.split and not self.head_is_trained() else None
        model.train(training)

    def backbone(self, inputs: mx.array) -> mx.array:
        """Hidden states [B, T, H] of tokens [B, T]; logits [B, T, V] where the model cannot be split."""
        module: Callable[[mx.array], mx.array] = self._module() if self.split else self.model
        return module(inputs)

    def head(self, hidden: mx.array) -> mx.array:
        """Logits [N, V] of hidden states [N, H]."""
        if not self.split:
            return hidden
        return self._head(hidden)

    @property
    def projection(self) -> list[mx.array] | None:
        """The matrix [V, H], as `weights_of` gives it, if the head is nothing but a product with it, frozen."""
        return None if self._projection is None else kernels.weights_of(self._projection)

    @property
    def rounds(self) -> bool:
        """Whether it may compute in less than float32: in short types, or by matrix units that shorten numbers."""
        if mx.default_device() != mx.Device(mx.cpu):
            return True
        return any(array.dtype in (mx.bfloat16, mx.float16) for _, array in tree_flatten(self.model.parameters()))

    def head_is_trained(self) -> bool:
        """Whether any parameter outside the backbone's blocks is trained (then its gradient is needed)."""
        return bool(self.trained_in_head())

    def trained_in_head(self) -> list[tuple[str, mx.array]]:
        """The trained parameters outside the backbone's blocks, by full name."""
        blocks = {id(array) for block in self.model.layers for _, array in tree_flatten(block.trainable_parameters())}
        return [named for named in tree_flatten(self.model.trainable_parameters()) if id(named[1]) not in blocks]

    def _module(self) -> Any:
        module: Any = self.model
        for name in self._path or ():
            module = getattr(module, name)
        return module

    def _head(self, hidden: mx.array) -> mx.array:
        backbone = _Answer(self._module(), hidden[None])
        placeholder = mx.zeros((1, hidden.shape[0]), mx.int32)
        logits: mx.array = _with_backbone(self.model, self._path or (), backbone)(placeholder)
        return logits[0]

    def _plain_projection(self) -> Any:
        """The frozen layer whose product with the hidden states equals the logits, if there is one."""
        hidden = self._module()(self._sample())[0]
        logits = self._head(hidden)
        for _, module in self.model.named_modules():
            if kernels.shape_of(module) != (logits.shape[-1], hidden.shape[-1]) or "bias" in module:
                continue
            product = module.as_linear if hasattr(module, "as_linear") else module
            if mx.allclose(product(hidden), logits, rtol=1e-4, atol=1e-4).item():
                return None if module.trainable_parameters() else module
        return None

    def _sample(self) -> mx.array:
        return mx.arange(1, 9)[None] % _vocabulary(self.model)

    def _composes(self) -> bool:
        tokens = self._sample()
        try:
            whole = self.model(tokens)
            parts = self._head(self._module()(tokens)[0])[None]
        except (TypeError, ValueError, AttributeError, IndexError):
            return False
        if whole.shape != parts.shape:
            return False
        return bool(mx.allclose(whole, parts, rtol=1e-3, atol=1e-3))


def log_probabilities(model: SplitModel, batch: Batch, *, temperature: float = 1.0) -> mx.array:
    """Log-probability of every target, float32 [N], in nats, from logits divided by `temperature`; differentiable."""
    return -token_losses(model, batch, temperature=temperature)


def token_losses(model: SplitModel, batch: Batch, *, temperature: float = 1.0) -> mx.array:
    """Cross-entropy of every target, float32 [N], in nats, from logits divided by `temperature`; differentiable.

    Its gradient reaches the hidden states without the logits ever being held: each chunk's losses and their
    gradients to the hidden states are computed in the forward pass (the identity `h * dh` then carries them).
    When the head itself is trained, chunks are recomputed in the backward pass instead.
    """
    hidden_NH, targets_N = supervised(model, batch)
    return _without_filling(batch, _token_losses(model, hidden_NH, targets_N, temperature))


def _token_losses(model: SplitModel, hidden_NH: mx.array, targets_N: mx.array, temperature: float) -> mx.array:
    if not model.split:
        return cross_entropy(_divided(hidden_NH, temperature), targets_N)
    if (fused := kernels.active()) is not None and model.projection is not None:
        return fused.linear_cross_entropy(_divided(hidden_NH, temperature), model.projection, targets_N)

    def logits_of(h: mx.array) -> mx.array:
        return _divided(model.head(h), temperature)

    if model.head_is_trained():
        return _trained(model, hidden_NH, targets_N, logits_of)
    return _carried(hidden_NH, chunks_of(model, hidden_NH, targets_N), logits_of)


def losses(model: SplitModel, batch: Batch, *, temperature: float = 1.0) -> mx.array:
    """The values of `token_losses`, for evaluation: no gradient, half the time."""
    hidden_NH, targets_N = supervised(model, batch)
    return _without_filling(batch, _losses(model, hidden_NH, targets_N, temperature))


def _losses(model: SplitModel, hidden_NH: mx.array, targets_N: mx.array, temperature: float) -> mx.array:
    if (fused := kernels.active()) is not None and model.projection is not None:
        hidden_NH = _divided(hidden_NH, temperature)
        return fused.linear_cross_entropy(hidden_NH, model.projection, targets_N, with_gradient=False)
    parts = []
    for h, t in chunks_of(model, hidden_NH, targets_N):
        parts.append(cross_entropy(_divided(model.head(h), temperature), t))
        mx.eval(parts[-1])
    return mx.concatenate(parts)


def cross_entropy(logits_NV: mx.array, targets_N: mx.array) -> mx.array:
    """-log softmax(logits)[target], float32 [N], from logits of any type."""
    logits_NV = logits_NV.astype(mx.float32)
    score_N = mx.take_along_axis(logits_NV, targets_N[:, None], axis=-1)[:, 0]
    return mx.logsumexp(logits_NV, axis=-1) - score_N


def supervised(model: SplitModel, batch: Batch) -> tuple[mx.array, mx.array]:
    """Hidden states at the supervised positions, [N, H] (logits [N, V] of a model that is not split), and targets."""
    hidden_BTH = model.backbone(mx.array(batch.inputs))
    hidden_NH = hidden_BTH.reshape(-1, hidden_BTH.shape[-1])[mx.array(batch.positions)]
    return hidden_NH, mx.array(batch.targets)


def chunks_of(model: SplitModel, hidden_NH: mx.array, targets_N: mx.array) -> list[tuple[mx.array, mx.array]]:
    """Hidden states with their targets, in pieces whose logits may exist at once."""
    size = max(1, chunk_logits() // _vocabulary(model.model))
    starts = range(0, len(targets_N), size)
    return [(hidden_NH[at : at + size], targets_N[at : at + size]) for at in starts]


@cache
def chunk_logits() -> int:
    """Logits computed at once on this device."""
    if mx.default_device() == mx.Device(mx.cpu):
        return CHUNK_LOGITS
    memory = mx.device_info(mx.default_device()).get("memory_size") or 0
    return LARGE_CHUNK_LOGITS if int(memory) >= LARGE_MEMORY else CHUNK_LOGITS


def _divided(logits: mx.array, temperature: float) -> mx.array:
    return logits if temperature == 1 else logits / temperature


def _without_filling(batch: Batch, losses_N: mx.array) -> mx.array:
    """The losses, zero where a target only fills the batch up."""
    positions = batch.positions
    if not isinstance(positions, mx.array) and (positions >= 0).all():
        return losses_N
    return mx.where(mx.array(positions) >= 0, losses_N, 0)


def _carried(hidden_NH: mx.array, chunks: list[tuple[mx.array, mx.array]], logits_of: Any) -> mx.array:
    def weighed(h: mx.array, t: mx.array) -> tuple[mx.array, mx.array]:
        logits = logits_of(h).astype(mx.float32)
        # softmax - onehot is the losses' gradient to the logits, and this sum's too.
        right = mx.arange(logits.shape[-1])[None] == t[:, None]
        softmax = mx.softmax(logits, axis=-1)
        gradient = mx.stop_gradient(mx.where(right, softmax - 1, softmax))
        return (logits * gradient).sum(), cross_entropy(logits, t)

    results: list[tuple[mx.array, mx.array]] = []
    for h, t in chunks:
        (_, values), gradient = mx.value_and_grad(weighed)(_after(results, mx.stop_gradient(h)), t)
        results.append((values, gradient))
    losses_N = mx.stop_gradient(mx.concatenate([values for values, _ in results]))
    # A row's loss depends on its own hidden state alone, so this is each row's own gradient.
    gradient_NH = mx.stop_gradient(mx.concatenate([gradient for _, gradient in results]))
    carrier_N = (hidden_NH.astype(mx.float32) * gradient_NH.astype(mx.float32)).sum(axis=-1)
    # The carrier is there for its gradient; its value cancels exactly.
    return losses_N + (carrier_N - mx.stop_gradient(carrier_N))


def _trained(model: SplitModel, hidden_NH: mx.array, targets_N: mx.array, logits_of: Any) -> mx.array:
    """Losses of a head with trained parameters: every chunk is computed again in the backward pass."""
    names, arrays = zip(*model.trained_in_head(), strict=True)

    def of_chunk(t: mx.array, h: mx.array, *arrays: mx.array) -> mx.array:
        model.model.update(tree_unflatten([*zip(names, arrays, strict=True)]))
        return cross_entropy(logits_of(h), t)

    @mx.custom_function
    def chunked(hidden: mx.array, *arrays: mx.array) -> mx.array:
        results: list[tuple[mx.array]] = []
        for h, t in chunks_of(model, hidden, targets_N):
            results.append((of_chunk(t, _after(results, h), *arrays),))
        return mx.concatenate([values for (values,) in results])

    @chunked.vjp
    def backward(primals: Any, cotangent_N: mx.array, _: mx.array) -> tuple[mx.array, ...]:
        hidden, *arrays = primals
        results: list[tuple[mx.array, ...]] = []
        sums: list[mx.array] = [mx.zeros_like(array) for array in arrays]
        at = 0
        for h, t in chunks_of(model, hidden, targets_N):
            own = cotangent_N[at : at + len(t)]
            _values, gradients = mx.vjp(partial(of_chunk, t), [_after(results, h), *arrays], [own])
            sums = [a + b for a, b in zip(sums, gradients[1:], strict=True)]
            results.append((gradients[0], *sums))
            at += len(t)
        return mx.concatenate([gradient for gradient, *_ in results]), *sums

    return _array(chunked(hidden_NH, *arrays))


def _after(results: Sequence[tuple[mx.array, ...]], array: mx.array) -> mx.array:
    """`array`, to be computed with only when the last of the results is there."""
    return mx.depends([array], list(results[-1]))[0] if results else array


def _array(result: Any) -> mx.array:
    array: mx.array = result
    return array


class _Answer:
    """Stands where the backbone was and returns the hidden states it was given."""

    def __init__(self, backbone: nn.Module, hidden: mx.array) -> None:
        self._backbone = backbone
        self._hidden = hidden

    def __call__(self, *_: Any, **__: Any) -> mx.array:
        return self._hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)


def _with_backbone(module: nn.Module, path: tuple[str, ...], backbone: _Answer) -> Any:
    """A shallow copy of `module` whose child at `path` is `backbone`; all other children are shared."""
    twin = copy.copy(module)
    name, *rest = path
    setattr(twin, name, _with_backbone(getattr(module, name), tuple(rest), backbone) if rest else backbone)
    return twin


def _backbone_path(model: nn.Module) -> tuple[str, ...] | None:
    """Names from the model down to the module that holds its blocks, or None if that is the model itself."""
    blocks = model.layers
    for path, module in model.named_modules():
        if path and any(value is blocks or _same_blocks(value, blocks) for value in module.values()):
            return tuple(path.split("."))
    return None


def _same_blocks(value: Any, blocks: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and len(value) == len(blocks) and value[0] is blocks[0]


def _vocabulary(model: nn.Module) -> int:
    for _, module in model.named_modules():
        if isinstance(module, (nn.Embedding, nn.QuantizedEmbedding)):
            return int(module.weight.shape[0])
    return 1 << 15

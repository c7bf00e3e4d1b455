"""Fused CPU kernels in place of MLX's unfused, single-threaded ones.

On the CPU, MLX evaluates attention, normalisation and activations as chains of small scalar operations, which take
longer than the matrix products of a training step. `load` compiles the kernels of `native/` on first use, and
`fast_cpu_ops` puts them in place for the length of a `with` block. Whatever a kernel does not cover (other types than
float32, other masks, a single query) goes to the original; where the kernels cannot be built, everything does.

Knows nothing of training: these are operations and their gradients. See docs/decisions/0003-cpu-kernels.md.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
from mlx_lm.models import activations
from mlx_lm.tuner.lora import LoRALinear

from droidft.engine.machine.blas import libmlx, redirect
from droidft.engine.machine.native.build import MODULE, BuildError, build

SHORT = 16
"""Fewer rows than this (generation, token by token) are turned by MLX, which needs no table of angles there."""

PATCHED_PACKAGES = ("mlx.nn", "mlx_lm.models")
_SHORT = "_short_products"


@dataclass(frozen=True)
class Unavailable:
    """Why the kernels cannot be used here; plain MLX then does all the work."""

    reason: str


def load(cache_dir: Path, *, blas: str = "", threads: int = 0) -> Kernels | Unavailable:
    """The kernels, compiled into `cache_dir` if this machine has not done so yet (some ten seconds).

    Args:
        cache_dir: where compiled kernels are kept, between runs; made if missing.
        blas: path of the loaded library that multiplies MLX's matrices (`Blas.path`); empty for the linker's choice.
        threads: how many to use; 0 is one for each processor that this process may use. Decided by the first call.
    """
    if mx.default_device() != mx.Device(mx.cpu):
        return Unavailable("the default device is not the CPU")
    try:
        native = _module(build(cache_dir))
        mx.eval(native.gated(False, mx.ones(3), None))
    except (BuildError, ImportError, OSError) as error:
        return Unavailable(str(error))
    except TypeError:  # it does not know MLX's arrays
        return Unavailable("nanobind and MLX do not share their types; install the nanobind that MLX was built with")
    sgemm = native.connect(threads, blas)
    products = bool(sgemm) and redirect(libmlx(), {"cblas_sgemm": sgemm})
    if products:
        native.split_products()
    return Kernels(native, products=products)


@lru_cache(maxsize=1)
def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Kernels:
    """The operations, each with the signature of the one it replaces."""

    def __init__(self, native: Any, *, products: bool) -> None:
        self.native = native
        self.products = products
        """Whether MLX's matrix products run on the kernels' threads."""

    @property
    def short_products(self) -> str:
        """The processor's instructions for products of bfloat16 numbers; empty where float32 does their work."""
        return str(self.native.short_products())

    @property
    def threads(self) -> int:
        """Threads the kernels run on."""
        return int(self.native.threads())

    def scaled_dot_product_attention(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        *,
        scale: float,
        mask: mx.array | str | None = None,
        sinks: mx.array | None = None,
        **options: Any,
    ) -> mx.array:
        """softmax(scale q kᵀ + mask) v; q[B, H, L, D], k[B, K, S, D], v[B, K, S, E], H a multiple of K.

        Covers no mask, "causal", and boolean masks.
        """
        if options or sinks is not None or not _attention_fits(q, k, v, mask):
            return ORIGINALS.attention(q, k, v, scale=scale, mask=mask, sinks=sinks, **options)
        hidden = mask if isinstance(mask, mx.array) else None
        return _array(self.native.attention(q, k, v, scale, hidden is None and mask == "causal", hidden))

    def rms_norm(self, x: mx.array, weight: mx.array | None, eps: float, **options: Any) -> mx.array:
        """x / sqrt(mean(x²) + eps) · weight over the last axis."""
        fits = _float32(x) and (weight is None or (_float32(weight) and weight.shape == x.shape[-1:]))
        if options or not fits:
            return ORIGINALS.rms_norm(x, weight, eps, **options)
        return _array(self.native.rms_norm(x, weight, eps))

    def rope(
        self,
        a: mx.array,
        dims: int,
        *,
        traditional: bool,
        base: float | None,
        scale: float,
        offset: int | mx.array,
        freqs: mx.array | None = None,
        **options: Any,
    ) -> mx.array:
        """Rotary position embedding (Su et al., 2021) of a[B, H, L, D] on its first `dims` columns."""
        fits = _float32(a) and a.ndim == 4 and a.shape[2] >= SHORT and dims <= a.shape[3]
        if options or not fits or not isinstance(offset, int):
            return ORIGINALS.rope(
                a, dims, traditional=traditional, base=base, scale=scale, offset=offset, freqs=freqs, **options
            )
        rows = 1 << (a.shape[2] - 1).bit_length()  # few distinct tables for many lengths
        cos, sin = _rope_table(rows, dims, base, scale, offset, None if freqs is None else _Same(freqs))
        return _array(self.native.rope(a, cos, sin, traditional))

    def silu(self, x: mx.array) -> mx.array:
        """x · sigmoid(x)."""
        return _array(self.native.gated(False, x, None)) if _float32(x) else ORIGINALS.silu(x)

    def gelu_approx(self, x: mx.array) -> mx.array:
        """GELU in its tanh form (Hendrycks and Gimpel, 2016)."""
        return _array(self.native.gated(True, x, None)) if _float32(x) else ORIGINALS.gelu_approx(x)

    def swiglu(self, gate: mx.array, x: mx.array) -> mx.array:
        """silu(gate) · x (Shazeer, 2020)."""
        if not _float32(gate, x) or gate.shape != x.shape:
            return ORIGINALS.swiglu(gate, x)
        return _array(self.native.gated(False, gate, x))

    def short_product(self, layer: Any, x: mx.array) -> mx.array | None:
        """x Wᵀ for a layer that `shorten` was called with; None where the kernels do not cover it.

        In float32, whatever x is: some models give their activations the type of the weights that they meet.
        """
        weights = weights_of(layer) if rounds(layer) else None
        return None if weights is None else _array(self.native.product(x.astype(mx.float32), weights))

    def lora_call(self, layer: Any, x: mx.array) -> mx.array:
        """`LoRALinear.__call__`: x Wᵀ + scale (x A) B."""
        base, a, b = layer.linear, layer.lora_a, layer.lora_b
        dropped = layer.dropout.training and layer.dropout._p_1 < 1
        weights = weights_of(base)
        if weights is None or dropped or not _float32(x, a, b) or x.shape[-1] != a.shape[0]:
            return ORIGINALS.lora_call(layer, x)
        y = _array(self.native.lora(x, weights, a, b, layer.scale))
        return y + base.bias if "bias" in base else y

    def cross_entropy(self, logits: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
        """Losses [N] in nats and their gradients to the logits, softmax - onehot [N, V], in one pass.

        logits[N, V] float32, targets[N] of class numbers; a class outside 0 … V-1 gives NaN. The gradient takes the
        memory of `logits` if nothing else holds on to them.
        """
        _check_targets(logits, targets)
        losses, gradients = self.native.cross_entropy(logits, targets)
        return losses, gradients

    def linear_cross_entropy(
        self, hidden: mx.array, weights: list[mx.array], targets: mx.array, *, with_gradient: bool = True
    ) -> mx.array:
        """Losses [N] in nats of the logits hidden · Wᵀ, which never exist at once; differentiable in `hidden`.

        hidden[N, H] float32, W[V, H] as `weights_of` gives it, targets[N] of class numbers. The gradient is computed
        along with the losses; without it (`with_gradient` False, for evaluation) that takes half the time.

        Raises:
            ValueError: the shapes or types do not fit.
        """
        _check_targets(hidden, targets)
        return _array(self.native.linear_cross_entropy(hidden, weights, targets, with_gradient))

    def adamw(self, optimizer: Any, gradient: mx.array, parameter: mx.array, state: Any, *, decay: float) -> mx.array:
        """`apply_single` of MLX's Adam (decay 0) and AdamW: the new parameter; the moments go into `state`."""
        beta1, beta2 = optimizer.betas
        updated, state["m"], state["v"] = self.native.adamw(
            *(parameter, gradient, state["m"], state["v"], optimizer.learning_rate, optimizer.step),
            *(beta1, beta2, optimizer.eps, decay, optimizer.bias_correction),
        )
        return _array(updated)


def rounds(layer: Any) -> bool:
    """Whether products with this layer's matrix round the activations to bfloat16: `shorten` made it so."""
    return getattr(layer, _SHORT, False) is True


def shorten(layer: Any) -> None:
    """From now on multiply with this layer's matrix as bfloat16 numbers, quantised ones as they are.

    It is an `nn.Linear`, an `nn.Embedding` or quantised, and not trained; of other classes nothing changes. Its
    weights are not read.
    """
    if type(layer) in (nn.Linear, nn.Embedding):
        layer.weight = layer.weight.astype(mx.bfloat16)
    elif type(layer) not in (nn.QuantizedLinear, nn.QuantizedEmbedding) or layer.mode != "affine":
        return
    setattr(layer, _SHORT, True)


def weights_of(layer: Any) -> list[mx.array] | None:
    """The arrays of a layer's matrix [out, in], if the kernels multiply with it; else None."""
    if type(layer) in (nn.Linear, nn.Embedding):
        fits = layer.weight.dtype == (mx.bfloat16 if rounds(layer) else mx.float32)
        return [layer.weight] if fits else None
    if type(layer) in (nn.QuantizedLinear, nn.QuantizedEmbedding) and rounds(layer) and layer.mode == "affine":
        fits = _float32(layer.scales, layer.biases)
        return [layer.weight, layer.scales, layer.biases] if fits else None
    return None


def shape_of(layer: Any) -> tuple[int, int] | None:
    """Rows and width of the matrix of `weights_of`; None where there is none."""
    if (weights := weights_of(layer)) is None:
        return None
    rows, width = weights[0].shape
    return rows, width if len(weights) == 1 else weights[1].shape[1] * layer.group_size


def _array(result: Any) -> mx.array:
    """Types end at the extension's border."""
    array: mx.array = result
    return array


def _float32(*arrays: mx.array) -> bool:
    return all(a.dtype == mx.float32 for a in arrays)


def _attention_fits(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | str | None) -> bool:
    """Whether the kernel covers this; the original reports inputs that are wrong altogether."""
    if not _float32(q, k, v) or not q.ndim == k.ndim == v.ndim == 4:
        return False
    if not q.shape[0] == k.shape[0] == v.shape[0] or q.shape[3] != k.shape[3]:
        return False
    if k.shape[1:3] != v.shape[1:3] or q.shape[1] % k.shape[1]:
        return False
    if isinstance(mask, mx.array):
        return bool(mask.dtype == mx.bool_)
    return mask is None or (mask == "causal" and q.shape[2] <= k.shape[2])


def _adam_fits(gradient: mx.array, parameter: mx.array, state: Any) -> bool:
    arrays = (parameter, gradient, state["m"], state["v"])
    return _float32(*arrays) and all(a.shape == parameter.shape for a in arrays)


def _check_targets(rows: mx.array, targets: mx.array) -> None:
    if rows.ndim != 2 or not _float32(rows) or targets.shape != rows.shape[:1]:
        raise ValueError(f"want float32 [N, …] and targets [N]; got {rows.dtype} {rows.shape}, {targets.shape}")


class _Same:
    """An array as a dictionary key: equal only to itself. Keeps it alive, so that its id stays its own."""

    def __init__(self, array: mx.array) -> None:
        self.array = array

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.array is other.array


@lru_cache(maxsize=32)
def _rope_table(
    rows: int, dims: int, base: float | None, scale: float, offset: int, freqs: _Same | None
) -> tuple[mx.array, mx.array]:
    """Cosines and sines [rows, dims / 2], by the operations MLX itself uses, so that the angles are the same."""
    if freqs is not None:
        inverse = 1 / freqs.array
    else:
        assert base is not None
        half = dims // 2
        inverse = mx.exp(mx.arange(0, -half, -1, dtype=mx.float32) * (mx.log(mx.array(base)) / half))
    angles = ((mx.arange(rows, dtype=mx.float32) + offset) * scale)[:, None] * inverse
    table = mx.cos(angles), mx.sin(angles)
    mx.eval(table)
    return table


@dataclass(frozen=True)
class _Originals:
    """What the kernels replace and fall back to."""

    attention: Callable[..., mx.array] = mx.fast.scaled_dot_product_attention
    rms_norm: Callable[..., mx.array] = mx.fast.rms_norm
    rope: Callable[..., mx.array] = mx.fast.rope
    silu: Callable[..., mx.array] = nn.silu
    gelu_approx: Callable[..., mx.array] = nn.gelu_approx
    swiglu: Callable[..., mx.array] = activations.swiglu
    lora_call: Callable[..., mx.array] = LoRALinear.__call__
    linear: Callable[..., mx.array] = nn.Linear.__call__
    quantized_linear: Callable[..., mx.array] = nn.QuantizedLinear.__call__
    embedding: Callable[..., mx.array] = nn.Embedding.__call__
    embedding_as_linear: Callable[..., mx.array] = nn.Embedding.as_linear
    quantized_embedding_as_linear: Callable[..., mx.array] = nn.QuantizedEmbedding.as_linear
    adam: Callable[..., mx.array] = optimizers.Adam.apply_single
    adamw: Callable[..., mx.array] = optimizers.AdamW.apply_single


ORIGINALS = _Originals()

_active: Kernels | None = None


def active() -> Kernels | None:
    """The kernels in place now, if any; for callers with an operation that MLX has no name for."""
    return _active


@contextmanager
def fast_cpu_ops(kernels: Kernels | Unavailable) -> Iterator[None]:
    """Put the kernels in place of MLX's operations inside the block, everywhere models call them.

    Functions that models imported by name are replaced in the modules that hold them, and all are put back at the
    end, also in modules first imported inside the block. Nested blocks and `Unavailable` change nothing.
    """
    global _active
    if isinstance(kernels, Unavailable) or _active is not None:
        yield
        return
    replaced = _replacements(kernels)
    _active = kernels
    _swap(replaced)
    try:
        yield
    finally:
        _swap([(new, old) for old, new in replaced])
        _active = None


def _replacements(kernels: Kernels) -> list[tuple[Any, Any]]:
    """Pairs of original and replacement."""

    def lora_call(layer: Any, x: mx.array) -> mx.array:
        return kernels.lora_call(layer, x)

    def adam(optimizer: Any, gradient: mx.array, parameter: mx.array, state: Any) -> mx.array:
        if not _adam_fits(gradient, parameter, state):
            return ORIGINALS.adam(optimizer, gradient, parameter, state)
        return kernels.adamw(optimizer, gradient, parameter, state, decay=0.0)

    def adamw(optimizer: Any, gradient: mx.array, parameter: mx.array, state: Any) -> mx.array:
        if not _adam_fits(gradient, parameter, state):
            return ORIGINALS.adamw(optimizer, gradient, parameter, state)
        return kernels.adamw(optimizer, gradient, parameter, state, decay=optimizer.weight_decay)

    return [
        (ORIGINALS.attention, kernels.scaled_dot_product_attention),
        (ORIGINALS.rms_norm, kernels.rms_norm),
        (ORIGINALS.rope, kernels.rope),
        (ORIGINALS.silu, kernels.silu),
        (ORIGINALS.gelu_approx, kernels.gelu_approx),
        (ORIGINALS.swiglu, kernels.swiglu),
        (ORIGINALS.lora_call, lora_call),
        (ORIGINALS.embedding, _wide_embedding),
        *((original, _short_or(kernels, original)) for original in _PRODUCTS),
        (ORIGINALS.adam, adam),
        (ORIGINALS.adamw, adamw),
    ]


_PRODUCTS = (
    ORIGINALS.linear,
    ORIGINALS.quantized_linear,
    ORIGINALS.embedding_as_linear,
    ORIGINALS.quantized_embedding_as_linear,
)


def _short_or(kernels: Kernels, original: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """The product of a layer that `shorten` was called with; of all others the original."""

    def call(layer: Any, x: mx.array) -> mx.array:
        if (y := kernels.short_product(layer, x)) is None:
            return original(layer, x)
        return y + layer.bias if "bias" in layer else y

    return call


def _wide_embedding(layer: Any, x: mx.array) -> mx.array:
    """Rows of an embedding, in float32 as all activations."""
    rows = ORIGINALS.embedding(layer, x)
    return rows.astype(mx.float32) if rounds(layer) else rows


def _swap(pairs: list[tuple[Any, Any]]) -> None:
    """Replace every name that holds the first of a pair by the second."""
    wanted = {id(old): new for old, new in pairs}
    for holder in _holders():
        for name, value in list(vars(holder).items()):
            if id(value) in wanted:
                setattr(holder, name, wanted[id(value)])


def _holders() -> list[Any]:
    """Modules and classes that hold an operation by name."""
    modules = [
        m for name, m in sys.modules.items() if isinstance(m, ModuleType) and name.startswith(PATCHED_PACKAGES)
    ]
    layers = [nn.Linear, nn.QuantizedLinear, nn.Embedding, nn.QuantizedEmbedding]
    return [mx.fast, LoRALinear, *layers, optimizers.Adam, optimizers.AdamW, *modules]

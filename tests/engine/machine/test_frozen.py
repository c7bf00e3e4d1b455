"""Products with weights in bfloat16 and quantised, against float64 NumPy with the same roundings."""

from __future__ import annotations

from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.lora import LoRALinear

from droidft.engine.machine import kernels
from droidft.engine.machine.kernels import Kernels, fast_cpu_ops
from tests.engine.closeness import RTOL, Function, close
from tests.engine.machine.kernel_models import lora_layer

BITS = (16, 2, 3, 4, 5, 6, 8)
ONE_WEIGHT = 3e-3
"""A dequantised number in the middle between two of bfloat16 goes to either side, by the order of MLX's sum."""


def layer_of(random: Function, bits: int, out: int, width: int, group: int = 32) -> Any:
    layer = nn.Linear(width, out, bias=False)
    layer.weight = random(out, width)
    if bits < 16:
        layer = nn.QuantizedLinear.from_linear(layer, group, bits)
    kernels.shorten(layer)
    return layer


def rounded(x: mx.array) -> mx.array:
    return x.astype(mx.bfloat16).astype(mx.float32)


def matrix(layer: Any) -> mx.array:
    """The numbers that are multiplied, in float32."""
    if not hasattr(layer, "scales"):
        return rounded(layer.weight)
    dense = mx.dequantize(layer.weight, layer.scales, layer.biases, layer.group_size, layer.bits)
    return rounded(dense)


def exact(a: mx.array, b: mx.array) -> np.ndarray:
    return np.asarray(a, np.float64) @ np.asarray(b, np.float64)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    ("rows", "width", "out"),
    # A token; few rows; more than a tile, with a rest everywhere; deeper than a piece.
    [(1, 64, 40), (7, 320, 41), (17, 64, 65), (50, 96, 33), (61, 2560, 96)],
)
def test_products_and_their_gradients_are_those_of_rounded_numbers(
    fast: Kernels, random: Function, bits: int, rows: int, width: int, out: int
) -> None:
    layer = layer_of(random, bits, out, width)
    x, pull = random(rows, width), random(rows, out)
    with fast_cpu_ops(fast):
        y = layer(x)
        dx = mx.grad(lambda x: (layer(x) * pull).sum())(x)
    tolerance = RTOL if bits == 16 else ONE_WEIGHT
    close(y, exact(rounded(x), matrix(layer).T), tolerance)
    close(dx, exact(rounded(pull), matrix(layer)), tolerance)


@pytest.mark.parametrize("width", [1, 31, 33, 95])
def test_widths_that_no_vector_divides(fast: Kernels, random: Function, width: int) -> None:
    layer = layer_of(random, 16, 37, width)
    for rows in (1, 16, 29):
        x = random(rows, width)
        pull = random(rows, 37)
        with fast_cpu_ops(fast):
            close(layer(x), exact(rounded(x), matrix(layer).T))
            close(mx.grad(lambda x, p=pull: (layer(x) * p).sum())(x), exact(rounded(pull), matrix(layer)))


def test_a_row_has_the_same_bits_alone_and_in_company(fast: Kernels, random: Function) -> None:
    layer = layer_of(random, 16, 200, 576)
    x = random(16, 576)
    with fast_cpu_ops(fast):
        together = np.asarray(layer(x))
        for count in (1, 3, 4, 7):
            assert np.array_equal(np.asarray(layer(x[:count])), together[:count])


def test_activations_in_the_type_of_the_weights_give_float32_too(fast: Kernels, random: Function) -> None:
    layer, x = layer_of(random, 16, 40, 64), random(20, 64)
    with fast_cpu_ops(fast):
        found = layer(x.astype(mx.bfloat16))
        assert found.dtype == mx.float32
        assert mx.array_equal(found, layer(x))


def test_a_product_has_the_same_bits_whenever_it_is_computed(fast: Kernels, random: Function) -> None:
    layer = layer_of(random, 16, 301, 577)
    x = random(333, 577)
    with fast_cpu_ops(fast):
        first = np.asarray(layer(x))
        assert all(np.array_equal(np.asarray(layer(x)), first) for _ in range(10))


@pytest.mark.parametrize("bits", [16, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_lora_layers_keep_their_own_products_in_float32(
    fast: Kernels, random: Function, bits: int, bias: bool
) -> None:
    layer = lora_layer(random, rank=8, bias=bias, width=96)
    if bits < 16:
        layer.linear = nn.QuantizedLinear.from_linear(layer.linear, 32, bits)
    kernels.shorten(layer.linear)
    layer.linear.freeze()
    x, pull = random(2, 50, 96), random(2, 50, 91)

    def loss(model: Any, x: mx.array) -> mx.array:
        return (model(x) * pull).sum()

    def wanted(model: Any, x: mx.array) -> mx.array:
        """The same with a gradient straight through the roundings."""
        base = rounded(x) @ matrix(model.linear).T + (model.linear.bias if bias else 0)
        return ((base + model.scale * ((x @ model.lora_a) @ model.lora_b)) * pull).sum()

    with fast_cpu_ops(fast):
        value, gradients = nn.value_and_grad(layer, loss)(layer, x)
        dx = mx.grad(partial(loss, layer))(x)
    want, theirs = nn.value_and_grad(layer, wanted)(layer, x)
    tolerance = RTOL if bits == 16 else ONE_WEIGHT
    close(value, want, tolerance)
    for (name, mine), (other, their) in zip(tree_flatten(gradients), tree_flatten(theirs), strict=True):
        assert name == other
        close(mine, their, tolerance)
    side = (pull * layer.scale) @ layer.lora_b.T @ layer.lora_a.T
    flat = exact(rounded(pull).reshape(100, 91), matrix(layer.linear)).reshape(2, 50, 96)
    close(dx, flat + np.asarray(side, np.float64), tolerance)


@pytest.mark.parametrize("bits", [16, 8])
def test_the_loss_of_a_head(fast: Kernels, random: Function, bits: int) -> None:
    layer, hidden = layer_of(random, bits, 301, 64), random(9, 64)
    targets = mx.random.randint(0, 301, (9,), key=mx.random.key(2))
    weights = kernels.weights_of(layer)
    assert weights is not None
    losses = fast.linear_cross_entropy(hidden, weights, targets)
    tolerance = RTOL if bits == 16 else ONE_WEIGHT
    close(losses, nn.losses.cross_entropy(rounded(hidden) @ matrix(layer).T, targets), tolerance)
    gradient = mx.grad(lambda h: fast.linear_cross_entropy(h, weights, targets).sum())(hidden)
    logits = rounded(hidden) @ matrix(layer).T
    onehot = mx.arange(301) == targets[:, None]
    # A gradient in the middle between two numbers of bfloat16 goes to either side, too.
    close(gradient, exact(rounded(mx.softmax(logits, axis=-1) - onehot), matrix(layer)), ONE_WEIGHT)


def test_embeddings_give_float32_rows_and_short_logits(fast: Kernels, random: Function) -> None:
    plain = nn.Embedding(40, 64)
    layer = nn.Embedding(40, 64)
    layer.weight = plain.weight
    kernels.shorten(layer)
    tokens, x = mx.array([[1, 5, 39]]), random(2, 64)
    with fast_cpu_ops(fast):
        rows, logits = layer(tokens), layer.as_linear(x)
    assert rows.dtype == logits.dtype == mx.float32
    assert mx.array_equal(rows, rounded(plain.weight)[tokens])
    close(logits, exact(rounded(x), rounded(plain.weight).T))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("rows", [3, 40])
def test_what_is_not_finite_comes_through(fast: Kernels, random: Function, bad: float, rows: int) -> None:
    layer = layer_of(random, 16, 37, 64)
    x = mx.where(mx.arange(rows * 64).reshape(rows, 64) == 70, bad, random(rows, 64))
    with fast_cpu_ops(fast):
        finite = np.isfinite(np.asarray(layer(x)))
    assert not finite[1].any()
    assert finite[[0, *range(2, rows)]].all()


def test_weights_that_do_not_fit_are_refused(fast: Kernels, random: Function) -> None:
    with pytest.raises(ValueError, match="weights"):
        fast.native.product(random(3, 10), [random(5, 9)])
    with pytest.raises(ValueError, match="weights"):
        fast.native.product(random(3, 64), [random(5, 64).astype(mx.float16)])


def test_layers_of_other_kinds_stay_as_they_are(fast: Kernels, random: Function) -> None:
    for mode, group in (("mxfp4", 32),):
        layer = nn.QuantizedLinear.from_linear(nn.Linear(64, 32, bias=False), group, 4, mode=mode)
        kernels.shorten(layer)
        assert not kernels.rounds(layer)
        x = random(3, 64)
        with fast_cpu_ops(fast):
            close(layer(x), nn.QuantizedLinear.__call__(layer, x))
    assert LoRALinear.__call__ is not fast.lora_call

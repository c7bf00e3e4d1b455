"""The fused CPU kernels against plain MLX and float64 NumPy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.rope_utils import initialize_rope
from mlx_lm.tuner.lora import LoRALinear

from droidft.engine.machine.kernels import Kernels, fast_cpu_ops
from tests.engine.closeness import Function, close, heads, same
from tests.engine.machine.kernel_models import lora_layer

# Attention


@pytest.mark.parametrize(
    ("batch", "q_heads", "kv_heads", "queries", "keys", "dim"),
    [
        (2, 9, 3, 256, 256, 64),
        (1, 4, 4, 37, 37, 80),
        (2, 8, 2, 100, 133, 96),
        (1, 2, 1, 200, 200, 128),
        (3, 3, 1, 17, 17, 20),
    ],
)
@pytest.mark.parametrize("mask", [None, "causal"])
def test_attention_agrees_with_mlx(
    fast: Kernels,
    random: Function,
    batch: int,
    q_heads: int,
    kv_heads: int,
    queries: int,
    keys: int,
    dim: int,
    mask: str | None,
) -> None:
    q = heads(random, batch, q_heads, queries, dim)
    k, v = heads(random, batch, kv_heads, keys, dim), heads(random, batch, kv_heads, keys, dim)
    options = {"scale": dim**-0.5, "mask": mask}
    same(partial(fast.scaled_dot_product_attention, **options), plain_attention(options), q, k, v)


def plain_attention(options: dict[str, Any]) -> Function:
    return lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, **options)


def test_attention_with_values_of_another_width(fast: Kernels, random: Function) -> None:
    q, k, v = random(1, 4, 33, 48), random(1, 2, 33, 48), random(1, 2, 33, 32)
    options = {"scale": 0.2, "mask": "causal"}
    same(partial(fast.scaled_dot_product_attention, **options), plain_attention(options), q, k, v)


@pytest.mark.parametrize("shape", [(1, 1, 40, 40), (2, 1, 1, 40), (40, 40)])
def test_boolean_masks_broadcast(fast: Kernels, random: Function, shape: tuple[int, ...]) -> None:
    mask = random(*shape) > 0
    q, k, v = random(2, 6, 40, 64), random(2, 2, 40, 64), random(2, 2, 40, 64)
    options = {"scale": 0.125, "mask": mask}
    same(partial(fast.scaled_dot_product_attention, **options), plain_attention(options), q, k, v)


def test_a_query_that_sees_nothing_attends_to_all_alike(fast: Kernels, random: Function) -> None:
    mask = mx.arange(32)[:, None] >= mx.arange(32)[None] + 4  # the first four rows are empty
    q, k, v = random(1, 2, 32, 64), random(1, 2, 32, 64), random(1, 2, 32, 64)
    options = {"scale": 0.125, "mask": mask}
    same(partial(fast.scaled_dot_product_attention, **options), plain_attention(options), q, k, v)


def test_attention_against_float64(fast: Kernels, random: Function) -> None:
    q, k, v = (4 * random(1, 1, 65, 64) for _ in range(3))
    got = fast.scaled_dot_product_attention(q, k, v, scale=0.125, mask="causal")
    q64, k64, v64 = (np.asarray(a, np.float64)[0, 0] for a in (q, k, v))
    scores = np.where(np.tri(65, dtype=bool), q64 @ k64.T * 0.125, -np.inf)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    close(got[0, 0], weights / weights.sum(1, keepdims=True) @ v64)


# Activations, normalisation, positions


@pytest.mark.parametrize("shape", [(5, 77), (2, 3, 1536), (1, 1)])
def test_activations_agree_with_mlx(fast: Kernels, random: Function, shape: tuple[int, ...]) -> None:
    gate, x = 4 * random(*shape), random(*shape)
    same(fast.swiglu, lambda g, x: nn.silu(g) * x, gate, x)
    same(fast.silu, nn.silu, gate)
    same(fast.gelu_approx, nn.gelu_approx, gate)


def test_silu_against_float64_over_its_whole_range(fast: Kernels) -> None:
    x = np.linspace(-87, 110, 40_001, dtype=np.float32)  # below, the result is no normal number
    want = x / (1 + np.exp(-x.astype(np.float64)))
    got = np.asarray(fast.silu(mx.array(x)), np.float64)
    assert (np.abs(got - want) / np.abs(want)).max() < 5e-7
    assert float(np.abs(np.asarray(fast.silu(mx.linspace(-1000, -88, 99)))).max()) < 1e-35


@pytest.mark.parametrize("shape", [(5, 7, 77), (1, 576), (130, 64)])
def test_rms_norm_agrees_with_mlx(fast: Kernels, random: Function, shape: tuple[int, ...]) -> None:
    x, weight = 3 * random(*shape), random(shape[-1])
    same(lambda x, w: fast.rms_norm(x, w, 1e-5), lambda x, w: mx.fast.rms_norm(x, w, 1e-5), x, weight)
    same(lambda x: fast.rms_norm(x, None, 1e-5), lambda x: mx.fast.rms_norm(x, None, 1e-5), x)


def test_inputs_that_are_not_in_row_order(fast: Kernels, random: Function) -> None:
    x, weight = random(12, 5, 20), random(12)
    same(
        lambda x, w: fast.rms_norm(x.transpose(1, 2, 0), w, 1e-6),
        lambda x, w: mx.fast.rms_norm(x.transpose(1, 2, 0), w, 1e-6),
        x,
        weight,
    )
    same(lambda x: fast.silu(x[::2].swapaxes(1, 2)), lambda x: nn.silu(x[::2].swapaxes(1, 2)), x)
    same(lambda w: fast.silu(mx.broadcast_to(w, (5, 12))), lambda w: nn.silu(mx.broadcast_to(w, (5, 12))), weight)


@pytest.mark.parametrize("traditional", [False, True])
@pytest.mark.parametrize(("length", "dim", "dims", "offset", "scale"), [(33, 64, 64, 0, 1.0), (100, 80, 32, 7, 0.5)])
def test_rope_agrees_with_mlx(
    fast: Kernels,
    random: Function,
    traditional: bool,
    length: int,
    dim: int,
    dims: int,
    offset: int,
    scale: float,
) -> None:
    x = heads(random, 2, 3, length, dim)
    options = {"traditional": traditional, "base": 10_000.0, "scale": scale, "offset": offset}
    same(lambda x: fast.rope(x, dims, **options), lambda x: mx.fast.rope(x, dims, **options), x)


def test_rope_with_given_frequencies(fast: Kernels, random: Function) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    rope = initialize_rope(64, 10_000.0, False, scaling, 512)
    x = heads(random, 1, 2, 300, 64)

    def installed(x: mx.array) -> mx.array:
        with fast_cpu_ops(fast):
            return rope(x)

    same(installed, rope, x)


# Loss, low-rank layers, update


@pytest.mark.parametrize(("rows", "classes"), [(1, 5), (20, 1003), (7, 49_152)])
def test_cross_entropy_agrees_with_mlx(fast: Kernels, random: Function, rows: int, classes: int) -> None:
    logits = 3 * random(rows, classes)
    targets = mx.random.randint(0, classes, (rows,), key=mx.random.key(2))

    def plain(x: mx.array) -> mx.array:
        return nn.losses.cross_entropy(x, targets)

    same(lambda x: fast.cross_entropy(x, targets)[0], plain, logits)
    close(fast.cross_entropy(logits, targets)[1], mx.grad(lambda x: plain(x).sum())(logits))


@pytest.mark.parametrize("classes", [301, 3_000_000])
def test_linear_cross_entropy_in_chunks(fast: Kernels, random: Function, classes: int) -> None:
    hidden, weight = random(9, 8), 0.1 * random(classes, 8)
    targets = mx.random.randint(0, classes, (9,), key=mx.random.key(2))
    same(
        lambda h: fast.linear_cross_entropy(h, [weight], targets),
        lambda h: nn.losses.cross_entropy(h @ weight.T, targets),
        hidden,
    )
    losses = fast.linear_cross_entropy(hidden, [weight], targets, with_gradient=False)
    close(losses, fast.linear_cross_entropy(hidden, [weight], targets))


def test_targets_out_of_range_give_nan(fast: Kernels, random: Function) -> None:
    losses, gradients = fast.cross_entropy(random(3, 10), mx.array([0, 10, -1]))
    assert np.isnan(np.asarray(losses)).tolist() == [False, True, True]
    assert np.isfinite(np.asarray(gradients)[0]).all()


def test_shapes_that_do_not_fit_are_refused(fast: Kernels, random: Function) -> None:
    with pytest.raises(ValueError, match="targets"):
        fast.cross_entropy(random(3, 10), mx.array([1, 2]))
    with pytest.raises(ValueError, match="weight"):
        fast.linear_cross_entropy(random(3, 10), [random(5, 9)], mx.array([1, 2, 0]))
    with pytest.raises(ValueError, match="rms_norm"):
        fast.rms_norm(random(3, 10), random(9), 1e-5)


@pytest.mark.parametrize(("rank", "bias"), [(8, False), (1, True), (40, False)])
def test_lora_layers_agree_with_mlx_lm(fast: Kernels, random: Function, rank: int, bias: bool) -> None:
    layer = lora_layer(random, rank=rank, bias=bias)
    x = random(2, 50, 77)
    pull = random(2, 50, 91)

    def run(call: Function) -> tuple[Any, mx.array]:
        def loss(model: nn.Module, x: mx.array) -> mx.array:
            return (call(model, x) * pull).sum()

        value, gradients = nn.value_and_grad(layer, loss)(layer, x)
        return (value, gradients), mx.grad(lambda x: loss(layer, x))(x)

    (value, gradients), to_input = run(fast.lora_call)
    (plain_value, plain_gradients), plain_to_input = run(LoRALinear.__call__)
    close(value, plain_value)
    close(to_input, plain_to_input)
    found, wanted = dict(tree_flatten(gradients)), dict(tree_flatten(plain_gradients))
    assert found.keys() == {"lora_a", "lora_b"}
    for name in found:
        close(found[name], wanted[name])


def test_the_base_weight_of_a_lora_layer_can_be_trained_too(fast: Kernels, random: Function) -> None:
    x, a, b = random(2, 20, 33), random(33, 4), random(4, 17)
    same(
        lambda w: fast.native.lora(x, [w], a, b, 0.5),
        lambda w: x @ w.T + 0.5 * ((x @ a) @ b),
        random(17, 33),
    )


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("make", [optimizers.Adam, partial(optimizers.AdamW, weight_decay=0.1)])
def test_adam_agrees_with_mlx(fast: Kernels, random: Function, correct: bool, make: Any) -> None:
    start, gradients = random(33, 70), [random(33, 70) for _ in range(4)]

    def trained() -> dict[str, mx.array]:
        optimizer = make(learning_rate=1e-2, bias_correction=correct)
        parameters = {"w": start}
        for gradient in gradients:
            parameters = optimizer.apply_gradients({"w": gradient}, parameters)
        return {"w": parameters["w"] - start, **optimizer.state["w"]}

    want = trained()
    with fast_cpu_ops(fast):
        got = trained()
    for name in want:
        # MLX computes 1 - beta^step in float32, which costs it four digits.
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-6)


# What every kernel must do


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_comes_through(fast: Kernels, random: Function, bad: float) -> None:
    x = random(1, 2, 32, 64)
    spoilt = mx.where(mx.arange(x.size).reshape(x.shape) == 70, bad, x)
    rows, row = spoilt.reshape(64, 64), 70 // 64
    cos_sin = {"traditional": False, "base": 1e4, "scale": 1.0, "offset": 0}
    targets = mx.zeros(64, mx.int32)
    results = {
        "query": fast.scaled_dot_product_attention(spoilt, x, x, scale=1.0, mask="causal")[0, 0],
        "value": fast.scaled_dot_product_attention(x, x, spoilt, scale=1.0)[0, 0],
        "norm": fast.rms_norm(rows, None, 1e-5),
        "rope": fast.rope(spoilt, 64, **cos_sin)[0, 0],
        "swiglu": fast.swiglu(rows, rows),
        "loss": fast.cross_entropy(rows, targets)[0][:, None],
        "loss gradient": fast.cross_entropy(rows, targets)[1],
        "lora": fast.native.lora(rows, [random(9, 64)], random(64, 4), random(4, 9), 1.0),
    }
    swallowed = {name: value for name, value in results.items() if bool(mx.all(mx.isfinite(value[row])))}
    if bad == -float("inf"):  # a logit of minus infinity is a probability of zero
        assert swallowed.keys() == {"loss", "loss gradient"}
    else:
        assert not swallowed


def test_large_products_agree_however_they_are_cut(fast: Kernels, random: Function) -> None:
    if not fast.products:
        pytest.skip("products are left to the BLAS here")
    a, b = random(515, 301), random(1031, 301)
    want = np.asarray(a, np.float64) @ np.asarray(b, np.float64).T
    close(a @ b.T, want)
    close(a.T.swapaxes(0, 1) @ mx.contiguous(b.T), want)
    close(mx.contiguous(a.T).T @ b.T, want)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (8, 16), (61, 301), (2049, 100), (3000, 577)])
def test_the_product_of_a_single_row(fast: Kernels, random: Function, shape: tuple[int, int]) -> None:
    if not fast.products:
        pytest.skip("products are left to the BLAS here")
    x, w = random(1, shape[1]), random(*shape)
    want = np.asarray(x, np.float64) @ np.asarray(w, np.float64).T
    close(x @ w.T, want)
    close(x[None] @ w.T, want[None])
    wide = random(shape[0], shape[1] + 3)
    cut = wide[:, 1 : 1 + shape[1]]
    close(x @ cut.T, np.asarray(x, np.float64) @ np.asarray(cut, np.float64).T)
    for bad in (float("nan"), float("inf")):
        spoilt = w * 1
        spoilt[-1, -1] = bad
        found = np.asarray(x @ spoilt.T)[0]
        assert not np.isfinite(found[-1])
        assert np.isfinite(found[:-1]).all()


def test_two_streams_at_once(fast: Kernels, random: Function) -> None:
    x = random(64, 512)
    want = np.asarray(fast.silu(x))

    def work(_: int) -> bool:
        with mx.stream(mx.new_stream(mx.cpu)):
            return all(np.array_equal(np.asarray(fast.silu(x + 0)), want) for _ in range(50))

    with ThreadPoolExecutor(max_workers=3) as executor:
        assert all(executor.map(work, range(3)))

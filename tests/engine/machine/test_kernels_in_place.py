"""The fused CPU kernels put in place of MLX's operations, taken out again, built, and refused with a reason."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models import activations, gemma4_text, llama, switch_layers
from mlx_lm.tuner.lora import LoRALinear

from droidft.engine.machine import kernels
from droidft.engine.machine.kernels import Kernels, Unavailable, fast_cpu_ops
from droidft.engine.machine.native import build as native_build
from droidft.engine.machine.native.build import BuildError, build, find_tools
from tests.conftest import CACHE
from tests.engine.closeness import RTOL, Function, close
from tests.engine.machine.kernel_models import language_loss, lora_layer, tiny_llama

# Where they do not apply


def test_other_types_and_forms_go_to_the_original(fast: Kernels, random: Function) -> None:
    half = random(1, 2, 20, 64).astype(mx.bfloat16)
    x = random(1, 2, 20, 64)
    additive = random(20, 20)
    options = {"traditional": False, "base": 1e4, "scale": 1.0}
    pairs = [
        (fast.silu(half), nn.silu(half)),
        (fast.gelu_approx(half), nn.gelu_approx(half)),
        (fast.rms_norm(half, None, 1e-5), mx.fast.rms_norm(half, None, 1e-5)),
        (fast.swiglu(x, x[:, :1]), nn.silu(x) * x[:, :1]),
        (
            fast.scaled_dot_product_attention(x, x, x, scale=1.0, mask=additive),
            mx.fast.scaled_dot_product_attention(x, x, x, scale=1.0, mask=additive),
        ),
        (
            fast.scaled_dot_product_attention(x[:, :, :1], x, x, scale=1.0),
            mx.fast.scaled_dot_product_attention(x[:, :, :1], x, x, scale=1.0),
        ),
        (
            fast.rope(x, 64, **options, offset=mx.array(3)),
            mx.fast.rope(x, 64, **options, offset=mx.array(3)),
        ),
    ]
    for got, want in pairs:
        assert got.dtype == want.dtype
        assert mx.array_equal(got, want)


def test_dropout_and_quantised_bases_go_to_the_original(fast: Kernels, random: Function) -> None:
    x = random(2, 5, 77)
    dropping = lora_layer(random, dropout=0.5)
    mx.random.seed(1)
    want = dropping(x)
    mx.random.seed(1)
    assert mx.array_equal(fast.lora_call(dropping, x), want)
    dropping.eval()
    close(fast.lora_call(dropping, x), dropping(x))
    quantised = LoRALinear.from_base(nn.QuantizedLinear(64, 32), r=4)
    y = random(2, 5, 64)
    assert mx.array_equal(fast.lora_call(quantised, y), quantised(y))


# Installing


def test_the_block_puts_everything_back(fast: Kernels) -> None:
    def names() -> dict[tuple[str, str], int]:
        holders = {name: m for name, m in sys.modules.items() if name.startswith(("mlx.nn", "mlx_lm.models"))}
        holders |= {"fast": mx.fast, "lora": LoRALinear, "adam": optimizers.Adam, "adamw": optimizers.AdamW}
        return {(h, name): id(value) for h, holder in holders.items() for name, value in vars(holder).items()}

    before = names()
    with fast_cpu_ops(fast):
        assert kernels.active() is fast
        for replaced in (llama.swiglu, switch_layers.swiglu, activations.swiglu):
            assert replaced == fast.swiglu
        assert nn.silu == fast.silu
        assert mx.fast.rope == fast.rope
        with fast_cpu_ops(fast):
            pass
        assert mx.fast.rope == fast.rope
        sys.modules.pop("mlx_lm.models.qwen3", None)
        qwen3 = importlib.import_module("mlx_lm.models.qwen3")  # first imported inside the block
    assert kernels.active() is None
    assert qwen3.swiglu is activations.swiglu
    after = names()
    kept = {key: value for key, value in before.items() if not key[0].endswith("qwen3") and key[1] != "qwen3"}
    assert {key: after[key] for key in kept} == kept


def test_the_block_puts_everything_back_after_an_error(fast: Kernels) -> None:
    original = mx.fast.rms_norm
    with pytest.raises(KeyError), fast_cpu_ops(fast):
        raise KeyError
    assert mx.fast.rms_norm is original


def test_unavailable_kernels_change_nothing() -> None:
    original = mx.fast.rms_norm
    with fast_cpu_ops(Unavailable("no compiler")):
        assert mx.fast.rms_norm is original
        assert kernels.active() is None


@pytest.mark.parametrize("how", ["eager", "compiled", "checkpointed"])
def test_a_llama_has_the_same_loss_and_gradients(fast: Kernels, how: str) -> None:
    model = tiny_llama()
    tokens = mx.random.randint(0, 199, (2, 47), key=mx.random.key(3))
    want_value, want = nn.value_and_grad(model, language_loss)(model, tokens)
    mx.eval(want_value, want)

    with fast_cpu_ops(fast):
        if how == "checkpointed":
            checkpoint_blocks(model)
        run = nn.value_and_grad(model, language_loss)
        if how == "compiled":
            run = mx.compile(partial(run, model), inputs=model.state)
            value, gradients = run(tokens)
        else:
            value, gradients = run(model, tokens)
        mx.eval(value, gradients)
    close(value, want_value)
    wanted = dict(tree_flatten(want))
    got = dict(tree_flatten(gradients))
    assert got.keys() == wanted.keys()
    largest = max(float(mx.abs(a).max()) for a in wanted.values())
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-4, atol=RTOL * largest)


def checkpoint_blocks(model: nn.Module) -> None:
    """Let each block compute its activations again in the backward pass."""
    for block in model.layers:
        original = type(block).__call__

        def call(self: Any, *args: Any, _original: Function = original, **options: Any) -> mx.array:
            def inner(parameters: Any, *args: Any) -> mx.array:
                self.update(parameters)
                return _original(self, *args, **options)

            return mx.checkpoint(inner)(self.trainable_parameters(), *args)

        block.__class__ = type("Recomputed", (type(block),), {"__call__": call})


def test_compiled_functions_without_fixed_shapes(fast: Kernels, random: Function) -> None:
    """mlx-lm compiles some of its activations so; shapes are then derived by the nodes themselves."""
    with fast_cpu_ops(fast):
        compiled = mx.compile(lambda gate, x: nn.gelu_approx(gate) * x, shapeless=True)
        for rows in (3, 5):
            gate, x = random(rows, 7), random(rows, 7)
            close(compiled(gate, x), gemma4_text.nn.gelu_approx(gate) * x)


# Building


def test_a_second_build_is_the_first(fast: Kernels) -> None:
    assert build(CACHE) == build(CACHE)
    assert not list(CACHE.glob("build-*"))


@pytest.mark.parametrize(
    ("environment", "message"),
    [({"CXX": "no-such-compiler", "PATH": "/nonexistent"}, "install g\\+\\+"), ({"CXX": "false"}, "false failed")],
)
def test_without_a_compiler_the_reason_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BuildError, match=message):
        build(tmp_path)
    loaded = kernels.load(tmp_path)
    assert isinstance(loaded, Unavailable)
    assert list(tmp_path.iterdir()) == []


def test_on_another_system_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_build.sys, "platform", "darwin")
    with pytest.raises(BuildError, match="Linux"):
        find_tools()


def test_the_key_changes_with_the_processor(fast: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    here = find_tools().key()
    monkeypatch.setattr(native_build.host, "cpu_flags", lambda: {"another"})
    assert find_tools().key() != here


def test_results_are_the_same_bits_every_time(fast: Kernels, random: Function) -> None:
    model = tiny_llama()
    tokens = mx.random.randint(0, 199, (2, 47), key=mx.random.key(3))
    first: dict[str, bytes] | None = None
    with fast_cpu_ops(fast):
        for _ in range(20):
            value, gradients = nn.value_and_grad(model, language_loss)(model, tokens)
            found = {name: np.asarray(a).tobytes() for name, a in tree_flatten(gradients)}
            found["loss"] = np.asarray(value).tobytes()
            first = first or found
            assert found == first

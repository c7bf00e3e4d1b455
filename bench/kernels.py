"""The fused CPU kernels against plain MLX: each operation with its gradient, and whole training steps.

    python -m bench.kernels                # operations, then steps
    python -m bench.kernels --steps 0      # operations only

The model has SmolLM2-135M's shapes and random weights, LoRA rank 32 on all seven projections, batch 4 x 256, float32.
Times are the best of several runs (medians for steps): whatever else the machine does only adds to them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
from mlx.utils import tree_flatten

from droidft.engine.machine import device, kernels

BATCH, LENGTH, HIDDEN, WIDE, VOCABULARY, BLOCKS, RANK = 4, 256, 576, 1536, 49_152, 30, 32
HEADS, KV_HEADS, DIM = 9, 3, 64
PROJECTIONS = [f"self_attn.{n}_proj" for n in "qkvo"] + [f"mlp.{n}_proj" for n in ("gate", "up", "down")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="training steps timed on each side, after one warm-up")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    args = parser.parse_args()
    found = device.prepare(args.cache)
    # Loading moves MLX's matrix products to our threads, so plain MLX goes first.
    plain = {name: best(run) for name, run in operations().items()}
    plain_steps = steps(args.steps)
    fast = kernels.load(args.cache, blas=found.blas.path if found.blas else "", threads=found.threads)
    if isinstance(fast, kernels.Unavailable):
        raise SystemExit(f"no fused kernels here: {fast.reason}")
    print(f"{found.name}, {fast.threads} threads")
    print(f"{'operation with its gradient':<34}{'MLX ms':>9}{'ours ms':>9}{'ratio':>8}")
    with kernels.fast_cpu_ops(fast):
        for name, run in operations().items():
            ours = best(run)
            print(f"{name:<34}{plain[name] * 1e3:9.2f}{ours * 1e3:9.2f}{plain[name] / ours:8.1f}")
    if args.steps:
        report("plain MLX", plain_steps)
        with kernels.fast_cpu_ops(fast):
            report("with the kernels", steps(args.steps))
            report("with the kernels, compiled", steps(args.steps, compiled=True))


def operations() -> dict[str, Callable[[], Any]]:
    """By name, a call that computes an operation and its gradients to all inputs, at the shapes of one block."""
    normal = mx.random.normal
    q = normal((BATCH, LENGTH, HEADS, DIM)).transpose(0, 2, 1, 3)
    k, v = (normal((BATCH, LENGTH, KV_HEADS, DIM)).transpose(0, 2, 1, 3) for _ in range(2))
    x, gate, up = normal((BATCH, LENGTH, HIDDEN)), *(normal((BATCH, LENGTH, WIDE)) for _ in range(2))
    weight, head = mx.ones(HIDDEN), 0.02 * normal((VOCABULARY, HIDDEN))
    rows, targets = normal((256, HIDDEN)), mx.random.randint(0, VOCABULARY, (256,))
    layer = adapted(nn.Linear(HIDDEN, WIDE, bias=False))
    optimizer = optimizers.AdamW(1e-4)
    state = {"m": mx.zeros((HIDDEN, WIDE)), "v": mx.zeros((HIDDEN, WIDE))}
    parameter, gradient = normal((HIDDEN, WIDE)), normal((HIDDEN, WIDE))

    def attention(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=DIM**-0.5, mask="causal")

    def rope(q: mx.array) -> mx.array:
        return mx.fast.rope(q, DIM, traditional=False, base=1e4, scale=1.0, offset=0)

    def lora(x: mx.array, a: mx.array, b: mx.array) -> mx.array:
        layer.lora_a, layer.lora_b = a, b
        result: mx.array = layer(x)
        return result

    return {
        "attention, causal": differentiated(attention, q, k, v),
        "rope": differentiated(rope, q),
        "rms_norm": differentiated(lambda x: mx.fast.rms_norm(x, weight, 1e-5), x),
        "swiglu": differentiated(lambda g, u: from_models("swiglu")(g, u), gate, up),
        "LoRA linear 576 -> 1536": differentiated(lora, x, layer.lora_a, layer.lora_b),
        "loss, 256 tokens, 49,152 classes": differentiated(lambda h: loss(h, head, targets), rows),
        "AdamW, 885 k parameters": lambda: mx.eval(
            optimizer.apply_single(gradient, parameter, state), state["m"], state["v"]
        ),
    }


def from_models(name: str) -> Callable[..., mx.array]:
    from mlx_lm.models import activations

    function: Callable[..., mx.array] = getattr(activations, name)
    return function


def adapted(linear: nn.Linear) -> Any:
    from mlx_lm.tuner.lora import LoRALinear

    return LoRALinear.from_base(linear, r=RANK, scale=1.0)


def loss(hidden: mx.array, head: mx.array, targets: mx.array) -> mx.array:
    fused = kernels.active()
    if fused:
        return fused.linear_cross_entropy(hidden, [head], targets)
    losses: mx.array = nn.losses.cross_entropy(hidden @ head.T, targets)
    return losses


def differentiated(function: Callable[..., mx.array], *inputs: mx.array) -> Callable[[], Any]:
    mx.eval(inputs)
    run = mx.value_and_grad(lambda *args: function(*args).sum(), argnums=tuple(range(len(inputs))))
    return lambda: mx.eval(run(*inputs))


def best(run: Callable[[], Any], times: int = 30) -> float:
    """Seconds of the fastest of `times` runs."""

    def once() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return min(once() for _ in range(times))


def model() -> nn.Module:
    from mlx_lm.models.llama import Model, ModelArgs
    from mlx_lm.tuner.utils import linear_to_lora_layers

    mx.random.seed(0)
    arguments = ModelArgs(
        model_type="llama",
        hidden_size=HIDDEN,
        num_hidden_layers=BLOCKS,
        intermediate_size=WIDE,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        rms_norm_eps=1e-5,
        vocab_size=VOCABULARY,
        rope_theta=100_000.0,
    )
    made: nn.Module = Model(arguments)
    made.freeze()
    options = {"rank": RANK, "scale": 1.0, "dropout": 0.0, "keys": PROJECTIONS}
    linear_to_lora_layers(made, BLOCKS, options)
    made.train()
    mx.eval(made.parameters())
    return made


def steps(count: int, *, compiled: bool = False) -> tuple[list[float], float, float]:
    """Seconds of each step, peak memory in GB, and the last loss."""
    if not count:
        return [], 0.0, 0.0
    trained = model()
    optimizer = optimizers.AdamW(1e-4)
    optimizer.init(trained.trainable_parameters())
    tokens = mx.random.randint(0, VOCABULARY, (BATCH, LENGTH + 1))

    def mean_loss(trained: Any, tokens: mx.array) -> mx.array:
        hidden = trained.model(tokens[:, :-1]).reshape(-1, HIDDEN)
        return loss(hidden, trained.model.embed_tokens.weight, tokens[:, 1:].reshape(-1)).mean()

    gradients = nn.value_and_grad(trained, mean_loss)

    def step(tokens: mx.array) -> mx.array:
        value, gradient = gradients(trained, tokens)
        optimizer.update(trained, gradient)
        result: mx.array = value
        return result

    state = [trained.state, optimizer.state]
    call = mx.compile(step, inputs=state, outputs=state) if compiled else step
    seconds, value = [], mx.array(0.0)
    mx.reset_peak_memory()
    for _ in range(count + 1):
        start = time.perf_counter()
        value = call(tokens)
        mx.eval(value, [array for _, array in tree_flatten(state)])
        seconds.append(time.perf_counter() - start)
    return seconds, mx.get_peak_memory() / 1e9, value.item()


def report(name: str, result: tuple[list[float], float, float]) -> None:
    seconds, memory, value = result
    middle = statistics.median(seconds[1:])
    print(
        f"{name:<34}{middle:6.2f} s a step (first {seconds[0]:.2f}), {BATCH * LENGTH / middle:5.0f} tokens/s, "
        f"{memory:.2f} GB, loss {value:.5f}"
    )


if __name__ == "__main__":
    main()

"""Products with frozen weights, in GFLOP/s: float32 by the BLAS, bfloat16 and quantised by the kernels, and torch's.

    python -m bench.products --torch-python OTHER_VENV/bin/python

The shapes are those of SmolLM2-135M; `x W^T` is the forward direction, `dy W` the backward one. On one thread, in
seconds of the processor's, best of 12: so others may use the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SHAPES = ((800, 576, 576), (800, 576, 1536), (800, 1536, 576), (128, 576, 1536), (128, 576, 49152), (4, 576, 1536))
REPEATS = 12
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
WIDTH = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", help="interpreter that has torch")
    parser.add_argument("--torch", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, default=Path(".cache/bench"))
    args = parser.parse_args()
    os.environ |= ONE_THREAD
    if args.torch:
        _theirs()
        return
    print(f"{'rows x in x out':{WIDTH}}" + "".join(f"{f'{m} x {k} x {n}':>18}" for m, k, n in SHAPES))
    _ours(args.work)
    if args.torch_python:
        sys.stdout.flush()
        subprocess.run([args.torch_python, "-m", "bench.products", "--torch"], check=True)


def _ours(work: Path) -> None:
    from droidft.engine.machine.device import computing

    with computing(work.absolute()) as device:
        import mlx.core as mx
        import mlx.nn as nn

        from droidft.engine.machine import kernels

        fused = kernels.active()
        assert fused is not None, device.warnings
        for name, bits in (("float32", 32), ("bfloat16", 16), ("4 bits", 4), ("8 bits", 8)):
            forward, backward = [], []
            for m, k, n in SHAPES:
                layer = nn.Linear(k, n, bias=False)
                if bits < 16:
                    layer = nn.QuantizedLinear.from_linear(layer, 64, bits)
                if bits < 32:
                    kernels.shorten(layer)
                weights = kernels.weights_of(layer)
                assert weights is not None
                x, dy = mx.random.normal((m, k)), mx.random.normal((m, n))
                mx.eval(layer.parameters(), x, dy)

                def there(x: mx.array, weights: list[mx.array] = weights) -> mx.array:
                    product: mx.array = fused.native.product(x, weights)
                    return product

                def back(dy: mx.array, x: mx.array, there: Callable[..., mx.array] = there) -> mx.array:
                    return mx.vjp(there, [x], [dy])[1][0]

                forward.append(_rate(m, k, n, lambda f=there, x=x: mx.eval(f(x))))
                backward.append(_rate(m, k, n, lambda f=back, x=x, dy=dy: mx.eval(f(dy, x))))
            _print(f"{name} x W^T", forward)
            _print(f"{name} dy W", backward)
        print(f"instructions for bfloat16: {fused.short_products or 'none'}")


def _theirs() -> None:
    import torch

    for name, dtype in (("torch float32", torch.float32), ("torch bfloat16", torch.bfloat16)):
        rates = []
        for m, k, n in SHAPES:
            x, w = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
            rates.append(_rate(m, k, n, lambda x=x, w=w: torch.matmul(x, w.T)))
        _print(f"{name} x W^T", rates)


def _rate(m: int, k: int, n: int, call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.process_time()
        call()
        best = min(best, time.process_time() - begin)
    return 2 * m * k * n / best / 1e9


def _print(name: str, rates: list[float]) -> None:
    print(f"{name:{WIDTH}}" + "".join(f"{rate:18.0f}" for rate in rates))


if __name__ == "__main__":
    main()

"""Products of bfloat16 numbers by the kernels against torch's."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from droidft.engine.machine import kernels
from droidft.engine.machine.device import computing
from tests.conftest import CACHE

torch = pytest.importorskip("torch", reason="torch is not installed: make interop")


@pytest.mark.parametrize("rows", [1, 40, 200])
def test_products_are_those_of_torch_but_for_the_rounding_of_the_result(rows: int) -> None:
    layer = nn.Linear(577, 301, bias=False)
    kernels.shorten(layer)
    x = mx.random.normal((rows, 577))
    w = torch.tensor(np.asarray(layer.weight.astype(mx.float32))).bfloat16()
    want = (torch.tensor(np.asarray(x)).bfloat16() @ w.T).float().numpy()
    with computing(CACHE) as device:
        if not device.fused_kernels:
            pytest.skip(f"no fused kernels here: {device.warnings}")
        found = np.asarray(layer(x))
    # torch rounds its result to eight binary digits, and its sums may be cut into parts of the depth.
    np.testing.assert_allclose(found, want, rtol=2**-7, atol=2e-3)

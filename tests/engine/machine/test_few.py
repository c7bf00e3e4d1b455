"""Products and attention of few rows: right, and the same bits whatever rows stand beside one."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest

from droidft.engine.machine.kernels import Kernels, fast_cpu_ops
from tests.engine.closeness import Function

ROWS = (1, 2, 3, 5, 8, 17, 48, 64)


@pytest.fixture(autouse=True)
def kernels_in_place(fast: Kernels) -> Iterator[None]:
    if not fast.products:
        pytest.skip("products are not on the kernels' threads here")
    with fast_cpu_ops(fast):
        yield


@pytest.mark.parametrize(("inner", "out"), [(576, 192), (33, 65), (16, 7), (5, 100), (64, 8960), (4096, 144)])
@pytest.mark.parametrize("transposed", [True, False])
def test_a_row_of_a_product_does_not_depend_on_the_others(
    random: Function, inner: int, out: int, transposed: bool
) -> None:
    x, w, bias = random(64, inner), random(out, inner) if transposed else random(inner, out), random(out)
    matrix = w.T if transposed else w
    alone = mx.concatenate([x[row : row + 1] @ matrix for row in range(64)])
    wanted = np.array(x, np.float64) @ np.array(matrix, np.float64)
    np.testing.assert_allclose(np.array(alone), wanted, rtol=1e-4, atol=1e-4 + 1e-7 * inner)
    for rows in ROWS:
        assert mx.array_equal(x[:rows] @ matrix, alone[:rows]), rows
        assert mx.array_equal(mx.addmm(bias, x[:rows], matrix), alone[:rows] + bias), rows


@pytest.mark.parametrize("dim", [64, 20, 80])
def test_a_row_of_attention_sees_its_own_keys_alone(random: Function, dim: int) -> None:
    lengths = [70, 1, 16, 17, 33]
    q, k, v = random(5, 6, 1, dim), random(5, 2, 70, dim), random(5, 2, 70, dim)
    ends = mx.array(lengths)[:, None]
    for seen in (mx.arange(70)[None] < ends, mx.arange(70)[None] >= 70 - ends):
        together = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.2, mask=seen[:, None, None])
        for row, length in enumerate(lengths):
            own = slice(0, length) if bool(seen[row, 0].item()) else slice(70 - length, 70)
            one = (q[row : row + 1], k[row : row + 1, :, own], v[row : row + 1, :, own])
            assert mx.array_equal(mx.fast.scaled_dot_product_attention(*one, scale=0.2, mask=None)[0], together[row])
            scores = 0.2 * (np.array(one[0][0], np.float64).reshape(2, 3, dim) @ np.array(one[1][0]).swapaxes(1, 2))
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            wanted = (weights / weights.sum(axis=-1, keepdims=True)) @ np.array(one[2][0])
            np.testing.assert_allclose(np.array(together[row]).reshape(2, 3, dim), wanted, rtol=1e-4, atol=1e-5)

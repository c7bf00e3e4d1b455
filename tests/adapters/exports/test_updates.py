"""What adapters do to weights, by hand."""

import numpy as np

from droidft.adapters.exports.origins import Origin, Piece, Role
from droidft.adapters.exports.updates import Update

ROWS = np.arange(4)


def origin(shape: tuple[int, ...], *, shift: float = 0.0) -> Origin:
    rows = int(np.prod(shape[:-1]))
    return Origin(
        "m", Role.LINEAR, shape, (Piece("t", np.arange(rows), np.arange(rows) * shape[-1], 1),), shift=shift
    )


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_lora_adds_scale_times_the_product() -> None:
    left, right, weight = random(1, 4, 2), random(1, 2, 3), random(4, 3)
    made = Update(origin((4, 3)), 2.0, left, right).applied(ROWS, weight)
    np.testing.assert_allclose(made, weight + 2 * left[0] @ right[0], rtol=1e-6)


def test_dora_gives_each_row_its_magnitude() -> None:
    left, right, weight, m = random(1, 4, 2), random(1, 2, 3), random(4, 3), np.arange(1, 5, dtype=np.float32)
    made = Update(origin((4, 3)), 2.0, left, right, m).applied(ROWS, weight)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), m, rtol=1e-6)


def test_rows_of_several_experts_are_told_apart() -> None:
    left, right, weight = random(2, 2, 1), random(2, 1, 3), random(4, 3)
    update = Update(origin((2, 2, 3)), 1.0, left, right)
    assert [chosen.tolist() for chosen in update.by_expert(ROWS)] == [[0, 1], [2, 3]]
    made = update.applied(ROWS[2:], weight[2:])
    np.testing.assert_allclose(made, weight[2:] + left[1] @ right[1], rtol=1e-6)


def test_whole_weights_lose_what_loading_adds() -> None:
    made = Update(origin((4, 3), shift=1.0), whole=random(4, 3) + 1).applied(ROWS, np.zeros((4, 3), np.float32))
    np.testing.assert_allclose(made, random(4, 3), atol=1e-6)

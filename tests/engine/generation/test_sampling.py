"""How tokens are drawn, against mlx-lm's own filters and penalties."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm import sample_utils

from droidft.engine.generation.sampling import Drawer, Sampling
from droidft.errors import NonFiniteError

OPEN: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "top_k": 0}


def logits(size: int = 3000, seed: int = 0) -> Any:
    return (np.random.default_rng(seed).normal(size=size) * 3).astype(np.float32)


def expected(row: Any, sampling: Sampling) -> Any:
    """Probabilities as mlx-lm has them."""
    logprobs = mx.array(row)[None]
    logprobs = logprobs - mx.logsumexp(logprobs)
    if sampling.top_p < 1:
        logprobs = sample_utils.apply_top_p(logprobs, sampling.top_p)
    if sampling.min_p > 0:
        logprobs = sample_utils.apply_min_p(logprobs, sampling.min_p)
    if sampling.top_k > 0:
        logprobs = sample_utils.apply_top_k(logprobs, sampling.top_k)
    return np.array(mx.softmax(logprobs[0] / sampling.temperature))


@pytest.mark.parametrize(
    "cuts",
    [
        {},
        {"top_p": 0.9},
        {"top_p": 0.9999},
        {"min_p": 0.05},
        {"top_k": 40},
        {"top_p": 0.7, "min_p": 0.01, "top_k": 9},
    ],
    ids=str,
)
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_draws_have_the_probabilities_that_mlx_lm_gives(cuts: dict[str, Any], temperature: float) -> None:
    row = logits()
    sampling = Sampling(**{**OPEN, **cuts, "temperature": temperature, "seed": 1})
    wanted = expected(row, sampling)
    drawer = Drawer(sampling, [1])
    count = 4000
    found = np.bincount([drawer.draw(row) for _ in range(count)], minlength=len(row))
    assert not found[wanted == 0].any(), "only what no cut leaves out"
    often = wanted * count > 5
    chi = ((found[often] - wanted[often] * count) ** 2 / (wanted[often] * count)).sum()
    assert chi < often.sum() + 5 * np.sqrt(2 * often.sum()) + 5


def test_penalties_and_bias_are_those_of_mlx_lm() -> None:
    prompt = [5, 6, 7, 5]
    row = logits(50)
    sampling = Sampling(repetition_penalty=1.7, logit_bias={3: 2.5, 5: -1.0})
    (repetition,) = sample_utils.make_logits_processors(repetition_penalty=1.7, repetition_context_size=64)
    wanted = np.array(repetition(mx.array(prompt), mx.array(row)[None])[0])
    wanted[[3, 5]] += [2.5, -1.0]
    found = Drawer(sampling, prompt)._changed(row, None)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_what_is_no_token_is_never_drawn() -> None:
    row = np.zeros(10, np.float32)
    row[4] = 50
    unused = np.arange(10) == 4
    assert 4 not in {Drawer(Sampling(**OPEN, seed=seed), [1]).draw(row, unused) for seed in range(50)}
    assert Drawer(Sampling(), [1]).draw(row, unused) != 4
    assert row[4] == 50, "the model's logits stay as they are"


def test_a_stream_of_numbers_belongs_to_its_seed() -> None:
    row = logits()
    first = Drawer(Sampling(**OPEN, seed=3), [1])
    other = Drawer(Sampling(**OPEN, seed=4), [1])
    mixed = [(first.draw(row), other.draw(row))[0] for _ in range(20)]
    again = Drawer(Sampling(**OPEN, seed=3), [9, 9])
    assert [again.draw(row) for _ in range(20)] == mixed
    assert Drawer(Sampling(temperature=0), [1]).draw(row) == row.argmax()


@pytest.mark.parametrize("damage", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_an_error(damage: float) -> None:
    row = logits()
    row[7] = damage
    with pytest.raises(NonFiniteError, match="at token 1 of the answer"):
        Drawer(Sampling(), [1]).draw(row)

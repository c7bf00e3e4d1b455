"""The policy loss held against NumPy, over random shapes, settings and numbers."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.methods import policy_compare, policy_steps

SEEDED = settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FROM_LOGPS = {
    "advantages": 1e-12,
    "weights": 1e-8,
    "tied groups": 0.0,
    "loss": 2e-6,
    "gradient": 2e-6,
    "KL": 1e-6,
    "clipped low": 1e-6,
    "clipped high": 1e-6,
}
FROM_LOGITS = {"loss (from logits)": 5e-6, "gradient to logits": 2e-5}


@SEEDED
@given(policy_steps.steps())
def test_all_quantities_equal_numpy(step: policy_steps.Step) -> None:
    found = policy_compare.from_numpy(step)
    assert found.keys() == FROM_LOGPS.keys()
    assert not {name: apart for name, apart in found.items() if apart > FROM_LOGPS[name]}


@SEEDED
@given(policy_steps.steps(), st.sampled_from([0.7, 1.0, 1.5]), st.integers(0, 2**32 - 1))
def test_the_gradient_to_the_logits_equals_numpy(step: policy_steps.Step, temperature: float, seed: int) -> None:
    found = policy_compare.from_numpy_logits(step, temperature, seed=seed)
    assert found.keys() == FROM_LOGITS.keys()
    assert not {name: apart for name, apart in found.items() if apart > FROM_LOGITS[name]}

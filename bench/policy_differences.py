"""How far GRPO, GSPO and Dr. GRPO lie from NumPy and TRL: losses, gradients, statistics; the table of docs/rl.md.

python -m bench.policy_differences
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.conftest import CACHE
from tests.engine.methods import policy_cases as cases
from tests.engine.methods import policy_compare as compare
from tests.engine.methods import policy_steps
from tests.engine.methods.policy_cases import Case
from tests.engine.methods.policy_compare import Differences

from droidft.engine.machine.device import computing
from droidft.engine.model.loss import SplitModel

STEPS = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


def main() -> None:
    print("NumPy, 300 random steps")
    _show(_numpy())
    golden = cases.read()
    with computing(CACHE) as device:
        print(f"\nTRL, {len(cases.CASES)} losses; fused kernels: {device.fused_kernels}")
        split = SplitModel(compare.model())
        by_method: dict[str, Differences] = {}
        for case in cases.CASES:
            _add(by_method.setdefault(_method(case), {}), compare.from_trl(case, golden, split))
    for method, found in by_method.items():
        print(f"\n{method}")
        _show(found)


def _numpy() -> Differences:
    largest: Differences = {}

    @STEPS
    @given(policy_steps.steps(), st.sampled_from([0.7, 1.0, 1.5]), st.integers(0, 2**32 - 1))
    def compare_all(step: policy_steps.Step, temperature: float, seed: int) -> None:
        _add(largest, compare.from_numpy(step))
        _add(largest, compare.from_numpy_logits(step, temperature, seed=seed))

    compare_all()
    return largest


def _method(case: Case) -> str:
    if case.sequence_level:
        return "GSPO"
    return {"grpo": "GRPO", "dr_grpo": "Dr. GRPO"}.get(case.loss_type, "DAPO's, BNPO's loss")


def _add(largest: Differences, found: Differences) -> None:
    for name, apart in found.items():
        largest[name] = max(largest.get(name, 0.0), float(apart))


def _show(found: Differences) -> None:
    for name, apart in found.items():
        print(f"  {name:<26} {apart:.1e}")


if __name__ == "__main__":
    main()

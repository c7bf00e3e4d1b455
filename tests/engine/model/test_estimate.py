"""The memory estimate: exact where it can be, monotonic, and near what a real model takes."""

from dataclasses import fields

import mlx.core as mx
import mlx.nn as nn
import pytest
from bench import peft_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from droidft.config import FineTuneType, LoraTargets, Optimizer
from droidft.engine.model.architectures import build_lazily
from droidft.engine.model.estimate import Estimator, MemoryEstimate
from droidft.engine.model.targets import Survey, resolve
from tests.engine.model.architectures import TABLE

SMOLLM = build_lazily(peft_counts.config(peft_counts.SHAPES["SmolLM2-135M"]))


def estimate(model: nn.Module = SMOLLM, **changes: object) -> MemoryEstimate:
    chosen: dict[str, object] = {"batch_size": 4, "seq_length": 256, "rank": 32} | changes
    preset, layers = chosen.pop("preset", LoraTargets.FULL_LAYER), chosen.pop("num_layers", -1)
    estimator = Estimator(Survey(model), bytes_per_value=chosen.pop("bytes_per_value", 4))
    return estimator.peak(resolve(model, preset=preset, num_layers=layers), **chosen)


@pytest.mark.parametrize(("fused", "measured"), [(False, 2.83e9), (True, 1.58e9)])
def test_smollm_takes_what_was_measured(fused: bool, measured: float) -> None:
    """Batch 4 x 256, float32, the chunked loss: peaks that MLX reported."""
    assert estimate(fused_kernels=fused).total == pytest.approx(measured, rel=0.1)


def test_the_total_is_the_sum_of_the_parts() -> None:
    found = estimate()
    assert found.total == sum(getattr(found, field.name) for field in fields(found))
    assert all(getattr(found, field.name) > 0 for field in fields(found))


def test_what_can_be_counted_is_exact() -> None:
    found = estimate()
    assert found.weights == 4 * 134_515_008
    assert found.adapter == found.gradients == 4 * 9_768_960
    assert found.optimizer == 2 * found.adapter
    assert estimate(optimizer=Optimizer.SGD).optimizer == found.adapter


@settings(max_examples=25, deadline=None)
@given(
    batch_size=st.integers(1, 16),
    seq_length=st.integers(8, 4096),
    rank=st.integers(1, 256),
    larger=st.sampled_from(["batch_size", "seq_length", "rank"]),
)
def test_more_of_anything_never_takes_less(batch_size: int, seq_length: int, rank: int, larger: str) -> None:
    sizes = {"batch_size": batch_size, "seq_length": seq_length, "rank": rank}
    assert estimate(**sizes).total < estimate(**{**sizes, larger: sizes[larger] + 1}).total


def test_checkpointing_half_precision_and_fewer_blocks_take_less() -> None:
    whole = estimate()
    assert estimate(grad_checkpoint=True).activations < 0.2 * whole.activations
    assert estimate(bytes_per_value=2).weights * 2 == whole.weights
    assert estimate(num_layers=4).activations < 0.3 * whole.activations
    assert estimate(preset=LoraTargets.ATTENTION_QV).total < whole.total


def test_the_loss_is_held_for_supervised_positions_only() -> None:
    assert estimate(batch_size=1, supervised_fraction=0.1).loss < 0.2 * estimate(batch_size=1).loss


def test_full_fine_tuning_holds_gradients_of_every_weight_of_its_blocks() -> None:
    found = estimate(fine_tune_type=FineTuneType.FULL, num_layers=10)
    size = sum(array.size for block in SMOLLM.layers[-10:] for _, array in tree_flatten(block.parameters()))
    assert (found.adapter, found.gradients, found.optimizer) == (0, 4 * size, 8 * size)


def test_dora_rebuilds_the_adapted_matrices() -> None:
    extra = estimate(fine_tune_type=FineTuneType.DORA).activations - estimate().activations
    matrices = sum(target.in_dims * target.out_dims for target in resolve(SMOLLM).targets)
    assert extra == pytest.approx(4 * matrices, abs=1)


@pytest.mark.parametrize("name", ["mixtral", "qwen3_next", "mamba", "kimi_vl", "dbrx"])
def test_every_kind_of_model_has_an_estimate(name: str) -> None:
    model = build_lazily({"model_type": name, **TABLE[name].config})
    assert estimate(model, rank=2).activations > 0


def test_only_the_experts_at_work_have_activations() -> None:
    few, many = (
        build_lazily({"model_type": "qwen3_moe", **TABLE["qwen3_moe"].config, "num_experts": count})
        for count in (4, 64)
    )
    # The router's output is all that grows with the number of experts.
    assert estimate(few, rank=2).activations == pytest.approx(estimate(many, rank=2).activations, rel=0.02)
    assert estimate(few, rank=2).weights < estimate(many, rank=2).weights


def test_a_quantised_base_takes_what_it_takes_packed() -> None:
    shape = peft_counts.config(peft_counts.SHAPES["Qwen2.5-0.5B"])
    model = build_lazily({**shape, "quantization": {"group_size": 64, "bits": 4}})
    found = estimate(model, bytes_per_value=2).weights
    # Four bits a weight, and a scale and a bias of two bytes for every 64.
    assert found == pytest.approx(494_032_768 * (0.5 + 4 / 64), rel=0.01)
    mx.synchronize()
    assert mx.get_active_memory() < 100_000_000

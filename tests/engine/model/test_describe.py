"""What `models inspect` is told: counts, shapes, problems and memory, without a weight in memory."""

import dataclasses
import json
import time
from typing import Any

import mlx.core as mx
import pytest
from bench import peft_counts

from droidft.config import LoraTargets
from droidft.engine.model.describe import PRESETS, ModelDescription, Shape, suggest_rate
from droidft.errors import ConfigError
from tests.engine.model.architectures import TABLE

QWEN = peft_counts.config(peft_counts.SHAPES["Qwen2.5-0.5B"])


def describe_model(config: dict[str, Any], **chosen: Any) -> ModelDescription:
    return Shape(config).describe(**chosen)


def test_a_description_holds_every_preset_with_exact_counts_and_shares() -> None:
    mx.synchronize()
    before = mx.get_active_memory()
    found = describe_model(QWEN, rank=32, batch_size=4, seq_length=256)
    assert mx.get_active_memory() - before < 1_000_000
    assert (found.model_type, found.blocks, found.parameters) == ("qwen2", 24, 494_032_768)
    assert [preset.preset for preset in found.presets] == list(PRESETS)
    full = found.presets[0]
    assert (full.preset, full.trainable, len(full.keys)) == (LoraTargets.FULL_LAYER, 17_596_416, 7)
    assert full.share == pytest.approx(0.03562, abs=5e-6)
    gate = next(key for key in full.keys if key.key == "mlp.gate_proj")
    assert (gate.modules, gate.shapes) == (24, (((1, 896, 4864), 24),))
    assert full.memory is not None
    assert full.memory.weights == 2 * 494_032_768


def test_a_preset_that_matches_nothing_has_its_problem_instead() -> None:
    found = {p.preset: p for p in describe_model({"model_type": "mamba", **TABLE["mamba"].config}).presets}
    assert found[LoraTargets.ATTENTION_QV].memory is None
    assert "matches nothing in mamba" in (found[LoraTargets.ATTENTION_QV].problem or "")
    assert found[LoraTargets.FULL_LAYER].problem is None


def test_dora_on_experts_is_a_problem_of_the_preset() -> None:
    found = {
        p.preset: p for p in describe_model({"model_type": "mixtral", **TABLE["mixtral"].config}, dora=True).presets
    }
    assert "DoRA cannot adapt" in (found[LoraTargets.FULL_LAYER].problem or "")
    assert found[LoraTargets.ATTENTION].trainable > 0


@pytest.mark.parametrize(
    ("named", "size"),
    [({}, 2), ({"torch_dtype": "float32"}, 4), ({"dtype": "float32"}, 4), ({"dtype": "bfloat16"}, 2)],
)
def test_the_size_of_a_number_is_what_the_config_says(named: dict[str, str], size: int) -> None:
    memory = describe_model({**QWEN, **named}).presets[0].memory
    assert memory is not None
    assert memory.weights == size * 494_032_768


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, None),
        ({"quantization": {"group_size": 64, "bits": 4}}, "4 bits, groups of 64, affine"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "4 bits, groups of 32, mxfp4"),
    ],
)
def test_quantisation_is_said(settings: dict[str, object], said: str | None) -> None:
    assert describe_model({**QWEN, **settings}).quantization == said


def test_bitnet_is_described_with_its_problems() -> None:
    config = {"model_type": "bitnet", **TABLE["bitnet"].config, "quantization_config": {"quant_method": "bitnet"}}
    found = describe_model(config)
    assert found.quantization == "bitnet"
    assert all(preset.problem for preset in found.presets)


def test_more_blocks_than_there_are_is_an_error_not_a_problem() -> None:
    with pytest.raises(ConfigError, match="lora_num_layers 25"):
        describe_model(QWEN, num_layers=25)


def test_a_description_can_be_written_as_json() -> None:
    written = json.dumps(dataclasses.asdict(describe_model(QWEN)))
    assert json.loads(written)["presets"][0]["keys"][0]["key"] == "self_attn.q_proj"


def test_custom_keys_are_described_beside_the_presets() -> None:
    found = describe_model(QWEN, rank=8, keys=["self_attn.q_proj"]).presets[-1]
    assert (found.preset, found.trainable) == (LoraTargets.CUSTOM, 24 * 8 * (896 + 896))
    wrong = describe_model(QWEN, keys=["self_attn.q_porj"]).presets[-1]
    assert wrong.problem is not None
    assert "nearest: 'self_attn.q_proj'" in wrong.problem


@pytest.mark.alone
def test_a_shape_is_looked_at_once_and_described_quickly_and_alike() -> None:
    shape = Shape(QWEN)
    first = shape.describe(rank=8, num_layers=4)
    start = time.perf_counter()
    again = [shape.describe(rank=rank, num_layers=4) for rank in (8, 16, 32)]
    assert (time.perf_counter() - start) / 3 < 0.1
    assert again[0] == first == describe_model(QWEN, rank=8, num_layers=4)
    assert again[2].presets[0].trainable == 4 * again[0].presets[0].trainable
    assert shape.hidden_size == 896


@pytest.mark.parametrize(
    ("model_type", "width", "rate"),
    [("llama", 2000, 5e-4), ("llama", 4096, 2.9e-4), ("llama", 576, 1.3e-3), ("qwen2", 896, 5.3e-4),
     ("qwen3_moe", 2048, 5e-4),      ("gemma3", 4096, 2.9e-4), ("gemma3", 1024, 5.3e-4)],
)  # fmt: skip
def test_suggested_rates(model_type: str, width: int, rate: float) -> None:
    suggested = suggest_rate(model_type, width)
    assert suggested.value == pytest.approx(rate)
    assert f"{rate:.1e}" in suggested.why
    assert ("there is no fit" in suggested.why) == (model_type == "gemma3")

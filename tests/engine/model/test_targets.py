"""Presets and keys on the real module tree: exact counts, and errors that name what is there."""

import sys

import mlx.core as mx
import mlx.nn as nn
import pytest
from bench import peft_counts
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from droidft.config import LoraRouters, LoraTargets
from droidft.engine.model.architectures import build_lazily, quantization
from droidft.engine.model.projections import Kind, logical_size
from droidft.engine.model.targets import TargetPlan, resolve
from droidft.errors import ConfigError, ModelError, TargetError
from tests.engine.model.architectures import TABLE
from tests.engine.model.architectures.entry import GDN, MOE, inside, tiny

SEVEN = {f"self_attn.{name}_proj" for name in "qkvo"} | {f"mlp.{name}_proj" for name in ("gate", "up", "down")}
QWEN = peft_counts.config(peft_counts.SHAPES["Qwen2.5-0.5B"])
GOLDEN = [line.split() for line in peft_counts.GOLDEN.read_text().splitlines() if not line.startswith("#")]


def build(name: str, **changes: object) -> nn.Module:
    return build_lazily({"model_type": name, **TABLE[name].config, **changes})


def keys(plan: TargetPlan) -> set[str]:
    return set(plan.keys)


# Counts


def test_qwen_half_billion_at_rank_32_is_the_documented_count() -> None:
    plan = resolve(build_lazily(QWEN))
    assert keys(plan) == SEVEN
    assert (plan.trainable(32), plan.total) == (17_596_416, 494_032_768)
    assert round(100 * plan.trainable(32) / plan.total, 3) == 3.562


@pytest.mark.parametrize(("name", "preset", "trained", "total"), GOLDEN, ids=[f"{row[0]} {row[1]}" for row in GOLDEN])
def test_counts_equal_pefts(name: str, preset: str, trained: str, total: str) -> None:
    plan = resolve(build_lazily(peft_counts.config(peft_counts.SHAPES[name])), preset=LoraTargets(preset))
    assert (plan.trainable(peft_counts.RANK), plan.total) == (int(trained), int(total))


def test_the_golden_file_has_every_shape_and_preset() -> None:
    assert {(row[0], row[1]) for row in GOLDEN} == {(n, p) for n in peft_counts.SHAPES for p in peft_counts.TARGETS}


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3"])
def test_dora_adds_one_magnitude_for_each_row(name: str) -> None:
    model = build(name)
    plan = resolve(model)
    model.freeze()
    settings = {"rank": 4, "scale": 1.0, "dropout": 0.0, "keys": keys(plan)}
    linear_to_lora_layers(model, -1, settings, use_dora=True)
    # mlx-lm leaves the magnitude trainable together with A and B.
    sizes = {name: array.size for name, array in tree_flatten(model.trainable_parameters())}
    assert plan.trainable(4, dora=True) == sum(sizes.values())
    assert plan.trainable(4, dora=True) - plan.trainable(4) == sum(target.out_dims for target in plan.targets)


def test_dora_on_experts_is_refused_by_name() -> None:
    plan = resolve(build("mixtral"))
    with pytest.raises(TargetError, match=r"DoRA cannot adapt block_sparse_moe\.switch_mlp"):
        plan.trainable(8, dora=True)


def test_experts_count_once_each() -> None:
    plan = resolve(build("qwen3_moe"), preset=LoraTargets.CUSTOM, keys=["mlp.switch_mlp.gate_proj"])
    (target,) = plan.targets
    assert (target.kind, target.experts, target.in_dims, target.out_dims) == (Kind.EXPERTS, 4, 32, 16)
    assert target.parameters(8) == 4 * 8 * (32 + 16)


def test_a_target_names_its_module() -> None:
    model = build("qwen3_vl")
    plan = resolve(model)
    modules = dict(model.named_modules())
    assert len(plan.targets) == 14
    for target in plan.targets:
        assert modules[target.path].weight.shape == (target.out_dims, target.in_dims)
    assert plan.targets[0].path == "language_model.model.layers.0.self_attn.q_proj"


def test_the_table_groups_modules_by_key_and_shape() -> None:
    plan = resolve(build("gemma4"))
    table = {summary.key: summary for summary in plan.table(2)}
    # Sliding blocks have narrower heads than full ones.
    assert table["self_attn.q_proj"].shapes == (((1, 32, 32), 2), ((1, 32, 64), 2))
    assert sum(summary.trainable for summary in table.values()) == plan.trainable(2)
    assert sum(summary.modules for summary in table.values()) == len(plan.targets)


# Presets


@pytest.mark.parametrize(
    ("name", "preset", "expected"),
    [
        ("llama", "attention-qv", {"self_attn.q_proj", "self_attn.v_proj"}),
        ("llama", "attention", {f"self_attn.{n}_proj" for n in "qkvo"}),
        ("llama", "mlp", {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}),
        ("llama", "all-linear", SEVEN),
        ("phi3", "attention-qv", {"self_attn.qkv_proj"}),
        ("gpt2", "attention-qv", {"attn.c_attn"}),
        ("talkie", "attention-qv", {"attn.attn_query", "attn.attn_value"}),
        ("qwen3_next", "attention-qv", {"linear_attn.in_proj_qkvz", "self_attn.q_proj", "self_attn.v_proj"}),
        ("rwkv7", "attention-qv", {"attn.r_proj", "attn.v_proj"}),
        ("nemotron_h", "attention", {f"mixer.{n}" for n in ("in_proj", "out_proj", *(f"{x}_proj" for x in "qkvo"))}),
        (
            "lfm2",
            "attention",
            {"conv.in_proj", "conv.out_proj", "self_attn.out_proj"} | {f"self_attn.{n}_proj" for n in "qkv"},
        ),
        ("olmoe", "mlp", {f"mlp.switch_mlp.{n}_proj" for n in ("gate", "up", "down")}),
        ("mamba", "attention", {f"mixer.{n}_proj" for n in ("in", "x", "dt", "out")}),
        (
            "gemma3n",
            "all-linear",
            SEVEN
            | {"altup.modality_router", "laurel.linear_left", "laurel.linear_right"}
            | {"per_layer_input_gate", "per_layer_projection"},
        ),
    ],
)
def test_presets(name: str, preset: str, expected: set[str]) -> None:
    assert keys(resolve(build(name), preset=LoraTargets(preset))) == expected


def test_queries_and_values_in_one_matrix_with_keys_are_said_to_be() -> None:
    (note,) = resolve(build("phi3"), preset=LoraTargets.ATTENTION_QV).notes
    assert "share a matrix with keys" in note
    assert "self_attn.qkv_proj" in note
    assert resolve(build("llama"), preset=LoraTargets.ATTENTION_QV).notes == ()


def test_what_cannot_be_adapted_is_said() -> None:
    notes = " ".join(resolve(build("deepseek_v32"), routers=LoraRouters.ON).notes)
    assert "self_attn.embed_q (MultiLinear)" in notes
    assert "mlp.gate (MoEGate)" in notes
    assert "they only pick positions, which no gradient reaches: self_attn.indexer.wq_b" in notes


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_a_preset_that_matches_nothing_says_what_is_there(name: str) -> None:
    with pytest.raises(
        TargetError, match=rf"'attention-qv' matches nothing in {name}: its blocks have mixer\.in_proj"
    ):
        resolve(build(name), preset=LoraTargets.ATTENTION_QV)


# Routers


def test_routers_are_adapted_by_default_only_where_the_table_of_architectures_says() -> None:
    auto = {name for name, entry in TABLE.items() if entry.auto_routers}
    assert auto == {"mixtral", "phimoe", "qwen2_moe", "qwen3_next"}


@pytest.mark.parametrize(
    ("preset", "routers", "expected"),
    [
        ("full-layer", "auto", {"mlp.shared_expert_gate"}),
        ("full-layer", "on", {"mlp.shared_expert_gate", "mlp.gate"}),
        ("full-layer", "off", set()),
        ("mlp", "auto", {"mlp.shared_expert_gate"}),
        ("attention", "auto", set()),
        ("attention", "on", {"mlp.shared_expert_gate", "mlp.gate"}),
        ("all-linear", "auto", {"mlp.shared_expert_gate", "mlp.gate"}),
        ("all-linear", "off", set()),
    ],
)
def test_routers_are_an_option(preset: str, routers: str, expected: set[str]) -> None:
    plan = resolve(build("qwen2_moe"), preset=LoraTargets(preset), routers=LoraRouters(routers))
    assert keys(plan) & {"mlp.gate", "mlp.shared_expert_gate"} == expected


# Blocks


def test_the_last_blocks_are_adapted_as_mlx_lm_counts_them() -> None:
    model = build("llama", num_hidden_layers=5)
    plan = resolve(model, num_layers=2)
    assert {target.block for target in plan.targets} == {3, 4}
    model.freeze()
    linear_to_lora_layers(model, 2, {"rank": 2, "scale": 1.0, "dropout": 0.0, "keys": keys(plan)})
    trained = {name.rpartition(".lora_")[0] for name, _ in tree_flatten(model.trainable_parameters())}
    assert trained == {target.path for target in plan.targets}
    assert plan.num_blocks == 5


@pytest.mark.parametrize(("name", "count"), [("llama", 2), ("gemma3", 2), ("qwen3_5", 4), ("nemotron_h", 4)])
def test_more_blocks_than_there_are_is_refused(name: str, count: int) -> None:
    model = build(name)
    assert resolve(model, num_layers=count).trainable(2) == resolve(model).trainable(2)
    with pytest.raises(ConfigError, match=f"lora_num_layers {count + 1} is more than the model's {count}") as caught:
        resolve(model, num_layers=count + 1)
    assert caught.value.field == "lora_num_layers"


def test_a_key_left_out_by_the_number_of_blocks_is_said_to_be() -> None:
    model = build("qwen3_next")
    with pytest.raises(TargetError, match=r"'linear_attn\.in_proj_ba' is in blocks 0 to 2 only"):
        resolve(model, preset=LoraTargets.CUSTOM, keys=["linear_attn.in_proj_ba"], num_layers=1)
    assert resolve(model, preset=LoraTargets.CUSTOM, keys=["linear_attn.in_proj_ba"]).trainable(1) == 3 * (32 + 8)


# Custom keys


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("llama", "self_attn.q_porj", r"names no module of a llama block; nearest: 'self_attn\.q_proj'"),
        ("llama", "q_proj", r"nearest: 'self_attn\.q_proj'"),
        ("llama", "model.layers.0.mlp.up_proj", r"nearest: 'mlp\.up_proj'"),
        ("phi3", "self_attn.q_proj", r"nearest: 'self_attn\.qkv_proj'"),
        ("mixtral", "mlp.gate", r"nearest: 'block_sparse_moe\.gate'"),
        ("llama", "zzz", r"'zzz' names no module of a llama block$"),
        ("qwen3_next", "linear_attn.dt_bias", r"'linear_attn\.dt_bias' is an array, not a module"),
        ("qwen3_next", "linear_attn.A_log", "is an array"),
        ("llama", "self_attn", r"is a group of modules; name them: self_attn\.q_proj, self_attn\.k_proj"),
        ("llama", "input_layernorm", "is a RMSNorm, which mlx-lm cannot adapt"),
        ("deepseek_v3", "mlp.gate", "is a MoEGate, which mlx-lm cannot adapt"),
        ("deepseek_v3", "self_attn.embed_q", "is a MultiLinear, which mlx-lm cannot adapt"),
        ("deepseek_v32", "self_attn.indexer.wk", "no gradient reaches it"),
        ("gemma3n", "altup.prediction_coefs", "read by gemma3n as a matrix and never called"),
        ("prism_hadamard_qwen35", "mlp.up_proj", "is a HadamardQuantizedLinear in block 0"),
    ],
)
def test_a_key_that_cannot_be_adapted_is_refused_with_its_reason(name: str, key: str, message: str) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        resolve(build(name), preset=LoraTargets.CUSTOM, keys=[key])
    assert caught.value.field == "lora_keys"


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(TargetError) as caught:
        resolve(build("llama"), preset=LoraTargets.CUSTOM, keys=["self_attn.q_proj", "mlp.c_fc", "attn.c_attn"])
    assert "'mlp.c_fc'" in caught.value.message
    assert "'attn.c_attn'" in caught.value.message
    assert "'self_attn.q_proj' names" not in caught.value.message


def test_modules_outside_the_blocks_can_be_named_by_their_path() -> None:
    model = build("llama")
    plan = resolve(model, preset=LoraTargets.CUSTOM, keys=["lm_head", "model.embed_tokens", "mlp.up_proj"])
    assert {(t.path, t.block, t.kind) for t in plan.targets if t.block is None} == {
        ("lm_head", None, Kind.LINEAR),
        ("model.embed_tokens", None, Kind.EMBEDDING),
    }
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": 3, "scale": 1.0, "dropout": 0.0, "keys": keys(plan)})
    assert plan.trainable(3) == sum(array.size for _, array in tree_flatten(model.trainable_parameters()))


def test_custom_without_keys_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs lora_keys"):
        resolve(build("llama"), preset=LoraTargets.CUSTOM)


# Building


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "has no model_type"),
        ({"model_type": "lama"}, "no model type 'lama'; the nearest it has: .*llama"),
        ({"model_type": "base"}, "no model type 'base'"),
        ({"model_type": "../cache"}, "no model type"),
        ({"model_type": "llama", "model_file": "evil.py"}, r"asks for the code in 'evil\.py' to be run"),
        ({"model_type": "llama"}, "'llama' cannot be used: it lacks hidden_size"),
        ({"model_type": "llama", **tiny(num_attention_heads=0)}, "'llama' cannot be used"),
        ({"model_type": "olmo", **TABLE["olmo"].config}, "'olmo': .*pip install ai2-olmo"),
        ({"model_type": "llama", **tiny(), "quantization_config": {"quant_method": "hqq"}}, "quantised with 'hqq'"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(
    config: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests give mlx-lm the package that this one misses.
    for name in ("mlx_lm.models.olmo", "hf_olmo"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ModelError, match=message):
        build_lazily(config)


def test_another_name_of_a_known_architecture_is_known() -> None:
    assert keys(resolve(build_lazily({"model_type": "mistral", **tiny()}))) == SEVEN


WIDE = tiny(hidden_size=128, intermediate_size=256, head_dim=32)
PACKED = {"group_size": 64, "bits": 4}


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama", **WIDE, "quantization": PACKED},
        {"model_type": "llama", **WIDE, "quantization": {**PACKED, "bits": 3}},
        {"model_type": "llama", **WIDE, "quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"}},
        {"model_type": "llama", **WIDE, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 64}},
        {
            "model_type": "qwen3_vl",
            "text_config": {**WIDE, "model_type": "qwen3", "quantization_config": {"quant_method": "mxfp8"}},
        },
        {"model_type": "mixtral", **WIDE, **MOE, "quantization": PACKED},
    ],
)
def test_a_quantised_model_has_the_shapes_and_the_count_of_the_unpacked_one(config: dict[str, object]) -> None:
    plain = {name: value for name, value in config.items() if not name.startswith("quantization")}
    if "text_config" in config:
        plain["text_config"] = {"model_type": "qwen3", **WIDE}
    packed, whole = resolve(build_lazily(config)), resolve(build_lazily(plain))
    assert all(target.quantized for target in packed.targets)
    assert not any(target.quantized for target in whole.targets)
    assert [(t.path, t.in_dims, t.out_dims) for t in packed.targets] == [
        (t.path, t.in_dims, t.out_dims) for t in whole.targets
    ]
    assert (packed.total, packed.trainable(8)) == (whole.total, whole.trainable(8))


def test_the_names_of_saved_tensors_decide_what_is_quantised() -> None:
    stored = {"model.layers.0.mlp.up_proj.scales", "lm_head.weight"}
    plan = resolve(build_lazily({"model_type": "llama", **WIDE, "quantization": PACKED}, stored=stored))
    assert [target.path for target in plan.targets if target.quantized] == ["model.layers.0.mlp.up_proj"]


def test_layers_named_in_the_quantization_keep_their_own_settings() -> None:
    settings = {
        **PACKED,
        "model.layers.0.mlp.up_proj": False,
        "model.layers.1.mlp.up_proj": {"group_size": 32, "bits": 8},
    }
    model = build_lazily({"model_type": "llama", **WIDE, "quantization": settings})
    first, second = (layer.mlp.up_proj for layer in model.layers)
    assert type(first) is nn.Linear
    assert (second.bits, second.group_size) == (8, 32)


def test_modules_an_mxfp4_model_leaves_unpacked_are_left_unpacked() -> None:
    packed = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router"],
    }
    config = {"model_type": "gpt_oss", **TABLE["gpt_oss"].config, "hidden_size": 64, "intermediate_size": 64}
    plan = resolve(build_lazily({**config, "quantization_config": packed}), routers=LoraRouters.ON)
    assert {target.key for target in plan.targets if target.quantized} == {
        f"mlp.experts.{name}_proj" for name in ("gate", "up", "down")
    }


def test_fp8_that_mlx_lm_unpacks_is_not_quantised() -> None:
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    assert quantization(config) is None


def test_a_gemma_head_is_counted_only_where_there_is_one() -> None:
    config = {"model_type": "gemma3_text", **TABLE["gemma3_text"].config}
    del config["tie_word_embeddings"]
    tied, untied = build_lazily(config), build_lazily(config, stored={"lm_head.weight"})
    assert logical_size(untied) - logical_size(tied) == 64 * 32


@pytest.mark.parametrize(
    "config",
    [
        {
            "model_type": "llama",
            "hidden_size": 8192,
            "num_hidden_layers": 80,
            "intermediate_size": 28672,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
            "rms_norm_eps": 1e-5,
        },
        {
            "model_type": "qwen3_5_moe",
            **inside(
                tiny(
                    GDN,
                    MOE,
                    hidden_size=4096,
                    num_experts=512,
                    num_hidden_layers=8,
                    moe_intermediate_size=1024,
                    vocab_size=248320,
                )
            ),
            "quantization": PACKED,
        },
    ],
    ids=["llama 70B", "quantised experts"],
)
def test_a_huge_model_costs_no_memory(config: dict[str, object]) -> None:
    mx.synchronize()
    before = mx.get_active_memory()
    plan = resolve(build_lazily(config))
    assert plan.total > 25e9
    assert plan.trainable(32) > 1e8
    assert mx.get_active_memory() - before < 1_000_000

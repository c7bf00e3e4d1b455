"""An architecture's entry in the table, and the pieces small configs are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """A small config of one mlx-lm architecture, and what has to be true of it.

    `full_layer` are the keys of that preset without routers, `trainable` its count at rank 2; `routers` what
    `lora_routers: on` adds, `auto_routers` what `auto` adds; `outside` the adaptable modules of a block that are in
    none of these. `untrainable` says why gradients cannot be checked, `unadaptable` why nothing matches, `dead`
    which adapter arrays get no gradient, each with the reason; `package` is an import mlx-lm insists on.
    """

    model_type: str
    config: dict[str, Any]
    full_layer: tuple[str, ...]
    trainable: int
    outside: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    auto_routers: tuple[str, ...] = ()
    untrainable: str | None = None
    unadaptable: str | None = None
    dead: dict[str, str] = field(default_factory=dict)
    package: str | None = None


_BASE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "rms_norm_eps": 1e-5,
    "layer_norm_eps": 1e-5,
    "layer_norm_epsilon": 1e-5,
    "norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 128,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
}

MOE = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
    "num_shared_experts": 1,
    "shared_expert_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [0],
    "routed_scaling_factor": 1.0,
    "n_group": 1,
    "topk_group": 1,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
}
"""Four experts, two at work, under every name mlx-lm's architectures have for that."""

MLA = {"kv_lora_rank": 8, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
"""Multi-head latent attention."""

GDN = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 3,
}
"""Gated delta networks."""

GRANITE = {
    "logits_scaling": 1.0,
    "attention_multiplier": 1.0,
    "embedding_multiplier": 1.0,
    "residual_multiplier": 1.0,
}

LFM2 = {
    "conv_bias": False,
    "conv_L_cache": 3,
    "block_dim": 32,
    "block_multiple_of": 8,
    "block_ffn_dim_multiplier": 1.0,
    "block_auto_adjust_ff_dim": False,
    "block_ff_dim": 48,
    "full_attn_idxs": [1],
}

LONGCAT = {
    "zero_expert_type": "identity",
    "ffn_hidden_size": 48,
    "moe_topk": 2,
    "expert_ffn_hidden_size": 16,
    "zero_expert_num": 1,
    "num_layers": 2,
    "mla_scale_q_lora": True,
    "mla_scale_kv_lora": True,
}

ROPE = {"rope_theta": 10000.0}
YARN = {
    "type": "yarn",
    "factor": 2.0,
    "original_max_position_embeddings": 64,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "beta_fast": 32,
    "beta_slow": 1,
}
LONG_ROPE = {"original_max_position_embeddings": 64, "short_factor": [1.0] * 4, "long_factor": [1.0] * 4}
SLIDING_FULL = ["sliding_attention", "full_attention"]


def tiny(*parts: dict[str, Any], **extra: Any) -> dict[str, Any]:
    """A config of two narrow blocks with `parts` and `extra` laid over it; mlx-lm ignores what it has no use for."""
    config: dict[str, Any] = dict(_BASE)
    for part in parts:
        config.update(part)
    return config | extra


def inside(text_config: dict[str, Any], **outer: Any) -> dict[str, Any]:
    """A config with the language model's nested in `text_config`."""
    return {"text_config": text_config, **outer}


def under(prefix: str, leaves: str) -> tuple[str, ...]:
    """`under("mlp", "fc1 fc2")` is `("mlp.fc1", "mlp.fc2")`."""
    return tuple(f"{prefix}.{leaf}" if prefix else leaf for leaf in leaves.split())


SELF_ATTENTION = under("self_attn", "q_proj k_proj v_proj o_proj")
MLA_PROJECTIONS = under("self_attn", "q_a_proj q_b_proj kv_a_proj_with_mqa o_proj")
GATED_DELTA = under("linear_attn", "in_proj_qkv in_proj_z in_proj_b in_proj_a out_proj")
SWIGLU = under("mlp", "gate_proj up_proj down_proj")
SWITCH = under("mlp.switch_mlp", "gate_proj up_proj down_proj")
EXPERTS = under("mlp.experts", "gate_proj up_proj down_proj")
SHARED = under("mlp.shared_experts", "gate_proj up_proj down_proj")
SHARED_EXPERT = under("mlp.shared_expert", "gate_proj up_proj down_proj")

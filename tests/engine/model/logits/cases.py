"""Settings of the tiny models, by case; the first word of a case is its model type.

What a case leaves out has the default of transformers' class, so that a case says what is special about it. `_SMALL`
is laid under all of them; names that a class does not have are dropped.
"""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "vocab_size": 128,
    "vocab_size_per_layer_input": 128,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "sliding_window": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "n_embd": 32,
    "n_head": 4,
    "n_layer": 4,
    "n_inner": 48,
    "n_positions": 256,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 24,
    "n_shared_experts": 1,
    "num_shared_experts": 1,
    "first_k_dense_replace": 1,
    "moe_layer_start_index": 1,
    "moe_k": 2,
    "moe_num_experts": 4,
    "moe_num_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "state_size": 8,
    "mamba_d_ssm": 64,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 16,
    "mamba_num_heads": 8,
    "mamba_head_dim": 8,
    "ssm_state_size": 8,
    "n_groups": 1,
    "chunk_size": 16,
    "attention_chunk_size": 16,
}

SEEING: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "depth": 1, "num_attention_heads": 2,
    "num_heads": 2, "image_size": 28, "patch_size": 14, "out_hidden_size": 32, "embed_dim": 16,
    "vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16, "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0], "head_dim": 8, "vocab_size": 128, "vocab_offset": 0,
}  # fmt: skip
"""As `SMALL`, for the parts that see or hear, whose weights no golden file holds."""

DROP = object()
"""In a case: what `SMALL` says of this is left out."""

_MLA: dict[str, Any] = {"head_dim": DROP, "num_key_value_heads": 4}
_DSA: dict[str, Any] = {**_MLA, "index_head_dim": 16, "index_n_heads": 2, "index_topk": 12}

_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 20000.0}
_LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32, "rope_theta": 20000.0,
}  # fmt: skip
_LINEAR = {"rope_type": "linear", "factor": 3.0, "rope_theta": 300.0}
_BASE = {"rope_type": "default", "rope_theta": 450.0}
_LONG = {
    "rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0,
    "short_factor": [1.0, 1.2, 1.5, 2.0], "long_factor": [1.5, 3.0, 6.0, 9.0],
}  # fmt: skip
_SECTIONS = {"rope_type": "default", "rope_theta": 450.0, "mrope_section": [2, 1, 1]}
_DYNAMIC = {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 300.0}

CASES: dict[str, dict[str, Any]] = {
    "afmoe": {},
    "apertus": {},
    "bailing_hybrid": {},
    "cohere": {},
    "cohere2": {},
    "deepseek_v2": _MLA,
    "deepseek_v3": _MLA,
    "deepseek_v32": _DSA,
    "dots1": {},
    "ernie4_5": {},
    "ernie4_5_moe": {},
    "exaone": {},
    "exaone4": {},
    "exaone_moe": {},
    "falcon_h1": {},
    "falcon_mamba": {},
    "gemma": {},
    "gemma2": {},
    "gemma3_text": {
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    },
    "gemma3n_text": {
        "num_kv_shared_layers": 1,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    },
    "gemma4_text": {"head_dim": DROP},
    "glm": {},
    "glm4": {},
    "glm4_moe": {},
    "glm4_moe_lite": _MLA,
    "glm_moe_dsa": _DSA,
    "gpt2": {"n_inner": DROP},
    "gpt_bigcode": {},
    "gpt_neox": {"intermediate_size": 128},
    "gpt_oss": {},
    "gptj": {"rotary_dim": 4, "n_inner": DROP},
    "granite": {},
    "granitemoe": {},
    "granitemoehybrid": {},
    "helium": {},
    "hunyuan_v1_dense": {},
    "internlm3": {},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {
        "head_dim": DROP,
        "q_lora_rank": None,
        "num_key_value_heads": 4,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    },
    "laguna": {},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"], "num_dense_layers": 1},
    "llama": {},
    "llama4_text": {},
    "mamba": {},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "mellum": {},
    "mimo_v2_flash": {},
    "minicpm3": _MLA,
    "minimax": {},
    "minimax_m2": {},
    "ministral3": {},
    "mistral": {},
    "mixtral": {},
    "nanochat": {},
    "nemotron": {},
    "nemotron_h": {},
    "olmo2": {},
    "olmo3": {},
    "olmo_hybrid": {"linear_num_value_heads": 2},
    "olmoe": {},
    "phi": {},
    "phi3": {},
    "phimoe": {"attention_bias": True, "lm_head_bias": True},
    "qwen2": {},
    "qwen2_moe": {"moe_intermediate_size": 20},  # with 16, a tie of the router is decided by rounding
    "qwen3": {},
    "qwen3_5_text": {},
    "qwen3_5_moe_text": {},
    "qwen3_moe": {},
    "qwen3_next": {},
    "recurrent_gemma": {"num_key_value_heads": 1},
    "seed_oss": {},
    "smollm3": {},
    "solar_open": {},
    "stablelm": {},
    "starcoder2": {},
    # Language models within others.
    "gemma3": {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
    "gemma4": {},
    "mistral3": {},
    "mistral4": _MLA,
    "qwen2_vl": {"rope_parameters": _SECTIONS},
    "qwen2_5_vl": {"rope_parameters": _SECTIONS},
    "qwen3_vl": {},
    "qwen3_vl_moe": {"sliding_window": DROP},
    "qwen3_5": {},
    "qwen3_5_moe": {},
    "minimax_m3_vl": {"rotary_dim": 8},
    "muse_glimmer": {},
    "lfm2_vl": {"layer_types": ["conv", "full_attention"] * 2, "block_auto_adjust_ff_dim": False},
    # Other settings of the same architectures.
    "llama-yarn": {"rope_parameters": _YARN},
    "llama-llama3": {"rope_parameters": _LLAMA3, "tie_word_embeddings": True},
    "llama-linear": {"rope_parameters": _LINEAR, "attention_bias": True, "mlp_bias": True},
    "llama-dynamic": {"rope_parameters": _DYNAMIC},
    "mistral-full": {"sliding_window": None, "rope_parameters": _LINEAR},
    "qwen2-yarn": {"rope_parameters": _YARN},
    "qwen2-window": {"use_sliding_window": True, "max_window_layers": 2, "tie_word_embeddings": True},
    "qwen3-yarn": {"rope_parameters": _YARN},
    "qwen3-window": {"use_sliding_window": True, "max_window_layers": 1},
    "mixtral-yarn": {"rope_parameters": _YARN},
    "qwen2_moe-yarn": {"rope_parameters": _YARN},
    "glm4_moe-yarn": {"rope_parameters": _YARN},
    "nemotron-yarn": {"rope_parameters": _YARN},
    "qwen3_moe-yarn": {"head_dim": 8, "rope_parameters": _YARN, "norm_topk_prob": True},
    "qwen3_moe-window": {"use_sliding_window": True, "max_window_layers": 1},
    "gemma2-other": {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 2.5, "rope_parameters": _BASE},
    "gemma3_text-linear": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 700.0},
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 90000.0},
        },
    },
    "phi3-longrope-short": {
        "sliding_window": None,
        "original_max_position_embeddings": 64,
        "rope_parameters": _LONG,
    },
    "phi3-longrope-long": {
        "sliding_window": None,
        "original_max_position_embeddings": 16,
        "rope_parameters": _LONG,
    },
    "phi3-partial": {"rope_parameters": {**_BASE, "partial_rotary_factor": 0.5}, "head_dim": DROP, "hidden_size": 64},
    "phi-other": {"rope_parameters": {**_BASE, "partial_rotary_factor": 0.75}},
    "stablelm-other": {"rope_parameters": {**_BASE, "partial_rotary_factor": 0.5}, "use_qkv_bias": True},
    "glm-full": {"rope_parameters": {**_BASE, "partial_rotary_factor": 1.0}},
    "glm4_moe-other": {"rope_parameters": {**_BASE, "partial_rotary_factor": 0.5}, "use_qk_norm": True},
    "gpt_neox-other": {
        "intermediate_size": 128,
        "use_parallel_residual": False,
        "rope_parameters": {**_BASE, "partial_rotary_factor": 0.5},
    },
    "deepseek_v3-yarn": {**_MLA, "rope_parameters": {**_YARN, "mscale": 0.7, "mscale_all_dim": 1.0}},
    "deepseek_v2-yarn": {**_MLA, "rope_parameters": {**_YARN, "mscale": 0.7, "mscale_all_dim": 0.7}},
    "olmo3-yarn": {"rope_parameters": _YARN},
    "gpt_oss-other": {"rope_parameters": {**_YARN, "truncate": True}},
    "granite-other": {
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.5,
        "logits_scaling": 4.0,
        "rope_parameters": _BASE,
    },
    "smollm3-window": {"use_sliding_window": True, "rope_parameters": _BASE},
    "starcoder2-full": {"sliding_window": None, "rope_parameters": _BASE},
    "cohere2-base": {"rope_parameters": _BASE},
    "exaone4-global": {
        "sliding_window": None,
        "sliding_window_pattern": None,
        "layer_types": ["full_attention"] * 4,
        "rope_parameters": _LLAMA3,
    },
    "nemotron_h-attention": {"layers_block_type": ["mamba", "attention", "mlp", "mamba"]},
    "granitemoehybrid-attention": {"layer_types": ["mamba", "attention", "mamba", "attention"]},
}

REFUSED = {
    "bailing_hybrid": "lacks group_norm_size",
    "gemma3n_text": "no model type 'gemma3n_text'",
    "llama4_text": "have no place",
    "mimo_v2_flash": "lacks hybrid_layer_pattern",
    "minimax": "self_attn",
}
"""Cases that mlx-lm's code cannot read as transformers 5 stores them, with a part of the message."""

WITHOUT_CACHE = {
    "phi3-longrope-long": "the text grows over the trained length, where the makers' code changes its factors too",
    "recurrent_gemma": "mlx-lm's cache takes no part of a prompt that is longer than the window",
}
"""Cases whose text cannot be read in parts with the same result, with the reason."""

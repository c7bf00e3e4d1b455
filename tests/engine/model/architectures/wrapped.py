"""Models whose language model is nested in another config (`text_config`)."""

from tests.engine.model.architectures.entry import (
    EXPERTS,
    GATED_DELTA,
    GDN,
    LFM2,
    MLA,
    MLA_PROJECTIONS,
    MOE,
    ROPE,
    SELF_ATTENTION,
    SHARED,
    SHARED_EXPERT,
    SLIDING_FULL,
    SWIGLU,
    SWITCH,
    Architecture,
    inside,
    tiny,
    under,
)

ARCHITECTURES = [
    Architecture(
        "gemma3",
        inside(tiny(sliding_window_pattern=2, model_type="gemma3_text"), vocab_size=64),
        full_layer=SELF_ATTENTION + SWIGLU,
        trainable=1856,
    ),
    Architecture(
        "gemma3n",
        inside(
            tiny(
                num_hidden_layers=4,
                num_kv_shared_layers=2,
                vocab_size_per_layer_input=64,
                sliding_window=4,
                rope_local_base_freq=10000.0,
                final_logit_softcapping=30.0,
                layer_types=SLIDING_FULL * 2,
                activation_sparsity_pattern=[0.95, 0, 0, 0],
                hidden_size_per_layer_input=8,
                altup_num_inputs=2,
                altup_coef_clip=120.0,
                altup_correct_scale=True,
                altup_active_idx=0,
                laurel_rank=8,
                model_type="gemma3n_text",
            )
        ),
        full_layer=SELF_ATTENTION + SWIGLU,
        trainable=3712,
        outside=(
            "altup.correction_coefs",
            "altup.prediction_coefs",
            "altup.modality_router",
            "laurel.linear_left",
            "laurel.linear_right",
            "per_layer_input_gate",
            "per_layer_projection",
        ),
    ),
    Architecture(
        "gemma4",
        inside(
            tiny(
                num_hidden_layers=4,
                num_kv_shared_layers=0,
                hidden_size_per_layer_input=8,
                global_head_dim=16,
                sliding_window=4,
                sliding_window_pattern=2,
                vocab_size_per_layer_input=64,
                layer_types=SLIDING_FULL * 2,
            ),
            vocab_size=64,
        ),
        full_layer=SELF_ATTENTION + SWIGLU,
        trainable=4096,
        outside=("per_layer_input_gate", "per_layer_projection"),
    ),
    Architecture(
        "kimi_k25", inside(tiny(MOE, MLA)), full_layer=SWIGLU + MLA_PROJECTIONS + SWITCH + SHARED, trainable=2880
    ),
    Architecture(
        "kimi_k3",
        inside(
            tiny(
                MOE,
                MLA,
                num_hidden_layers=4,
                num_experts_per_token=2,
                attn_res_block_size=2,
                linear_attn_config={
                    "num_heads": 4,
                    "head_dim": 8,
                    "kda_layers": [1, 2, 3],
                    "short_conv_kernel_size": 3,
                },
            )
        ),
        full_layer=SWIGLU
        + MLA_PROJECTIONS
        + SWITCH
        + SHARED
        + under("self_attn", "qkv_proj f_a_proj f_b_proj b_proj g_a_proj g_b_proj"),
        trainable=7608,
        outside=("self_attention_res_proj", "mlp_res_proj"),
        routers=("mlp.gate",),
    ),
    Architecture(
        "kimi_vl", inside(tiny(MOE, MLA)), full_layer=SWIGLU + MLA_PROJECTIONS + SWITCH + SHARED, trainable=2880
    ),
    Architecture(
        "lfm2-vl",
        inside(tiny(**LFM2, model_type="lfm2")),
        full_layer=under("conv", "in_proj out_proj")
        + under("feed_forward", "w1 w3 w2")
        + under("self_attn", "q_proj k_proj v_proj out_proj"),
        trainable=1792,
    ),
    Architecture(
        "llama4",
        inside(
            tiny(
                MOE,
                num_hidden_layers=4,
                intermediate_size_mlp=56,
                num_experts_per_tok=1,
                use_qk_norm=True,
                attention_chunk_size=8,
                interleave_moe_layer_step=2,
                rope_scaling=None,
                model_type="llama4_text",
            )
        ),
        full_layer=SELF_ATTENTION
        + under("feed_forward", "gate_proj down_proj up_proj")
        + under("feed_forward.experts", "gate_proj up_proj down_proj")
        + under("feed_forward.shared_expert", "gate_proj down_proj up_proj"),
        trainable=7648,
        routers=("feed_forward.router",),
    ),
    Architecture(
        "minimax_m3_vl",
        inside(
            tiny(
                MOE,
                dense_intermediate_size=48,
                shared_intermediate_size=24,
                moe_layer_freq=[0, 1],
                layer_types=["full_attention", "x"],
                sparse_attention_config={
                    "sparse_num_index_heads": 2,
                    "sparse_index_dim": 8,
                    "sparse_block_size": 4,
                    "sparse_topk_blocks": 2,
                },
            )
        ),
        full_layer=SELF_ATTENTION
        + SWIGLU
        + under("block_sparse_moe.switch_mlp", "gate_proj up_proj down_proj")
        + under("block_sparse_moe.shared_experts", "gate_proj up_proj down_proj"),
        trainable=3632,
        outside=("self_attn.index_q_proj", "self_attn.index_k_proj"),
        routers=("block_sparse_moe.gate",),
    ),
    Architecture("mistral3", inside(tiny(model_type="mistral")), full_layer=SELF_ATTENTION + SWIGLU, trainable=1856),
    Architecture(
        "muse_spark",
        inside(
            tiny(
                MOE,
                post_norm_eps=1e-06,
                rope_parameters=ROPE,
                layer_rope_theta=[10000.0, 0],
                layer_types=SLIDING_FULL,
                sliding_window=4,
                final_logit_softcapping=20.0,
                output_multiplier=1.0,
                moe_hidden_size=32,
                num_shared_experts=0,
            )
        ),
        full_layer=EXPERTS
        + under("self_attn", "qkvg_proj o_proj")
        + under("mlp", "pre_expert_proj post_expert_proj"),
        trainable=3584,
        untrainable="its attention is a Metal kernel, with no version for other devices",
    ),
    Architecture("pixtral", inside(tiny(model_type="mistral")), full_layer=SELF_ATTENTION + SWIGLU, trainable=1856),
    Architecture(
        "prism_hadamard_qwen35",
        inside(
            tiny(GDN, hidden_size=128, num_hidden_layers=4),
            schema_version=1,
            tensor_namespace="mlx-lm-text",
            gdn_activation_layout="grouped",
            quantization={"bits": 2, "group_size": 128, "mode": "affine"},
            modules=[{"path": "model.layers.0.mlp.up_proj", "embedding": False, "dtype": "float16", "block": 0}],
        ),
        full_layer=SELF_ATTENTION + GATED_DELTA + under("mlp", "gate_proj down_proj"),
        trainable=8752,
        outside=("mlp.up_proj",),
    ),
    Architecture("qwen2_vl", inside(tiny(model_type="qwen2")), full_layer=SELF_ATTENTION + SWIGLU, trainable=1856),
    Architecture(
        "qwen3_5",
        inside(tiny(GDN, num_hidden_layers=4, full_attention_interval=4)),
        full_layer=SELF_ATTENTION + SWIGLU + GATED_DELTA,
        trainable=4208,
    ),
    Architecture(
        "qwen3_5_moe",
        inside(tiny(GDN, MOE, num_hidden_layers=4)),
        full_layer=SELF_ATTENTION + SWITCH + SHARED_EXPERT + GATED_DELTA,
        trainable=8240,
        routers=("mlp.gate", "mlp.shared_expert_gate"),
    ),
    Architecture("qwen3_vl", inside(tiny(model_type="qwen3")), full_layer=SELF_ATTENTION + SWIGLU, trainable=1856),
    Architecture(
        "qwen3_vl_moe",
        inside(tiny(MOE, model_type="qwen3_moe")),
        full_layer=SELF_ATTENTION + SWIGLU + SWITCH,
        trainable=2528,
        routers=("mlp.gate",),
    ),
]

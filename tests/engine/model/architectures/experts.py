"""Mixtures of experts."""

from tests.engine.model.architectures.entry import (
    EXPERTS,
    GRANITE,
    LONG_ROPE,
    LONGCAT,
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
    YARN,
    Architecture,
    tiny,
    under,
)

ARCHITECTURES = [
    Architecture(
        "Klear",
        tiny(MOE),
        full_layer=SELF_ATTENTION + SWIGLU + EXPERTS + SHARED,
        trainable=2816,
        routers=("mlp.gate", "mlp.coefficient"),
    ),
    Architecture(
        "afmoe",
        tiny(
            MOE,
            layer_types=["sliding_attention", "full_attention", "full_attention"],
            num_dense_layers=1,
            sliding_window=4,
        ),
        full_layer=SELF_ATTENTION + SWIGLU + EXPERTS + SHARED + under("self_attn", "gate_proj"),
        trainable=5088,
        routers=("mlp.router.gate",),
    ),
    Architecture(
        "bailing_moe",
        tiny(MOE),
        full_layer=SWIGLU + SWITCH + SHARED + under("attention", "query_key_value dense"),
        trainable=2560,
        routers=("mlp.gate.gate_proj",),
    ),
    Architecture(
        "dbrx",
        tiny(
            d_model=32,
            n_layers=2,
            n_heads=4,
            attn_config={"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
            ffn_config={"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2},
        ),
        full_layer=under("ffn.experts.0", "v1 w1 w2")
        + under("ffn.experts.1", "v1 w1 w2")
        + under("ffn.experts.2", "v1 w1 w2")
        + under("ffn.experts.3", "v1 w1 w2")
        + under("norm_attn_norm.attn", "Wqkv out_proj"),
        trainable=2944,
        routers=("ffn.router.layer",),
    ),
    Architecture("deepseek", tiny(MOE), full_layer=SELF_ATTENTION + SWIGLU + SWITCH + SHARED, trainable=2816),
    Architecture(
        "deepseek_v2",
        tiny(MOE, MLA, rope_scaling=YARN, scoring_func="softmax"),
        full_layer=SWIGLU + MLA_PROJECTIONS + SWITCH + SHARED + under("self_attn", "kv_b_proj"),
        trainable=3168,
    ),
    Architecture(
        "deepseek_v3", tiny(MOE, MLA), full_layer=SWIGLU + MLA_PROJECTIONS + SWITCH + SHARED, trainable=2880
    ),
    Architecture(
        "deepseek_v32",
        tiny(MOE, MLA, index_head_dim=16, index_n_heads=2, index_topk=4),
        full_layer=SWIGLU + MLA_PROJECTIONS + SWITCH + SHARED,
        trainable=2880,
        outside=("self_attn.indexer.wq_b", "self_attn.indexer.wk", "self_attn.indexer.weights_proj"),
    ),
    Architecture(
        "deepseek_v41",
        tiny(
            MOE,
            MLA,
            num_hidden_layers=3,
            head_dim=16,
            o_groups=2,
            o_lora_rank=8,
            index_n_heads=2,
            index_head_dim=16,
            index_topk=4,
            compress_ratios=[0, 2, 2],
            kv_source_layer_ids=[1],
            index_source_layer_ids=[1],
            candidate_source_layer_id=-1,
        ),
        full_layer=SHARED
        + under("self_attn", "q_a_proj q_b_proj kv_proj o_a_proj o_b_proj")
        + under("mlp.experts.switch_mlp", "gate_proj up_proj down_proj")
        + under("self_attn.compressor", "kv_proj gate_proj"),
        trainable=6336,
        outside=("self_attn.indexer.q_b_proj", "self_attn.indexer.weights_proj", "self_attn.indexer.k_proj"),
        untrainable="mlx-lm cannot differentiate it: its router gathers with indices that still carry a gradient",
    ),
    Architecture("dots1", tiny(MOE), full_layer=SELF_ATTENTION + SWIGLU + EXPERTS + SHARED, trainable=2816),
    Architecture(
        "ernie4_5_moe",
        tiny(
            use_bias=False,
            moe_num_experts=4,
            moe_k=2,
            moe_intermediate_size=16,
            moe_num_shared_experts=1,
            moe_layer_start_index=1,
        ),
        full_layer=SELF_ATTENTION + SWIGLU + SWITCH + SHARED,
        trainable=2816,
        routers=("mlp.gate",),
    ),
    Architecture(
        "exaone_moe",
        tiny(MOE, sliding_window=4, layer_types=SLIDING_FULL, is_moe_layer=[False, True]),
        full_layer=SELF_ATTENTION + SWIGLU + SWITCH + SHARED,
        trainable=2816,
    ),
    Architecture(
        "gemma4_text",
        tiny(
            MOE,
            num_hidden_layers=4,
            num_kv_shared_layers=2,
            hidden_size_per_layer_input=8,
            global_head_dim=16,
            sliding_window=4,
            layer_types=SLIDING_FULL * 2,
            vocab_size_per_layer_input=64,
            enable_moe_block=True,
            top_k_experts=2,
        ),
        full_layer=SELF_ATTENTION + SWIGLU + under("experts.switch_glu", "gate_proj up_proj down_proj"),
        trainable=8256,
        outside=("per_layer_input_gate", "per_layer_projection"),
        routers=("router.proj",),
    ),
    Architecture(
        "glm4_moe",
        tiny(MOE, rope_scaling=None, use_qk_norm=True, partial_rotary_factor=0.5),
        full_layer=SELF_ATTENTION + SWIGLU + SWITCH + SHARED,
        trainable=2816,
    ),
    Architecture(
        "glm4_moe_lite", tiny(MOE, MLA), full_layer=SWIGLU + MLA_PROJECTIONS + SWITCH + SHARED, trainable=2880
    ),
    Architecture(
        "glm_moe_dsa",
        tiny(MOE, MLA, index_head_dim=16, index_n_heads=2, index_topk=4, moe_layer_freq=1, rope_parameters=ROPE),
        full_layer=SWIGLU + MLA_PROJECTIONS + SWITCH + SHARED,
        trainable=2880,
        outside=("self_attn.indexer.wq_b", "self_attn.indexer.wk", "self_attn.indexer.weights_proj"),
    ),
    Architecture(
        "gpt_oss",
        tiny(MOE, sliding_window=4),
        full_layer=SELF_ATTENTION + EXPERTS,
        trainable=4736,
        routers=("mlp.router",),
    ),
    Architecture(
        "granitemoe",
        tiny(MOE, **GRANITE),
        full_layer=SELF_ATTENTION + under("block_sparse_moe.switch_mlp", "gate_proj up_proj down_proj"),
        trainable=4736,
        routers=("block_sparse_moe.router.layer",),
    ),
    Architecture(
        "hunyuan",
        tiny(
            MOE,
            moe_topk=2,
            num_shared_expert=1,
            use_mixed_mlp_moe=True,
            use_qk_norm=True,
            use_cla=True,
            cla_share_factor=2,
            rope_scaling={"type": "dynamic", "factor": 1.0, "alpha": 1000.0},
        ),
        full_layer=SELF_ATTENTION + SWITCH + under("mlp.shared_mlp", "gate_proj down_proj up_proj"),
        trainable=3968,
        routers=("mlp.gate.wg",),
    ),
    Architecture(
        "laguna",
        tiny(MOE, sliding_window=4, layer_types=SLIDING_FULL, mlp_layer_types=["dense", "sparse"]),
        full_layer=SELF_ATTENTION + SWIGLU + SWITCH + SHARED_EXPERT + under("self_attn", "g_proj"),
        trainable=3008,
        routers=("mlp.gate.proj",),
    ),
    Architecture(
        "longcat_flash",
        tiny(MOE, MLA, **LONGCAT, attention_method="MLA"),
        full_layer=SWITCH
        + under("self_attn.0", "q_a_proj q_b_proj kv_a_proj_with_mqa o_proj")
        + under("self_attn.1", "q_a_proj q_b_proj kv_a_proj_with_mqa o_proj")
        + under("mlps.0", "gate_proj up_proj down_proj")
        + under("mlps.1", "gate_proj up_proj down_proj"),
        trainable=6144,
        routers=("mlp.router.classifier",),
    ),
    Architecture(
        "longcat_flash_ngram",
        tiny(MOE, MLA, **LONGCAT, ngram_vocab_size_ratio=2, emb_neighbor_num=2, emb_split_num=2),
        full_layer=SWITCH
        + under("self_attn.0", "q_a_proj q_b_proj kv_a_proj_with_mqa o_proj")
        + under("self_attn.1", "q_a_proj q_b_proj kv_a_proj_with_mqa o_proj")
        + under("mlps.0", "gate_proj up_proj down_proj")
        + under("mlps.1", "gate_proj up_proj down_proj"),
        trainable=6144,
        routers=("mlp.router.classifier",),
    ),
    Architecture(
        "mellum",
        tiny(
            MOE,
            sliding_window=4,
            layer_types=SLIDING_FULL,
            rope_parameters={"sliding_attention": ROPE, "full_attention": ROPE},
        ),
        full_layer=SELF_ATTENTION + SWITCH,
        trainable=3200,
        routers=("mlp.gate",),
    ),
    Architecture(
        "mimo_v2_flash",
        tiny(
            MOE,
            hybrid_layer_pattern=[0, 1],
            moe_layer_freq=[0, 1],
            add_swa_attention_sink_bias=True,
            add_full_attention_sink_bias=False,
            sliding_window_size=4,
            layernorm_epsilon=1e-05,
            swa_rope_theta=10000.0,
            swa_num_attention_heads=4,
            swa_num_key_value_heads=2,
            v_head_dim=8,
            swa_head_dim=8,
            swa_v_head_dim=8,
            partial_rotary_factor=0.5,
        ),
        full_layer=SELF_ATTENTION + SWIGLU + SWITCH + SHARED,
        trainable=2816,
    ),
    Architecture(
        "minimax",
        tiny(MOE, shared_intermediate_size=24, rotary_dim=4),
        full_layer=SELF_ATTENTION + under("block_sparse_moe.switch_mlp", "gate_proj up_proj down_proj"),
        trainable=4736,
        routers=("block_sparse_moe.gate",),
    ),
    Architecture(
        "mistral4",
        tiny(MOE, MLA, rope_parameters={**YARN, **ROPE, "llama_4_scaling_beta": 0.1}),
        full_layer=SWIGLU + MLA_PROJECTIONS + SWITCH + SHARED,
        trainable=2880,
        routers=("mlp.gate",),
    ),
    Architecture(
        "mixtral",
        tiny(MOE),
        full_layer=SELF_ATTENTION + under("block_sparse_moe.switch_mlp", "gate_proj up_proj down_proj"),
        trainable=4736,
        routers=("block_sparse_moe.gate",),
        auto_routers=("block_sparse_moe.gate",),
    ),
    Architecture("olmoe", tiny(MOE), full_layer=SELF_ATTENTION + SWITCH, trainable=4736, routers=("mlp.gate",)),
    Architecture(
        "phimoe",
        # Its router gets a gradient only where experts nearly tie; so wide a band makes them.
        tiny(MOE, router_jitter_noise=0.9, rope_scaling={**LONG_ROPE, "short_mscale": 1.0, "long_mscale": 1.0}),
        full_layer=SELF_ATTENTION + under("block_sparse_moe.switch_mlp", "gate_proj up_proj down_proj"),
        trainable=4736,
        routers=("block_sparse_moe.gate",),
        auto_routers=("block_sparse_moe.gate",),
    ),
    Architecture(
        "phixtral",
        tiny(num_vocab=64, model_dim=32, num_heads=4, num_layers=2, rotary_dim=4, num_local_experts=4),
        full_layer=under("mixer", "Wqkv out_proj") + under("moe.switch_mlp", "fc1 fc2"),
        trainable=5888,
        routers=("moe.gate",),
    ),
    Architecture(
        "qwen2_moe",
        tiny(MOE),
        full_layer=SELF_ATTENTION + SWITCH + SHARED_EXPERT,
        trainable=3872,
        routers=("mlp.gate", "mlp.shared_expert_gate"),
        auto_routers=("mlp.shared_expert_gate",),
    ),
    Architecture(
        "qwen3_moe", tiny(MOE), full_layer=SELF_ATTENTION + SWIGLU + SWITCH, trainable=2528, routers=("mlp.gate",)
    ),
    Architecture(
        "solar_open",
        tiny(MOE, partial_rotary_factor=1.0),
        full_layer=SELF_ATTENTION + SWIGLU + SWITCH + SHARED,
        trainable=2816,
    ),
    Architecture(
        "step3p5",
        tiny(
            num_attention_groups=2,
            moe_num_experts=4,
            moe_top_k=2,
            moe_intermediate_size=16,
            share_expert_dim=24,
            moe_layers_enum="1",
            layer_types=SLIDING_FULL,
            sliding_window=4,
        ),
        full_layer=SELF_ATTENTION
        + SWIGLU
        + SWITCH
        + under("self_attn", "g_proj")
        + under("mlp.share_expert", "gate_proj up_proj down_proj"),
        trainable=3008,
        routers=("mlp.gate.gate",),
    ),
]

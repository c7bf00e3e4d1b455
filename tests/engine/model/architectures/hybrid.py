"""Recurrent models, and hybrids with layers of more than one kind."""

from tests.engine.model.architectures.entry import (
    GDN,
    GRANITE,
    LFM2,
    MLA,
    MOE,
    SELF_ATTENTION,
    SHARED,
    SHARED_EXPERT,
    SWIGLU,
    SWITCH,
    Architecture,
    tiny,
    under,
)

ARCHITECTURES = [
    Architecture(
        "baichuan_m1",
        tiny(sliding_window=4, sliding_window_layers=[1], conv_window=2),
        full_layer=SWIGLU + under("self_attn", "W_pack o_proj"),
        trainable=1600,
    ),
    Architecture(
        "bailing_hybrid",
        tiny(MOE, MLA, num_hidden_layers=4, layer_group_size=2, group_norm_size=1, num_key_value_heads=4),
        full_layer=SWIGLU
        + SWITCH
        + SHARED
        + under("attention", "query_key_value dense g_proj q_a_proj q_b_proj kv_a_proj_with_mqa"),
        trainable=6784,
        routers=("mlp.gate.gate_proj",),
    ),
    Architecture(
        "bailing_moe_linear",
        tiny(MOE, num_hidden_layers=4, layer_group_size=2, group_norm_size=1),
        full_layer=SWIGLU + SWITCH + SHARED + under("attention", "query_key_value dense g_proj"),
        trainable=6464,
        routers=("mlp.gate.gate_proj",),
    ),
    Architecture(
        "bailing_moe_v3",
        tiny(MOE, MLA, num_hidden_layers=3, layer_group_size=3, moe_shared_expert_intermediate_size=16),
        full_layer=SWIGLU
        + SWITCH
        + SHARED
        + under(
            "attention", "q_proj k_proj v_proj f_proj b_proj g_proj o_proj q_a_proj q_b_proj kv_a_proj_with_mqa dense"
        ),
        trainable=5592,
    ),
    Architecture(
        "falcon_h1",
        tiny(mamba_d_head=8, mamba_d_ssm=32, mamba_d_state=8, mamba_n_heads=4, mamba_n_groups=1),
        full_layer=SELF_ATTENTION
        + under("feed_forward", "gate_proj up_proj down_proj")
        + under("mamba", "in_proj out_proj"),
        trainable=2576,
    ),
    Architecture(
        "gear",
        tiny(layer_types=["conv", "sliding_attention", "full_attention"], num_hidden_layers=3),
        full_layer=SELF_ATTENTION + SWIGLU,
        trainable=2784,
    ),
    Architecture(
        "granitemoehybrid",
        tiny(
            MOE,
            **GRANITE,
            layer_types=["mamba", "attention"],
            shared_intermediate_size=24,
            mamba_n_heads=4,
            mamba_d_head=8,
            mamba_proj_bias=False,
            mamba_d_state=8,
            mamba_d_conv=3,
            mamba_n_groups=1,
            mamba_conv_bias=False,
        ),
        full_layer=SELF_ATTENTION
        + under("mamba", "in_proj out_proj")
        + under("shared_mlp", "input_linear output_linear")
        + under("block_sparse_moe.switch_mlp", "gate_proj up_proj down_proj"),
        trainable=5192,
        routers=("block_sparse_moe.router.layer",),
    ),
    Architecture(
        "jamba",
        tiny(
            MOE,
            num_hidden_layers=4,
            attn_layer_offset=1,
            attn_layer_period=2,
            expert_layer_offset=1,
            expert_layer_period=2,
            mamba_d_conv=3,
            mamba_d_state=8,
            mamba_expand=2,
        ),
        full_layer=SELF_ATTENTION
        + under("mamba", "in_proj x_proj dt_proj out_proj")
        + under("feed_forward", "gate_proj up_proj down_proj")
        + under("feed_forward.switch_mlp", "gate_proj up_proj down_proj"),
        trainable=7312,
        routers=("feed_forward.router",),
    ),
    Architecture(
        "kimi_linear",
        tiny(
            MOE,
            MLA,
            num_experts_per_token=2,
            model_max_length=128,
            linear_attn_config={"num_heads": 4, "head_dim": 8, "kda_layers": [1]},
        ),
        full_layer=SELF_ATTENTION
        + SWIGLU
        + SWITCH
        + SHARED
        + under("self_attn", "f_a_proj f_b_proj b_proj g_a_proj g_b_proj kv_a_proj_with_mqa"),
        trainable=3240,
        routers=("mlp.gate",),
    ),
    Architecture(
        "lfm2",
        tiny(**LFM2),
        full_layer=under("conv", "in_proj out_proj")
        + under("feed_forward", "w1 w3 w2")
        + under("self_attn", "q_proj k_proj v_proj out_proj"),
        trainable=1792,
    ),
    Architecture(
        "lfm2_moe",
        tiny(MOE, conv_bias=False, conv_L_cache=3, use_expert_bias=True, num_dense_layers=1, full_attn_idxs=[1]),
        full_layer=under("conv", "in_proj out_proj")
        + under("feed_forward", "gate_proj up_proj down_proj")
        + under("self_attn", "q_proj k_proj v_proj out_proj")
        + under("feed_forward.switch_mlp", "gate_proj up_proj down_proj"),
        trainable=2464,
        routers=("feed_forward.gate",),
    ),
    Architecture(
        "mamba",
        tiny(state_size=8, conv_kernel=3, use_bias=False, use_conv_bias=True, time_step_rank=4),
        full_layer=under("mixer", "in_proj x_proj dt_proj out_proj"),
        trainable=1312,
    ),
    Architecture(
        "mamba2",
        tiny(
            num_heads=8,
            head_dim=8,
            state_size=8,
            conv_kernel=3,
            n_groups=2,
            use_bias=False,
            use_conv_bias=True,
            time_step_limit=[0.0, 10.0],
            time_step_rank="auto",
            intermediate_size=64,
        ),
        full_layer=under("mixer", "in_proj out_proj"),
        trainable=1184,
    ),
    Architecture(
        "nemotron_h",
        tiny(
            MOE,
            num_hidden_layers=4,
            mamba_num_heads=4,
            mamba_head_dim=8,
            mamba_proj_bias=False,
            ssm_state_size=8,
            conv_kernel=3,
            n_groups=1,
            use_bias=False,
            use_conv_bias=True,
            hybrid_override_pattern=["M", "*", "-", "E"],
            moe_shared_expert_intermediate_size=24,
        ),
        full_layer=under("mixer", "in_proj out_proj q_proj k_proj v_proj o_proj up_proj down_proj")
        + under("mixer.switch_mlp", "fc1 fc2")
        + under("mixer.shared_experts", "up_proj down_proj"),
        trainable=2120,
    ),
    Architecture(
        "olmo_hybrid",
        tiny(GDN, linear_allow_neg_eigval=True, layer_types=["linear_attention", "full_attention"]),
        full_layer=SELF_ATTENTION + SWIGLU + under("linear_attn", "q_proj k_proj v_proj a_proj b_proj g_proj o_proj"),
        trainable=2128,
    ),
    Architecture(
        "plamo2",
        tiny(
            hidden_size_per_head=8,
            mamba_d_state=8,
            mamba_d_conv=3,
            mamba_num_heads=4,
            mamba_step=2,
            attention_window_size=64,
        ),
        full_layer=under("mixer", "in_proj bcdt_proj dt_proj out_proj qkv_proj o_proj")
        + under("mlp", "gate_up_proj down_proj"),
        trainable=1832,
    ),
    Architecture(
        "qwen3_next",
        tiny(GDN, MOE, num_hidden_layers=4, partial_rotary_factor=0.5),
        full_layer=SELF_ATTENTION
        + SWIGLU
        + SWITCH
        + SHARED_EXPERT
        + under("linear_attn", "in_proj_qkvz in_proj_ba out_proj"),
        trainable=6848,
        routers=("mlp.gate", "mlp.shared_expert_gate"),
        auto_routers=("mlp.shared_expert_gate",),
    ),
    Architecture(
        "recurrent_gemma",
        tiny(
            conv1d_width=3,
            logits_soft_cap=30.0,
            attention_window_size=64,
            block_types=["recurrent", "attention"],
            num_key_value_heads=1,
        ),
        full_layer=under("temporal_block", "linear_y linear_x linear_out q_proj k_proj v_proj o_proj")
        + under("mlp_block", "up_proj gate_proj down_proj"),
        trainable=1472,
    ),
    Architecture(
        "rwkv7",
        tiny(a_low_rank_dim=4, v_low_rank_dim=4, gate_low_rank_dim=4, decay_low_rank_dim=4),
        full_layer=under("attn", "r_proj k_proj v_proj o_proj")
        + under("attn.w_lora.lora", "0 2")
        + under("attn.a_lora.lora", "0 2")
        + under("attn.g_lora.lora", "0 2")
        + under("ffn", "key value")
        + under("attn.v_lora.lora", "0 2"),
        trainable=2672,
    ),
]

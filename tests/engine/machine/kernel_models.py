"""Small layers and models for the tests of the kernels."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import llama
from mlx_lm.tuner.lora import LoRALinear

from droidft.engine.machine import kernels
from tests.engine.closeness import Function


def lora_layer(
    random: Function, *, rank: int = 8, bias: bool = False, dropout: float = 0.0, width: int = 77
) -> LoRALinear:
    base = nn.Linear(width, 91, bias=bias)
    base.weight = random(91, width)
    layer = LoRALinear.from_base(base, r=rank, scale=0.7, dropout=dropout)
    layer.lora_b = random(rank, 91)
    layer.freeze()
    layer.unfreeze(keys=["lora_a", "lora_b"], recurse=False)
    layer.train()
    return layer


def tiny_llama() -> nn.Module:
    mx.random.seed(0)
    arguments = llama.ModelArgs(
        model_type="llama",
        hidden_size=48,
        num_hidden_layers=2,
        intermediate_size=80,
        num_attention_heads=6,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        vocab_size=199,
    )
    model = llama.Model(arguments)
    for block in model.layers:
        block.mlp.down_proj = LoRALinear.from_base(block.mlp.down_proj, r=4, scale=2.0)
        block.self_attn.q_proj = LoRALinear.from_base(block.self_attn.q_proj, r=4, scale=2.0)
    model.update({"lora_b": []}, strict=False)
    model.apply(lambda a: a if a.ndim != 2 else 0.1 * mx.random.normal(a.shape))
    mx.eval(model.parameters())
    return model


def language_loss(model: nn.Module, tokens: mx.array) -> mx.array:
    logits = model(tokens[:, :-1]).reshape(-1, 199)
    targets = tokens[:, 1:].reshape(-1)
    fused = kernels.active()
    losses = fused.cross_entropy(logits, targets)[0] if fused else nn.losses.cross_entropy(logits, targets)
    return losses.mean()

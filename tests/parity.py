"""Weights, adapters and batches from NumPy alone, so that any framework can start from the same numbers."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from tests.tiny import LLAMA, Rows

RANK, SCALE, RATE, STEPS, BATCH = 8, 2.0, 5e-3, 20, 4
BETAS, EPS, DECAY = (0.9, 0.999), 1e-8, 0.01
KEYS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def numbers(name: str, *shape: int, scale: float) -> NDArray[np.float32]:
    """Normal numbers that depend on the name only."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def weights() -> dict[str, NDArray[np.float32]]:
    """The tiny Llama's weights by mlx-lm's (and Hugging Face's) names, [out, in]."""
    hidden, wide = LLAMA["hidden_size"], LLAMA["intermediate_size"]
    narrow = hidden // LLAMA["num_attention_heads"] * LLAMA["num_key_value_heads"]
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (narrow, hidden),
        "self_attn.v_proj": (narrow, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }
    found = {
        "model.embed_tokens.weight": numbers("embed", LLAMA["vocab_size"], hidden, scale=0.5),
        "model.norm.weight": 1 + numbers("norm", hidden, scale=0.1),
    }
    for block in range(LLAMA["num_hidden_layers"]):
        for key, shape in shapes.items():
            name = f"model.layers.{block}.{key}.weight"
            found[name] = numbers(name, *shape, scale=shape[1] ** -0.5)
        for key in ("input_layernorm", "post_attention_layernorm"):
            name = f"model.layers.{block}.{key}.weight"
            found[name] = 1 + numbers(name, hidden, scale=0.1)
    return found


def lora_a(path: str, in_dims: int) -> NDArray[np.float32]:
    """The starting A of a module, [in, rank] as mlx-lm keeps it."""
    return numbers(f"{path}.lora_a", in_dims, RANK, scale=in_dims**-0.5)


def batches() -> tuple[Rows, list[list[int]]]:
    """Rows, and which of them each of the steps sees."""
    rows = Rows(32, seed=5)
    generator = np.random.default_rng(6)
    return rows, [sorted(generator.choice(len(rows), BATCH, replace=False).tolist()) for _ in range(STEPS)]

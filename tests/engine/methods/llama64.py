"""The tiny Llama in NumPy, float64, with an adapter merged into its weights: no MLX and no LoRA layers in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def merged(weights: Mapping[str, Any], adapter: Mapping[str, Any], scale: float) -> dict[str, Numbers]:
    """W + scale (A B)^T for every adapted projection; mlx-lm keeps A as (in, rank) and B as (rank, out)."""
    made = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    for name in adapter:
        if name.endswith(".lora_a"):
            owner = name.removesuffix(".lora_a")
            a, b = (np.asarray(adapter[f"{owner}.{part}"], np.float64) for part in ("lora_a", "lora_b"))
            made[f"{owner}.weight"] = made[f"{owner}.weight"] + scale * (a @ b).T
    return made


def log_probabilities(weights: Mapping[str, Numbers], config: Mapping[str, Any], tokens: list[int]) -> Numbers:
    """Log-probability of every token but the first, given those before it."""
    x = weights["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        part = {
            name.removeprefix(f"model.layers.{layer}."): value
            for name, value in weights.items()
            if name.startswith(f"model.layers.{layer}.")
        }
        x = x + _attention(part, config, _norm(x, part["input_layernorm.weight"], config))
        h = _norm(x, part["post_attention_layernorm.weight"], config)
        gate = h @ part["mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ part["mlp.up_proj.weight"].T)) @ part["mlp.down_proj.weight"].T
    logits = _norm(x, weights["model.norm.weight"], config) @ weights["model.embed_tokens.weight"].T
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.asarray(logs[np.arange(len(tokens) - 1), tokens[1:]])


def _norm(x: Numbers, weight: Numbers, config: Mapping[str, Any]) -> Numbers:
    return np.asarray(x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + config["rms_norm_eps"]) * weight)


def _attention(part: Mapping[str, Numbers], config: Mapping[str, Any], x: Numbers) -> Numbers:
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    size = config["hidden_size"] // heads
    length = len(x)

    def split(name: str, count: int) -> Numbers:
        return (x @ part[f"self_attn.{name}.weight"].T).reshape(length, count, size).transpose(1, 0, 2)

    q, k, v = split("q_proj", heads), split("k_proj", groups), split("v_proj", groups)
    q, k = _rotated(q, config), _rotated(k, config)
    k, v = k.repeat(heads // groups, axis=0), v.repeat(heads // groups, axis=0)
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(size)
    scores = np.where(np.tril(np.ones((length, length), np.bool_)), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = (weights / weights.sum(axis=-1, keepdims=True)) @ v
    return np.asarray(mixed.transpose(1, 0, 2).reshape(length, -1) @ part["self_attn.o_proj.weight"].T)


def _rotated(x: Numbers, config: Mapping[str, Any]) -> Numbers:
    """The first half of a head's dimensions turns with the second."""
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[1])[:, None] * config["rope_theta"] ** (-np.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate(
        [first * np.cos(angles) - second * np.sin(angles), second * np.cos(angles) + first * np.sin(angles)], axis=-1
    )

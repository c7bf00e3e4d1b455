"""Settings that transformers 5 keeps in another form than mlx-lm's classes take, by architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MODULES = {"qwen3_5_text": "qwen3_5", "qwen3_5_moe_text": "qwen3_5_moe", "lfm2_vl": "lfm2-vl"}
"""Modules of mlx-lm for model types that it knows only inside another."""

_HYBRID = {"linear_attention": "mamba", "full_attention": "attention"}


def module_of(config: Mapping[str, Any]) -> str:
    """Name of mlx-lm's module for the model that a parsed `config.json` describes, whether or not there is one."""
    from mlx_lm import utils

    name: str = config["model_type"]
    for architecture in config.get("architectures") or ():
        if (other := utils.MODEL_ARCHITECTURE_REMAPPING.get((name, architecture))) is not None:
            return str(other)
    return str(MODULES.get(name) or utils.MODEL_REMAPPING.get(name, name))


def renamed(module: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What `config` says under the names of mlx-lm's `module`; nothing where it has them already."""
    rules = _RULES.get(module, {})
    made = {name: rule(config) for name, rule in rules.items() if config.get(name) is None or name in _REPLACED}
    values = {name: value for name, value in made.items() if value is not None}
    for name in _HYBRID_LISTS.get(module, ()):
        if isinstance(kinds := config.get(name), list):
            values[name] = [_HYBRID.get(kind, kind) for kind in kinds]
    return values


def _same(name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda config: config.get(name)


def _always(value: Any) -> Callable[[Mapping[str, Any]], Any]:
    return lambda config: value


def _sparse(config: Mapping[str, Any]) -> list[bool] | None:
    kinds = config.get("mlp_layer_types")
    return [kind == "sparse" for kind in kinds] if isinstance(kinds, list) else None


def _dense_first(config: Mapping[str, Any]) -> int | None:
    """How many blocks have no experts, where those are the first ones."""
    sparse = _sparse(config)
    return None if sparse is None else sparse.index(True) if True in sparse else len(sparse)


def _expanded(config: Mapping[str, Any]) -> int:
    return int(config.get("expand", 2) * config["hidden_size"])


def _unscaled(config: Mapping[str, Any]) -> dict[str, Any]:
    ones = [1.0] * (config["qk_rope_head_dim"] // 2)
    trained = config["max_position_embeddings"]
    return {
        "type": "longrope", "short_factor": ones, "long_factor": ones, "original_max_position_embeddings": trained,
    }  # fmt: skip


def _kimi_layers(config: Mapping[str, Any]) -> dict[str, Any] | None:
    kinds = config.get("layer_types")
    if not isinstance(kinds, list):
        return None
    numbered = list(enumerate(kinds, start=1))
    return {
        "kda_layers": [number for number, kind in numbered if kind == "linear_attention"],
        "full_attn_layers": [number for number, kind in numbered if kind == "full_attention"],
        "num_heads": config.get("linear_num_heads"),
        "head_dim": config.get("linear_head_dim"),
        "short_conv_kernel_size": config.get("linear_conv_kernel_dim"),
    }


def _letters(config: Mapping[str, Any]) -> str | None:
    """A letter per block, L for a local one."""
    kinds = config.get("layer_types")
    if not isinstance(kinds, list) or config.get("sliding_window") is None:
        return None
    return "".join("L" if kind == "sliding_attention" else "G" for kind in kinds)


_RULES: dict[str, dict[str, Callable[[Mapping[str, Any]], Any]]] = {
    "apertus": {"mlp_bias": _always(False), "post_norm": _always(False), "qk_norm": _always(True)},
    "deepseek_v2": {"rope_scaling": _always({"type": "yarn", "factor": 1.0})},
    "glm_moe_dsa": {
        "topk_method": _always("noaux_tc"),
        "scoring_func": _always("sigmoid"),
        "moe_layer_freq": _always(1),
        "first_k_dense_replace": _dense_first,
    },
    "qwen3_vl_moe": {"norm_topk_prob": _always(True)},
    "minicpm3": {"rope_scaling": _unscaled},
    "exaone": {"num_layers": _same("num_hidden_layers"), "layer_norm_epsilon": _same("rms_norm_eps")},
    "exaone4": {"sliding_window_pattern": _letters},
    "gpt2": {"n_ctx": _same("n_positions")},
    "lfm2": {"block_dim": _same("hidden_size")},
    "exaone_moe": {"is_moe_layer": _sparse},
    "granitemoehybrid": {"position_embedding_type": _always("nope")},
    "solar_open": {
        "intermediate_size": _same("moe_intermediate_size"),
        "first_k_dense_replace": _always(0),
        "partial_rotary_factor": _always(1.0),
    },
    "minimax": {"shared_intermediate_size": _always(0), "rotary_dim": _same("head_dim")},
    "mamba2": {"intermediate_size": _expanded},
    "kimi_linear": {
        "first_k_dense_replace": _dense_first,
        "linear_attn_config": _kimi_layers,
        "rope_theta": _always(10000.0),
    },
}
READ = {
    "exaone": frozenset({"num_hidden_layers", "rms_norm_eps"}),
    "exaone_moe": frozenset({"mlp_layer_types"}),
    "gpt2": frozenset({"n_positions"}),
    "kimi_linear": frozenset(
        {"layer_types", "mlp_layer_types", "linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim"}
    ),
}
"""Settings by module that the rules here read."""
_REPLACED = frozenset({"sliding_window_pattern"})
"""Settings whose written form mlx-lm does not take."""
_HYBRID_LISTS = {"granitemoehybrid": ("layer_types",), "jamba": ("layers_block_type",)}

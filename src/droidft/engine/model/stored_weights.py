"""Weights as transformers 5 stores them, under the names and in the layout that mlx-lm's code expects."""

from __future__ import annotations

import re
from collections.abc import Callable

import mlx.core as mx

Weights = dict[str, mx.array]


def drops(module: str) -> bool:
    """Whether mlx-lm's `module` drops weights that the model needs, so that its own layout cannot hold it."""
    return module in _KEPT


def corrected(module: str, weights: Weights, kept: Weights) -> Weights:
    """`weights` as the `sanitize` of mlx-lm's `module` expects them.

    What mlx-lm would drop and `corrections.correct` needs goes to `kept`.
    """
    if (ending := _KEPT.get(module)) is not None:
        kept |= {name: array for name, array in weights.items() if name.endswith(ending)}
    change = _BY_MODULE.get(module)
    return weights if change is None else change(weights)


def _with_names(*pairs: tuple[str, str]) -> Callable[[Weights], Weights]:
    """Weights under other names: each pattern with what stands in its place."""

    def change(weights: Weights) -> Weights:
        made: Weights = {}
        for name, array in weights.items():
            for pattern, other in pairs:
                name = re.sub(pattern, other, name)
            made[name] = array
        return made

    return change


def _gpt_oss(weights: Weights) -> Weights:
    """Experts that are not packed, (experts, in, out), as mlx-lm has them, (experts, out, in)."""
    made: Weights = {}
    for name, array in weights.items():
        stem, _, last = name.rpartition(".")
        if last == "gate_up_proj":
            both = array.swapaxes(-1, -2)
            made[f"{stem}.gate_proj.weight"], made[f"{stem}.up_proj.weight"] = both[..., ::2, :], both[..., 1::2, :]
        elif last == "down_proj":
            made[f"{stem}.down_proj.weight"] = array.swapaxes(-1, -2)
        elif last == "gate_up_proj_bias":
            made[f"{stem}.gate_proj.bias"], made[f"{stem}.up_proj.bias"] = array[..., ::2], array[..., 1::2]
        elif last == "down_proj_bias":
            made[f"{stem}.down_proj.bias"] = array
        else:
            made[name] = array
    # mlx-lm does no more to experts that have these names.
    return made if any(name.endswith("gate_proj.weight") for name in made) else weights


def _stacked(weights: Weights) -> Weights:
    """Experts stored one by one, (out, in) each, as mlx-lm has them, (experts, out, in)."""
    made: Weights = {}
    experts: dict[str, dict[int, mx.array]] = {}
    for name, array in weights.items():
        if part := re.fullmatch(r"(.*\.mlp)\.experts\.(\d+)\.(\w+\.weight)", name):
            experts.setdefault(f"{part[1]}.switch_mlp.{part[3]}", {})[int(part[2])] = array
        else:
            made[name] = array
    return made | {name: mx.stack([each[number] for number in sorted(each)]) for name, each in experts.items()}


def _in_out(weights: Weights) -> Weights:
    """Fused experts stored (experts, out, in), as transformers 5 does, in the layout (experts, in, out) of before."""
    made = dict(weights)
    for name, up in weights.items():
        down = name.replace("gate_up_proj", "down_proj")
        if name.endswith("experts.gate_up_proj") and weights[down].shape[2] * 2 == up.shape[1]:
            made[name], made[down] = up.swapaxes(1, 2), weights[down].swapaxes(1, 2)
    return made


def _lfm2_vl(weights: Weights) -> Weights:
    """The language model one level down, and its convolutions (channels, taps, 1)."""
    moved = _with_names((r"^model\.language_model\.", "language_model.model."))(weights)
    return {
        name: array.swapaxes(1, 2) if name.endswith("conv.conv.weight") and array.shape[1] == 1 else array
        for name, array in moved.items()
    }


_KEPT = {"ernie4_5_moe": "moe_statics.e_score_correction_bias"}
_BY_MODULE: dict[str, Callable[[Weights], Weights]] = {
    "gpt2": _with_names((r"^transformer\.", "")),
    "gpt_oss": _gpt_oss,
    "kimi_linear": _with_names((r"block_sparse_moe\.(gate|up|down)_proj", r"mlp.\1_proj")),
    "lfm2-vl": _lfm2_vl,
    "nanochat": _with_names(
        (r"^model\.embed_tokens\.", "transformer.wte."),
        (r"^model\.layers\.", "transformer.h."),
        (r"\.self_attn\.([qkv])_proj\.", r".attn.c_\1."),
        (r"\.self_attn\.o_proj\.", ".attn.c_proj."),
        (r"\.mlp\.fc1\.", ".mlp.c_fc."),
        (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    ),
    "olmo_hybrid": _with_names(
        (r"\.attention_layer_norm\.", ".input_layernorm."),
        (r"\.feedforward_layer_norm\.", ".post_attention_layernorm."),
    ),
    "qwen3_5_moe": _stacked,
    "qwen3_vl_moe": _in_out,
}

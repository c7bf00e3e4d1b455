"""Where transformers keeps the matrices of a checkpoint, which is where PEFT has to find them.

transformers 5 renames modules while it loads a checkpoint, and joins the experts of a layer: what is stored as
`experts.3.w1.weight` becomes rows of the parameter `experts.gate_up_proj` (experts, out, in). The tables here follow
its `conversion_mapping` for the model types that mlx-lm has too; `tests/interop` compares them with it. Models with
code of their own keep the names of their checkpoint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from droidft.errors import AdapterError
from droidft.models.factors import Factors

ALTERNATIVE = "export to `merged` or `mlx`"

JOINED = frozenset({
    "afmoe", "bailing_hybrid", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1", "ernie4_5_moe",
    "exaone_moe", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "gpt_oss", "granitemoe", "granitemoehybrid",
    "jamba", "kimi_k25", "kimi_linear", "laguna", "lfm2_moe", "longcat_flash", "mellum", "mimo_v2_flash",
    "minimax", "minimax_m2", "minimax_m3_vl", "mistral4", "mixtral", "nemotron_h", "olmoe", "phimoe",
    "qwen2_moe", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_moe", "qwen3_next", "qwen3_vl_moe", "solar_open",
})  # fmt: skip
"""Model types whose experts are parameters of one module, `experts`, in transformers 5."""

_UNGATED = frozenset({"nemotron_h"})
"""Of those, the ones whose experts have no gate."""

_WITHIN = ((r"^language_model\.model\.", "model.language_model."), (r"^language_model\.lm_head\.", "lm_head."))
_ALONE = ((r"^model\.language_model\.", "model."),)
"""`AutoModelForCausalLM` loads the language model without what sees."""

_RENAMED: dict[str, tuple[tuple[str, str], ...]] = {
    "bailing_hybrid": (
        (r"^model\.word_embeddings\.", "model.embed_tokens."),
        (r"\.attention\.", ".self_attn."),
        (r"\.self_attn\.f_proj\.", ".self_attn.forget_gate.f_proj."),
        (r"\.self_attn\.dense\.", ".self_attn.o_proj."),
    ),
    "gpt_neox": ((r"^embed_out\.", "lm_head."),),
    "granitemoe": (
        (r"\.block_sparse_moe\.input_linear\.weight$", ".block_sparse_moe.experts.gate_up_proj"),
        (r"\.block_sparse_moe\.output_linear\.weight$", ".block_sparse_moe.experts.down_proj"),
        (r"\.block_sparse_moe\.router\.layer\.", ".block_sparse_moe.router."),
    ),
    "kimi_linear": (
        (r"\.self_attn\.(f_[ab]_proj)\.", r".self_attn.forget_gate.\1."),
        (r"\.block_sparse_moe\.", ".mlp."),
    ),
    "laguna": ((r"\.mlp\.shared_expert\.", ".mlp.shared_experts."),),
    "minimax_m3_vl": (
        *_WITHIN,
        (r"\.block_sparse_moe\.", ".mlp."),
        (r"\.self_attn\.index_([qk]_proj)\.", r".self_attn.indexer.\1."),
    ),
    "mixtral": ((r"\.block_sparse_moe\.", ".mlp."),),
    "nemotron_h": ((r"^backbone\.", "model."),),
    "phimoe": ((r"\.block_sparse_moe\.gate\.", ".mlp.router."), (r"\.block_sparse_moe\.", ".mlp.")),
}
_RENAMED |= dict.fromkeys(("minimax", "minimax_m2"), _RENAMED["mixtral"])
_RENAMED |= dict.fromkeys(("gemma3", "kimi_k25", "mistral3", "mistral4"), _WITHIN)
_RENAMED |= dict.fromkeys(("qwen3_5", "qwen3_5_moe"), _ALONE)
_RENAMED |= dict.fromkeys(
    ("qwen2_vl", "qwen2_5_vl"), ((r"^model\.(?!language_model\.|visual\.)", "model.language_model."),)
)
_RENAMED |= {"granitemoehybrid": _RENAMED["granitemoe"]}

_IN_FILE: dict[str, tuple[tuple[str, str], ...]] = {"laguna": ((r"\.mlp\.shared_experts\.", ".mlp.shared_expert."),)}
"""Names that transformers would rename once more, in files of PEFT too: they stay as the checkpoint has them."""

_HALVES = {"gate_proj": 0, "w1": 0, "up_proj": 1, "w3": 1}
_DOWN = ("down_proj", "w2")

_TAKEN = frozenset({"gate", *_HALVES, *_DOWN})
"""Names that PEFT takes for experts in these model types, wherever they are, so it finds none of the modules of that
name: shared experts, the dense layers before the others, routers. As parameters it finds them."""

_UNREACHED: dict[str, tuple[str, ...]] = {
    "falcon_h1": ("out_proj",),
    "falcon_mamba": ("out_proj", "dt_proj"),
    "jamba": ("dt_proj",),
    "mamba": ("out_proj", "dt_proj"),
    "mamba2": ("out_proj",),
    "nemotron_h": ("out_proj",),
}
"""Modules whose weight transformers reads without calling them. PEFT refuses some of them and is silent on others."""


@dataclass(frozen=True)
class Place:
    """A matrix in transformers' model; PEFT adapts the `module`, or a `parameter` of it where one is named."""

    module: str
    parameter: str | None = None
    expert: int | None = None
    """Which matrix of a parameter (experts, out, in)."""
    part: int = 0
    parts: int = 1
    """The matrix is number `part` of as many of one size, joined one above the other."""


def place(pair: Factors, model_type: str) -> Place:
    """Where the matrix of a pair of factors lies in a model of `model_type` (of its `config.json`).

    Raises:
        AdapterError: PEFT cannot reach it.
    """
    at = place_of(pair.tensor, model_type, pair.expert)
    own = at.module.rpartition(".")[2]
    if pair.expert is not None and model_type not in JOINED:
        raise AdapterError(
            f"{pair.tensor} is one tensor for all experts, and PEFT reaches it in no model of type {model_type}",
            hint=ALTERNATIVE,
        )
    if own in _UNREACHED.get(model_type, ()):
        raise AdapterError(
            f"PEFT cannot adapt {at.module}: models of type {model_type} use its weight without calling it",
            hint=f"{ALTERNATIVE}, or train with lora_targets 'custom' without `{own}`",
        )
    if at.parameter is None and (pair.router or (model_type in JOINED and own in _TAKEN)):
        return replace(at, parameter="weight")
    return at


def place_of(tensor: str, model_type: str, expert: int | None = None) -> Place:
    """Where a stored tensor, or matrix number `expert` of one that is a stack, lies in transformers' model."""
    name = renamed(tensor, model_type)
    if model_type in JOINED and (match := re.fullmatch(r"(.*\.experts)\.(\d+)\.(\w+)\.weight", name)):
        return _expert(match[1], int(match[2]), match[3], model_type)
    module, _, leaf = name.rpartition(".")
    inside, _, own = module.rpartition(".")
    if model_type == "minimax_m3_vl" and own in _HALVES:
        return Place(f"{inside}.gate_up_proj", "weight", None, _HALVES[own], 2)
    return Place(module, None if leaf == "weight" else leaf, expert)


def _expert(experts: str, number: int, own: str, model_type: str) -> Place:
    if own in _DOWN:
        return Place(experts, "down_proj", number)
    if model_type in _UNGATED:
        return Place(experts, "up_proj", number)
    return Place(experts, "gate_up_proj", number, _HALVES[own], 2)


def renamed(tensor: str, model_type: str) -> str:
    """The name of a stored tensor after transformers has loaded it, joining apart."""
    return _by_rules(tensor, _RENAMED.get(model_type, ()))


def in_file(name: str, model_type: str) -> str:
    """How a file of PEFT's has to name a tensor so that PEFT arrives at `name`."""
    return _by_rules(name, _IN_FILE.get(model_type, ()))


def _by_rules(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name

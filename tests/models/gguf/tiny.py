"""Tiny models of every architecture that GGUF import covers: settings and weights as their makers name them, and the
file that llama.cpp's conversion would write of them.

Needs numpy and `gguf` only, so that tests without torch build the very models of `bench/golden_gguf.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import gguf
import numpy as np
from gguf import MODEL_ARCH

from tests.models.gguf.files import byte_level_tokens

ROWS = 272
POSITIONS = (0, 1, 6, 7, 8, 14, -1)
"""Where golden logits are kept; windows end between them."""
STRIDE = 16
"""Every how many tokens of the vocabulary."""

_SHARED = {"vocab_size": ROWS, "rms_norm_eps": 2e-5, "hidden_act": "silu", "pad_token_id": 0}


@dataclass(frozen=True)
class Case:
    """One model: `config` is what its maker's `config.json` says, `arch` and `context` what GGUF makes of it."""

    arch: MODEL_ARCH
    config: dict[str, Any]
    length: int = 24
    metadata: dict[str, Any] = field(default_factory=dict)
    """Written into the file besides what `write` takes from the config."""

    @property
    def head_dim(self) -> int:
        c = self.config
        return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def _config(
    model_type: str, class_name: str, layers: int, hidden: int, heads: int, kv: int, **more: Any
) -> dict[str, Any]:
    return {
        **_SHARED,
        "model_type": model_type,
        "architectures": [class_name],
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": 40,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        **more,
    }


_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_GEMMA = {
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_act": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "head_dim": 24,
    "query_pre_attn_scalar": 24,
}
_GEMMA2 = {**_GEMMA, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 2.5, "rope_theta": 10000.0}
_SHORT, _LONG = [1.0, 1.5, 2.0], [1.5, 3.0, 9.0]

CASES = {
    "llama": Case(
        MODEL_ARCH.LLAMA,
        _config(
            "llama", "LlamaForCausalLM", 2, 48, 4, 2, head_dim=16, rope_theta=20000.0, rope_scaling=_LLAMA3
        ),
    ),
    "llama-biases": Case(
        MODEL_ARCH.LLAMA,
        _config(
            "llama", "LlamaForCausalLM", 2, 48, 4, 2, rope_theta=300.0, attention_bias=True, mlp_bias=True,
            rope_scaling={"rope_type": "linear", "factor": 3.0}, tie_word_embeddings=True,
        ),
    ),
    "mixtral": Case(
        MODEL_ARCH.LLAMA,
        _config(
            "mixtral", "MixtralForCausalLM", 2, 48, 4, 2, rope_theta=5000.0, num_local_experts=4,
            num_experts_per_tok=2, sliding_window=None,
        ),
    ),
    "qwen2": Case(
        MODEL_ARCH.QWEN2,
        _config(
            "qwen2", "Qwen2ForCausalLM", 2, 48, 4, 2, rope_theta=900.0, rope_scaling=_YARN, tie_word_embeddings=True
        ),
    ),
    "qwen3": Case(
        MODEL_ARCH.QWEN3,
        _config("qwen3", "Qwen3ForCausalLM", 2, 40, 4, 2, head_dim=22, rope_theta=70000.0, rope_scaling=_YARN),
    ),
    "gemma2": Case(
        MODEL_ARCH.GEMMA2,
        _config("gemma2", "Gemma2ForCausalLM", 3, 44, 4, 2, **_GEMMA2, sliding_window=16),
        length=16,
    ),
    "gemma2-46-blocks": Case(
        MODEL_ARCH.GEMMA2,
        _config(
            "gemma2", "Gemma2ForCausalLM", 46, 24, 2, 1, **{**_GEMMA2, "head_dim": 8, "query_pre_attn_scalar": 12},
            sliding_window=32,
        ),
    ),
    # Widths whose square root bfloat16 holds: mlx-lm rounds the scale of Gemma 3's embeddings to it.
    "gemma3": Case(
        MODEL_ARCH.GEMMA3,
        _config(
            "gemma3_text", "Gemma3ForCausalLM", 7, 36, 4, 1, **_GEMMA, sliding_window=7, sliding_window_pattern=6,
            rope_theta=50000.0, rope_local_base_freq=10000.0, rope_scaling={"rope_type": "linear", "factor": 8.0},
        ),
    ),
    "gemma3-pattern": Case(
        MODEL_ARCH.GEMMA3,
        _config(
            "gemma3_text", "Gemma3ForCausalLM", 4, 64, 4, 2, **_GEMMA, sliding_window=7, sliding_window_pattern=2,
            rope_theta=50000.0, rope_local_base_freq=700.0,
        ),
        metadata={
            "gemma3.attention.sliding_window_pattern": [True, False, True, False],
            "gemma3.rope.freq_base_swa": 700.0,
        },
    ),
    "phi3": Case(
        MODEL_ARCH.PHI3,
        _config("phi3", "Phi3ForCausalLM", 2, 48, 4, 2, rope_theta=3000.0, sliding_window=24),
    ),
    "phi3-longrope": Case(
        MODEL_ARCH.PHI3,
        _config(
            "phi3", "Phi3ForCausalLM", 2, 48, 6, 3, rope_theta=3000.0, sliding_window=None, tie_word_embeddings=True,
            partial_rotary_factor=0.75, max_position_embeddings=4096, original_max_position_embeddings=256,
            rope_scaling={"rope_type": "longrope", "type": "longrope", "short_factor": _SHORT, "long_factor": _LONG},
        ),
    ),
}  # fmt: skip


def tokens(case: Case) -> list[int]:
    return [int(token) for token in np.random.RandomState(5).randint(0, 256, case.length)]


def weights(case: Case) -> dict[str, np.ndarray]:
    """Weights by the names of `transformers`, each from a seed of its own name."""
    return {name: _random(name, shape) for name, shape in _shapes(case).items()}


def _random(name: str, shape: tuple[int, ...]) -> np.ndarray:
    numbers = np.random.RandomState(crc32(name.encode())).standard_normal(shape)
    if name.endswith("norm.weight"):
        return (numbers * 0.3 + 0.8).astype(np.float32)
    return (numbers * (0.3 if name.endswith("bias") else 1.3 / shape[-1] ** 0.5)).astype(np.float32)


def _shapes(case: Case) -> dict[str, tuple[int, ...]]:
    c, width = case.config, case.config["hidden_size"]
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (ROWS, width), "model.norm.weight": (width,)}
    if not c["tie_word_embeddings"]:
        found["lm_head.weight"] = (ROWS, width)
    for index in range(c["num_hidden_layers"]):
        for name, shape in {**_attention(case), **_feed_forward(c), **_norms(case)}.items():
            found[f"model.layers.{index}.{name}"] = shape
    return found


def _attention(case: Case) -> dict[str, tuple[int, ...]]:
    c, width = case.config, case.config["hidden_size"]
    q, kv = c["num_attention_heads"] * case.head_dim, c["num_key_value_heads"] * case.head_dim
    if case.arch == MODEL_ARCH.PHI3:
        return {"self_attn.qkv_proj.weight": (q + 2 * kv, width), "self_attn.o_proj.weight": (width, q)}
    rows = {"q": (q, width), "k": (kv, width), "v": (kv, width), "o": (width, q)}
    found = {f"self_attn.{name}_proj.weight": shape for name, shape in rows.items()}
    biased = "qkvo" if c.get("attention_bias") else "qkv" if case.arch == MODEL_ARCH.QWEN2 else ""
    return found | {f"self_attn.{name}_proj.bias": rows[name][:1] for name in biased}


def _feed_forward(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    width, inner = c["hidden_size"], c["intermediate_size"]
    if c["model_type"] == "phi3":
        return {"mlp.gate_up_proj.weight": (2 * inner, width), "mlp.down_proj.weight": (width, inner)}
    if (experts := c.get("num_local_experts")) is not None:
        shapes = {"w1": (inner, width), "w2": (width, inner), "w3": (inner, width)}
        return {"block_sparse_moe.gate.weight": (experts, width)} | {
            f"block_sparse_moe.experts.{expert}.{name}.weight": shape
            for expert in range(experts)
            for name, shape in shapes.items()
        }
    rows = {"gate": (inner, width), "up": (inner, width), "down": (width, inner)}
    found: dict[str, tuple[int, ...]] = {f"mlp.{name}_proj.weight": shape for name, shape in rows.items()}
    return found | ({f"mlp.{name}_proj.bias": shape[:1] for name, shape in rows.items()} if c.get("mlp_bias") else {})


def _norms(case: Case) -> dict[str, tuple[int, ...]]:
    names = ["input_layernorm", "post_attention_layernorm"]
    if case.arch in (MODEL_ARCH.GEMMA2, MODEL_ARCH.GEMMA3):
        names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    found: dict[str, tuple[int, ...]] = {f"{name}.weight": (case.config["hidden_size"],) for name in names}
    if case.arch in (MODEL_ARCH.QWEN3, MODEL_ARCH.GEMMA3):
        found |= {f"self_attn.{name}_norm.weight": (case.head_dim,) for name in "qk"}
    return found


def write(case: Case, path: Path) -> Path:
    """The GGUF file, in float32, by the conventions of llama.cpp's converter."""
    architecture = gguf.MODEL_ARCH_NAMES[case.arch]
    writer = gguf.GGUFWriter(path, architecture)
    _write_settings(writer, case)
    _write_vocabulary(writer)
    for name, value in case.metadata.items():
        writer.add_key_value(name, value, gguf.GGUFValueType.get_type(value))
    for name, weight in _converted(case).items():
        writer.add_tensor(name, np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_settings(writer: gguf.GGUFWriter, case: Case) -> None:
    c = case.config
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(c["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    if "head_dim" in c:
        writer.add_key_length(c["head_dim"])
        writer.add_value_length(c["head_dim"])
    if case.arch != MODEL_ARCH.GEMMA2:
        writer.add_rope_freq_base(c["rope_theta"])
    if case.arch == MODEL_ARCH.LLAMA:
        writer.add_rope_dimension_count(case.head_dim)
        writer.add_vocab_size(ROWS)
    if case.arch == MODEL_ARCH.PHI3:
        writer.add_rope_dimension_count(int(case.head_dim * c.get("partial_rotary_factor", 1)))
        writer.add_rope_scaling_orig_ctx_len(c.get("original_max_position_embeddings", c["max_position_embeddings"]))
    if "sliding_window" in c and c["model_type"] != "mixtral":
        writer.add_sliding_window(c["sliding_window"] or 0)
    if "num_local_experts" in c:
        writer.add_expert_count(c["num_local_experts"])
        writer.add_expert_used_count(c["num_experts_per_tok"])
    if case.arch == MODEL_ARCH.GEMMA2:
        writer.add_attn_logit_softcapping(c["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(c["final_logit_softcapping"])
    _write_scaling(writer, case)


def _write_scaling(writer: gguf.GGUFWriter, case: Case) -> None:
    scaling = case.config.get("rope_scaling") or {}
    match scaling.get("rope_type"):
        case "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(scaling["factor"])
        case "yarn":
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(scaling["factor"])
            writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        case "longrope":
            longest, original = (
                case.config["max_position_embeddings"],
                case.config["original_max_position_embeddings"],
            )
            writer.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(longest / original) / np.log(original))))


def _write_vocabulary(writer: gguf.GGUFWriter) -> None:
    known, merges, types = byte_level_tokens()
    spare = [f"[PAD{index}]" for index in range(ROWS - len(known))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*known, *spare])
    writer.add_token_merges(merges)
    writer.add_token_types([*types, *([gguf.TokenType.UNUSED] * len(spare))])
    writer.add_eos_token_id(known.index("<|im_end|>"))


def _converted(case: Case) -> dict[str, np.ndarray]:
    names = gguf.get_tensor_name_map(case.arch, case.config["num_hidden_layers"])
    found = {}
    for name, weight in _merged(weights(case)).items():
        converted = _convention(case, name, weight)
        found[names.get_name(name, try_suffixes=(".weight", ".bias"))] = converted
    scaling = case.config.get("rope_scaling") or {}
    if scaling.get("rope_type") == "llama3":
        found["rope_freqs.weight"] = _divisors(scaling, case.config["rope_theta"], case.head_dim)
    if scaling.get("rope_type") == "longrope":
        found["rope_factors_long.weight"] = np.array(scaling["long_factor"], dtype=np.float32)
        found["rope_factors_short.weight"] = np.array(scaling["short_factor"], dtype=np.float32)
    return found


def _merged(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Experts stacked under the name that the name map knows."""
    found: dict[str, np.ndarray] = {}
    stacks: dict[str, list[np.ndarray]] = {}
    for name, weight in given.items():
        if ".experts." not in name:
            found[name] = weight
            continue
        block, projection = name.split(".")[2], name.split(".")[-2]
        stacks.setdefault(f"layers.{block}.feed_forward.experts.{projection}.weight", []).append(weight)
    return found | {name: np.stack(stack) for name, stack in stacks.items()}


def _convention(case: Case, name: str, weight: np.ndarray) -> np.ndarray:
    if case.arch in (MODEL_ARCH.GEMMA2, MODEL_ARCH.GEMMA3) and name.endswith("norm.weight"):
        return weight + 1
    for short, count in (("q", "num_attention_heads"), ("k", "num_key_value_heads")):
        if case.arch == MODEL_ARCH.LLAMA and f".{short}_proj." in name:
            # The two halves of each head's rotary dimensions are laid alternately.
            heads = weight.reshape(case.config[count], 2, case.head_dim // 2, -1)
            return np.moveaxis(heads, 1, 2).reshape(weight.shape)
    return weight


def _divisors(scaling: dict[str, Any], theta: float, head_dim: int) -> np.ndarray:
    """Llama 3.1's divisor of every rotary frequency, one after another as its paper tells it."""
    found = []
    for pair in range(head_dim // 2):
        turns = scaling["original_max_position_embeddings"] / (2 * np.pi * theta ** (2 * pair / head_dim))
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        share = min(max((turns - low) / (high - low), 0.0), 1.0)
        found.append(1 / ((1 - share) / scaling["factor"] + share))
    return np.array(found, dtype=np.float32)

"""GGUF files of tiny models, written by ggml's own Python package: an independent implementation of the format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import quants

from tests.tiny import CHAT_TEMPLATE, LLAMA, SPECIAL

HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, BLOCKS, ROWS = 32, 64, 4, 2, 2, 272
TYPES = {name: gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0")}


@dataclass
class Written:
    """What was put into a file: weights under their names in the model, as the quantised file holds them."""

    path: Path
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    originals: dict[str, np.ndarray] = field(default_factory=dict)


def byte_level_tokens() -> tuple[list[str], list[str], list[int]]:
    """Every byte, three special tokens and two merges."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *SPECIAL, "he", "Ġt", "Ġthe"]
    types = [1] * len(alphabet) + [3] * len(SPECIAL) + [1] * 3
    return tokens, ["h e", "Ġ t", "Ġt he"], types


def write_llama(
    path: Path,
    *,
    quant: str = "F16",
    architecture: str = "llama",
    pre: str = "smollm",
    tied: bool = True,
    metadata: Mapping[str, Any] | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
    leave_out: str | None = None,
) -> Written:
    """A two-block Llama (or Qwen2) with random weights; `metadata` is added to what the writer sets."""
    writer = gguf.GGUFWriter(path, architecture)
    _write_metadata(writer, architecture, pre)
    for name, value in (metadata or {}).items():
        writer.add_key_value(name, value, _kind(value))
    written = Written(path)
    generator = np.random.default_rng(0)
    for theirs, ours, shape in _tensors(architecture, tied=tied):
        if theirs == leave_out:
            continue
        original = (generator.standard_normal(shape) * 0.2 + (1 if len(shape) == 1 else 0)).astype(np.float32)
        _add(writer, written, theirs, ours, original, quant, permuted=architecture == "llama")
    for name, array in (extra or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return written


def _write_metadata(writer: gguf.GGUFWriter, architecture: str, pre: str) -> None:
    tokens, merges, types = byte_level_tokens()
    writer.add_context_length(LLAMA["max_position_embeddings"])
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_token_types(types)
    writer.add_bos_token_id(tokens.index("<|im_start|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_unk_token_id(tokens.index("<|endoftext|>"))
    writer.add_chat_template(CHAT_TEMPLATE)


def _tensors(architecture: str, *, tied: bool) -> list[tuple[str, str, tuple[int, ...]]]:
    kv = HIDDEN // HEADS * KV_HEADS
    found: list[tuple[str, str, tuple[int, ...]]] = [
        ("token_embd.weight", "model.embed_tokens.weight", (ROWS, HIDDEN)),
        ("output_norm.weight", "model.norm.weight", (HIDDEN,)),
    ]
    if not tied:
        found.append(("output.weight", "lm_head.weight", (ROWS, HIDDEN)))
    block = {
        "attn_norm": ("input_layernorm", (HIDDEN,)),
        "attn_q": ("self_attn.q_proj", (HIDDEN, HIDDEN)),
        "attn_k": ("self_attn.k_proj", (kv, HIDDEN)),
        "attn_v": ("self_attn.v_proj", (kv, HIDDEN)),
        "attn_output": ("self_attn.o_proj", (HIDDEN, HIDDEN)),
        "ffn_norm": ("post_attention_layernorm", (HIDDEN,)),
        "ffn_gate": ("mlp.gate_proj", (FEED_FORWARD, HIDDEN)),
        "ffn_up": ("mlp.up_proj", (FEED_FORWARD, HIDDEN)),
        "ffn_down": ("mlp.down_proj", (HIDDEN, FEED_FORWARD)),
    }
    for index in range(BLOCKS):
        for theirs, (ours, shape) in block.items():
            found.append((f"blk.{index}.{theirs}.weight", f"model.layers.{index}.{ours}.weight", shape))
            if architecture == "qwen2" and theirs in ("attn_q", "attn_k", "attn_v"):
                found.append((f"blk.{index}.{theirs}.bias", f"model.layers.{index}.{ours}.bias", shape[:1]))
    return found


def _add(
    writer: gguf.GGUFWriter,
    written: Written,
    theirs: str,
    ours: str,
    original: np.ndarray,
    quant: str,
    *,
    permuted: bool,
) -> None:
    heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(theirs.split(".")[-2])
    stored = original if heads is None or not permuted else _interleave(original, heads)
    kind = TYPES["F32" if original.ndim == 1 else quant]
    packed = quants.quantize(stored, kind)
    writer.add_tensor(theirs, packed, raw_dtype=kind)
    seen = quants.dequantize(packed, kind)
    written.originals[ours] = original
    written.weights[ours] = seen if heads is None or not permuted else _separate(seen, heads)


def _interleave(weight: np.ndarray, heads: int) -> np.ndarray:
    """Row (half, pair) of each head goes to (pair, half), one row after another."""
    half = weight.shape[0] // heads // 2
    moved = np.empty_like(weight)
    for head in range(heads):
        for part in range(2):
            for pair in range(half):
                moved[head * 2 * half + pair * 2 + part] = weight[head * 2 * half + part * half + pair]
    return moved


def _separate(weight: np.ndarray, heads: int) -> np.ndarray:
    order = _interleave(np.arange(weight.shape[0]), heads)
    back = np.empty_like(weight)
    back[order] = weight
    return back


def _kind(value: Any) -> gguf.GGUFValueType:
    return gguf.GGUFValueType.get_type(value)

"""Where the weights of each architecture lie in a GGUF file: the one table that import and export share.

A layout knows the names on both sides, and what a file does to values: llama.cpp lays the two rotary halves of
queries and keys of Llamas alternately, and adds to Gemma's norms the 1 that their makers' code adds as it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from droidft.errors import ModelError
from droidft.models.gguf.reader import Floats

HEAD = "output.weight"
"""The output head in a file; one without it uses the embedding."""
EMBEDDING = "token_embd.weight"
ROPE_FREQS = "rope_freqs.weight"
LONGROPE = ("rope_factors_short.weight", "rope_factors_long.weight")

_LARGEST = {"gemma2": 46, "gemma3": 62}
"""Blocks of the Gemma of each generation whose queries are divided in a way of their own."""

_TOP = {
    EMBEDDING: "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    HEAD: "lm_head.weight",
}
_ATTENTION = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_MLP = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_LLAMA = {**_ATTENTION, "ffn_norm": "post_attention_layernorm", **_MLP}
_QK_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_GEMMA = {
    **_ATTENTION,
    **_MLP,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_EXPERTS = {
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.{}.w1",
    "ffn_down_exps": "block_sparse_moe.experts.{}.w2",
    "ffn_up_exps": "block_sparse_moe.experts.{}.w3",
}
_MIXTRAL = {**_ATTENTION, "ffn_norm": "post_attention_layernorm", **_EXPERTS}
_PHI3 = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.gate_up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Layout:
    """Names of one architecture's weights in a file and in a model folder, and how their values differ."""

    architecture: str
    """`general.architecture` of its files."""
    block: Mapping[str, str]
    """Within a block: name in the file -> name in the model; a `{}` stands for the expert."""
    biased: tuple[str, ...] = ()
    """Projections that always have a bias."""
    may_have_biases: bool = False
    """Whether any other projection may have one."""
    interleaved: bool = False
    """Whether the rotary halves of queries and keys alternate row by row."""
    norm_shift: float = 0.0
    """What a file's norm weights are raised by: 1 for Gemma's, which are stored as differences from 1."""
    has_head: bool = True
    """Whether llama.cpp reads an output head of its own, beside the embedding."""
    ignored: tuple[str, ...] = ()
    """Tensors of a file that are settings in the model."""

    def names(self, blocks: int, is_held: Callable[[str, str], bool]) -> dict[str, str]:
        """Name in the file -> name in the model, for every tensor of a model of so many blocks.

        `is_held(theirs, ours)` decides on those that a model may do without: the head, and biases.
        """
        names = {theirs: ours for theirs, ours in _TOP.items() if theirs != HEAD or is_held(theirs, ours)}
        for index in range(blocks):
            for theirs, ours in self.block.items():
                stem, target = f"blk.{index}.{theirs}", f"model.layers.{index}.{ours}"
                names[f"{stem}.weight"] = f"{target}.weight"
                bias = (f"{stem}.bias", f"{target}.bias")
                if theirs in self.biased or (self.may_have_biases and is_held(*bias)):
                    names[bias[0]] = bias[1]
        return names

    def to_file(self, theirs: str, weight: Floats, heads: Mapping[str, int]) -> Floats:
        """A weight of the model as the file holds it; `heads` are as `heads_of` gives them."""
        kind = theirs.split(".")[-2]
        if self.interleaved and kind in heads:
            return interleaved(weight, heads[kind])
        return weight + np.float32(self.norm_shift) if self._is_shifted(theirs) else weight

    def to_model(self, theirs: str, weight: Floats, heads: Mapping[str, int]) -> Floats:
        """A weight of the file as the model holds it: the inverse of `to_file`, up to a shifted norm's last bit."""
        kind = theirs.split(".")[-2]
        if self.interleaved and kind in heads:
            return separated(weight, heads[kind])
        return weight - np.float32(self.norm_shift) if self._is_shifted(theirs) else weight

    def _is_shifted(self, theirs: str) -> bool:
        return bool(self.norm_shift) and theirs.endswith("norm.weight")


def query_scalar(config: Mapping[str, Any], architecture: str) -> int:
    """What Gemma's queries are divided by, squared; GGUF leaves it to the number of blocks, as llama.cpp does."""
    if config["num_hidden_layers"] == _LARGEST[architecture]:
        scalar: int = config["hidden_size"] // config["num_attention_heads"]
        return scalar
    head_dim: int = config["head_dim"]
    return head_dim


def heads_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Heads in the rows of each projection that may be interleaved, from a `config.json`."""
    queries = config["num_attention_heads"]
    return {"attn_q": queries, "attn_k": config.get("num_key_value_heads") or queries}


def interleaved(weight: Floats, heads: int) -> Floats:
    """Rows of each head from (half, pair) to (pair, half), as llama.cpp rotates them; shape (rows, …) stays."""
    return _heads_swapped(weight, heads, halves_first=True)


def separated(weight: Floats, heads: int) -> Floats:
    """Rows of each head from (pair, half) back to (half, pair): the inverse of `interleaved`."""
    return _heads_swapped(weight, heads, halves_first=False)


def _heads_swapped(weight: Floats, heads: int, *, halves_first: bool) -> Floats:
    rows = weight.shape[0]
    if rows % (2 * heads):
        raise ModelError(f"a projection of {rows} rows does not divide into {heads} heads")
    pairs = rows // heads // 2
    split = (heads, 2, pairs, -1) if halves_first else (heads, pairs, 2, -1)
    return weight.reshape(split).swapaxes(1, 2).reshape(weight.shape)


LLAMA = Layout("llama", _LLAMA, may_have_biases=True, interleaved=True, ignored=(ROPE_FREQS,))
MIXTRAL = Layout("llama", _MIXTRAL, interleaved=True)
QWEN2 = Layout("qwen2", _LLAMA, biased=("attn_q", "attn_k", "attn_v"))
QWEN3 = Layout("qwen3", {**_LLAMA, **_QK_NORMS})
GEMMA2 = Layout("gemma2", _GEMMA, norm_shift=1.0, has_head=False)
GEMMA3 = Layout("gemma3", {**_GEMMA, **_QK_NORMS}, norm_shift=1.0)
PHI3 = Layout("phi3", _PHI3, ignored=LONGROPE)

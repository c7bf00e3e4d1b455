"""What the modules of a model's blocks are: which ones LoRA can adapt, and which part of a block each is.

A module's part is read from its path and the classes along it, nearest first (`mlp.switch_mlp.up_proj` is MLP
by `switch_mlp`; `mixer.up_proj` is MLP by the class `NemotronHMLP`), so new architectures need no entry here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from droidft.errors import TargetError


class Part(StrEnum):
    """What a projection does in its block."""

    ATTENTION = "attention"
    """Mixes tokens: attention, linear attention, state space, short convolution."""
    MLP = "mlp"
    """Works on each token: dense MLPs, experts, shared experts."""
    ROUTER = "router"
    """Weighs experts or branches of an MLP."""
    SELECTOR = "selector"
    """Only picks positions for sparse attention: no gradient ever reaches it."""
    OTHER = "other"
    """Anything else, such as per-layer inputs or learned residuals."""


class Kind(StrEnum):
    """What sort of module LoRA adapts."""

    LINEAR = "linear"
    EXPERTS = "experts"
    """A stack of linear layers, one pair A, B for each expert."""
    FUSED = "fused"
    """One matrix for several outputs (afm7), with an A of its own for each output."""
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Projection:
    """A module that mlx-lm can adapt; `key` leads to it from its block, `path` from the model.

    `in_dims` x `out_dims` is its matrix (an embedding's rows x width), once for each of `experts`; `parts` is
    the number of outputs a fused one splits into. `block` is None outside the blocks.
    """

    key: str
    kind: Kind
    part: Part
    in_dims: int
    out_dims: int
    experts: int = 1
    parts: int = 1
    quantized: bool = False
    uncalled: bool = False
    path: str = ""
    block: int | None = None

    def parameters(self, rank: int, *, dora: bool = False) -> int:
        """Values that are trained here: rank x (in + out) for each expert; DoRA adds a magnitude for each row.

        Raises:
            TargetError: DoRA on a stack of experts or a fused layer, for which mlx-lm has none.
        """
        lora = rank * (self.parts * self.in_dims + self.out_dims) * self.experts
        if not dora:
            return lora
        if self.kind in (Kind.EXPERTS, Kind.FUSED):
            raise TargetError(
                f"DoRA cannot adapt {self.key}: mlx-lm has it for single linear layers and embeddings only",
                hint="use fine_tune_type 'lora', or lora_targets 'custom' without this key",
            )
        return lora + (self.in_dims if self.kind is Kind.EMBEDDING else self.out_dims)


# mlx-lm computes with these modules' weights instead of calling them, which an adapter in their place breaks.
_UNCALLED = {
    "gemma3n": frozenset({"altup.correction_coefs", "altup.prediction_coefs"}),
    "kimi_k3": frozenset({"self_attention_res_proj", "mlp_res_proj"}),
}

_SELECTOR = re.compile(r"(^|\.)(indexer\.|index_)")
_ROUTER = re.compile(r"(^|\.)(gate|router|shared_expert_gate|coefficient)(\.|$)")
_ATTENTION_WORD = re.compile(r"attn|attention|(^|_)att(_|$)|mamba|conv|temporal|recurrent", re.IGNORECASE)
_MLP_WORD = re.compile(r"mlp|moe|expert|ffn|feed_forward|(^|_)ff(_|$)", re.IGNORECASE)


def projections(block: nn.Module) -> list[Projection]:
    """The adaptable modules of a block, in the order of its tree."""
    modules = dict(block.named_modules())
    uncalled = _UNCALLED.get(type(block).__module__.rpartition(".")[2], frozenset())
    # The tree of a module is walked last child first.
    return [
        Projection(key=key, part=part_of(key, modules), uncalled=key in uncalled, **shape)
        for key, module in reversed(modules.items())
        if key and (shape := adaptable(module)) is not None
    ]


def adaptable(module: nn.Module) -> dict[str, Any] | None:
    """Kind and dimensions of a module mlx-lm can adapt; None for every other one."""
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

    if isinstance(module, SwitchLinear | QuantizedSwitchLinear):
        return {
            "kind": Kind.EXPERTS,
            "in_dims": module.input_dims,
            "out_dims": module.output_dims,
            "experts": module.num_experts,
            "quantized": isinstance(module, QuantizedSwitchLinear),
        }
    quantized = isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding)
    if not quantized and not isinstance(module, nn.Linear | nn.Embedding):
        return None
    rows, width = module["weight"].shape
    if quantized:
        width = width * 32 // module.bits
    if isinstance(module, nn.Embedding | nn.QuantizedEmbedding):
        return {"kind": Kind.EMBEDDING, "in_dims": rows, "out_dims": width, "quantized": quantized}
    if hasattr(module, "to_lora"):
        parts = len(module.output_dims)
        return {"kind": Kind.FUSED, "in_dims": width, "out_dims": rows, "parts": parts, "quantized": quantized}
    return {"kind": Kind.LINEAR, "in_dims": width, "out_dims": rows, "quantized": quantized}


def matrices_left_out(block: nn.Module) -> Iterator[tuple[str, Part, str]]:
    """Key, part and class of modules that hold a matrix of their own which mlx-lm cannot adapt.

    Convolutions and norms are left out: nobody expects them to be adapted.
    """
    modules = dict(block.named_modules())
    for key, module in modules.items():
        kind = type(module).__name__
        if not key or adaptable(module) is not None or "Conv" in kind or "Norm" in kind:
            continue
        weight = module.get("weight")
        if isinstance(weight, mx.array) and weight.ndim >= 2:
            yield key, part_of(key, modules), kind


def roles(key: str) -> frozenset[str]:
    """Which of q, k, v a projection of the attention makes, by the words of its name: `qkv_proj` makes all."""
    leaf = key.rpartition(".")[2]
    if leaf in ("c_attn", "W_pack", "att_proj"):
        return frozenset("qkv")
    if leaf == "r_proj":  # RWKV calls its query receptance
        return frozenset("q")
    made = set()
    for word in leaf.lower().split("_"):
        named = {"query": "q", "key": "k", "value": "v"}.get(word) or word.removeprefix("w")
        # A word made of these letters alone, such as q, kv, qkv or qkvz (z and g: gates).
        if named and set(named) <= set("qkvzg"):
            made |= set(named) & set("qkv")
    return frozenset(made)


def logical_size(model: nn.Module) -> int:
    """Parameters of a model with quantised weights counted unpacked, modules used twice counted once."""
    total, seen = 0, set()
    for module in model.modules():
        if id(module) not in seen:
            seen.add(id(module))
            total += _own_size(module)
    return total


def stored_bytes(model: nn.Module, *, bytes_per_value: int, short: Collection[str] = ()) -> int:
    """Memory of the weights: packed ones as they are, all others with `bytes_per_value` bytes a number.

    Those of the modules at the paths `short` have two.
    """
    arrays = {id(array): (name, array) for name, array in tree_flatten(model.parameters())}

    def size(name: str, array: mx.array) -> int:
        if array.dtype in (mx.uint32, mx.uint8):
            return int(array.nbytes)
        path, _, what = name.rpartition(".")
        return int(array.size) * (min(2, bytes_per_value) if what == "weight" and path in short else bytes_per_value)

    return sum(size(name, array) for name, array in arrays.values())


def part_of(key: str, modules: Mapping[str, nn.Module]) -> Part:
    """What the module called `key` does in its block; `modules` are those of the block, or of the whole model."""
    if _SELECTOR.search(key):
        return Part.SELECTOR
    family = _family(key, modules)
    if family is not Part.ATTENTION and _ROUTER.search(key):
        return Part.ROUTER
    return family


def _family(key: str, modules: Mapping[str, nn.Module]) -> Part:
    owner = key.rpartition(".")[0]
    while owner:
        name = owner.rpartition(".")[2]
        kind = type(modules[owner]).__name__ if owner in modules else ""
        for word in (name, kind):
            if (part := _by_word(word)) is not None:
                return part
        if name == "mixer":
            return Part.ATTENTION
        owner = owner.rpartition(".")[0]
    # A projection that lies in the block itself (olmo) has only its own name.
    return _by_word(key.rpartition(".")[2]) or Part.OTHER


def _by_word(word: str) -> Part | None:
    # Attention first: mixture-of-experts models have Moe in the class names of their attention too.
    if _ATTENTION_WORD.search(word):
        return Part.ATTENTION
    return Part.MLP if _MLP_WORD.search(word) else None


def _own_size(module: nn.Module) -> int:
    arrays = {name: value for name, value in module.items() if isinstance(value, mx.array) and name[0] != "_"}
    weight = arrays.get("weight")
    if weight is not None and weight.dtype == mx.uint32 and "scales" in arrays:
        values: int = weight.size * 32 // module.bits
        return values + sum(a.size for name, a in arrays.items() if name not in ("weight", "scales", "biases"))
    if weight is not None and weight.dtype == mx.uint8:  # BitLinear: four ternary values a byte
        return weight.size * 4 + sum(a.size for name, a in arrays.items() if name != "weight")
    own = sum(a.size for a in arrays.values())
    return own + sum(_listed(value) for name, value in module.items() if name[0] != "_")


def _listed(value: Any) -> int:
    """Arrays a module keeps in a list or dictionary; modules in there are counted by themselves."""
    if isinstance(value, list | tuple):
        return sum(item.size if isinstance(item, mx.array) else _listed(item) for item in value)
    if isinstance(value, dict) and not isinstance(value, nn.Module):
        return sum(item.size if isinstance(item, mx.array) else _listed(item) for item in value.values())
    return 0

"""What a GGUF file has to say about a model's sizes and settings, from the `config.json` of its folder.

The values are those that the makers' code works with, defaults included. A setting that a GGUF file cannot hold, or
that llama.cpp reads otherwise, is refused by name; what holds only up to a length of text makes that the context
length, with a warning.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from droidft.errors import ModelError
from droidft.models.gguf import layout
from droidft.models.gguf.layout import Layout
from droidft.models.gguf.reader import Floats
from droidft.models.makers import Makers

Value = bool | int | float | str | list[bool] | list[int] | list[float] | list[str]
"""What a key of a GGUF file may hold; whole numbers are written as uint32, others as float32."""

_SILU = ("silu", "swish")
_GELU = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")
_PLAIN = (None, "default")
_USUAL_PERIOD = 6
"""Every how many blocks a Gemma 3 attends to everything, where a file says nothing."""


@dataclass
class Hyperparameters:
    """A model's sizes and settings, as a GGUF file holds them."""

    layout: Layout
    config: Mapping[str, Any]
    """Sizes under the names of `config.json`: blocks, heads, rows of the embedding, experts (0 for none)."""
    metadata: dict[str, Value] = field(default_factory=dict)
    """Keys of the architecture, with its name before them."""
    tensors: dict[str, Floats] = field(default_factory=dict)
    """Rotary factors that a file holds as tensors."""
    wrapped: bool = False
    """Whether the language model is a part of a model that sees images as well."""
    warnings: list[str] = field(default_factory=list)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        blocks: int = self.config["num_hidden_layers"]
        return blocks

    def add(self, **values: Value) -> None:
        """Add keys of the architecture; a double underscore stands for the dot."""
        for name, value in values.items():
            self.metadata[f"{self.layout.architecture}.{name.replace('__', '.')}"] = value

    def within(self, length: int, what: str) -> None:
        """Make `length` the context length where it is shorter, with a warning; `what` is beyond it."""
        key = f"{self.layout.architecture}.context_length"
        context = self.metadata[key]
        assert isinstance(context, int)
        if length < context:
            self.warnings.append(
                f"{what}, so llama.cpp computes the same for texts of up to {length:,} tokens only, and that is the "
                f"context length in the file, not the model's {context:,}"
            )
            self.metadata[key] = length


@dataclass(frozen=True)
class _Kind:
    """What is one model type's own."""

    layout: Layout
    own: Callable[[Makers, Hyperparameters], None]
    scalings: tuple[str, ...] = ("linear", "yarn")
    """Kinds of rotary scaling that llama.cpp computes for it."""


def hyperparameters(config: Mapping[str, Any]) -> Hyperparameters:
    """The sizes and settings in the parsed `config.json`.

    Raises:
        ModelError: a model type that cannot be written, or a setting that a file cannot hold.
    """
    inner = _WRAPPED.get(str(config.get("model_type"))) if isinstance(config.get("text_config"), dict) else None
    if inner is not None:
        made = hyperparameters({**config["text_config"], "model_type": inner})
        made.wrapped = True
        made.warnings.append(
            "the file holds the language model; for images use the projector (mmproj) that the base has for llama.cpp"
        )
        return made
    kind = _KINDS.get(str(config.get("model_type")))
    if kind is None:
        raise ModelError(
            f"a model of type {config.get('model_type')!r} cannot be written as GGUF; these can: "
            f"{', '.join([*_KINDS, *_WRAPPED])}",
            hint="export it as a merged model, and convert that with llama.cpp's own convert_hf_to_gguf.py",
        )
    makers = Makers.of(copy.deepcopy(dict(config)))
    if makers is None:
        raise ModelError(f"transformers cannot read the config.json of this {config['model_type']} model")
    made = Hyperparameters(kind.layout, _sizes(makers))
    _add_common(makers, made)
    kind.own(makers, made)
    _add_rotary(_rope(makers), kind, made)
    return made


def _sizes(makers: Makers) -> dict[str, Any]:
    names = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "vocab_size")
    sizes = {name: makers.value(name) for name in names}
    sizes["head_dim"] = makers.value("head_dim") or sizes["hidden_size"] // sizes["num_attention_heads"]
    return {**sizes, "num_local_experts": makers.value("num_local_experts") or 0}


def _add_common(makers: Makers, made: Hyperparameters) -> None:
    config = made.config
    made.add(
        block_count=config["num_hidden_layers"],
        context_length=makers.value("max_position_embeddings"),
        embedding_length=config["hidden_size"],
        feed_forward_length=makers.value("intermediate_size"),
        attention__head_count=config["num_attention_heads"],
        attention__head_count_kv=config["num_key_value_heads"],
        attention__key_length=config["head_dim"],
        attention__value_length=config["head_dim"],
        attention__layer_norm_rms_epsilon=float(makers.value("rms_norm_eps")),
    )


def _llama(makers: Makers, made: Hyperparameters) -> None:
    _refuse_activation(makers, "hidden_act", _SILU)
    made.add(vocab_size=made.config["vocab_size"], rope__dimension_count=made.config["head_dim"])


def _mistral(makers: Makers, made: Hyperparameters) -> None:
    _llama(makers, made)
    _without_window(makers, made)


def _mixtral(makers: Makers, made: Hyperparameters) -> None:
    _mistral(makers, made)
    made.add(
        expert_count=made.config["num_local_experts"],
        expert_used_count=makers.value("num_experts_per_tok"),
    )


def _qwen(makers: Makers, made: Hyperparameters) -> None:
    _refuse_activation(makers, "hidden_act", _SILU)
    if "sliding_attention" in (makers.value("layer_types") or ()):
        _without_window(makers, made)


def _without_window(makers: Makers, made: Hyperparameters) -> None:
    if window := makers.value("sliding_window"):
        made.within(window, f"the model attends to the last {window:,} tokens, which GGUF cannot say of it")


def _gemma2(makers: Makers, made: Hyperparameters) -> None:
    _refuse_gemma(makers, made)
    kinds = makers.value("layer_types")
    if kinds != [("sliding_attention", "full_attention")[index % 2] for index in range(made.blocks)]:
        raise _no_place("layer_types other than Gemma 2's, a window in every other block")
    caps = {name: makers.value(name) for name in ("attn_logit_softcapping", "final_logit_softcapping")}
    if missing := [name for name, cap in caps.items() if not cap]:
        raise _no_place(f"no {missing[0]}, without which llama.cpp takes Gemma 2's")
    made.add(**{name: float(cap) for name, cap in caps.items()})
    made.add(attention__sliding_window=makers.value("sliding_window"))


def _gemma3(makers: Makers, made: Hyperparameters) -> None:
    _refuse_gemma(makers, made)
    if makers.value("attn_logit_softcapping"):
        raise _no_place(f"attn_logit_softcapping {makers.value('attn_logit_softcapping')}")
    if makers.value("use_bidirectional_attention"):
        raise _no_place("use_bidirectional_attention")
    if cap := makers.value("final_logit_softcapping"):
        made.add(final_logit_softcapping=float(cap))
    windowed = [kind == "sliding_attention" for kind in makers.value("layer_types")]
    if any(windowed):
        made.add(attention__sliding_window=makers.value("sliding_window"))
        made.add(rope__freq_base_swa=float(makers.value("rope_parameters")["sliding_attention"]["rope_theta"]))
    if windowed != [bool((index + 1) % _USUAL_PERIOD) for index in range(made.blocks)] and any(windowed):
        made.add(attention__sliding_window_pattern=windowed)


def _refuse_gemma(makers: Makers, made: Hyperparameters) -> None:
    _refuse_activation(makers, "hidden_activation", _GELU)
    given, usual = makers.value("query_pre_attn_scalar"), layout.query_scalar(made.config, made.layout.architecture)
    if given != usual:
        raise _no_place(f"query_pre_attn_scalar {given}, where llama.cpp takes {usual} for a model of this size")


def _phi3(makers: Makers, made: Hyperparameters) -> None:
    _refuse_activation(makers, "hidden_act", _SILU)
    rope, context = _rope(makers), makers.value("max_position_embeddings")
    original = rope.get("original_max_position_embeddings") or makers.value("original_max_position_embeddings")
    window = makers.value("sliding_window") or 0
    rotated = int(made.config["head_dim"] * (rope.get("partial_rotary_factor") or 1.0))
    made.add(
        rope__dimension_count=rotated,
        rope__scaling__original_context_length=original or context,
        attention__sliding_window=window,
    )
    if window:
        made.within(window, f"the model attends to the last {window:,} tokens, which llama.cpp does not do for phi3")
    if rope.get("rope_type") == "longrope":
        _add_longrope(rope, original or context, context, rotated, made)


def _add_longrope(rope: Mapping[str, Any], original: int, context: int, rotated: int, made: Hyperparameters) -> None:
    if scales := sorted(rope.keys() & {"short_mscale", "long_mscale"}):
        raise _no_place(f"{scales[0]} {rope[scales[0]]}")
    usual = math.sqrt(1 + math.log(context / original) / math.log(original)) if context > original else 1.0
    made.add(rope__scaling__attn_factor=float(rope.get("attention_factor") or usual))
    for name, key in zip(layout.LONGROPE, ("short_factor", "long_factor"), strict=True):
        factors = np.array(rope[key], np.float32)
        if factors.shape != (rotated // 2,):
            raise _no_place(f"{factors.size} numbers as {key} for {rotated} rotated dimensions")
        made.tensors[name] = factors
    if rope["short_factor"] != rope["long_factor"]:
        made.warnings.append(
            f"llama.cpp rotates every text as a long one where its context is set to more than {original:,} tokens: "
            f"set it to at most {original:,} for the answers that were trained"
        )


def _rope(makers: Makers) -> dict[str, Any]:
    """Rotary base, share and scaling of the blocks that attend to everything."""
    written = makers.value("rope_parameters") or {}
    full: dict[str, Any] = written.get("full_attention", written)
    return full


def _add_rotary(rope: Mapping[str, Any], kind: _Kind, made: Hyperparameters) -> None:
    made.add(rope__freq_base=float(rope["rope_theta"]))
    scaling = rope.get("rope_type")
    if scaling in _PLAIN:
        return
    if scaling not in kind.scalings:
        raise _no_place(f"rope_type {scaling!r}, which llama.cpp does not compute for this architecture")
    if scaling == "linear":
        made.add(rope__scaling__type="linear", rope__scaling__factor=float(rope["factor"]))
    elif scaling == "yarn":
        _add_yarn(rope, made)
    elif scaling == "llama3":
        made.tensors[layout.ROPE_FREQS] = _llama3_divisors(rope, made.config["head_dim"])


def _add_yarn(rope: Mapping[str, Any], made: Hyperparameters) -> None:
    usual = 1 + 0.1 * math.log(rope["factor"]) if rope["factor"] > 1 else 1.0
    if abs((rope.get("attention_factor") or usual) - usual) > 1e-6:
        raise _no_place(f"attention_factor {rope['attention_factor']} beside rope_type 'yarn'")
    if odd := [name for name in ("mscale", "mscale_all_dim") if rope.get(name)]:
        raise _no_place(f"{odd[0]} {rope[odd[0]]} beside rope_type 'yarn'")
    if rope.get("truncate") is False:
        raise _no_place("truncate false beside rope_type 'yarn'")
    made.add(
        rope__scaling__type="yarn",
        rope__scaling__factor=float(rope["factor"]),
        rope__scaling__original_context_length=rope["original_max_position_embeddings"],
        rope__scaling__yarn_beta_fast=float(rope.get("beta_fast") or 32.0),
        rope__scaling__yarn_beta_slow=float(rope.get("beta_slow") or 1.0),
    )


def _llama3_divisors(rope: Mapping[str, Any], head_dim: int) -> Floats:
    """Llama 3.1's divisor of each rotary frequency: 1 for short waves, `factor` for long ones, smooth between them.

    As in `_compute_llama3_parameters` of transformers; shape (head_dim / 2).
    """
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    wavelengths = 2 * math.pi * float(rope["rope_theta"]) ** (np.arange(0, head_dim, 2) / head_dim)
    turns = rope["original_max_position_embeddings"] / wavelengths
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    divisors: Floats = (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)
    return divisors


def _refuse_activation(makers: Makers, name: str, known: tuple[str, ...]) -> None:
    if (given := makers.value(name)) not in known:
        raise _no_place(f"{name} {given!r}; llama.cpp computes {known[0]!r} for this architecture")


def _no_place(what: str) -> ModelError:
    return ModelError(
        f"config.json sets {what}: a GGUF file of it would be another model",
        hint="export it as a merged model for transformers or mlx-lm",
    )


_SCALED = ("linear", "yarn", "llama3")
_KINDS = {
    "llama": _Kind(layout.LLAMA, _llama, _SCALED),
    "mistral": _Kind(layout.LLAMA, _mistral, _SCALED),
    "mixtral": _Kind(layout.MIXTRAL, _mixtral),
    "qwen2": _Kind(layout.QWEN2, _qwen),
    "qwen3": _Kind(layout.QWEN3, _qwen),
    "gemma2": _Kind(layout.GEMMA2, _gemma2, ()),
    "gemma3_text": _Kind(layout.GEMMA3, _gemma3, ("linear",)),
    "phi3": _Kind(layout.PHI3, _phi3, ("linear", "longrope")),
}
_WRAPPED = {"gemma3": "gemma3_text"}
"""Models that see images as well -> the type of their language model, in `text_config`."""

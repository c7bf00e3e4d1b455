"""A `config.json` in the words of mlx-lm: every setting that changes what a model computes is used, or named.

mlx-lm's classes take the keys that they know and drop the others, and give a default of their own to what is
missing. `understand` closes both gaps:

- what transformers 5 writes under other names (`rope_parameters`, `layer_types`) is put under mlx-lm's;
- a key that is missing has the default of the makers' code (`makers.py`);
- a key that mlx-lm does not read is harmless (`_HARMLESS`, or it says what the makers' default says), or becomes a
  warning by name. What would turn the model into another one is refused.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from droidft.engine.model import compared, corrections, rope
from droidft.engine.model.renamed import READ as RENAMED
from droidft.engine.model.renamed import module_of, renamed
from droidft.errors import ModelError
from droidft.models.makers import Makers

NESTED = ("text_config", "llm_config", "language_config")

_NAMES = (
    # Where it comes from, and how it is stored.
    "_name_or_path name_or_path architectures auto_map dtype model_type torch_dtype transformers_version "
    "transformers.js_config unsloth_version unsloth_fixed use_cache cache_implementation quantization "
    "quantization_config compression_config _attn_implementation attn_implementation _flash_attn_2_enabled "
    "use_flash_attention use_flash_attn use_flash_attn_2 flash_attn_version use_sdpa use_mamba_kernels use_kernels "
    "use_fused_swiglu use_fused_qkv use_fused_cross_entropy fused_kernels hub_kernels "
    # Training of the base itself.
    "attention_dropout attn_dropout attn_pdrop resid_pdrop resid_dropout embd_pdrop embedding_dropout "
    "hidden_dropout hidden_dropout_prob residual_dropout dropout classifier_dropout summary_first_dropout "
    "attention_probs_dropout_prob initializer_range initializer_factor init_std init_method embedding_init_std "
    "output_router_logits router_aux_loss_coef aux_loss_alpha aux_loss_coef router_z_loss_coef router_jitter_noise "
    "input_jitter_noise seq_aux ep_size pretraining_tp gradient_checkpointing mamba_dt_rank_init residual_in_fp32 "
    "expert_dropout expert_capacity time_step_floor time_step_init_scheme time_step_max time_step_min "
    "time_step_rank rescale_prenorm_residual use_return_dict recompute_granularity "
    # Tokens and generation, which are read elsewhere.
    "bos_token_id eos_token_id pad_token_id sep_token_id unk_token_id decoder_start_token_id bos_token eos_token "
    "pad_token do_sample max_length max_new_tokens temperature top_k top_p repetition_penalty tokenizer_class "
    "image_token_id image_token_index video_token_id video_token_index audio_token_id vision_start_token_id "
    "vision_end_token_id vision_token_id boi_token_id eoi_token_id boi_token_index eoi_token_index boa_token_id "
    "eoa_token_id eoa_token_index boa_token_index mask_token_id task_specific_params prefix suffix "
    # Lengths, which are limits and no part of the computation.
    "max_position_embeddings model_max_length max_seq_len max_seq_length max_sequence_length seq_length n_ctx "
    "n_positions max_window_layers mamba_chunk_size chunk_size "
    # Sizes and biases, of which the stored tensors are proof: those that do not fit are refused.
    "attention_bias mlp_bias lm_head_bias use_bias qkv_bias use_qkv_bias intermediate_size expand mamba_expand "
    "per_layer_config head_dim "
    # Parts that a text model does not use, and other tasks' heads.
    "vision_config audio_config speech_config vision_feature_layer vision_feature_select_strategy "
    "multimodal_projector_bias projector_hidden_act spatial_merge_size mm_tokens_per_image "
    "vision_soft_tokens_per_image audio_soft_tokens_per_image image_seq_length num_nextn_predict_layers "
    "mtp_num_hidden_layers mtp_use_dedicated_embeddings mtp_loss_scaling_factor id2label label2id num_labels "
    "problem_type finetuning_task is_decoder is_encoder_decoder add_cross_attention cross_attention_hidden_size "
    "tie_encoder_decoder chunk_size_feed_forward output_attentions output_hidden_states return_dict torchscript "
    "summary_activation summary_proj_to_labels summary_type summary_use_proj language_model_only is_llama_config "
    "pruned_heads num_logits_to_keep mamba_ssm_cache_dtype moe_shared_expert_overlap mtp_layers_block_type "
)
_HARMLESS = frozenset(_NAMES.split())
"""Keys that change nothing of what a text model computes in a forward pass."""

_ROPE = frozenset({"rope_parameters", "rope_scaling", "rope_theta", *rope.BASES, *rope.LOCAL_BASES, *rope.SHARES})
_NEVER_FILLED = frozenset(
    {"rope_parameters", "rope_scaling", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}
)
"""Settings that have no default here: a config without its sizes is damaged."""
_ACTIVATIONS = frozenset({"hidden_act", "activation_function", "hidden_activation", "mlp_hidden_act"})
_WINDOWS = frozenset({"sliding_window", "use_sliding_window"})
_WHOLLY_WINDOWED = frozenset({"ministral3", "mistral", "mixtral", "phi3", "phimoe", "qwen3_moe", "starcoder2"})
"""Model types of which every block has the window; other makers' code ignores it without `layer_types`."""
_WHOLE = frozenset({"qwen3_vl_moe"})
"""Modules of wrapped language models with rules of their own in `renamed.py`."""
_WINDOWED_BY_KIND = frozenset({"llama", "ministral3"})
"""Modules that take `sliding_window` for the blocks that `layer_types` names."""

_HEAD_DIFFERS = (
    "config.json ties the output head to the embedding (tie_word_embeddings), and the stored lm_head.weight differs "
    "from the embedding; the stored one is used, as transformers 5 does"
)


@dataclass(frozen=True)
class Understood:
    """A config as mlx-lm is to read it, and what of the written one it leaves aside."""

    config: dict[str, Any]
    warnings: tuple[str, ...] = ()
    windows: tuple[int | None, ...] = ()
    """Tokens that each block looks back at, where mlx-lm has no window for it; None for all."""


def understand(
    config: Mapping[str, Any], name: str, arguments: type, *, stored: Collection[str] | None = None
) -> Understood:
    """The parsed `config.json` for mlx-lm's module `name` and its class of arguments.

    `stored` is as `catalog.stored_names` gives it, where known: it decides whether there is an output head.

    Raises:
        ModelError: it asks for something that mlx-lm's code of this architecture cannot compute.
    """
    module = importlib.import_module(f"mlx_lm.models.{name}")
    top = dict(copy.deepcopy(config))
    makers = Makers.of(top)
    inner = next((name for name in NESTED if isinstance(top.get(name), dict)), None)
    if inner is not None:
        parsed = makers.nested(inner, top[inner]) if makers is not None else None
        fields = _all_fields(module) - {"text_config", "vision_config"}
        for key in ("tie_word_embeddings", "vocab_size"):
            if key in top:
                top[inner].setdefault(key, top[key])
        part = module_of(top[inner]) if "model_type" in top[inner] else name
        if windows := _windows(part, top[inner], parsed, fields):
            fields |= _WINDOWS | {"layer_types"}
        top[inner], warnings = _level(name if name in _WHOLE else part, top[inner], parsed, fields)
        if windows:
            top[inner]["layer_types"] = None
        if stored is not None and "tie_word_embeddings" in fields:
            top[inner]["tie_word_embeddings"] = not _has_head(stored)
        warnings += _known_difference(name, config)
        top |= {key: top[inner][key] for key in _fields(arguments) - top.keys() if key in top[inner]}
        return Understood(top, tuple(f"{inner}: {each}" for each in warnings), windows)
    wraps = "hidden_size" not in _fields(arguments) and "text_config" in _fields(arguments)
    fields = _all_fields(module) - {"text_config", "vision_config"} if wraps else _fields(arguments)
    if windows := _windows(name, top, makers, fields):
        fields |= _WINDOWS | {"layer_types"}
    tied = top.get("tie_word_embeddings")
    made, warnings = _level(name, top, makers, fields)
    if stored is not None and tied is not False and "tie_word_embeddings" in fields:
        made["tie_word_embeddings"] = not _has_head(stored)
        if tied and _has_head(stored):
            warnings.append(_HEAD_DIFFERS)
    warnings += _known_difference(name, config)
    if windows:
        made["layer_types"] = None
    return Understood(made, tuple(warnings), windows)


def _known_difference(module: str, config: Mapping[str, Any]) -> list[str]:
    what = compared.difference(module, config)
    return [what] if what else []


def _has_head(stored: Collection[str]) -> bool:
    return any(name.endswith("lm_head.weight") for name in stored)


def _windows(
    module: str, written: Mapping[str, Any], makers: Makers | None, fields: frozenset[str]
) -> tuple[int | None, ...]:
    """Windows of the blocks as the makers' code has them, if mlx-lm has none there."""
    if makers is None or not isinstance(window := makers.value("sliding_window"), int):
        return ()
    count = makers.value("num_hidden_layers")
    kinds = makers.value("layer_types")
    if kinds is None and written.get("model_type") in _WHOLLY_WINDOWED:
        kinds = ["sliding_attention"] * count
    if kinds is None:
        return ()
    by_block = tuple(window if kind == "sliding_attention" else None for kind in kinds)
    # Classes that take kinds of layers need one of each.
    native = bool({"sliding_window", "sliding_window_size"} & fields) and (
        module not in _WINDOWED_BY_KIND or ("sliding_attention" in kinds and "full_attention" in kinds)
    )
    return by_block if any(by_block) and not native else ()


def _level(
    module: str, written: dict[str, Any], makers: Makers | None, fields: frozenset[str]
) -> tuple[dict[str, Any], list[str]]:
    """One level of the config, complete, and what of it is not read."""
    fields |= corrections.READ.get(module, frozenset())
    read = fields | RENAMED.get(module, frozenset())
    config = rope.translate(
        _with_rope_default(written, makers), fields, share_by_code=corrections.SHARE_BY_CODE.get(module, 1)
    )
    config = _pattern(config, fields)
    for name in sorted(fields - config.keys() - _NEVER_FILLED):
        if makers is not None and (value := makers.value(name)) is not None:
            config[name] = value
    config |= renamed(module, config)
    if makers is not None and "head_dim" in fields and config.get("head_dim") is None and config.get("hidden_size"):
        config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
    if "rope_scaling" in fields:
        config.setdefault("rope_scaling", None)
        if module in corrections.SCALED_HERE:
            config[corrections.SCALED], config["rope_scaling"] = config["rope_scaling"], None
    unread = [name for name in sorted(written.keys() - read) if not _is_harmless(name, written, makers, read)]
    return config, [
        f"{name} is {_short(written[name])} in config.json, and mlx-lm's code of this architecture does not read it, "
        "so it may compute something else than its makers' code"
        for name in unread
    ]


def _with_rope_default(written: dict[str, Any], makers: Makers | None) -> dict[str, Any]:
    """`written` with the makers' base of the rotary positions, where it names none."""
    named = {*rope.BASES, "rope_parameters", "rope_scaling"} & {key for key, value in written.items() if value}
    default = makers.value("rope_parameters") if makers is not None and not named else None
    return {**written, "rope_parameters": default} if default else dict(written)


def _pattern(config: dict[str, Any], fields: frozenset[str]) -> dict[str, Any]:
    """`layer_types` as the period that some of mlx-lm's classes take instead.

    Raises:
        ModelError: the list has no period.
    """
    kinds = config.get("layer_types")
    if not isinstance(kinds, list) or "layer_types" in fields or not kinds:
        return config
    for name in ("sliding_window_pattern", "full_attention_interval"):
        if name not in fields or config.get(name) is not None:
            continue
        full = [number for number, kind in enumerate(kinds, start=1) if kind == "full_attention"]
        period = full[0] if full else len(kinds) + 1
        if full != [number for number in range(1, len(kinds) + 1) if number % period == 0]:
            raise ModelError(
                f"config.json lists layer_types without a period, and mlx-lm's code of this architecture takes one "
                f"{name}",
                hint="its answers would be those of another model; a newer mlx-lm may read it",
            )
        return {**config, name: period}
    return config


def _is_harmless(name: str, written: Mapping[str, Any], makers: Makers | None, fields: frozenset[str]) -> bool:
    if name in _HARMLESS or name in _ROPE or name in NESTED or name.startswith("_"):
        return True
    value = written[name]
    if makers is not None and makers.other_names(name) & fields:
        return True
    if name == "use_sliding_window" and "sliding_window" in fields:
        return True
    if name in _ACTIVATIONS and value in ("silu", "swish") and (makers is None or not makers.knows(name)):
        return True
    if name in _WINDOWS and _window_is_off(written, makers):
        return True
    if name == "layer_types":
        read = {"sliding_window_pattern", "full_attention_interval", "layer_types"} & fields
        return bool(read) or len({str(kind) for kind in value or ()}) < 2 or _by_default(name, value, makers)
    return _by_default(name, value, makers)


def _by_default(name: str, value: Any, makers: Makers | None) -> bool:
    """Whether the key says what its absence would; where the makers' code does not know it, what is off does."""
    if makers is not None and makers.knows(name):
        return makers.is_default(name, value)
    return not value


def _window_is_off(written: Mapping[str, Any], makers: Makers | None) -> bool:
    if written.get("use_sliding_window") is False or written.get("sliding_window") is None:
        return True
    if makers is not None and makers.value("sliding_window") is None:
        return True
    kinds = makers.value("layer_types") if makers is not None else None
    if kinds and "sliding_attention" not in kinds:
        return True
    trained = written.get("max_position_embeddings")
    return isinstance(trained, int) and written["sliding_window"] >= trained


def _fields(arguments: type) -> frozenset[str]:
    return frozenset(inspect.signature(arguments).parameters)


def _all_fields(module: ModuleType) -> frozenset[str]:
    """Fields of every argument class that the module of a wrapped language model uses, its own and imported ones."""
    from mlx_lm.models.base import BaseModelArgs

    reached = {module, *(value for value in vars(module).values() if isinstance(value, ModuleType))}
    reached |= {sys.modules[value.__module__] for value in vars(module).values() if isinstance(value, type)}
    owned = [part for part in reached if part.__name__.startswith("mlx_lm.models.")]
    classes = {
        value
        for part in owned
        for value in vars(part).values()
        if isinstance(value, type) and issubclass(value, BaseModelArgs) and value is not BaseModelArgs
    }
    return frozenset().union(*(_fields(each) for each in classes))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""What a GGUF file of each architecture holds, told as a `config.json` and as names of weights.

The settings are those with which mlx-lm computes what the model's makers compute. What has no such setting is refused
by name; what holds only up to a length of text makes that the context length, with a warning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from droidft.errors import ModelError
from droidft.models.gguf import layout
from droidft.models.gguf.layout import LONGROPE, Layout
from droidft.models.gguf.reader import GgufFile
from droidft.models.gguf.settings import Settings, rope_scaling


@dataclass(frozen=True)
class Description:
    """How a file becomes a model folder."""

    config: dict[str, Any]
    """The `config.json`."""
    names: dict[str, str]
    """Tensor in the file -> weight of the model; a `{}` stands for the expert, counted along the first axis."""
    layout: Layout
    warnings: list[str] = field(default_factory=list)

    @property
    def context_length(self) -> int:
        """Most tokens of a text for which the config is right."""
        length: int = self.config["max_position_embeddings"]
        return length


@dataclass(frozen=True)
class _Kind:
    """One architecture: its layout, and the settings that are its own."""

    model_type: str
    class_name: str
    layout: Layout
    own: Callable[[Settings, dict[str, Any]], dict[str, Any]]
    scalings: tuple[str, ...] = ()
    """Kinds of rotary scaling that mlx-lm computes for it."""
    free_head_dim: bool = True
    """Whether a head may have another size than hidden size / heads in mlx-lm."""
    partly_rotated: bool = False


def describe(file: GgufFile) -> Description:
    """The model in `file`.

    Raises:
        ModelError: an architecture, a setting or a tensor that is not imported, or a tensor that is missing.
    """
    settings, kind = _kind(file)
    hidden, heads = settings.count("embedding_length"), settings.count("attention.head_count")
    blocks = settings.count("block_count")
    if blocks > len(file.tensors):
        raise ModelError(f"{settings.name} is damaged: {blocks} blocks in {len(file.tensors)} tensors")
    head_dim = _head_dim(settings, kind, hidden, heads)
    config: dict[str, Any] = {
        "model_type": kind.model_type,
        "architectures": [kind.class_name],
        "hidden_size": hidden,
        "num_hidden_layers": blocks,
        "intermediate_size": settings.count("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": settings.count("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "rms_norm_eps": settings.decimal("attention.layer_norm_rms_epsilon"),
        "vocab_size": _vocabulary(file),
        "rope_theta": settings.decimal("rope.freq_base", 10000.0),
        "rope_scaling": rope_scaling(settings, kind.model_type, kind.scalings, head_dim),
        "max_position_embeddings": settings.count("context_length"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
    }
    config |= kind.own(settings, config)
    settings.check_all_asked()
    config |= {name: file.metadata.get(f"tokenizer.ggml.{name}") for name in ("bos_token_id", "eos_token_id")}
    config = {name: value for name, value in config.items() if value is not None}
    names = _names(settings, kind.layout, blocks)
    return Description(config, names, kind.layout, settings.warnings)


def _kind(file: GgufFile) -> tuple[Settings, _Kind]:
    architecture = file.metadata.get("general.architecture")
    if architecture not in _KINDS:
        raise ModelError(
            f"{file.path.name} holds a {architecture!r} model; GGUF import covers {', '.join(_KINDS)}",
            hint="get the model as a safetensors folder: `droidft models pull org/name`",
        )
    settings = Settings(file, architecture)
    if settings.any("attention.causal") is False:
        raise settings.refuse("looks at later tokens as well: it is no model that continues text")
    experts = settings.count("expert_count", 0, least=0)
    if experts and architecture != "llama":
        raise settings.refuse(f"is a mixture of experts of architecture {architecture!r}, which is not covered")
    return settings, _MIXTURE if experts else _KINDS[architecture]


def _head_dim(settings: Settings, kind: _Kind, hidden: int, heads: int) -> int:
    usual = hidden // heads
    head_dim = settings.count("attention.key_length", usual)
    if (values := settings.count("attention.value_length", head_dim)) != head_dim:
        raise settings.refuse(f"has values of {values} dimensions beside keys of {head_dim}, which is not covered")
    if not kind.free_head_dim and head_dim * heads != hidden:
        raise settings.refuse(
            f"has {heads} heads of {head_dim} in a hidden size of {hidden}, which mlx-lm's {kind.model_type} has not"
        )
    rotated = settings.count("rope.dimension_count", head_dim)
    if rotated % 2:
        raise settings.refuse(f"rotates {rotated} dimensions of a head, which is not an even number")
    if rotated != head_dim and not kind.partly_rotated:
        raise settings.refuse(f"rotates {rotated} of {head_dim} dimensions of a head, which is not covered")
    return head_dim


def _vocabulary(file: GgufFile) -> int:
    """Rows of the embedding, which may be padded beyond the number of tokens."""
    embedding = file.tensors.get("token_embd.weight")
    tokens = len(file.metadata.get("tokenizer.ggml.tokens", []))
    if embedding is None or len(embedding.shape) != 2 or embedding.shape[0] < tokens:
        shape = None if embedding is None else embedding.shape
        raise ModelError(f"{file.path.name} is damaged: embeddings of shape {shape} for {tokens} tokens")
    return embedding.shape[0]


def _names(settings: Settings, held: Layout, blocks: int) -> dict[str, str]:
    """File's name -> model's, for every tensor of the file; refuses leftovers and gaps by name."""
    tensors = settings.file.tensors
    names = held.names(blocks, lambda theirs, ours: theirs in tensors)
    if missing := sorted(names.keys() - tensors.keys()):
        raise ModelError(
            f"{settings.name} lacks {len(missing)} tensors, such as {missing[0]}",
            hint="the file is incomplete or of another architecture",
        )
    if unknown := sorted(tensors.keys() - names.keys() - set(held.ignored)):
        raise ModelError(
            f"{settings.name} has {len(unknown)} tensors this import does not know, such as {unknown[0]}"
        )
    return names


def _llama(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    _refuse_window(settings, config)
    return {
        "attention_bias": "blk.0.attn_q.bias" in settings.file.tensors,
        "mlp_bias": "blk.0.ffn_gate.bias" in settings.file.tensors,
    }


def _qwen2(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    _refuse_window(settings, config)
    return {"attention_bias": True, "mlp_bias": False}


def _qwen3(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    _refuse_window(settings, config)
    return {"attention_bias": False}


def _mixtral(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    _refuse_window(settings, config)
    experts = settings.count("expert_count")
    return {
        "num_local_experts": experts,
        "num_experts_per_tok": settings.count("expert_used_count"),
    }


def _gemma2(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    window = settings.count("attention.sliding_window", 4096)
    settings.any("attention.sliding_window_pattern")
    if settings.decimal("rope.freq_base_swa", config["rope_theta"]) != config["rope_theta"]:
        raise settings.refuse("rotates two ways, which mlx-lm's gemma2 does not")
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": layout.query_scalar(config, "gemma2"),
        "attn_logit_softcapping": settings.decimal("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": settings.decimal("final_logit_softcapping", 30.0),
        "sliding_window": window,
        "max_position_embeddings": _within(settings, config, window),
    }


def _gemma3(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    if cap := settings.number("final_logit_softcapping", 0.0):
        raise settings.refuse(f"caps its logits at {cap:g}, which mlx-lm's gemma3 does not")
    settings.number("rope.freq_base")  # Its usual value is not that of the others.
    window = settings.count("attention.sliding_window", 0, least=0)
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": layout.query_scalar(config, "gemma3"),
        "rope_local_base_freq": settings.decimal("rope.freq_base_swa", 10000.0),
        "sliding_window": window or config["max_position_embeddings"],
        "sliding_window_pattern": _pattern(settings, config["num_hidden_layers"]) if window else 1,
    }


def _pattern(settings: Settings, blocks: int) -> int:
    """Every how many blocks one attends to everything."""
    given = settings.any("attention.sliding_window_pattern")
    if isinstance(given, list) and False in given:
        pattern = given.index(False) + 1
        if given != [bool((index + 1) % pattern) for index in range(blocks)]:
            raise settings.refuse("attends to everything in blocks that follow no fixed period, which is not covered")
    else:
        pattern = settings.count("attention.sliding_window_pattern", 6)
    if pattern > blocks:
        raise settings.refuse(f"attends to everything in every block {pattern} of {blocks}: in none")
    return pattern


def _phi3(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    head_dim, context = config["head_dim"], config["max_position_embeddings"]
    rotated = settings.count("rope.dimension_count", head_dim)
    if int(head_dim * (rotated / head_dim)) != rotated:
        raise settings.refuse(f"rotates {rotated} of {head_dim} dimensions of a head, which cannot be said to mlx-lm")
    window = settings.count("attention.sliding_window", 0, least=0) or context
    original = settings.count("rope.scaling.original_context_length", context, least=2)
    own = {"partial_rotary_factor": rotated / head_dim, "sliding_window": window}
    if not _has_longrope(settings, config):
        return own | {"max_position_embeddings": _within(settings, config, window)}
    short = settings.file.load("rope_factors_short.weight")
    if short.shape != (rotated // 2,):
        raise settings.refuse(f"has {short.shape} rotary factors for {rotated} dimensions")
    # Beyond the original length the makers change to other factors; mlx-lm computes with one set, `long_factor`.
    factors = [float(str(factor)) for factor in short]
    usual = math.sqrt(1 + math.log(context / original) / math.log(original)) if context > original else 1.0
    if not 1 <= (attention := settings.number("rope.scaling.attn_factor", usual)) < 4:
        raise settings.refuse(f"scales attention by {attention:g}, which mlx-lm's phi3 does not")
    longest, original = _lengths(min(window, original), attention**2)
    return own | {
        "rope_scaling": {"type": "longrope", "short_factor": factors, "long_factor": factors},
        "max_position_embeddings": _within(settings, config, longest),
        "original_max_position_embeddings": original,
    }


def _lengths(limit: int, ratio: float) -> tuple[int, int]:
    """Two whole lengths, the longer up to `limit`, whose logarithms are in `ratio`.

    Longrope's scale of attention is taken from the two: the square root of that ratio (Phi-3's `modeling_phi3.py`).
    """
    top = max(2, int(limit ** (1 / ratio) + 1e-9))
    pairs = [(min(limit, round(short**ratio)), short) for short in range(top, max(1, top - 16), -1)]
    apart = {pair: abs(math.log(pair[0]) / math.log(pair[1]) / ratio - 1) for pair in pairs}
    return next((pair for pair in pairs if apart[pair] < 1e-6), min(apart, key=lambda pair: apart[pair]))


def _has_longrope(settings: Settings, config: Mapping[str, Any]) -> bool:
    held = [name for name in LONGROPE if name in settings.file.tensors]
    named = settings.any("rope.scaling.type") == "longrope"
    if (held and (len(held) < len(LONGROPE) or config["rope_scaling"])) or (named and not held):
        raise settings.refuse(f"holds {', '.join(held) or 'none'} of longrope's two sets of factors, or scales twice")
    return bool(held)


def _within(settings: Settings, config: Mapping[str, Any], length: int) -> int:
    """The context length, cut to `length` tokens, up to which mlx-lm computes what the makers do."""
    context: int = config["max_position_embeddings"]
    if length < context:
        settings.warnings.append(
            f"mlx-lm computes {config['model_type']} as its makers do for texts of up to {length:,} tokens only, "
            f"so that is the context length here, not the model's {context:,}"
        )
    return min(context, length)


def _refuse_window(settings: Settings, config: Mapping[str, Any]) -> None:
    window = settings.count("attention.sliding_window", 0, least=0)
    settings.any("attention.sliding_window_pattern")
    if 0 < window < config["max_position_embeddings"]:
        raise settings.refuse(f"attends to the last {window} tokens only, which is not covered for this architecture")


_KINDS = {
    "llama": _Kind("llama", "LlamaForCausalLM", layout.LLAMA, _llama, scalings=("linear", "yarn", "llama3")),
    "qwen2": _Kind(
        "qwen2", "Qwen2ForCausalLM", layout.QWEN2, _qwen2, scalings=("linear", "yarn"), free_head_dim=False
    ),
    "qwen3": _Kind("qwen3", "Qwen3ForCausalLM", layout.QWEN3, _qwen3, scalings=("linear", "yarn")),
    "gemma2": _Kind("gemma2", "Gemma2ForCausalLM", layout.GEMMA2, _gemma2),
    "gemma3": _Kind("gemma3_text", "Gemma3ForCausalLM", layout.GEMMA3, _gemma3, scalings=("linear",)),
    "phi3": _Kind(
        "phi3",
        "Phi3ForCausalLM",
        layout.PHI3,
        _phi3,
        scalings=("linear", "longrope"),
        free_head_dim=False,
        partly_rotated=True,
    ),
}
_MIXTURE = _Kind("mixtral", "MixtralForCausalLM", layout.MIXTRAL, _mixtral, free_head_dim=False)

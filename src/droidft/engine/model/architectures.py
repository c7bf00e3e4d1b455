"""Every architecture of the installed mlx-lm, built from a `config.json` alone.

MLX evaluates nothing until asked, so a model built here holds shapes and no numbers: a 70B model costs no
memory. No file of a model folder is ever run as code.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import inspect
import io
import math
import pkgutil
import re
import sys
from collections.abc import Collection, Iterator
from fnmatch import fnmatch
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from droidft.engine.model import corrections
from droidft.engine.model.config import Understood, understand
from droidft.engine.model.renamed import module_of
from droidft.errors import ModelError

MOST_ENTRIES = 10_000
"""Of a list in a `config.json`."""
MOST_NUMBER = 2**40
"""Above any count or size; eos tokens, ropes and contexts have far less."""
_MOST = (
    # The deepest models have some 130 blocks, the largest 512 experts a block.
    (re.compile(r"(^|\.)((num|n)_[a-z_]*(layers?|blocks)|depth|layers)$"), 1024),
    (re.compile(r"(^|\.)(num|n)_[a-z_]*(experts?|heads)[a-z_]*$"), 16_384),
    (re.compile(r"(^|\.)[a-z_]*(hidden|intermediate|embd|inner|model|ffn|mlp)_?(size|dim)$"), 2**20),
    (re.compile(r"(^|\.)(vocab_size|n_vocab)$"), 2**24),
)
"""Names of sizes in a `config.json`, and the most that they may be."""

# Modules of mlx_lm.models that hold parts of models, not a model.
SHARED_PARTS = frozenset(
    {"activations", "base", "bitlinear_layers", "cache", "gated_delta",
     "mla", "pipeline", "rope_utils", "ssm", "switch_layers"}
)  # fmt: skip

# mlx-lm's constructors raise these on a config.json that lacks a field or holds one of the wrong kind.
_BAD_CONFIG = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError
)  # fmt: skip

_PACKED_NAMES = (".weight_scale_inv", ".weight_scale", ".weight_packed")
"""Endings of tensors beside packed weights, which the code of an architecture has to know."""

_FORMATS = {
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    "mxfp8": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
    "nvfp4-pack-quantized": {"group_size": 16, "bits": 4, "mode": "nvfp4"},
    "mxfp4-pack-quantized": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    "pack-quantized": {"group_size": 32, "bits": 4, "mode": "affine"},
}


def model_types() -> list[str]:
    """Architectures of the installed mlx-lm, by the name of their module, sorted."""
    import mlx_lm.models

    return sorted({module.name for module in pkgutil.iter_modules(mlx_lm.models.__path__)} - SHARED_PARTS)


def build_lazily(config: dict[str, Any], *, stored: Collection[str] | None = None) -> nn.Module:
    """The model that `config` describes, with shapes and without weights; nothing is evaluated.

    `config` is a parsed `config.json`. `stored` are the names of the saved tensors, where a weight file's
    header has been read: they decide which layers are quantised and whether there is an output head. Without
    them a quantised config quantises whatever mlx-lm's own conversion would have.

    Raises:
        ModelError: an unknown model type, one that needs code or a package, or an impossible config.
    """
    meant = understood(config, stored=stored)
    config = meant.config
    model_class, arguments_class = classes(config)
    try:
        # Some argument classes write into what they are given.
        model: nn.Module = model_class(arguments_class.from_dict(copy.deepcopy(config)))
        corrections.correct(model, module_of(config), config, meant.windows)
        initialise(model)
        _drop_tied_head(model, config, stored)
        return _quantize(model, config, stored)
    except _BAD_CONFIG as error:
        raise ModelError(
            f"config.json of model type {config['model_type']!r} cannot be used: {reason(error)}",
            hint="compare it with the config.json of the original model",
        ) from error


def reason(error: BaseException) -> str:
    """What mlx-lm says of a config that it cannot use, in words."""
    text = str(error) or type(error).__name__
    if missing := re.search(r"missing \d+ required positional arguments?: (.*)", text):
        return f"it lacks {missing[1].replace(chr(39), '')}"
    if isinstance(error, KeyError):
        return f"an entry {text} is missing"
    return text.replace(".__init__()", "")


def understood(config: dict[str, Any], *, stored: Collection[str] | None = None) -> Understood:
    """`config` as mlx-lm is to read it, with what of it is left aside; `stored` is as in `build_lazily`.

    Raises:
        ModelError: as `build_lazily`, but for a config that lacks a setting.
    """
    refuse_code(config)
    refuse_sizes(config)
    _, arguments = classes(config)
    return understand(config, module_of(config), arguments, stored=stored)


def refuse_code(config: dict[str, Any]) -> None:
    """Refuse a `config.json` that names a file with the model's own code: it is never run.

    Raises:
        ModelError: it does.
    """
    if (file := config.get("model_file")) is not None:
        raise ModelError(
            f"config.json asks for the code in {file!r} to be run, which is never done",
            hint="use a model whose architecture mlx-lm has itself",
        )


def refuse_sizes(config: dict[str, Any]) -> None:
    """Refuse a `config.json` whose numbers no model has, before anything of that size is built.

    Raises:
        ModelError: it asks for more blocks or experts, or wider ones, than any model has.
    """
    for place, value in _values(config):
        if isinstance(value, list) and len(value) > MOST_ENTRIES:
            raise _impossible(place, f"a list of {len(value):,}", MOST_ENTRIES)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        most = next((most for names, most in _MOST if names.search(place)), MOST_NUMBER)
        if value == value and not abs(value) <= most and value not in (math.inf, -math.inf):
            raise _impossible(place, f"{value:,}" if abs(value) < 10**20 else "a number beyond all bounds", most)


def _values(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every value with its place, such as `text_config.num_hidden_layers`; entries of lists have that of the list."""
    waiting: list[tuple[str, Any]] = list(config.items())
    while waiting:
        place, value = waiting.pop()
        yield place, value
        if isinstance(value, dict):
            waiting += [(f"{place}.{name}", inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(place, inner) for inner in value[:MOST_ENTRIES]]


def _impossible(place: str, what: str, most: float) -> ModelError:
    return ModelError(
        f"config.json asks for {place} {what}, and {most:,} is the most that a model may have",
        hint="get the model's config.json again",
    )


def initialise(model: nn.Module) -> None:
    """Give modules whose class forgot `super().__init__()` (recurrent_gemma's) what `freeze` and `train` need."""
    for module in model.modules():
        if not hasattr(module, "_no_grad"):
            nn.Module.__init__(module)


def blocks(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks in order, as mlx-lm counts them: hybrids and text models inside others included.

    Raises:
        ModelError: the model has none.
    """
    layers = list(getattr(model, "layers", ()))
    if not layers:
        raise ModelError(
            f"{type(model).__module__} has no list of blocks", hint="choose a decoder-only language model"
        )
    return layers


def classes(config: dict[str, Any]) -> tuple[Any, Any]:
    """mlx-lm's classes of the model that a parsed `config.json` describes, and of its arguments.

    Raises:
        ModelError: it has none.
    """
    from mlx_lm import utils

    name = config.get("model_type")
    if not isinstance(name, str):
        raise ModelError("config.json has no model_type", hint="choose a folder with a Hugging Face model")
    known = model_types()
    if module_of(config) not in known:
        close = difflib.get_close_matches(name, [*known, *utils.MODEL_REMAPPING], n=3)
        nearest = f"; the nearest it has: {', '.join(close)}" if close else ""
        raise ModelError(
            f"the installed mlx-lm has no model type {name!r}{nearest}",
            hint="`docs/architectures.md` lists them all; a newer mlx-lm may have it",
        )
    # mlx_lm.models.olmo prints and leaves the interpreter when its package is absent.
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            pair: tuple[Any, Any] = utils._get_classes({"model_type": module_of(config)})
    except SystemExit:
        raise ModelError(f"model type {name!r}: {printed.getvalue().strip()}", hint="install that package") from None
    return pair


def _drop_tied_head(model: nn.Module, config: dict[str, Any], stored: Collection[str] | None) -> None:
    """Remove the output head of the two architectures that decide at loading whether it is tied (Gemma's)."""
    if getattr(model, "model_type", None) not in ("gemma3_text", "recurrent_gemma"):
        return
    tied = config.get("tie_word_embeddings", True) if stored is None else "lm_head.weight" not in stored
    if tied and "lm_head" in model:
        model.tie_word_embeddings = True
        model.pop("lm_head")


def quantization(config: dict[str, Any]) -> dict[str, Any] | None:
    """Group size, bits and mode of a quantised model, with per-layer entries by path; None if it is not.

    Read from `quantization` (mlx-lm's own) or `quantization_config` (others'), at the top or in `text_config`.

    Raises:
        ModelError: the weights are packed in a way mlx-lm does not read.
    """
    text = config.get("text_config") or {}
    for key in ("quantization", "quantization_config"):
        if settings := config.get(key) or text.get(key):
            own = "bits" in settings and "quant_method" not in settings
            return dict(settings) if own else _foreign(settings)
    return None


def refuse_foreign(config: dict[str, Any], stored: Collection[str]) -> None:
    """Refuse weights that are packed in a way that mlx-lm does not unpack for this architecture.

    Raises:
        ModelError: which, and what to use instead.
    """
    settings = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config") or {}
    if config.get("quantization") or not isinstance(settings, dict) or not (method := settings.get("quant_method")):
        return
    quantization(config)
    why = None
    if method == "gptq" or any(name.endswith(".g_idx") for name in stored):
        why = "mlx-lm reads none"
    elif method == "awq" and (settings.get("bits", 4) != 4 or settings.get("version", "gemm").lower() != "gemm"):
        why = f"mlx-lm reads 4 bits in the layout gemm, and these are {settings.get('bits', 4)} bits in " + str(
            settings.get("version", "gemm")
        )
    elif marks := [mark for mark in _PACKED_NAMES if any(name.endswith(mark) for name in stored)]:
        source = inspect.getsource(sys.modules[classes(config)[0].__module__])
        if not any(mark.lstrip(".") in source for mark in marks):
            why = f"mlx-lm does not unpack them for {config['model_type']}"
    if why is not None:
        raise ModelError(
            f"the weights are quantised with {method}: {why}", hint="use the model's unquantised or MLX version"
        )


def _foreign(settings: dict[str, Any]) -> dict[str, Any] | None:
    method = settings.get("quant_method")
    if method in ("awq", "gptq"):
        return {"group_size": settings.get("group_size", 128), "bits": settings.get("bits", 4), "mode": "affine"}
    if method == "modelopt":
        size = settings.get("quantization", settings).get("group_size", 16)
        return {"group_size": size, "bits": 4, "mode": "nvfp4"}
    if method == "compressed-tensors":
        method = settings.get("format")
    if method == "fp8":
        # Blocks of 32 x 32 stay packed as mxfp8; every other fp8 model is unpacked while it is read.
        packed = settings.get("scale_fmt") == "ue8m0" and list(settings.get("weight_block_size", ())) == [32, 32]
        return _FORMATS["mxfp8"] if packed else None
    if method == "bitnet":
        return {"quant_method": "bitnet", **settings}
    if method not in _FORMATS:
        raise ModelError(
            f"weights quantised with {method!r} cannot be read", hint="use the model's unquantised or MLX version"
        )
    return {**_FORMATS[method], "modules_to_not_convert": settings.get("modules_to_not_convert") or ()}


def _quantize(model: nn.Module, config: dict[str, Any], stored: Collection[str] | None) -> nn.Module:
    settings = quantization(config)
    if settings is None:
        return model
    if settings.get("quant_method") == "bitnet":
        from mlx_lm.models.bitlinear_layers import bitnet_quantize

        converted: nn.Module = bitnet_quantize(model, settings)
        return converted
    own_rule = getattr(model, "quant_predicate", None)

    def chosen(path: str, module: nn.Module) -> bool | dict[str, Any]:
        listed = settings.get(path)
        if isinstance(listed, dict | bool):
            return listed
        if not hasattr(module, "to_quantized"):
            return False
        if stored is not None:
            return f"{path}.scales" in stored
        whole = settings.get("modules_to_not_convert", ())
        if _width(module) % settings["group_size"] or any(fnmatch(path, f"{name}*") for name in whole):
            return False
        return own_rule(path, module) if own_rule is not None else True

    mode = settings.get("mode", "affine")
    nn.quantize(model, settings["group_size"], settings["bits"], mode=mode, class_predicate=chosen)
    return model


def _width(module: nn.Module) -> int:
    weight: mx.array = module["weight"]
    return weight.shape[-1]

"""Load a model's weights and its tokenizer. No code of a model's folder is ever run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm import utils
from mlx_lm.tokenizer_utils import TokenizerWrapper

from droidft.engine.model import corrections, fitting, stored_weights, vocabulary
from droidft.engine.model.architectures import build_lazily, classes, initialise, reason, refuse_foreign, understood
from droidft.engine.model.ends import add_end_of_turn
from droidft.engine.model.precision import Precision, hold
from droidft.engine.model.renamed import module_of
from droidft.engine.model.tokenizer import open_tokenizer
from droidft.errors import ModelError
from droidft.models.catalog import load_config, stored_names, usable
from droidft.models.folder import as_mlx_lm_reads, remarks, tokenizer_fault

# What mlx-lm and mlx raise on weights or settings that do not fit the architecture.
_BAD_MODEL = (ValueError, TypeError, KeyError, RuntimeError, AttributeError)


def load_model(
    path: Path, *, dtype: str | None = None, precision: Precision | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Load weights and config; quantised models stay quantised.

    Args:
        dtype: `float32`, `bfloat16` or `float16` for the weights that are not quantised, and for the scales of
            those that are. Default: float32 on the CPU, where MLX's bfloat16 is wrong and slow; else as stored.
        precision: that and more, for a model that is trained or asked.

    Raises:
        ModelError: files missing, damaged or not fitting; an unknown architecture; one that needs code.
    """
    model, config = open_model(path)
    hold(model, precision or Precision(dtype or device_dtype()))
    return model, config


def open_model(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """As `load_model`, but every weight stays as it is stored, and is read when it is first used."""
    model, config, _ = _open(path, load_config(usable(path, tokenizer=False)))
    return model, config


def examine(path: Path) -> tuple[str, ...]:
    """What is to be known of the model in a folder before it is used: what mlx-lm leaves aside of it, and ends.

    Weights are not read, but their names, types and shapes have to fit. Only `config.json` has to be there.

    Raises:
        ModelError: the model cannot be loaded, or its tokenizer has tokens that it lacks.
    """
    notes = (*weight_notes(path), *config_notes(path))
    if not ((problem := tokenizer_fault(path)) and problem.absent):
        notes += tokenizer_notes(load_tokenizer(path))
    return notes


def weight_notes(path: Path) -> tuple[str, ...]:
    """What of a folder's weights is not used: whole files, and tensors. Raises as `examine`."""
    notes = remarks(path)
    if stored_names(path) is not None and (unused := _open(path, load_config(path))[2]):
        notes.append(fitting.remark(unused))
    return tuple(notes)


def config_notes(path: Path) -> tuple[str, ...]:
    """What mlx-lm leaves aside of a folder's `config.json`, and what it is known to compute in another way."""
    return understood(load_config(path), stored=stored_names(path)).warnings


def _open(path: Path, config: dict[str, Any]) -> tuple[nn.Module, dict[str, Any], list[str]]:
    """The model with its weights attached and not read yet; and the names of stored tensors that it does not use."""
    stored = stored_names(path)
    meant = understood(config, stored=stored)
    refuse_foreign(config, stored or ())
    model_class: Any
    model_class, arguments_class = classes(config)
    module = module_of(config)
    kept: dict[str, mx.array] = {}
    unused: list[str] = []

    class Corrected(model_class):  # type: ignore[misc]
        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            weights = stored_weights.corrected(module, weights, kept)
            return super().sanitize(weights) if hasattr(model_class, "sanitize") else weights

        def load_weights(self, weights: list[tuple[str, mx.array]], strict: bool = True) -> nn.Module:
            taken, others = fitting.fitted(self, dict(weights), name=path.name)
            unused.extend(others)
            loaded: nn.Module = super().load_weights(list(taken.items()), strict=strict)
            return loaded

    try:
        with as_mlx_lm_reads(path, json.dumps(config)) as folder:
            model, config = utils.load_model(
                folder,
                lazy=True,
                model_config=meant.config,
                get_model_classes=lambda config: (Corrected, arguments_class),
                trust_remote_code=False,
            )
        model.__class__ = model_class
        initialise(model)
        corrections.correct(model, module, config, meant.windows, kept)
    except _BAD_MODEL as error:
        fix = "see `droidft models inspect`"
        if "unsupported dtype" in str(error):
            fix = "save the weights in a type that MLX reads: float32, bfloat16 or float16"
        raise ModelError(f"{path.name} cannot be loaded: {reason(error)}", hint=fix) from error
    return model, config, unused


def device_dtype() -> str | None:
    """The type that this machine computes in: float32 on a CPU, None (as stored) on a GPU."""
    return "float32" if mx.default_device() == mx.Device(mx.cpu) else None


def bytes_per_value(config: dict[str, Any]) -> int:
    """Bytes that an unpacked number of the model with this `config.json` takes while it trains on this machine."""
    return 4 if device_dtype() == "float32" else stored_bytes_per_value(config)


def stored_bytes_per_value(config: dict[str, Any]) -> int:
    """As `bytes_per_value`, where numbers keep the type that they are stored in."""
    text = config.get("text_config") or {}
    named = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    return 4 if named == "float32" else 2


def load_tokenizer(path: Path) -> TokenizerWrapper:
    """The model's tokenizer, knowing every token that ends an answer and the chat template.

    Raises:
        ModelError: tokenizer files missing or damaged, a tokenizer that needs code, or one with tokens that the
            model's embedding lacks.
    """
    config = load_config(path)
    tokenizer = open_tokenizer(path, config.get("eos_token_id"))
    notes = []
    if (size := vocabulary.rows(build_lazily(config, stored=stored_names(path)))) is not None and (
        beyond := vocabulary.check(tokenizer, size, model=path.name)
    ):
        notes.append(f"{', '.join(beyond)} of the tokenizer have no row in the embedding; no text may hold them")
    if (said := add_end_of_turn(tokenizer)) is not None:
        notes.append(said)
    tokenizer._droidft_notes = tuple(notes)
    return tokenizer


def tokenizer_notes(tokenizer: TokenizerWrapper) -> tuple[str, ...]:
    """What is to be known of a tokenizer that `load_tokenizer` gave."""
    notes: tuple[str, ...] = getattr(tokenizer, "_droidft_notes", ())
    return notes

"""Load a model's weights and its tokenizer. No code of a model's folder is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm import utils
from mlx_lm.tokenizer_utils import TokenizerWrapper

from droidft.engine.model.architectures import refuse_code, refuse_sizes
from droidft.engine.model.tokenizer import open_tokenizer
from droidft.errors import ModelError
from droidft.models.catalog import check_headers, load_config, usable

# What mlx-lm and mlx raise on weights or settings that do not fit the architecture.
_BAD_MODEL = (ValueError, TypeError, KeyError, RuntimeError, AttributeError)


def load_model(path: Path, *, dtype: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Load weights and config; quantised models stay quantised.

    Args:
        dtype: `float32`, `bfloat16` or `float16` for the weights that are not quantised, and for the scales of
            those that are. Default: float32 on the CPU, where bfloat16 is wrong and slow; else as stored.

    Raises:
        ModelError: files missing, damaged or not fitting; an unknown architecture; one that needs code.
    """
    config = load_config(usable(path, tokenizer=False))
    refuse_code(config)
    refuse_sizes(config)
    check_headers(path)
    try:
        model, config = utils.load_model(path, lazy=True, trust_remote_code=False)
    except _BAD_MODEL as error:
        raise ModelError(f"{path.name} cannot be loaded: {error}", hint="see `droidft models inspect`") from error
    if (wanted := dtype or device_dtype()) is not None:
        model.set_dtype(getattr(mx, wanted))
    mx.eval(model.parameters())
    return model, config


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
    """The model's tokenizer, knowing every end-of-sequence token and the chat template.

    Raises:
        ModelError: tokenizer files missing or damaged, or a tokenizer that needs code.
    """
    config = load_config(path)
    return open_tokenizer(path, config.get("eos_token_id"))

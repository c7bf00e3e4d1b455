"""Architectures of mlx-lm that cannot be trained, by module, so that a run ends before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from droidft.engine.model.loading import examine
from droidft.engine.model.renamed import module_of
from droidft.errors import ModelError
from droidft.models.catalog import load_config

UNTRAINABLE = {
    "deepseek_v41": "mlx-lm cannot differentiate it: its router gathers with indices that still carry a gradient",
    "olmo": "mlx-lm cannot run it: its attention adds the mask, now the word 'causal', to the scores",
}
METAL_ONLY = {"muse_spark": "its attention is a Metal kernel, with no version for other devices"}


def untrainable(config: Mapping[str, Any]) -> str | None:
    """Why no step of the model that a parsed `config.json` describes can be trained here, as a sentence; or None."""
    module = module_of(config)
    why = UNTRAINABLE.get(module) or (None if mx.metal.is_available() else METAL_ONLY.get(module))
    return f"models of type {config['model_type']} cannot be trained here: {why}" if why is not None else None


def examine_for_training(path: Path) -> tuple[str, ...]:
    """`loading.examine` of a model that is to be trained.

    Raises:
        ModelError: as that; or no step of it can be trained here.
    """
    if (why := untrainable(load_config(path))) is not None:
        raise ModelError(why, hint="`docs/architectures.md` lists those that can be")
    return examine(path)

"""An adapter in PEFT's format: `adapter_model.safetensors` and `adapter_config.json`.

Every adapted module is named in full: the last part of a name alone would also match modules in blocks that were not
trained. The scale is kept as alpha / rank, so that training goes on in PEFT as it would here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from droidft.adapters.exports.factors import Factors
from droidft.errors import AdapterError
from droidft.models.floats import Floats
from droidft.support.durable import sync_file

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
_ALTERNATIVE = "export to `merged` or `mlx`"


def write_peft(factors: Iterable[Factors], target: Path, *, base: str, dropout: float, tied: bool) -> None:
    """Fill the empty folder `target`.

    Args:
        base: hub id or name of the base model, for `base_model_name_or_path`.
        tied: whether the output head is the embedding, so that an update of it is one of both.

    Raises:
        AdapterError: PEFT has no place for a part of the adapter.
        OSError: the disk.
    """
    from safetensors.numpy import save_file

    tensors: dict[str, Floats] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    dora = transposed = False
    for pair in factors:
        module = _module(pair)
        ranks[module], alphas[module] = pair.rank, pair.scale * pair.rank
        tensors |= _tensors(module, pair)
        dora |= pair.magnitude is not None
        transposed |= pair.transposed
        if pair.embedding and tied:
            # transformers ties only the weights; what PEFT puts on the embedding, the head does not see.
            head = "lm_head"
            ranks[head], alphas[head] = ranks[module], alphas[module]
            tensors |= _linear(head, pair.a, pair.b, pair.magnitude)
    save_file(tensors, target / WEIGHTS, metadata={"format": "pt"})
    config = _config(ranks, alphas, base=base, dropout=dropout, dora=dora, transposed=transposed)
    (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    sync_file(target / WEIGHTS)


def _module(pair: Factors) -> str:
    module, _, leaf = pair.tensor.rpartition(".")
    if pair.router:
        raise AdapterError(f"PEFT cannot adapt {module}: it is a router", hint=_ALTERNATIVE)
    if leaf != "weight" or pair.expert is not None:
        raise AdapterError(
            f"{pair.tensor} is one tensor for all experts, which this form does not hold", hint=_ALTERNATIVE
        )
    return module


def _tensors(module: str, pair: Factors) -> dict[str, Floats]:
    if not pair.embedding:
        return _linear(module, pair.a, pair.b, pair.magnitude)
    # An embedding's factors are named the other way round: A is (rank, tokens), B (width, rank).
    named = {"lora_embedding_A": pair.b.T, "lora_embedding_B": pair.a.T}
    if pair.magnitude is not None:
        named["lora_magnitude_vector"] = pair.magnitude
    return {f"{_PREFIX}{module}.{name}": np.ascontiguousarray(values) for name, values in named.items()}


def _linear(module: str, a: Floats, b: Floats, magnitude: Floats | None) -> dict[str, Floats]:
    named = {"lora_A.weight": a, "lora_B.weight": b}
    if magnitude is not None:
        named["lora_magnitude_vector"] = magnitude
    return {f"{_PREFIX}{module}.{name}": np.ascontiguousarray(values) for name, values in named.items()}


def _config(
    ranks: dict[str, int], alphas: dict[str, float], *, base: str, dropout: float, dora: bool, transposed: bool
) -> dict[str, Any]:
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": _number(alpha),
        "lora_dropout": dropout,
        "target_modules": sorted(ranks),
        "rank_pattern": {name: each for name, each in ranks.items() if each != rank},
        "alpha_pattern": {name: _number(each) for name, each in alphas.items() if each != alpha},
        "use_rslora": False,
        "use_dora": dora,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "modules_to_save": None,
        "layers_to_transform": None,
        "layers_pattern": None,
        "init_lora_weights": True,
    }


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value

"""An adapter in PEFT's format: `adapter_model.safetensors` and `adapter_config.json`, for transformers 5.

Every adapted module is named in full: the last part of a name alone would also match modules in blocks that were not
trained. The scale is kept as alpha / rank, so that training goes on in PEFT as it would here. Routers and experts are
parameters, not modules. Of experts, A (experts * rank, in) has one after the other, B (out, rank * experts) has the
expert as its fastest index. Where gate and up projection share a parameter, their ranks are stacked.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from droidft.adapters.exports.places import ALTERNATIVE, Place, in_file, place
from droidft.errors import AdapterError
from droidft.models.factors import Factors
from droidft.models.floats import Floats
from droidft.support.durable import sync_file

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."

_Target = tuple[str, str | None]
"""A module, and the parameter of it that is adapted."""


def write_peft(
    factors: Iterable[Factors], target: Path, *, base: str, model_type: str, dropout: float, tied: bool
) -> None:
    """Fill the empty folder `target`.

    Args:
        base: hub id or name of the base model, for `base_model_name_or_path`.
        model_type: of the base's `config.json`, which decides where transformers keeps its matrices.
        dropout: of the training. PEFT has none for parameters, so it is 0 where there are any.
        tied: whether the output head is the embedding, so that an update of it is one of both.

    Raises:
        AdapterError: PEFT has no place for a part of the adapter; nothing has been written.
        OSError: the disk.
    """
    from safetensors.numpy import save_file

    adapted = _adapted(factors, model_type, tied=tied)
    named = {module: [each.parameter for each in adapted if each.module == module] for module in _modules(adapted)}
    tensors: dict[str, Floats] = {}
    for each in adapted:
        # Parameters of one module are wrapped one around the other, in their order: the last is the outermost.
        depth = len(named[each.module]) - 1 - named[each.module].index(each.parameter)
        path = PREFIX + each.module + ".base_layer" * depth
        for name, values in each.tensors.items():
            tensors[in_file(f"{path}.{name}", model_type)] = np.ascontiguousarray(values)
    config = _config(adapted, base=base, dropout=dropout)
    save_file(tensors, target / WEIGHTS, metadata={"format": "pt"})
    (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    sync_file(target / WEIGHTS)


@dataclass(frozen=True, eq=False)
class _Adapted:
    """A module, or a parameter of one, with what is put on it."""

    module: str
    parameter: str | None
    rank: int
    alpha: float
    tensors: dict[str, Floats] = field(default_factory=dict)
    dora: bool = False
    transposed: bool = False

    @property
    def name(self) -> str:
        """As PEFT is told it."""
        return f"{self.module}.{self.parameter}" if self.parameter else self.module


def _modules(adapted: list[_Adapted]) -> list[str]:
    return list(dict.fromkeys(each.module for each in adapted))


def _adapted(factors: Iterable[Factors], model_type: str, *, tied: bool) -> list[_Adapted]:
    gathered: dict[_Target, list[tuple[Place, Factors]]] = {}
    for pair in factors:
        at = place(pair, model_type)
        gathered.setdefault((at.module, at.parameter), []).append((at, pair))
    made = [_one(module, parameter, pairs) for (module, parameter), pairs in gathered.items()]
    if tied:
        # transformers ties only the weights; what PEFT puts on the embedding, the head does not see.
        for (_, pair), *_ in gathered.values():
            if pair.embedding:
                made.append(_module("lm_head", pair, embedding=False))
    # In transformers' modules, `down_proj` comes after the projections before it.
    return sorted(made, key=lambda each: each.parameter == "down_proj")


def _one(module: str, parameter: str | None, pairs: list[tuple[Place, Factors]]) -> _Adapted:
    first = pairs[0][1]
    if parameter is None:
        return _module(module, first, embedding=first.embedding)
    if any(pair.magnitude is not None for _, pair in pairs):
        raise AdapterError(
            f"{module}.{parameter} is a parameter in transformers, for which PEFT has no DoRA", hint=ALTERNATIVE
        )
    experts: dict[int, list[tuple[Place, Factors]]] = {}
    for at, pair in pairs:
        experts.setdefault(at.expert or 0, []).append((at, pair))
    joined = [_joined(experts[number]) for number in sorted(experts)]
    rank = len(joined[0][0])
    a = np.concatenate([right for right, _ in joined])
    b = np.stack([left for _, left in joined], axis=-1).reshape(-1, rank * len(joined))
    if first.transposed and first.expert is None:
        a, b = b.T, a.T
    return _Adapted(module, parameter, rank, first.scale * rank, {"lora_A.weight": a, "lora_B.weight": b})


def _joined(parts: list[tuple[Place, Factors]]) -> tuple[Floats, Floats]:
    """One pair (rank, in), (out, rank) for matrices that are joined one above the other."""
    rank = sum(pair.rank for _, pair in parts)
    outputs = len(parts[0][1].b)
    b = np.zeros((outputs * parts[0][0].parts, rank), dtype=np.float32)
    done = 0
    for at, pair in parts:
        b[at.part * outputs : (at.part + 1) * outputs, done : done + pair.rank] = pair.b
        done += pair.rank
    return np.concatenate([pair.a for _, pair in parts]), b


def _module(module: str, pair: Factors, *, embedding: bool) -> _Adapted:
    if embedding and pair.magnitude is not None:
        raise AdapterError(
            f"{module} is an embedding, of which PEFT's DoRA scales columns and mlx-lm's rows", hint=ALTERNATIVE
        )
    # An embedding's factors are named the other way round: A is (rank, tokens), B (width, rank).
    tensors = (
        {"lora_embedding_A": pair.b.T, "lora_embedding_B": pair.a.T}
        if embedding
        else {"lora_A.weight": pair.a, "lora_B.weight": pair.b}
    )
    if pair.magnitude is not None:
        tensors["lora_magnitude_vector"] = pair.magnitude
    alpha = pair.scale * pair.rank
    return _Adapted(
        module, None, pair.rank, alpha, tensors, dora=pair.magnitude is not None, transposed=pair.transposed
    )


def _config(adapted: list[_Adapted], *, base: str, dropout: float) -> dict[str, Any]:
    rank = Counter(each.rank for each in adapted).most_common(1)[0][0]
    alpha = Counter(each.alpha for each in adapted).most_common(1)[0][0]
    parameters = sorted(each.name for each in adapted if each.parameter)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": _number(alpha),
        "lora_dropout": 0.0 if parameters else dropout,
        "target_modules": sorted(each.name for each in adapted if not each.parameter),
        "rank_pattern": {each.name: each.rank for each in adapted if each.rank != rank},
        "alpha_pattern": {each.name: _number(each.alpha) for each in adapted if each.alpha != alpha},
        "use_rslora": False,
        "use_dora": any(each.dora for each in adapted),
        "bias": "none",
        "fan_in_fan_out": any(each.transposed for each in adapted),
        "modules_to_save": None,
        "layers_to_transform": None,
        "layers_pattern": None,
        "init_lora_weights": True,
    }
    return config | ({"target_parameters": parameters} if parameters else {})


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value

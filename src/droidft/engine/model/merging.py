"""A merged model in mlx-lm's own layout, quantised if that is wished.

The weights are those that mlx-lm computes with: what loading renames, stacks or rescales is done already, so every
architecture can be written. A base that is quantised is unpacked first; every update is added in float32 and rounded
once. One shard is computed at a time.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm import utils

from droidft.adapters.folder import AdapterInfo
from droidft.engine.model import adapter_weights, loading, stored_weights
from droidft.engine.model.architectures import understood
from droidft.engine.model.renamed import module_of
from droidft.errors import AdapterError, ModelError
from droidft.models.catalog import copied_files, stored_names
from droidft.models.folder import INDEX
from droidft.support.durable import sync_file
from droidft.support.progress import Progress

SHARD_BYTES = 2 << 30
GROUP = 64
"""Values that share a scale, as in mlx-lm's conversions."""


def write_mlx(
    base: Path, info: AdapterInfo | None, target: Path, *, bits: int | None = None, progress: Progress | None = None
) -> None:
    """Fill the empty folder `target` with the model in `base` and the adapter merged into it.

    Args:
        bits: of the quantised weights, or None for the type that the base is stored in. The scales of a quantised
            base are in that type.
        progress: called with bytes written.

    Raises:
        AdapterError: the adapter does not fit.
        ModelError: the base cannot be loaded.
        OSError: the disk.
    """
    model, config = loading.open_model(base)
    refuse_dropped(config)
    model = utils.dequantize_model(model)
    if info is not None:
        merge(model, info)
    config = {**understood(config, stored=stored_names(base)).config}
    for name in ("quantization", "quantization_config"):
        config.pop(name, None)
    if bits is not None:
        with contextlib.redirect_stdout(io.StringIO()):
            model, config = utils.quantize_model(model, config, GROUP, bits)
    _write_weights(model, target, progress)
    utils.save_config(config, target / "config.json", keep_vision_config=True)
    for file in copied_files(base):
        if file.suffix != ".safetensors" and file.name not in ("config.json", INDEX):
            part = target / file.relative_to(base)
            part.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, part)


def refuse_dropped(config: Mapping[str, Any]) -> None:
    """Refuse a model whose parsed `config.json` names an architecture of which mlx-lm drops weights.

    Raises:
        ModelError: it does, so that its layout cannot hold this model.
    """
    if stored_weights.drops(module_of(config)):
        raise ModelError(
            f"{config['model_type']} has weights that mlx-lm drops, so its layout cannot hold this model",
            hint="export to `merged` or `peft`",
        )


def merge(model: nn.Module, info: AdapterInfo) -> None:
    """Replace every adapted weight of `model`, which is not quantised, by the merged one; nothing is computed yet.

    Raises:
        AdapterError: the adapter does not fit.
    """
    before = dict(model.named_modules())
    applied = adapter_weights.apply(model, info)
    if info.fine_tune_type == "full":
        return
    merged: list[tuple[str, nn.Module]] = []
    for name, module in model.named_modules():
        if "lora_a" in module:
            inner = before[name]
            inner.weight = _merged(module, inner.weight, name)
            merged.append((name, inner))
    adapter_weights.remove(model)
    model.update_modules(tree_unflatten(merged))
    del applied


def _merged(layer: Any, weight: mx.array, name: str) -> mx.array:
    """The merged weight of an adapted layer, in the type of the base's."""
    whole = weight.astype(mx.float32)
    a, b = layer.lora_a, layer.lora_b
    if isinstance(a, list):
        raise AdapterError(f"{name} is one matrix with several adapters, which is not merged", hint="use it as it is")
    a, b = a.astype(mx.float32), b.astype(mx.float32)
    kind = type(layer).__name__
    if kind == "LoRASwitchLinear":
        whole = whole + layer.scale * (b @ a.reshape(len(b), -1, whole.shape[-1]))
    elif kind.endswith("Embedding"):
        whole = whole + layer.scale * (a @ b)
    else:
        whole = whole + layer.scale * (b.T @ a.T)
    if "m" in layer:
        whole = whole * (layer.m / mx.linalg.norm(whole, axis=1))[:, None]
    merged: mx.array = whole.astype(weight.dtype)
    return merged


def _write_weights(model: nn.Module, target: Path, progress: Progress | None) -> None:
    weights = dict(tree_flatten(model.parameters()))
    total, done = sum(array.nbytes for array in weights.values()), 0
    # The model lets go of its arrays, so that those of a shard are freed once it is written.
    model.update(tree_unflatten([(name, mx.array([])) for name in weights]))
    shards = list(_shards(weights))
    where: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        shard = {name: weights.pop(name) for name in names}
        mx.save_safetensors(str(target / file), shard, metadata={"format": "mlx"})
        sync_file(target / file)
        where |= dict.fromkeys(names, file)
        done += sum(array.nbytes for array in shard.values())
        if progress is not None:
            progress("merging", done, total)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        (target / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


def _shards(weights: Mapping[str, mx.array]) -> Iterator[list[str]]:
    names: list[str] = []
    held = 0
    for name, array in weights.items():
        if names and held + array.nbytes > SHARD_BYTES:
            yield names
            names, held = [], 0
        names.append(name)
        held += array.nbytes
    yield names

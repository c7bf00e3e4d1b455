"""Attach adapters to a model, take them off and put them on again, and name what is trained.

The layers are mlx-lm's own (`LoRALinear`, `LoRASwitchLinear`, `DoRALinear` …), so that its tools load what is
trained here. What differs is the start: every A matrix is drawn from a key of (seed, module name), so two runs
that adapt the same module start it alike, whatever else they adapt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map_with_path

from droidft.config import FineTuneType, TrainingConfig
from droidft.engine.model.projections import Kind, Projection
from droidft.engine.model.recompute import Dropout
from droidft.engine.model.targets import TargetPlan, resolve
from droidft.errors import ConfigError

ATTACHED = "_attached_adapter"
"""Attribute of a model with an adapter on it: an `Attached`."""


REFERENCE = "_reference_adapter"
"""Attribute of a model whose policy is compared with an adapter: an `Attached` that is not in place."""


@dataclass(frozen=True)
class Slot:
    """`holder[key]` is a module or, in full fine-tuning, an array: the base's own or the adapted one."""

    holder: Any
    key: str | int
    base: Any
    adapted: Any


def slot_of(model: nn.Module, name: str, base: Any, adapted: Any) -> Slot:
    """The slot of the module or array called `name` in `model`."""
    *path, last = name.split(".")
    holder: Any = model
    for part in path:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    return Slot(holder, int(last) if isinstance(holder, list) else last, base, adapted)


def fill(slots: Iterable[Slot], *, adapted: bool) -> None:
    """Put the adapted parts in place, or the base's own."""
    for slot in slots:
        slot.holder[slot.key] = slot.adapted if adapted else slot.base


@dataclass(eq=False)
class Attached:
    """An adapter on a model: what it replaces, and by what, so that either can be put in place."""

    slots: list[Slot]


def targets_of(model: nn.Module, config: TrainingConfig) -> TargetPlan:
    """The modules of `model` that `config` adapts."""
    return resolve(
        model,
        preset=config.lora_targets,
        keys=config.lora_keys,
        num_layers=config.lora_num_layers,
        routers=config.lora_routers,
    )


def attach(model: nn.Module, plan: TargetPlan, config: TrainingConfig) -> None:
    """Freeze the base and make the targets of `plan` trainable, as `config` says.

    After this `model.trainable_parameters()` holds exactly what is trained. Changes `model` in place.
    """
    _refuse_quantized(model, plan, config)
    model.freeze()
    if config.fine_tune_type is FineTuneType.FULL:
        _unfreeze_blocks(model, config.lora_num_layers)
        return
    modules = dict(model.named_modules())
    layers = [(target.path, _adapted(modules[target.path], target, config)) for target in plan.targets]
    slots = [slot_of(model, path, modules[path], layer) for path, layer in layers]
    fill(slots, adapted=True)
    setattr(model, ATTACHED, Attached(slots))
    model.train()


@contextmanager
def base_only(model: nn.Module) -> Iterator[None]:
    """The base model for the length of the block: the same weights without the adapter, if one is on."""
    attached: Attached | None = getattr(model, ATTACHED, None)
    slots = attached.slots if attached else []
    fill(slots, adapted=False)
    try:
        yield
    finally:
        fill(slots, adapted=True)


@contextmanager
def reference(model: nn.Module) -> Iterator[None]:
    """What the policy is compared with, for the length of the block: its reference adapter, else the base model."""
    compared: Attached | None = getattr(model, REFERENCE, None)
    with base_only(model):
        slots = compared.slots if compared else []
        fill(slots, adapted=True)
        try:
            yield
        finally:
            fill(slots, adapted=False)


def trainable(model: nn.Module) -> dict[str, mx.array]:
    """The trained arrays by full name, in the order of the module tree."""
    return dict(tree_flatten(model.trainable_parameters()))


def trained_places(model: nn.Module) -> tuple[list[str], list[tuple[Any, str | int]]]:
    """Full names of the trained arrays, and for each the module or list that holds it, with its key there."""
    names = [*trainable(model)]
    slots = [slot_of(model, name, None, None) for name in names]
    return names, [(slot.holder, slot.key) for slot in slots]


def trainable_count(model: nn.Module) -> int:
    """Exact number of trained values."""
    return sum(int(array.size) for array in trainable(model).values())


def load_trained(model: nn.Module, file: Path) -> None:
    """Put the trained arrays of a safetensors file in place of those that `model` has."""
    arrays = mx.load(str(file))
    assert isinstance(arrays, dict)
    assert arrays.keys() == trainable(model).keys()
    model.load_weights(list(arrays.items()), strict=False)


def module_key(seed: int, name: str) -> mx.array:
    """Random key for the module `name`: the same in every run with this seed, whatever else is drawn."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return mx.random.key(int.from_bytes(digest[:8], "little"))


def _refuse_quantized(model: nn.Module, plan: TargetPlan, config: TrainingConfig) -> None:
    """Quantised weights take LoRA; they cannot be trained themselves, and DoRA reads only some widths."""
    quantized = [module for _, module in model.named_modules() if getattr(module, "bits", None) is not None]
    if config.fine_tune_type is FineTuneType.FULL and quantized:
        raise ConfigError(
            "fine_tune_type 'full' cannot train quantised weights",
            hint="use fine_tune_type 'lora' (QLoRA), or a base model that is not quantised",
            field="fine_tune_type",
        )
    # mlx-lm's DoRALinear takes 32 // bits values for a word, which holds for 2, 4 and 8 bits.
    odd = {module.bits for module in quantized if module.bits not in (2, 4, 8)}
    if config.fine_tune_type is FineTuneType.DORA and odd and any(target.quantized for target in plan.targets):
        raise ConfigError(
            f"fine_tune_type 'dora' cannot adapt weights of {min(odd)} bits",
            hint="use fine_tune_type 'lora'",
            field="fine_tune_type",
        )


def _adapted(module: nn.Module, target: Projection, config: TrainingConfig) -> nn.Module:
    layer = _layer(module, target.kind, config)
    # Bound 1/sqrt(fan-in), as in mlx-lm and PEFT (kaiming uniform with a = sqrt 5); B stays zero.
    bound = target.in_dims**-0.5

    def draw(name: str, array: mx.array) -> mx.array:
        key = module_key(config.seed, ".".join(filter(None, [target.path, name])))
        return mx.random.uniform(-bound, bound, array.shape, key=key)

    layer.lora_a = tree_map_with_path(draw, layer.lora_a)
    if config.lora_dropout > 0:
        layer.dropout = Dropout(config.lora_dropout)
    # Only the layer's own arrays are trained: A, B and DoRA's m.
    for child in layer.children().values():
        if isinstance(child, nn.Module):
            child.freeze()
    adapted: nn.Module = layer
    return adapted


def _layer(module: Any, kind: Kind, config: TrainingConfig) -> Any:
    from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
    from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

    options = {"r": config.lora_rank, "dropout": config.lora_dropout, "scale": config.lora_scale}
    dora = config.fine_tune_type is FineTuneType.DORA
    match kind:
        case Kind.FUSED:
            return module.to_lora(**options)
        case Kind.EXPERTS:
            return LoRASwitchLinear.from_base(module, **options)
        case Kind.EMBEDDING:
            layer = (DoRAEmbedding if dora else LoRAEmbedding).from_base(module, **options)
            if dora:  # mlx-lm would have it in the type of the embedding
                layer.m = mx.linalg.norm(module.weight.astype(mx.float32), axis=1)
            return layer
        case Kind.LINEAR:
            return (DoRALinear if dora else LoRALinear).from_base(module, **options)


def _unfreeze_blocks(model: nn.Module, num_layers: int) -> None:
    blocks = model.layers if num_layers == -1 else model.layers[-num_layers:]
    for block in blocks:
        block.unfreeze()
    model.train()

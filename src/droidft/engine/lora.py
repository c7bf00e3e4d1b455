"""Attach adapters to a model and name what is trained.

The layers are mlx-lm's own (`LoRALinear`, `LoRASwitchLinear`, `DoRALinear` …), so that its tools load what is
trained here. What differs is the start: every A matrix is drawn from a key of (seed, module name), so two runs
that adapt the same module start it alike, whatever else they adapt.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from droidft.config import FineTuneType, TrainingConfig

if TYPE_CHECKING:
    from droidft.engine.targets import Target, TargetPlan


def attach(model: nn.Module, plan: TargetPlan, config: TrainingConfig) -> None:
    """Freeze the base and make the targets of `plan` trainable, as `config` says.

    After this `model.trainable_parameters()` holds exactly what is trained. Changes `model` in place.
    """
    model.freeze()
    if config.fine_tune_type is FineTuneType.FULL:
        _unfreeze_blocks(model, config.lora_num_layers)
        return
    modules = dict(model.named_modules())
    layers = [(target.path, _adapted(modules[target.path], target, config)) for target in plan.targets]
    model.update_modules(tree_unflatten(layers))
    model.train()


def trainable(model: nn.Module) -> dict[str, mx.array]:
    """The trained arrays by full name, in the order of the module tree."""
    return dict(tree_flatten(model.trainable_parameters()))


def trainable_count(model: nn.Module) -> int:
    """Exact number of trained values."""
    return sum(int(array.size) for array in trainable(model).values())


def module_key(seed: int, name: str) -> mx.array:
    """Random key for the module `name`: the same in every run with this seed, whatever else is drawn."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return mx.random.key(int.from_bytes(digest[:8], "little"))


def _adapted(module: nn.Module, target: Target, config: TrainingConfig) -> nn.Module:
    layer: Any = _layer_class(module, dora=config.fine_tune_type is FineTuneType.DORA).from_base(
        module, r=config.lora_rank, dropout=config.lora_dropout, scale=config.lora_scale
    )
    # Bound 1/sqrt(fan-in), as in mlx-lm and PEFT (kaiming uniform with a = sqrt 5); B stays zero.
    bound = 1 / target.in_dims**0.5
    layer.lora_a = mx.random.uniform(-bound, bound, layer.lora_a.shape, key=module_key(config.seed, target.path))
    # The constructor leaves the base layer trainable; only A, B (and DoRA's m) are.
    layer.freeze()
    layer.unfreeze(keys=["lora_a", "lora_b", "m"], recurse=False)
    return layer  # type: ignore[no-any-return]


def _layer_class(module: nn.Module, *, dora: bool) -> Any:
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
    from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
    from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

    if isinstance(module, SwitchLinear | QuantizedSwitchLinear):
        return LoRASwitchLinear
    if isinstance(module, nn.Embedding | nn.QuantizedEmbedding):
        return DoRAEmbedding if dora else LoRAEmbedding
    return DoRALinear if dora else LoRALinear


def _unfreeze_blocks(model: nn.Module, num_layers: int) -> None:
    blocks = model.layers if num_layers == -1 else model.layers[-num_layers:]
    for block in blocks:
        block.unfreeze()
    model.train()

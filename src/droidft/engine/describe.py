"""What `droidft models inspect` shows: a model's shape, what every preset would adapt, and the memory it takes.

Everything is read from `config.json` (and the names of the saved tensors, where known); no weight is loaded.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from droidft.config import FineTuneType, LoraRouters, LoraTargets, Optimizer
from droidft.engine.architectures import blocks, build_lazily, quantization
from droidft.engine.estimate import MemoryEstimate, peak_memory
from droidft.engine.projections import logical_size
from droidft.engine.targets import KeySummary, TargetPlan, resolve
from droidft.errors import TargetError

PRESETS = tuple(preset for preset in LoraTargets if preset is not LoraTargets.CUSTOM)


@dataclass(frozen=True, slots=True)
class PresetDescription:
    """What one preset adapts: exact counts, or `problem` where it matches nothing.

    `share` is trainable / parameters; `memory` the peak of a training step with it.
    """

    preset: LoraTargets
    keys: tuple[KeySummary, ...] = ()
    trainable: int = 0
    share: float = 0.0
    notes: tuple[str, ...] = ()
    memory: MemoryEstimate | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model's architecture and what fine-tuning it takes; `parameters` counts quantised weights unpacked."""

    model_type: str
    blocks: int
    parameters: int
    quantization: str | None
    rank: int
    batch_size: int
    seq_length: int
    presets: tuple[PresetDescription, ...]


def describe_model(
    config: dict[str, Any],
    *,
    rank: int = 32,
    batch_size: int = 1,
    seq_length: int = 512,
    num_layers: int = -1,
    routers: LoraRouters = LoraRouters.AUTO,
    grad_checkpoint: bool = False,
    optimizer: Optimizer = Optimizer.ADAMW,
    dora: bool = False,
    bytes_per_value: int | None = None,
    stored: Collection[str] | None = None,
    fused_kernels: bool = False,
) -> ModelDescription:
    """Describe the model of a parsed `config.json`; `stored` as in `build_lazily`.

    `bytes_per_value` is what an unpacked number takes while training; by default what `config` says (4 for
    float32, else 2).

    Raises:
        ModelError: the architecture is unknown or the config cannot be used.
        ConfigError: `num_layers` is more than there are.
    """
    model = build_lazily(config, stored=stored)
    size = bytes_per_value or _bytes(config)
    kind = FineTuneType.DORA if dora else FineTuneType.LORA

    def described(preset: LoraTargets) -> PresetDescription:
        try:
            plan: TargetPlan = resolve(model, preset=preset, num_layers=num_layers, routers=routers)
            keys = tuple(plan.table(rank, dora=dora))
        except TargetError as error:
            return PresetDescription(preset, problem=error.message)
        memory = peak_memory(
            model,
            plan,
            batch_size=batch_size,
            seq_length=seq_length,
            rank=rank,
            grad_checkpoint=grad_checkpoint,
            optimizer=optimizer,
            bytes_per_value=size,
            fine_tune_type=kind,
            fused_kernels=fused_kernels,
        )
        trainable = plan.trainable(rank, dora=dora)
        return PresetDescription(preset, keys, trainable, trainable / plan.total, plan.notes, memory)

    return ModelDescription(
        model_type=config["model_type"],
        blocks=len(blocks(model)),
        parameters=logical_size(model),
        quantization=_packing(config),
        rank=rank,
        batch_size=batch_size,
        seq_length=seq_length,
        presets=tuple(described(preset) for preset in PRESETS),
    )


def _packing(config: dict[str, Any]) -> str | None:
    settings = quantization(config)
    if settings is None:
        return None
    if "bits" not in settings:
        return str(settings["quant_method"])
    return f"{settings['bits']} bits, groups of {settings['group_size']}, {settings.get('mode', 'affine')}"


def _bytes(config: dict[str, Any]) -> int:
    text = config.get("text_config") or {}
    named = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    return 4 if named == "float32" else 2

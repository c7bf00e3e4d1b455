"""What `droidft models inspect` and the Setup page show: a model's shape, what presets adapt, the memory it takes.

Everything is read from `config.json` (and the names of the saved tensors, where known); no weight is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from droidft.config import FineTuneType, LoraRouters, LoraTargets, Optimizer
from droidft.engine.model import loading
from droidft.engine.model.architectures import build_lazily, quantization
from droidft.engine.model.estimate import Estimator, MemoryEstimate
from droidft.engine.model.targets import KeySummary, Survey, TargetPlan, resolve
from droidft.errors import TargetError
from droidft.models import catalog

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


class Shape:
    """A model built from its parsed `config.json`, and all that is looked at to describe it, once.

    `stored` is as in `build_lazily`; `bytes_per_value` what an unpacked number takes while training, by default
    what `config` says (4 for float32, else 2).

    Raises:
        ModelError: the architecture is unknown or the config cannot be used.
    """

    def __init__(
        self,
        config: dict[str, Any],
        *,
        stored: Collection[str] | None = None,
        bytes_per_value: int | None = None,
    ) -> None:
        self.config = config
        self.survey = Survey(build_lazily(config, stored=stored))
        self.estimator = Estimator(self.survey, bytes_per_value=bytes_per_value or _bytes(config))
        # Bound methods may be cached here: the cache goes when the shape does.
        self.plan = lru_cache(64)(self._plan)

    @property
    def hidden_size(self) -> int | None:
        """Width of the residual stream."""
        return self.estimator.width or None

    def describe(
        self,
        *,
        rank: int = 32,
        batch_size: int = 1,
        seq_length: int = 512,
        num_layers: int = -1,
        routers: LoraRouters = LoraRouters.AUTO,
        keys: Sequence[str] | None = None,
        grad_checkpoint: bool = False,
        optimizer: Optimizer = Optimizer.ADAMW,
        dora: bool = False,
        fused_kernels: bool = False,
    ) -> ModelDescription:
        """What every preset, and `custom` where there are `keys`, adapts and takes.

        Raises:
            ConfigError: `num_layers` is more than there are.
        """

        def described(preset: LoraTargets) -> PresetDescription:
            try:
                named = tuple(keys or ()) if preset is LoraTargets.CUSTOM else ()
                plan = self.plan(preset, num_layers, routers, named)
                table = tuple(plan.table(rank, dora=dora))
            except TargetError as error:
                return PresetDescription(preset, problem=error.message)
            memory = self.estimator.peak(
                plan,
                batch_size=batch_size,
                seq_length=seq_length,
                rank=rank,
                grad_checkpoint=grad_checkpoint,
                optimizer=optimizer,
                fine_tune_type=FineTuneType.DORA if dora else FineTuneType.LORA,
                fused_kernels=fused_kernels,
            )
            trainable = plan.trainable(rank, dora=dora)
            return PresetDescription(preset, table, trainable, trainable / plan.total, plan.notes, memory)

        wanted = (*PRESETS, LoraTargets.CUSTOM) if keys else PRESETS
        return ModelDescription(
            model_type=self.config["model_type"],
            blocks=len(self.survey.blocks),
            parameters=self.survey.total,
            quantization=_packing(self.config),
            rank=rank,
            batch_size=batch_size,
            seq_length=seq_length,
            presets=tuple(described(preset) for preset in wanted),
        )

    def _plan(self, preset: LoraTargets, num_layers: int, routers: LoraRouters, keys: tuple[str, ...]) -> TargetPlan:
        model = self.survey.model
        return resolve(model, preset=preset, keys=keys, num_layers=num_layers, routers=routers, survey=self.survey)


def open_shape(path: Path) -> Shape:
    """The shape of the model in the folder `path`, of which only `config.json` has to be there, on this machine.

    Raises:
        ModelError: as `Shape`; the config cannot be read.
    """
    config = catalog.load_config(path)
    size = 4 if loading.device_dtype() == "float32" else None
    return Shape(config, stored=catalog.stored_names(path), bytes_per_value=size)


def fused_kernels_expected() -> bool:
    """Whether training here uses the fused kernels, which need less memory."""
    return sys.platform == "linux" and loading.device_dtype() == "float32"


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

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
from droidft.engine.model.precision import expected_short
from droidft.engine.model.targets import KeySummary, Survey, TargetPlan, resolve
from droidft.engine.model.trainable import untrainable
from droidft.errors import ModelError, TargetError
from droidft.models import catalog
from droidft.support import limits

PRESETS = tuple(preset for preset in LoraTargets if preset is not LoraTargets.CUSTOM)

BUILD_SECONDS, BUILD_BYTES = 30.0, 2 << 30
"""What a model without weights may take: one of 1,000 blocks takes some seconds and 200 MB."""
FULL_RATE = 5e-5
LORA_FACTOR = 10
REFERENCE_WIDTH = 2000
EXPONENTS = {"llama": 0.781, "qwen": 0.0775}
"""By the beginning of the model type; fitted by the authors of the Tinker cookbook (Thinking Machines, 2025)."""


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

    `stored` is as in `build_lazily`; `bytes_per_value` is what an unpacked number takes while training, by default
    as much as when stored; `fused_kernels` is as in `Estimator.peak`, `short_products` as in `Estimator`.

    Raises:
        ModelError: the architecture is unknown or the config cannot be used.
    """

    def __init__(
        self,
        config: dict[str, Any],
        *,
        stored: Collection[str] | None = None,
        bytes_per_value: int | None = None,
        fused_kernels: bool = False,
        short_products: bool = False,
    ) -> None:
        self.config = config
        self.warnings: tuple[str, ...] = ()
        self.fused_kernels = fused_kernels
        self.survey = Survey(build_lazily(config, stored=stored))
        size = bytes_per_value or loading.stored_bytes_per_value(config)
        self.estimator = Estimator(self.survey, bytes_per_value=size, short_products=short_products)
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
                fused_kernels=self.fused_kernels,
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

    Its `warnings` are what `loading.examine` finds.

    Raises:
        ModelError: as `Shape`; the config cannot be read.
    """
    config = catalog.load_config(path)
    stored = catalog.stored_names(path)
    with limits.within(
        f"building the model that {path / 'config.json'} describes",
        seconds=BUILD_SECONDS,
        memory=BUILD_BYTES,
        kind=ModelError,
        hint="get the model's config.json again",
    ):
        shape = Shape(
            config,
            stored=stored,
            bytes_per_value=loading.bytes_per_value(config),
            # They are what training uses here, unless they cannot be built.
            fused_kernels=sys.platform == "linux" and loading.device_dtype() == "float32",
            short_products=expected_short(),
        )
        shape.warnings = loading.examine(path)
    if (why := untrainable(config)) is not None:
        shape.warnings = (why, *shape.warnings)
    return shape


def _packing(config: dict[str, Any]) -> str | None:
    settings = quantization(config)
    if settings is None:
        return None
    if "bits" not in settings:
        return str(settings["quant_method"])
    return f"{settings['bits']} bits, groups of {settings['group_size']}, {settings.get('mode', 'affine')}"


@dataclass(frozen=True, slots=True)
class SuggestedRate:
    """A learning rate and where it comes from."""

    value: float
    why: str


def suggest_rate(model_type: str, width: int | None) -> SuggestedRate:
    """Tinker's formula for LoRA, 5e-5 x 10 x (2000 / width) ^ p, rounded to two digits.

    For a family without a fit it is the smaller of the known families' rates.
    """
    width = width or REFERENCE_WIDTH
    rates = {
        family: float(f"{FULL_RATE * LORA_FACTOR * (REFERENCE_WIDTH / width) ** exponent:.1e}")
        for family, exponent in EXPONENTS.items()
    }
    family = next((name for name in EXPONENTS if model_type.startswith(name)), None)
    if family is not None:
        source = f"Tinker's formula, fitted to {family.capitalize()} models"
    else:
        family = min(rates, key=lambda name: rates[name])
        source = (
            f"there is no fit for {model_type}; Tinker's formula for {family.capitalize()} is the smaller one here"
        )
    rate = rates[family]
    formula = f"{FULL_RATE:g} x {LORA_FACTOR} x ({REFERENCE_WIDTH} / {width}) ^ {EXPONENTS[family]:g} = {rate:.1e}"
    return SuggestedRate(
        rate, f"{source}: {formula}; a starting point, fitted to other data than yours: lower it if the loss jumps"
    )

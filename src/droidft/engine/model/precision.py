"""The type of numbers that a model is held and multiplied in, and which of its matrices that concerns.

On a CPU `bfloat16` means the frozen matrices of linear layers, embeddings and the head: they stay in bfloat16, or
quantised, and activations are rounded to it where they meet them. Sums, adapters, norms, softmax, loss are float32.
What decides between branches (routers, the selectors of sparse attention) stays float32, since a rounded number there
may change the branch. See docs/decisions/0011-speed.md.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from droidft.config import ComputeDtype
from droidft.engine.machine import host, kernels
from droidft.engine.model.projections import Kind, Part, Projection
from droidft.engine.model.targets import Survey
from droidft.errors import ConfigError

AUTO = "DROIDFT_COMPUTE_DTYPE"
"""Environment variable: what `auto` stands for."""
INSTRUCTIONS = "avx512_bf16"
"""Linux's name for those that the kernels have a version for."""


@dataclass(frozen=True)
class Precision:
    """How a model is to be loaded."""

    dtype: str | None
    """Of the weights; None as stored."""
    short: bool = False
    """Whether a CPU multiplies with frozen matrices in bfloat16."""

    @property
    def recorded(self) -> str | None:
        """As a run keeps it, for when it goes on; None where that is the stored type."""
        return "bfloat16" if self.short else self.dtype

    @property
    def instructions(self) -> str:
        """The processor's instructions behind short products; empty without such products."""
        fused = kernels.active()
        return fused.short_products if self.short and fused is not None else ""


def precision(wanted: ComputeDtype = ComputeDtype.AUTO, *, trains_base: bool = False) -> Precision:
    """What `wanted` means on this machine, as it is prepared now.

    `trains_base`: full fine-tuning, whose weights are float32 on a CPU.

    Raises:
        ConfigError: it asks for what this machine cannot do; or the variable of the environment is none of these.
    """
    if wanted is ComputeDtype.AUTO:
        wanted = _auto()
    if mx.default_device() != mx.Device(mx.cpu):
        return Precision(None if wanted is ComputeDtype.AUTO else wanted.value)
    fused = kernels.active()
    if wanted is ComputeDtype.AUTO:
        return Precision("float32", short=bool(fused and fused.short_products) and not trains_base)
    if wanted is ComputeDtype.BFLOAT16 and fused is None:
        raise ConfigError(
            "compute_dtype 'bfloat16' needs the fused CPU kernels, which are not in use here",
            hint="set compute_dtype to float32, or see `droidft doctor` for why they are not",
            field="compute_dtype",
        )
    return Precision("float32", short=wanted is ComputeDtype.BFLOAT16 and not trains_base)


def _auto() -> ComputeDtype:
    given = os.environ.get(AUTO) or ComputeDtype.AUTO
    try:
        return ComputeDtype(given)
    except ValueError:
        hint = f"use {', '.join(ComputeDtype)}, or unset it"
        raise ConfigError(f"{AUTO}={given} is no type to compute in", hint=hint) from None


def expected_short() -> bool:
    """Whether `auto` will probably mean bfloat16 where training runs on this machine, without the kernels."""
    set_to = os.environ.get(AUTO, ComputeDtype.AUTO)
    on_cpu = sys.platform == "linux" and mx.default_device() == mx.Device(mx.cpu)
    return on_cpu and set_to in (ComputeDtype.BFLOAT16, ComputeDtype.AUTO) and INSTRUCTIONS in host.cpu_flags()


def before() -> ComputeDtype:
    """What runs computed in that recorded nothing about it."""
    return ComputeDtype.FLOAT32 if mx.default_device() == mx.Device(mx.cpu) else ComputeDtype.AUTO


def short_paths(survey: Survey) -> frozenset[str]:
    """Paths of the modules whose matrices are kept in bfloat16 where products are short."""
    inside = (each for block in survey.blocks for each in block.values())
    return frozenset(each.path for each in [*inside, *survey.outside.values()] if _is_short(each))


def hold(model: nn.Module, chosen: Precision) -> None:
    """Give the weights of a model that was opened, and not read yet, their types; and read them one at a time."""
    survey = Survey(model) if chosen.short else None
    modules = dict(model.named_modules())
    layers = [modules[path] for path in sorted(short_paths(survey))] if survey else []
    stored = [layer.weight for layer in layers]
    if chosen.dtype is not None:
        model.set_dtype(getattr(mx, chosen.dtype))
    for layer, weight in zip(layers, stored, strict=True):
        layer.weight = weight
        kernels.shorten(layer)
    del stored
    for _, array in tree_flatten(model.parameters()):
        mx.eval(array)


def _is_short(projection: Projection) -> bool:
    decides = projection.part in (Part.ROUTER, Part.SELECTOR)
    return projection.kind in (Kind.LINEAR, Kind.EMBEDDING) and not decides and not projection.uncalled

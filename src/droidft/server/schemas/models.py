"""Base models and adapters."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from droidft.adapters.diagnostics import AdapterWarning
from droidft.adapters.folder import AdapterEntry
from droidft.config import Name
from droidft.server.schemas.base import Body, Wire


class KeyCount(Wire):
    """What one LoRA key adapts."""

    key: str
    kind: str
    modules: int
    trainable: int


class MemoryParts(Wire):
    """Estimated bytes at the peak of a training step, by what holds them."""

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    loss: int
    total: int


class Verdict(StrEnum):
    """Whether the estimate fits what is available."""

    FITS = "fits"
    TIGHT = "tight"
    TOO_LARGE = "does not fit"


class PresetReport(Wire):
    """What one target preset would train; exact counts, or `problem` where it matches nothing."""

    preset: str
    keys: list[KeyCount]
    trainable: int
    share: float
    adapter_bytes: int
    notes: list[str]
    memory: MemoryParts | None
    verdict: Verdict | None
    problem: str | None


class RateHint(Wire):
    """A learning rate to begin with."""

    value: float
    why: str


class TargetsReport(Wire):
    """A model's architecture and what each preset would train of it."""

    model: str
    path: str
    model_type: str
    blocks: int
    parameters: int
    hidden_size: int | None
    context_length: int | None
    quantization: str | None
    code: list[str]
    """What in its folder asks for code to be run; none of it is."""
    warnings: list[str]
    """What is to be known of the model before it is used, a sentence each."""
    rank: int
    batch_size: int
    seq_length: int
    memory_available: int
    cache_bytes_per_token: int
    """What keys and values of one token take while sampling, at most."""
    presets: list[PresetReport]
    learning_rate: RateHint


class ModelPull(Body):
    """A model to fetch: a hub id, or the name of the embedded one."""

    model: Annotated[str, Field(min_length=3, max_length=200)]


class ModelImport(Body):
    """A model folder or GGUF file below the allowed roots, to be known under a name."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    name: Name


class AdapterReport(Wire):
    """One adapter, judged against a model where one was given.

    What keeps it from being used is a warning too: `config_missing`, `unusable`, `does_not_fit`.
    """

    entry: AdapterEntry
    which: str
    warnings: list[AdapterWarning]

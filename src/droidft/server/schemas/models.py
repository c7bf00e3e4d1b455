"""Base models and adapters."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from droidft.config import Name
from droidft.server.schemas.base import Wire


class ModelEntry(Wire):
    """A model that can be chosen."""

    ref: str
    """What to give as `model_path`."""
    source: Literal["home", "hub cache", "embedded"]
    installed: bool
    """False for the embedded model until it is fetched."""
    model_type: str
    bytes: int
    quantization: str
    problem: str
    note: str


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
    rank: int
    batch_size: int
    seq_length: int
    memory_available: int
    cache_bytes_per_token: int
    """What keys and values of one token take while sampling, at most."""
    presets: list[PresetReport]
    learning_rate: RateHint


class ModelPull(Wire):
    """A model to fetch: a hub id, or the name of the embedded one."""

    model: Annotated[str, Field(min_length=3, max_length=200)]


class ModelImport(Wire):
    """A model folder or GGUF file below the allowed roots, to be known under a name."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    name: Name


class AdapterWarning(Wire):
    """Something doubtful about an adapter."""

    code: str
    message: str


class AdapterEntry(Wire):
    """An adapter in the list; `problem` says why it cannot be used."""

    name: str
    problem: str
    fine_tune_type: str | None
    method: str | None
    rank: int | None
    alpha: float | None
    scale: float | None
    modules: list[str]
    blocks: int
    parameters: int
    base: str | None
    """Path or hub id of the model it was trained on."""
    run: str | None
    weights: list[str]
    """What may follow the `@`: latest, best, 200 …"""
    bytes: int


class AdapterReport(Wire):
    """One adapter, judged against a model where one was given.

    What keeps it from being used is a warning too: `config_missing`, `unusable`, `does_not_fit`.
    """

    entry: AdapterEntry
    which: str
    warnings: list[AdapterWarning]

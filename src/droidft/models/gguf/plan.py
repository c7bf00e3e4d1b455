"""What a GGUF file will hold: its keys, and its tensors with what makes the bytes of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFValueType

from droidft.models.gguf import kinds
from droidft.models.gguf.hyperparameters import Value
from droidft.models.gguf.tensors import Source, Tensors
from droidft.models.gguf.vocabulary import Vocabulary, vocabulary

Bytes = npt.NDArray[np.uint8]
_PHI3 = ("phi-3", "phi3")
"""llama.cpp lets the markers of models with such a name take the white space behind them along, and of no others."""


@dataclass(frozen=True)
class Entry:
    """One tensor of the file."""

    name: str
    shape: tuple[int, ...]
    """Of its values."""
    kind: GGMLQuantizationType
    made: Callable[[], Bytes]
    """Its bytes, of `packed`."""

    @property
    def packed(self) -> tuple[int, ...]:
        """Its shape in bytes."""
        return kinds.packed_shape(self.shape, self.kind)

    @property
    def bytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.packed)


@dataclass(frozen=True)
class Plan:
    """Everything that a file will hold."""

    architecture: str
    metadata: Mapping[str, Value]
    entries: list[Entry]
    types: Mapping[str, tuple[GGUFValueType, ...]] = field(default_factory=dict)
    """Types of keys that keep those of another file."""
    fallen: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.bytes for entry in self.entries)


def fresh(base: Path, tensors: Tensors, *, kind: str, ends: Iterable[int], name: str) -> Plan:
    """The file of a model folder, from its configs and its tokenizer alone.

    Raises:
        ModelError: what a file cannot hold; a quantisation that is unknown, or whose package is not installed.
    """
    made, pack = tensors.made, kinds.packer(kind)
    types, fallen = kinds.types(kind, shapes_of(tensors), sizes_of(tensors))
    words = vocabulary(base, shapes_of(tensors)["token_embd.weight"][0], ends)
    general: dict[str, Value] = {
        "general.type": "model",
        "general.name": _named(name, words),
        "general.file_type": kinds.file_type(kind),
        "general.quantization_version": GGML_QUANT_VERSION,
    }
    rotary = [
        Entry(key, factors.shape, GGMLQuantizationType.F32, _constant(factors))
        for key, factors in made.tensors.items()
    ]
    packed = [
        Entry(source.name, source.shape, types[source.name], packing(tensors, source, types[source.name], pack))
        for source in tensors.sources
    ]
    return Plan(
        made.layout.architecture,
        {**general, **made.metadata, **words.metadata},
        [*rotary, *packed],
        fallen=tuple(fallen),
        ends=tuple(words.tokens[end] for end in words.ends),
        warnings=[*made.warnings, *words.warnings],
    )


def shapes_of(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """Shapes of the values, by name in the file."""
    return {source.name: source.shape for source in tensors.sources}


def sizes_of(tensors: Tensors) -> kinds.Sizes:
    """What of a model decides on the types of its tensors."""
    config = tensors.made.config
    grouped = config["num_key_value_heads"] != config["num_attention_heads"]
    return kinds.Sizes(tensors.made.blocks, config["num_local_experts"], grouped)


def packing(tensors: Tensors, source: Source, kind: GGMLQuantizationType, pack: kinds.Pack) -> Callable[[], Bytes]:
    """What loads a tensor and packs it, expert by expert where the checkpoint has them apart."""

    def packed() -> Bytes:
        parts = iter(tensors.load(source))
        if len(source.parts) == 1:
            return pack(source.name, next(parts), kind)
        made = np.empty(kinds.packed_shape(source.shape, kind), np.uint8)
        for expert, part in enumerate(parts):
            made[expert] = pack(source.name, part, kind)
        return made

    return packed


def _constant(factors: npt.NDArray[np.float32]) -> Callable[[], Bytes]:
    return lambda: np.ascontiguousarray(factors).view(np.uint8)


def _named(name: str, words: Vocabulary) -> str:
    """`name`, changed where llama.cpp would take another tokenizer's ways from it."""
    called = any(word in name.lower() for word in _PHI3)
    if words.strips and not called:
        return f"{name} (phi-3)"
    if called and not words.strips:
        return name.lower().replace("phi-3", "phi 3").replace("phi3", "phi 3")
    return name

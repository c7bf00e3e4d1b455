"""Write a model folder, with the weights that it is given, as one GGUF file.

Tensors are read, packed and written one at a time. The file is written under another name and renamed when it is
whole, so half a file is never seen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter

from droidft.models.files import read_json
from droidft.models.gguf import kinds
from droidft.models.gguf.hyperparameters import Hyperparameters, Value, hyperparameters
from droidft.models.gguf.tensors import Source, Tensors, Weights, tensors_of
from droidft.models.gguf.vocabulary import Vocabulary, vocabulary
from droidft.support.durable import hidden_until_whole
from droidft.support.progress import Progress
from droidft.support.room import check_room, room_errors

_HEADER_BYTES = 32 * 2**20
"""More than the largest vocabularies take."""
_PHI3 = ("phi-3", "phi3")
"""llama.cpp lets the markers of models with such a name take the white space behind them along, and of no others."""


@dataclass(frozen=True)
class Written:
    """A finished GGUF file."""

    path: Path
    bytes: int
    types: Mapping[str, int]
    """Number of tensors of each type, the commonest first."""
    fallen: tuple[str, ...] = ()
    """Tensors whose rows do not fit the quantisation that was asked for, and have a larger type."""
    ends: tuple[str, ...] = ()
    """Texts of the tokens that end an answer."""
    metadata: Mapping[str, Value] = field(default_factory=dict, repr=False)
    """Keys of the architecture and of the tokenizer."""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    made: Hyperparameters
    words: Vocabulary
    tensors: Tensors
    types: Mapping[str, GGMLQuantizationType]
    fallen: tuple[str, ...]

    def bytes(self) -> int:
        """Bytes of all tensors."""
        extra = sum(factors.nbytes for factors in self.made.tensors.values())
        return extra + sum(_bytes(source, self.types[source.name]) for source in self.tensors.sources)


def refuse_unwritable(base: Path) -> None:
    """Refuse a model folder that cannot be written as GGUF, before anything starts; reads no weights.

    Raises:
        ModelError: an architecture, a setting or a tokenizer that a GGUF file cannot hold, by name.
    """
    made = hyperparameters(read_json(base / "config.json"))
    vocabulary(base, made.config["vocab_size"])


def write_gguf(
    base: Path,
    weights: Weights,
    target: Path,
    *,
    kind: str,
    ends: Iterable[int] = (),
    name: str = "",
    progress: Progress | None = None,
) -> Written:
    """Write `weights`, with the settings and the tokenizer of the model folder `base`, as the file `target`.

    Args:
        kind: the quantisation, one of `kinds.KINDS`.
        ends: tokens that end answers besides those that the folder declares.
        name: what the model is called in the file; that of the file where empty.
        progress: called with the bytes written so far.

    Raises:
        ModelError: what a GGUF file cannot hold, by name; tensors that do not belong together; values that are not
            finite; a quantisation whose package is not installed.
        StorageError: no room, or the disk failed.
    """
    pack = kinds.packer(kind)
    plan = _planned(base, weights, kind, ends)
    hint = "free some space, or export to another disk"
    check_room(plan.bytes() + _HEADER_BYTES, target, what="the export", hint=hint)
    with room_errors(target, again="export again"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with hidden_until_whole(target) as part, gguf_writer(part, plan.made.layout.architecture) as writer:
            _add_metadata(writer, plan, kind, name or target.stem)
            _add_tensors(writer, plan)
            _write(writer, plan, pack, progress)
    counts = Counter(plan.types[source.name].name for source in plan.tensors.sources)
    return Written(
        target,
        target.stat().st_size,
        dict(counts.most_common()),
        plan.fallen,
        ends=tuple(plan.words.tokens[end] for end in plan.words.ends),
        metadata={"general.architecture": plan.made.layout.architecture, **plan.made.metadata, **plan.words.metadata},
        warnings=[*plan.made.warnings, *plan.words.warnings],
    )


def _planned(base: Path, weights: Weights, kind: str, ends: Iterable[int]) -> _Plan:
    made = hyperparameters(read_json(base / "config.json"))
    tensors = tensors_of(base, weights, made)
    shapes = {source.name: source.shape for source in tensors.sources}
    rows = shapes["token_embd.weight"][0]
    config = made.config
    grouped = config["num_key_value_heads"] != config["num_attention_heads"]
    sizes = kinds.Sizes(made.blocks, config["num_local_experts"], grouped)
    types, fallen = kinds.types(kind, shapes, sizes)
    return _Plan(made, vocabulary(base, rows, ends), tensors, types, tuple(fallen))


@contextmanager
def gguf_writer(path: Path, architecture: str) -> Iterator[GGUFWriter]:
    """What writes a file of this architecture to `path`, closed behind the block."""
    writer = GGUFWriter(path, architecture)
    try:
        yield writer
    finally:
        writer.close()


def _add_metadata(writer: GGUFWriter, plan: _Plan, kind: str, name: str) -> None:
    general: dict[str, Value] = {
        "general.type": "model",
        "general.name": _named(name, plan.words),
        "general.file_type": kinds.file_type(kind),
        "general.quantization_version": GGML_QUANT_VERSION,
    }
    for key, value in {**general, **plan.made.metadata, **plan.words.metadata}.items():
        add_value(writer, key, value)


def _named(name: str, words: Vocabulary) -> str:
    """`name`, changed where llama.cpp would take another tokenizer's ways from it."""
    called = any(word in name.lower() for word in _PHI3)
    if words.strips and not called:
        return f"{name} (phi-3)"
    if called and not words.strips:
        return name.lower().replace("phi-3", "phi 3").replace("phi3", "phi 3")
    return name


def add_value(writer: GGUFWriter, key: str, value: Value) -> None:
    """Add a key: whole numbers as uint32, others as float32, lists by what they hold."""
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def _add_tensors(writer: GGUFWriter, plan: _Plan) -> None:
    for name, factors in plan.made.tensors.items():
        writer.add_tensor_info(name, factors.shape, factors.dtype, factors.nbytes)
    for source in plan.tensors.sources:
        kind = plan.types[source.name]
        shape = kinds.packed_shape(source.shape, kind)
        writer.add_tensor_info(source.name, shape, np.dtype(np.uint8), _bytes(source, kind), raw_dtype=kind)


def _bytes(source: Source, kind: GGMLQuantizationType) -> int:
    return math.prod(kinds.packed_shape(source.shape, kind))


def _write(writer: GGUFWriter, plan: _Plan, pack: kinds.Pack, progress: Progress | None) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    done, total = 0, plan.bytes()
    for factors in plan.made.tensors.values():
        writer.write_tensor_data(factors)
        done += factors.nbytes
    for source in plan.tensors.sources:
        writer.write_tensor_data(_packed(plan, source, pack))
        done += _bytes(source, plan.types[source.name])
        if progress is not None:
            progress("writing", done, total)
    writer.flush()


def _packed(plan: _Plan, source: Source, pack: kinds.Pack) -> npt.NDArray[np.uint8]:
    kind = plan.types[source.name]
    parts = iter(plan.tensors.load(source))
    if len(source.parts) == 1:
        return pack(source.name, next(parts), kind)
    made = np.empty(kinds.packed_shape(source.shape, kind), np.uint8)
    for expert, part in enumerate(parts):
        made[expert] = pack(source.name, part, kind)
    return made

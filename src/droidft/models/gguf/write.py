"""Write a model folder, with the weights that it is given, as one GGUF file.

Tensors are read, packed and written one at a time. The file is written under another name and renamed when it is
whole, so half a file is never seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gguf import GGUFValueType, GGUFWriter

from droidft.models.files import read_json
from droidft.models.gguf.hyperparameters import Value, hyperparameters
from droidft.models.gguf.kept import kept
from droidft.models.gguf.plan import Plan, fresh
from droidft.models.gguf.tensors import Weights, tensors_of
from droidft.models.gguf.vocabulary import vocabulary
from droidft.support.durable import hidden_until_whole, storage_errors
from droidft.support.progress import Progress
from droidft.support.room import check_room

_HEADER_BYTES = 32 * 2**20
"""More than the largest vocabularies take."""


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

    Where the folder was imported from a GGUF file that is still there, the file is kept but for what has changed.

    Args:
        kind: the quantisation, one of `kinds.KINDS`.
        ends: tokens that end answers besides those that the folder declares.
        name: what the model is called in the file; that of the file where empty. A file that the base came from keeps
            its name.
        progress: called with the bytes written so far.

    Raises:
        ModelError: what a GGUF file cannot hold, by name; tensors that do not belong together; values that are not
            finite; a quantisation whose package is not installed.
        StorageError: no room, or the disk failed.
    """
    tensors = tensors_of(base, weights, hyperparameters(read_json(base / "config.json")))
    plan = kept(base, tensors, kind=kind, ends=ends)
    if plan is None:
        plan = fresh(base, tensors, kind=kind, ends=ends, name=name or target.stem)
    hint = "free some space, or export to another disk"
    check_room(plan.bytes + _HEADER_BYTES, target, what="the export", hint=hint)
    with storage_errors(target, again="export again"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with hidden_until_whole(target) as part, gguf_writer(part, plan.architecture) as writer:
            for key, value in plan.metadata.items():
                add_value(writer, key, value, plan.types.get(key))
            _write(writer, plan, progress)
    counts = Counter(entry.kind.name for entry in plan.entries)
    return Written(
        target,
        target.stat().st_size,
        dict(counts.most_common()),
        plan.fallen,
        ends=plan.ends,
        metadata={**plan.metadata, "general.architecture": plan.architecture},
        warnings=plan.warnings,
    )


@contextmanager
def gguf_writer(path: Path, architecture: str) -> Iterator[GGUFWriter]:
    """What writes a file of this architecture to `path`, closed behind the block."""
    writer = GGUFWriter(path, architecture)
    try:
        yield writer
    finally:
        writer.close()


def add_value(writer: GGUFWriter, key: str, value: Value, types: tuple[GGUFValueType, ...] | None = None) -> None:
    """Add a key of the given types, or else: whole numbers as uint32, others as float32, lists by what they hold."""
    if key == "general.architecture":
        return  # which the writer has added
    if types is not None:
        writer.add_key_value(key, value, types[0], sub_type=types[-1] if len(types) > 1 else None)
        return
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


def _write(writer: GGUFWriter, plan: Plan, progress: Progress | None) -> None:
    for entry in plan.entries:
        writer.add_tensor_info(entry.name, entry.packed, np.dtype(np.uint8), entry.bytes, raw_dtype=entry.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    done = 0
    for entry in plan.entries:
        writer.write_tensor_data(entry.made())
        done += entry.bytes
        if progress is not None:
            progress("writing", done, plan.bytes)
    writer.flush()

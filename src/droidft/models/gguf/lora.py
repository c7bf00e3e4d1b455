"""GGUF LoRA files: low-rank updates for a GGUF file that llama.cpp, Ollama or LM Studio already serve.

As llama.cpp's `convert_lora_to_gguf.py` writes and `llama-adapter.cpp` reads them: two factors for each tensor, by
its name in the file and `.lora_a` (rank, in) or `.lora_b` (out, rank), stacked for experts; the update is
alpha / rank * b @ a. Where a file's rows are in another order than the model's, so are those of b. The embedding is
looked up, not multiplied: its factors change places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from droidft.errors import AdapterError
from droidft.models import headers
from droidft.models.factors import Factors
from droidft.models.files import read_json
from droidft.models.folder import weight_files
from droidft.models.gguf.hyperparameters import Hyperparameters, Value, hyperparameters
from droidft.models.gguf.layout import EMBEDDING, HEAD, heads_of
from droidft.models.gguf.reader import Floats, GgufFile, read
from droidft.models.gguf.tensors import names_of, parts_of
from droidft.models.gguf.write import Written, add_value, gguf_writer
from droidft.support.durable import hidden_until_whole, storage_errors
from droidft.support.progress import Progress
from droidft.support.room import check_room

_A, _B = ".lora_a", ".lora_b"
_HEADER_BYTES = 2**20
_UNKNOWN = -1
"""The width of a matrix that the base keeps packed in whole numbers, as mlx-lm's quantised models do."""


@dataclass(frozen=True)
class _Base:
    """The model that an adapter is for."""

    made: Hyperparameters
    parts: Mapping[str, tuple[str, ...]]
    """Name in the file -> in the checkpoint: one tensor, or one for each expert."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of the checkpoint's tensors."""

    def matrices(self, theirs: str) -> list[tuple[str, int | None]]:
        """Where each matrix of a tensor of the file lies in the checkpoint, as `Factors.matrix` has it."""
        parts = self.parts[theirs]
        shape = self.shapes[parts[0]]
        if len(parts) == 1 and len(shape) == 3:
            return [(parts[0], expert) for expert in range(shape[0])]
        return [(part, None) for part in parts]

    def fits(self, update: Factors) -> bool:
        """Whether the shapes of the factors are those of the matrix that they change."""
        a, b = update.a.shape, update.b.shape
        rows, width = self.shapes[update.tensor][-2:]
        return len(a) == len(b) == 2 and a[0] == b[1] and b[0] == rows and width in (a[1], _UNKNOWN)


def write_gguf_lora(
    base: Path,
    updates: Iterable[Factors],
    target: Path,
    *,
    name: str = "",
    progress: Progress | None = None,
) -> Written:
    """Write `updates` of the model folder `base` as the GGUF LoRA file `target`, in float32.

    Args:
        name: what the adapter is called in the file; that of the file where empty.
        progress: called with the bytes written so far.

    Raises:
        ModelError: an architecture or setting that GGUF cannot hold.
        AdapterError: an update of what a GGUF LoRA cannot hold, or one that does not fit; named.
        StorageError: no room, or the disk failed.
    """
    model = _base(base)
    pairs = _padded(_stacked(model, list(updates)))
    rank = max(a.shape[-2] for a, _ in pairs.values())
    tensors = dict(_as_stored(model, pairs))
    total = sum(array.nbytes for array in tensors.values())
    check_room(total + _HEADER_BYTES, target, what="the export", hint="free some space, or export to another disk")
    general: dict[str, Value] = {
        "general.type": "adapter",
        "general.name": name or target.stem,
        "general.file_type": 0,
        "adapter.type": "lora",
        "adapter.lora.alpha": float(rank),
    }
    with storage_errors(target, again="export again"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with hidden_until_whole(target) as part, gguf_writer(part, model.made.layout.architecture) as made:
            for key, value in general.items():
                add_value(made, key, value)
            _write(made, tensors, total, progress)
    return Written(target, target.stat().st_size, {"F32": len(tensors)})


def read_gguf_lora(file: Path, base: Path) -> list[Factors]:
    """The updates in the GGUF LoRA `file`, for the model folder `base`, scales in b.

    Raises:
        ModelError: no GGUF file, a damaged one, or a base of an architecture that is not covered.
        AdapterError: it is no LoRA, for another architecture, or holds more than low-rank updates.
    """
    opened, model = read(file), _base(base)
    _refuse_other(opened, model)
    alpha = float(opened.metadata.get("adapter.lora.alpha") or 0.0)
    return [update for theirs in _pairs(opened, model) for update in _updates(opened, model, theirs, alpha)]


def _base(base: Path) -> _Base:
    made = hyperparameters(read_json(base / "config.json"))
    shapes = {
        name: (*stored.shape[:-1], _UNKNOWN) if stored.dtype == "U32" else stored.shape
        for name, stored in headers.tensors(*weight_files(base)).items()
    }
    names = names_of(base, shapes, made)
    parts = {theirs: parts_of(ours, shapes, made) for theirs, ours in names.items()}
    return _Base(made, parts, shapes)


def _stacked(model: _Base, updates: Sequence[Factors]) -> dict[str, tuple[Floats, Floats]]:
    """Factors of each tensor of the file, rows in the model's order; experts without an update have zeros."""
    if not updates:
        raise AdapterError("the adapter changes nothing", hint="train it first")
    places = {place: (theirs, at) for theirs in model.parts for at, place in enumerate(model.matrices(theirs))}
    groups: dict[str, dict[int, Factors]] = {}
    for update in updates:
        if (place := update.matrix) not in places:
            raise _no_place(update.tensor, model)
        _refuse_misfit(update, model)
        theirs, at = places[place]
        if at in groups.setdefault(theirs, {}):
            raise AdapterError(f"{update.tensor} has two updates", hint="a GGUF LoRA holds one for each tensor")
        groups[theirs][at] = update
    return {theirs: _group(len(model.matrices(theirs)), group) for theirs, group in groups.items()}


def _no_place(name: str, model: _Base) -> AdapterError:
    if name == "lm_head.weight" and HEAD not in model.parts:
        what = "its output head, which is the embedding itself in this model"
    else:
        what = f"{name}, which a GGUF file of {model.made.layout.architecture} has no place for"
    return AdapterError(
        f"the adapter changes {what}", hint="export it to `gguf` or `merged`, which add it to the model"
    )


def _refuse_misfit(update: Factors, model: _Base) -> None:
    if not model.fits(update):
        raise AdapterError(
            f"the update of {update.tensor}, {update.b.shape} by {update.a.shape}, does not fit the base's "
            f"{model.shapes[update.tensor]}",
            hint="give the base that the adapter was trained on",
        )


def _group(count: int, group: Mapping[int, Factors]) -> tuple[Floats, Floats]:
    first = next(iter(group.values()))
    if count == 1:
        return first.a, _scaled(first)
    rank = max(len(update.a) for update in group.values())
    a = np.zeros((count, rank, first.a.shape[1]), np.float32)
    b = np.zeros((count, first.b.shape[0], rank), np.float32)
    for at, update in group.items():
        a[at, : len(update.a)] = update.a
        b[at, :, : len(update.a)] = _scaled(update)
    return a, b


def _scaled(update: Factors) -> Floats:
    """The second factor with the scale in it: a file has none."""
    return update.b if update.scale == 1.0 else update.b * np.float32(update.scale)


def _padded(pairs: Mapping[str, tuple[Floats, Floats]]) -> dict[str, tuple[Floats, Floats]]:
    """All of one rank, filled up with zeros: a file has one alpha, which is divided by the rank of each tensor."""
    rank = max(a.shape[-2] for a, _ in pairs.values())

    def filled(array: Floats, axis: int) -> Floats:
        more = [(0, 0)] * array.ndim
        more[axis] = (0, rank - array.shape[axis])
        return np.pad(array.astype(np.float32, copy=False), more)

    return {theirs: (filled(a, -2), filled(b, -1)) for theirs, (a, b) in pairs.items()}


def _as_stored(model: _Base, pairs: Mapping[str, tuple[Floats, Floats]]) -> Iterator[tuple[str, Floats]]:
    heads = heads_of(model.made.config)
    for theirs, (a, b) in pairs.items():
        if theirs == EMBEDDING:
            if HEAD not in model.parts:
                raise AdapterError(
                    "the adapter changes the embedding, which is the output head as well, and llama.cpp stops at "
                    "such a LoRA",
                    hint="export it to `gguf` or `merged`, which add it to the model",
                )
            a, b = b, a.T
        elif b.ndim == 2:
            b = model.made.layout.to_file(theirs, b, heads)
        yield f"{theirs}{_A}", np.ascontiguousarray(a)
        yield f"{theirs}{_B}", np.ascontiguousarray(b)


def _write(made: GGUFWriter, tensors: Mapping[str, Floats], total: int, progress: Progress | None) -> None:
    for name, array in tensors.items():
        made.add_tensor_info(name, array.shape, array.dtype, array.nbytes)
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_ti_data_to_file()
    done = 0
    for array in tensors.values():
        made.write_tensor_data(array)
        done += array.nbytes
        if progress is not None:
            progress("writing", done, total)
    made.flush()


def _refuse_other(opened: GgufFile, model: _Base) -> None:
    given, name = opened.metadata, opened.path.name
    if (given.get("general.type"), given.get("adapter.type")) != ("adapter", "lora"):
        raise AdapterError(
            f"{name} is no LoRA, but a {given.get('general.type') or 'model'} of GGUF",
            hint="a model comes in with `droidft models import`",
        )
    if (architecture := given.get("general.architecture")) != model.made.layout.architecture:
        raise AdapterError(
            f"{name} is for a model of architecture {architecture!r}, and the base is "
            f"{model.made.layout.architecture!r}",
            hint="give the base that it was trained on",
        )
    if invoked := given.get("adapter.alora.invocation_tokens"):
        raise AdapterError(f"{name} takes effect behind the tokens {invoked} only, which is not covered")


def _pairs(opened: GgufFile, model: _Base) -> list[str]:
    """The tensors that the file has both factors for, which is all that it may hold."""
    stems = {name.removesuffix(end) for name in opened.tensors for end in (_A, _B) if name.endswith(end)}
    if odd := sorted(opened.tensors.keys() - {f"{stem}{end}" for stem in stems for end in (_A, _B)}):
        raise AdapterError(f"{opened.path.name} holds {odd[0]} as a whole, which is no low-rank update")
    for stem in sorted(stems):
        if missing := [end for end in (_A, _B) if f"{stem}{end}" not in opened.tensors]:
            raise AdapterError(f"{opened.path.name} lacks {stem}{missing[0]}", hint="get the file again")
        if stem not in model.parts:
            raise AdapterError(
                f"{opened.path.name} changes {stem}, which the base has not",
                hint="give the base that it was trained on",
            )
    return [theirs for theirs in model.parts if theirs in stems]


def _updates(opened: GgufFile, model: _Base, theirs: str, alpha: float) -> Iterator[Factors]:
    a, b = opened.load(f"{theirs}{_A}"), opened.load(f"{theirs}{_B}")
    # Of an embedding, the second factor is the one that is looked up.
    scale = np.float32(alpha / b.shape[-1] if alpha else 1.0)
    if theirs == EMBEDDING:
        a, b = b.T, a
    elif b.ndim == 2:
        b = model.made.layout.to_model(theirs, b, heads_of(model.made.config))
    places = model.matrices(theirs)
    pairs = list(zip(a, b, strict=False)) if a.ndim == b.ndim == 3 else [(a, b)]
    if len(pairs) != len(places):
        raise AdapterError(f"{opened.path.name} has {len(pairs)} matrices in {theirs}, and the base {len(places)}")
    for (name, expert), (one, other) in zip(places, pairs, strict=True):
        update = Factors(name, np.ascontiguousarray(one), np.ascontiguousarray(other * scale), expert)
        _refuse_misfit(update, model)
        yield update

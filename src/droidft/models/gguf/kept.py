"""The GGUF file that a model folder was imported from: noted at import, and kept in an export while it is the same.

An export of such a folder has the file's own keys, and its own bytes for every tensor that no adapter has changed and
whose type stays. So nothing of it is converted back and forth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type

from droidft.errors import DroidError
from droidft.models.gguf import kinds
from droidft.models.gguf import tokenizer as reading
from droidft.models.gguf.hyperparameters import Value
from droidft.models.gguf.layout import heads_of
from droidft.models.gguf.plan import Bytes, Entry, Plan, packing, shapes_of, sizes_of
from droidft.models.gguf.reader import Floats, GgufFile, read
from droidft.models.gguf.tensors import Source, Tensors
from droidft.models.templates import DEFAULT, chat_templates
from droidft.support import stored
from droidft.support.durable import sha256

NOTE = "gguf_source"
"""A file without a suffix: it names a folder of this machine, and does not leave with the model."""
_PACKED = (
    *(Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1),
    *kinds.K_QUANTS,
)
"""Types that a changed tensor can be packed in again."""
_TEMPLATE = "tokenizer.chat_template"


def note(folder: Path, source: Path) -> None:
    """Note in the model folder that it is made of the file `source`, which is read once more for its hash."""
    about = {"path": str(source.absolute()), "bytes": source.stat().st_size, "sha256": sha256(source)}
    (folder / NOTE).write_text(json.dumps(about) + "\n", encoding="utf-8")


def source_of(folder: Path) -> Path | None:
    """The file that `folder` was imported from, if it is known and still has the bytes that it had."""
    try:
        about = stored.mapping(folder / NOTE)
        path = Path(str(about["path"]))
        known = path.stat().st_size == about["bytes"] and sha256(path) == about["sha256"]
    except (DroidError, OSError, KeyError):
        return None
    return path if known else None


def kept(base: Path, tensors: Tensors, *, kind: str, ends: Iterable[int]) -> Plan | None:
    """The file that the model folder `base` came from with the tensors that were changed; None where it is not known.

    Where the quantisation is the file's own, so is the type of every tensor. Its name stays too: llama.cpp reads ways
    of the tokenizer from it.

    Raises:
        ModelError: a quantisation that is unknown, or whose package is not installed; a damaged file.
    """
    path = source_of(base)
    file = read(path) if path is not None else None
    layout = tensors.made.layout
    if file is None or file.tensors.keys() - set(layout.ignored) != shapes_of(tensors).keys():
        return None
    types, fallen = _types(file, tensors, kind)
    metadata, warnings = _metadata(base, file, ends)
    metadata["general.file_type"] = kinds.file_type(kind)
    pack = kinds.packer(kind)
    by_name = {source.name: source for source in tensors.sources}
    entries = [
        Entry(each, tensor.shape, tensor.kind, _raw(file, each))
        if each not in by_name
        else Entry(each, tensor.shape, types[each], _chosen(file, tensors, by_name[each], types[each], pack))
        for each, tensor in file.tensors.items()
    ]
    texts = metadata["tokenizer.ggml.tokens"]
    assert isinstance(texts, list)
    found = tuple(str(texts[end]) for end in reading.eos_token_ids(metadata))
    return Plan(layout.architecture, metadata, entries, file.types, tuple(fallen), found, warnings)


def _types(file: GgufFile, tensors: Tensors, kind: str) -> tuple[dict[str, Type], list[str]]:
    types, fallen = kinds.types(kind, shapes_of(tensors), sizes_of(tensors))
    if file.metadata.get("general.file_type") != kinds.file_type(kind):
        return types, fallen
    return {
        name: file.tensors[name].kind if file.tensors[name].kind in _PACKED else types[name] for name in types
    }, []


def _metadata(base: Path, file: GgufFile, ends: Iterable[int]) -> tuple[dict[str, Value], list[str]]:
    """The file's own keys, with the folder's chat template and the ends that the file does not name."""
    metadata = {key: value for key, value in file.metadata.items() if not key.startswith("split.")}
    templates, warnings = chat_templates(base).used(), []
    if DEFAULT in templates and templates[DEFAULT] != metadata.get(_TEMPLATE):
        metadata[_TEMPLATE] = templates[DEFAULT]
    missing = [end for end in ends if end not in reading.eos_token_ids(metadata)]
    free = [key for key in ("eos", "eot", "eom") if f"tokenizer.ggml.{key}_token_id" not in metadata]
    for key, end in zip(free, missing, strict=False):
        metadata[f"tokenizer.ggml.{key}_token_id"] = end
    if left := [metadata["tokenizer.ggml.tokens"][end] for end in missing[len(free) :]]:
        warnings.append(f"GGUF has no place for more end tokens: give {', '.join(left)} as stop words")
    return metadata, warnings


def _raw(file: GgufFile, name: str) -> Callable[[], Bytes]:
    return lambda: np.ascontiguousarray(file.tensors[name].data).reshape(-1).view(np.uint8)


def _chosen(file: GgufFile, tensors: Tensors, source: Source, kind: Type, pack: kinds.Pack) -> Callable[[], Bytes]:
    """The file's own bytes where the type stays and the checkpoint has the file's values; else packed again."""
    again, raw = packing(tensors, source, kind, pack), _raw(file, source.name)
    if file.tensors[source.name].kind != kind:
        return again
    return lambda: raw() if _is_unchanged(file, tensors, source) else again()


def _is_unchanged(file: GgufFile, tensors: Tensors, source: Source) -> bool:
    heads, layout = heads_of(tensors.made.config), tensors.made.layout
    values = layout.to_model(source.name, file.load(source.name), heads)
    parts = values if len(source.parts) > 1 else [values]
    return all(_same(one, tensors.weights.load(part)) for one, part in zip(parts, source.parts, strict=True))


def _same(file: Floats, model: Floats) -> bool:
    """Whether the checkpoint has the file's values, as they are or rounded to 16 bits at import."""
    if np.array_equal(file, model):
        return True
    with np.errstate(over="ignore"):
        return bool(np.array_equal(file.astype(np.float16).astype(np.float32), model))

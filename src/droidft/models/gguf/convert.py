"""Turn a GGUF file into a model folder: config, safetensors, tokenizer.

The folder is written under another name and renamed when it is whole, so a half import is never seen.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.errors import ModelError
from droidft.models.gguf import kept, tokenizer
from droidft.models.gguf.architectures import Description, describe
from droidft.models.gguf.card import card_of
from droidft.models.gguf.layout import heads_of
from droidft.models.gguf.reader import Floats, GgufFile, read
from droidft.support.durable import folder_hidden_until_whole, storage_errors
from droidft.support.progress import Progress
from droidft.support.room import check_room

SHARD_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Imported:
    """A finished import."""

    path: Path
    parameters: int
    quants: tuple[str, ...]
    """Types of the file's tensors, the commonest first."""
    warnings: list[str] = field(default_factory=list)


def import_gguf(source: Path, folder: Path, *, dtype: str = "float16", progress: Progress | None = None) -> Imported:
    """Convert the GGUF file `source` into the model folder `folder`.

    Args:
        dtype: `float16` or `float32`; what the weights become.
        progress: called with the number of parameters written so far.

    Raises:
        ModelError: not a GGUF file, another architecture, a quantisation or tokenizer that cannot be read.
        StorageError: no room, or the disk failed.
    """
    if folder.exists():
        raise ModelError(f"{folder} is there already", hint="choose another name, or remove that folder first")
    file = read(source)
    model = describe(file)
    file.check_readable()
    built = tokenizer.build(file.metadata)
    total = sum(math.prod(file.tensors[name].shape) for name in model.names)
    hint = "free some space, or set DROIDFT_HOME to another disk"
    check_room(total * np.dtype(dtype).itemsize, folder, what="the import", hint=hint)
    with storage_errors(folder, again="import again"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder_hidden_until_whole(folder) as part:
            _write_weights(part, _converted(file, model), dtype=dtype, progress=progress, total=total)
            built.save(str(part / "tokenizer.json"))
            _write_json(part / "tokenizer_config.json", tokenizer.config(file.metadata, model.context_length))
            _write_json(part / "config.json", {**model.config, "torch_dtype": dtype})
            eos = tokenizer.eos_token_ids(file.metadata)
            _write_json(part / "generation_config.json", {"eos_token_id": eos})
            kept.note(part, source)
            if (card := card_of(file.metadata, source.name)) is not None:
                (part / "README.md").write_text(card, encoding="utf-8", errors="backslashreplace")
    return Imported(folder, total, _quants(file), [*model.warnings, *_warnings(file)])


def _converted(file: GgufFile, model: Description) -> Iterator[tuple[str, Floats]]:
    heads = heads_of(model.config)
    for theirs, ours in model.names.items():
        weight = model.layout.to_model(theirs, file.load(theirs), heads)
        if "{}" not in ours:
            yield ours, weight
            continue
        if weight.ndim != 3 or len(weight) != model.config["num_local_experts"]:
            raise ModelError(f"{file.path.name} is damaged: {theirs} has shape {weight.shape}")
        for expert, part in enumerate(weight):
            yield ours.format(expert), part


def _write_weights(
    folder: Path, weights: Iterator[tuple[str, Floats]], *, dtype: str, progress: Progress | None, total: int
) -> None:
    """Write shards of at most about `SHARD_BYTES`, so that memory stays flat however large the model is."""
    shards: list[list[str]] = []
    shard: dict[str, npt.NDArray[Any]] = {}
    done = 0
    for name, weight in weights:
        if shard and sum(array.nbytes for array in shard.values()) + weight.nbytes > SHARD_BYTES:
            shards.append(_write_shard(folder, len(shards), shard))
            shard = {}
        shard[name] = _cast(name, weight, dtype)
        done += weight.size
        if progress is not None:
            progress("importing", done, total)
    shards.append(_write_shard(folder, len(shards), shard))
    _name_shards(folder, shards)


def _cast(name: str, weight: Floats, dtype: str) -> npt.NDArray[Any]:
    if not np.isfinite(weight).all():
        raise ModelError(f"{name} holds NaN or infinity", hint="the file is damaged; download it again")
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(weight.astype(np.dtype(dtype)))
    if not np.isfinite(cast).all():
        raise ModelError(f"{name} has values beyond float16's 65504", hint="import it with --dtype float32")
    return cast


def _write_shard(folder: Path, index: int, shard: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    from safetensors.numpy import save_file

    save_file(dict(shard), folder / f"{index}.part", metadata={"format": "mlx"})
    return list(shard)


def _name_shards(folder: Path, shards: list[list[str]]) -> None:
    if len(shards) == 1:
        (folder / "0.part").rename(folder / "model.safetensors")
        return
    where = {}
    for index, names in enumerate(shards):
        file_name = f"model-{index + 1:05}-of-{len(shards):05}.safetensors"
        (folder / f"{index}.part").rename(folder / file_name)
        where.update(dict.fromkeys(names, file_name))
    _write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _quants(file: GgufFile) -> tuple[str, ...]:
    return tuple(quant for quant, _ in Counter(tensor.kind.name for tensor in file.tensors.values()).most_common())


def _warnings(file: GgufFile) -> list[str]:
    warnings = []
    byte_level = file.metadata.get("tokenizer.ggml.model") == "gpt2"
    if byte_level and file.metadata.get("tokenizer.ggml.pre", "default") == "default":
        warnings.append(
            "the file does not say how its tokenizer splits words; GPT-2's way was taken, "
            "which is wrong for some models: compare a few token counts with the original"
        )
    if not file.metadata.get("tokenizer.chat_template"):
        warnings.append("the file holds no chat template: the model is treated as one that continues plain text")
    return warnings

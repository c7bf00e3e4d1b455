"""Turn a GGUF file of the Llama family into a model folder: config, safetensors, tokenizer.

The folder is written under another name and renamed when it is whole, so a half import is never seen.
"""

from __future__ import annotations

import errno
import glob
import json
import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.errors import ModelError, StorageError
from droidft.models.gguf import reader, tokenizer
from droidft.support.durable import commit_folder
from droidft.support.progress import Progress

SHARD_BYTES = 2 * 1024**3
STALE_SECONDS = 3600

_TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LLAMA3_CONTEXT = 8192


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
    file = reader.read(source)
    config = read_config(file)
    file.check_readable()
    names = _tensor_names(file, config)
    built = tokenizer.build(file.metadata)
    _check_room(file, folder, dtype)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _hidden_until_done(folder) as part:
            _write_weights(part, _converted(file, config, names), dtype=dtype, progress=progress, total=_size(file))
            built.save(str(part / "tokenizer.json"))
            _write_json(part / "tokenizer_config.json", tokenizer.config(file.metadata))
            _write_json(part / "config.json", {**config, "torch_dtype": dtype})
            eos = tokenizer.eos_token_ids(file.metadata)
            _write_json(part / "generation_config.json", {"eos_token_id": eos})
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"no room left in {folder.parent}", hint="free some space and import again") from error
        raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
    return Imported(folder, _size(file), _quants(file), _warnings(file))


def read_config(file: reader.GgufFile) -> dict[str, Any]:
    """The `config.json` of the model in `file`.

    Raises:
        ModelError: an architecture, rotary scaling or expert layout that is not imported.
    """
    architecture = file.metadata.get("general.architecture")
    if architecture not in ("llama", "qwen2"):
        raise ModelError(
            f"{file.path.name} holds a {architecture!r} model; GGUF import covers 'llama' and 'qwen2'",
            hint="get the model as a safetensors folder: `droidft models pull org/name`",
        )
    if _value(file, "expert_count", 0):
        raise ModelError(f"{file.path.name} holds a mixture of experts, which GGUF import does not cover")
    hidden, heads = _count(file, "embedding_length"), _count(file, "attention.head_count")
    blocks = _count(file, "block_count")
    if blocks > len(file.tensors):
        raise ModelError(f"{file.path.name} is damaged: {blocks} blocks in {len(file.tensors)} tensors")
    head_dim = _count(file, "attention.key_length", hidden // heads)
    if (rotated := _count(file, "rope.dimension_count", head_dim)) != head_dim:
        raise ModelError(
            f"{file.path.name} rotates {rotated} of {head_dim} dimensions of a head, which is not covered"
        )
    config: dict[str, Any] = {
        "model_type": architecture,
        "architectures": ["LlamaForCausalLM" if architecture == "llama" else "Qwen2ForCausalLM"],
        "hidden_size": hidden,
        "num_hidden_layers": blocks,
        "intermediate_size": _count(file, "feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": _count(file, "attention.head_count_kv", heads),
        "head_dim": head_dim,
        "rms_norm_eps": _short(_value(file, "attention.layer_norm_rms_epsilon")),
        "vocab_size": _vocabulary(file),
        "rope_theta": _short(_value(file, "rope.freq_base", 10000.0)),
        "rope_scaling": _rope_scaling(file, head_dim),
        "max_position_embeddings": _count(file, "context_length"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_gate.bias" in file.tensors,
        "bos_token_id": file.metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.metadata.get("tokenizer.ggml.eos_token_id"),
    }
    return {name: value for name, value in config.items() if value is not None}


def _count(file: reader.GgufFile, name: str, default: int | None = None) -> int:
    value = _value(file, name, default)
    if not isinstance(value, int) or not 0 < value < 2**31:
        raise ModelError(f"{file.path.name}: {name} is {value!r}, not a positive whole number")
    return value


def _value(file: reader.GgufFile, name: str, default: float | None = None) -> float:
    key = f"{file.metadata['general.architecture']}.{name}"
    value = file.metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelError(
            f"{file.path.name}: {key} is {value!r}, not a number", hint="the file is damaged or incomplete"
        )
    return value


def _vocabulary(file: reader.GgufFile) -> int:
    """Rows of the embedding, which may be padded beyond the number of tokens."""
    embedding = file.tensors.get("token_embd.weight")
    tokens = len(file.metadata.get("tokenizer.ggml.tokens", []))
    if embedding is None or len(embedding.shape) != 2 or embedding.shape[0] < tokens:
        shape = None if embedding is None else embedding.shape
        raise ModelError(f"{file.path.name} is damaged: embeddings of shape {shape} for {tokens} tokens")
    return embedding.shape[0]


def _short(value: float) -> float:
    """The decimal number whose float32 is `value`: 1e-5, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _rope_scaling(file: reader.GgufFile, head_dim: int) -> dict[str, Any] | None:
    architecture = file.metadata["general.architecture"]
    kind = file.metadata.get(f"{architecture}.rope.scaling.type", "none")
    if kind == "linear":
        return {"type": "linear", "factor": _value(file, "rope.scaling.factor")}
    if kind not in ("none", ""):
        raise ModelError(f"{file.path.name} scales rotary positions by {kind!r}, which GGUF import does not cover")
    if "rope_freqs.weight" not in file.tensors:
        return None
    return _llama3_scaling(file, head_dim)


def _llama3_scaling(file: reader.GgufFile, head_dim: int) -> dict[str, Any]:
    """Llama 3.1's scaling, which GGUF holds only as its result: one divisor per frequency."""
    divisors = file.load("rope_freqs.weight")
    factor = float(divisors.max())
    low, high = 1.0, 4.0
    base = float(_value(file, "rope.freq_base", 10000.0))
    wavelengths = 2 * math.pi * base ** (np.arange(0, head_dim, 2) / head_dim)
    smooth = np.clip((_LLAMA3_CONTEXT / wavelengths - low) / (high - low), 0, 1)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-3):
        raise ModelError(f"{file.path.name} has rotary factors that are not Llama 3.1's, which import does not cover")
    return {
        "rope_type": "llama3",
        "factor": round(factor, 3),
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": _LLAMA3_CONTEXT,
    }


def _tensor_names(file: reader.GgufFile, config: Mapping[str, Any]) -> dict[str, str]:
    """GGUF name -> name in the model, for every tensor of the file; refuses leftovers and gaps by name."""
    blocks = range(config["num_hidden_layers"])
    names = dict(_TOP)
    if "output.weight" in file.tensors:
        names["output.weight"] = "lm_head.weight"
    for index in blocks:
        for theirs, ours in _BLOCK.items():
            names[f"blk.{index}.{theirs}.weight"] = f"model.layers.{index}.{ours}.weight"
            if (bias := f"blk.{index}.{theirs}.bias") in file.tensors:
                names[bias] = f"model.layers.{index}.{ours}.bias"
    if missing := sorted(names.keys() - file.tensors.keys()):
        raise ModelError(
            f"{file.path.name} lacks {len(missing)} tensors, such as {missing[0]}", hint="download the file again"
        )
    if unknown := sorted(file.tensors.keys() - names.keys() - {"rope_freqs.weight"}):
        raise ModelError(
            f"{file.path.name} has {len(unknown)} tensors this import does not know, such as {unknown[0]}"
        )
    return names


def _converted(
    file: reader.GgufFile, config: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[tuple[str, reader.Floats]]:
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for theirs, ours in names.items():
        weight = file.load(theirs)
        kind = theirs.split(".")[-2]
        # Llama files interleave the rotary halves of queries and keys; Qwen's do not.
        if kind in heads and config["model_type"] == "llama":
            weight = _without_interleaving(weight, heads[kind])
        yield ours, weight


def _without_interleaving(weight: reader.Floats, heads: int) -> reader.Floats:
    """Rows of each head from (pair, half) back to (half, pair): the inverse of llama.cpp's permutation."""
    rows = weight.shape[0]
    if rows % (2 * heads):
        raise ModelError(f"a projection of {rows} rows does not divide into {heads} heads")
    return weight.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def _write_weights(
    folder: Path, weights: Iterator[tuple[str, reader.Floats]], *, dtype: str, progress: Progress | None, total: int
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


def _cast(name: str, weight: reader.Floats, dtype: str) -> npt.NDArray[Any]:
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


def _size(file: reader.GgufFile) -> int:
    return sum(math.prod(tensor.shape) for tensor in file.tensors.values() if tensor.name != "rope_freqs.weight")


def _quants(file: reader.GgufFile) -> tuple[str, ...]:
    return tuple(quant for quant, _ in Counter(tensor.kind.name for tensor in file.tensors.values()).most_common())


def _warnings(file: reader.GgufFile) -> list[str]:
    found = []
    byte_level = file.metadata.get("tokenizer.ggml.model") == "gpt2"
    if byte_level and file.metadata.get("tokenizer.ggml.pre", "default") == "default":
        found.append(
            "the file does not say how its tokenizer splits words; GPT-2's way was taken, "
            "which is wrong for some models: compare a few token counts with the original"
        )
    if not file.metadata.get("tokenizer.chat_template"):
        found.append("the file holds no chat template: the model is treated as one that continues plain text")
    return found


def _check_room(file: reader.GgufFile, folder: Path, dtype: str) -> None:
    needed = _size(file) * np.dtype(dtype).itemsize
    place = next(parent for parent in folder.absolute().parents if parent.is_dir())
    if (free := shutil.disk_usage(place).free) < needed:
        raise StorageError(
            f"the import needs {needed / 1e9:.1f} GB in {place}, and {free / 1e9:.1f} GB are free",
            hint="free some space, or set DROIDFT_HOME to another disk",
        )


@contextmanager
def _hidden_until_done(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write in; it becomes `folder` when the block ends well, and vanishes otherwise."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.part"):
        # Of an import that was killed; a running one writes more often than that.
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        yield part
        commit_folder(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)

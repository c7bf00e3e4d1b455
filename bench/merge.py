"""Merging an adapter into a model of random weights: seconds and peak memory against copying the same files.

    python -m bench.merge --blocks 32 [--folder DIR]     # 7 billion weights in bfloat16, 14 GB, written twice

The model has the shapes of Llama 2 7B with `--blocks` blocks, in shards of 5 GB; the adapter has rank 16 on all seven
projections. Each figure is from a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HIDDEN, INNER, HEADS, VOCABULARY, RANK = 4096, 11008, 32, 32000, 16
SHARD_BYTES = 5 * 10**9
MODULES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--step", choices=["copy", "trace", "merge"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(_step(args.step, args.folder)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        size, largest = _write(folder, args.blocks)
        print(f"{size / 1e9:.1f} GB in shards of at most {largest / 1e9:.1f} GB")
        for step in ("copy", "trace", "merge", "copy", "merge"):
            _cool(folder)
            shutil.rmtree(folder / "out", ignore_errors=True)
            command = [sys.executable, "-m", "bench.merge", "--step", step, "--folder", name]
            made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            speed = f", {size / 1e6 / made['seconds']:,.0f} MB/s" if step != "trace" else ""
            print(f"{step:6} {made['seconds']:7.1f} s{speed}, peak {made['peak'] / 1e9:.2f} GB", flush=True)


def _step(step: str, folder: Path) -> dict[str, float]:
    began = time.perf_counter()
    out = folder / "out"
    if step == "copy":
        shutil.copytree(folder / "base", out)
        for file in out.iterdir():
            subprocess.run(["sync", str(file)], check=True)
    else:
        from droidft.adapters.exports.checkpoint import Checkpoint
        from droidft.adapters.exports.merged import write_merged
        from droidft.adapters.exports.updates import updates
        from droidft.adapters.folder import read_adapter
        from droidft.engine.model.origins import trace

        info = read_adapter(folder / "adapter", check_values=False)
        origins = trace(folder / "base", list(dict.fromkeys(name.rpartition(".")[0] for name in info.tensors)))
        assert not origins.unknown
        if step == "merge":
            out.mkdir()
            write_merged(Checkpoint(folder / "base", updates(info, origins)), out)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _cool(folder: Path) -> None:
    """Let what is still to be written reach the disk, so that it does not count for the next step."""
    subprocess.run(["sync", "-f", str(folder)], check=False)


def _tensors(blocks: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for block in range(blocks):
        for module, shape in MODULES.items():
            yield f"model.layers.{block}.{module}.weight", shape
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{block}.{norm}.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def _write(folder: Path, blocks: int) -> tuple[int, int]:
    """The model and its adapter; bytes in all, and of the largest shard."""
    random = np.random.default_rng(0)
    noise = (random.normal(0, 0.02, 1 << 24).astype(np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    base = folder / "base"
    base.mkdir()
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    held = 0
    for name, shape in _tensors(blocks):
        size = 2 * math.prod(shape)
        if held + size > SHARD_BYTES:
            shards.append({})
            held = 0
        shards[-1][name] = shape
        held += size
    where = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        where |= dict.fromkeys(shard, file)
        _write_shard(base / file, shard, noise)
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    config = {
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "num_hidden_layers": blocks,
        "rms_norm_eps": 1e-5,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (base / "config.json").write_text(json.dumps(config))
    _write_adapter(folder / "adapter", blocks, random)
    sizes = [file.stat().st_size for file in base.glob("*.safetensors")]
    return sum(sizes), max(sizes)


def _write_shard(file: Path, shapes: dict[str, tuple[int, ...]], noise: bytes) -> None:
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}  # type: ignore[dict-item]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for left in range(end, 0, -len(noise)):
            stream.write(noise[: min(left, len(noise))])


def _write_adapter(folder: Path, blocks: int, random: np.random.Generator) -> None:
    from safetensors.numpy import save_file

    folder.mkdir()
    tensors = {}
    for block in range(blocks):
        for module, (outputs, inputs) in MODULES.items():
            for part, shape in (("lora_a", (inputs, RANK)), ("lora_b", (RANK, outputs))):
                values = random.normal(0, 0.01, shape).astype(np.float32)
                tensors[f"model.layers.{block}.{module}.{part}"] = values
    save_file(tensors, folder / "adapters.safetensors")
    settings = {"rank": RANK, "scale": 2.0, "dropout": 0.0, "keys": list(MODULES)}
    config = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": settings}
    (folder / "adapter_config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main()

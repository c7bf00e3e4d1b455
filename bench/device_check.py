"""Whether training works on this device, and how fast: python -m bench.device_check [--steps 30] [--parts training]

device     what MLX finds, and the speed of its products
golden     losses of the tests' tiny model against those recorded on a CPU, with TF32 and without (a GPU's)
compiled   losses of the compiled step against the eager one's on this device, and what a step costs the host
training   a Llama of 100 million random parameters: both dtypes, full-layer and attention only; rows of one length
           besides, since a GPU may prepare its kernels anew for each length
resume     a run stopped half way and resumed, against one never stopped
together   two runs at once, then four: how many of them finish

Runs are trained by workers, one after another, as `droidft train` does. A CPU computes in float32 whatever the
weights are stored in. `--small` tries the script itself, anywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PARTS = ("device", "golden", "compiled", "training", "resume", "together")
LLAMA = {
    "hidden_size": 768,
    "num_hidden_layers": 14,
    "intermediate_size": 2048,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
}
SMALL = LLAMA | {"hidden_size": 96, "num_hidden_layers": 2, "intermediate_size": 128}
SHORTEST, LONGEST, WORD = 5, 35, 5
"""Words of a row, and letters of each: 60 to 450 tokens, a byte each, asked and answered."""
SETTINGS = {
    "batch_size": 8, "steps_per_report": 1, "steps_per_eval": 10**6, "save_every": 10**6, "learning_rate": 1e-3,
    "lora_rank": 32, "lora_alpha": 32, "lora_dropout": 0.1, "validation_fraction": 0.05, "early_stop": False,
    "mask_prompt": True,
}  # fmt: skip
TRAINED = (
    ("float32", "full-layer", "many"),
    ("float32", "attention-qv", "many"),
    ("bfloat16", "full-layer", "many"),
    ("bfloat16", "attention-qv", "many"),
    ("bfloat16", "full-layer", "one"),
)
WARM_STEPS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--small", action="store_true", help="a Llama of 0.2 million parameters instead")
    parser.add_argument("--inside", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        _inside(args)
        return
    for part in PARTS:
        if part in args.parts.split(","):
            print(f"\n{part}", flush=True)
            # A process each: what one holds of the GPU is free for the next, and one that fails stops no other.
            subprocess.run([sys.executable, "-m", "bench.device_check", *sys.argv[1:], "--inside", part])


def _inside(args: argparse.Namespace) -> None:
    cache = Path(".cache").absolute()
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"DROIDFT_HOME": folder, "HF_HUB_OFFLINE": "1"}
        (Path(folder) / "cache").symlink_to(cache)
        match args.inside:
            case "device":
                _device(cache)
            case "golden":
                _golden()
            case "compiled":
                _compiled()
            case "training":
                _training(args, Path(folder))
            case "together":
                _together(args, Path(folder))
            case "resume":
                _resume(args, Path(folder))


def _device(cache: Path) -> None:
    from droidft.engine.machine import device, host

    found = device.prepare(cache)
    import mlx.core as mx

    print(f"{found.kind}: {found.name}, {found.memory_bytes / 1e9:.1f} GB")
    print(", ".join(f"{name} {version}" for name, version in host.versions().items()))
    for dtype in (mx.float32, mx.bfloat16):
        side = 1024 if found.kind is device.DeviceKind.CPU else 8192
        print(f"product of two {side} x {side} in {str(dtype).split('.')[-1]}: {_gflops(side, dtype):,.0f} GFLOP/s")


def _gflops(side: int, dtype: Any) -> float:
    import mlx.core as mx

    left, right = mx.random.normal((side, side)).astype(dtype), mx.random.normal((side, side)).astype(dtype)
    mx.eval(left @ right)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        mx.eval(left @ right)
        seconds.append(time.perf_counter() - began)
    return float(2 * side**3 / statistics.median(seconds) / 1e9)


def _golden() -> None:
    """The largest relative difference of a loss; MLX reads `MLX_ENABLE_TF32` once, so each way has its process."""
    from bench.tiny_losses import TARGET

    recorded = [float(line.split()[1]) for line in TARGET.read_text().splitlines() if not line.startswith("#")]
    code = "import json; from bench.tiny_losses import losses; print(json.dumps(list(losses().values())))"
    for tf32 in ("1", "0"):
        environment = os.environ | {"MLX_ENABLE_TF32": tf32}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        if done.returncode:
            print(f"MLX_ENABLE_TF32={tf32}: {_last_line(done.stderr)}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        worst = max(abs(mine / theirs - 1) for mine, theirs in zip(found, recorded, strict=True))
        print(f"MLX_ENABLE_TF32={tf32}: {len(found)} losses within {worst:.1e} of those on a CPU")


def _compiled() -> None:
    from tests.engine import jobs

    from droidft.engine.training.loop import train
    from droidft.events import TrainReport

    settings = jobs.config(iterations=20, steps_per_eval=10**6, save_every=10**6, validation="none")
    curves = []
    for compiled in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            job = jobs.job(Path(folder) / "run", settings, compiled=compiled)
            curves.append([event.loss for event in train(job) if isinstance(event, TrainReport)])
    worst = max(abs(found / eager - 1) for eager, found in zip(*curves, strict=True))
    print(f"{len(curves[0])} losses of the compiled step within {worst:.1e} of the eager one's")
    subprocess.run([sys.executable, "-m", "bench.step", "--parts", "host,reads"])


def _together(args: argparse.Namespace, folder: Path) -> None:
    """Runs that share the device: MLX lets each think that it has it all."""
    for count in (2, 4):
        runs = [
            _create(args, folder, "bfloat16", "many", lora_targets="full-layer", iterations=args.steps)
            for _ in range(count)
        ]
        for worker in [run.start() for run in runs]:
            worker.wait()
        failed = [_reason(run) for run in runs if run.status() != "finished"]
        print(f"{count} runs at once: {count - len(failed)} finished", *failed, sep="; ", flush=True)


def _training(args: argparse.Namespace, folder: Path) -> None:
    print(f"{'':10}{'':14}{'lengths':9}{'loss':>15}{'first step':>12}{'a step':>9}{'tokens/s':>10}{'peak':>9}")
    for dtype, targets, lengths in TRAINED:
        run = _create(args, folder, dtype, lengths, lora_targets=targets, iterations=args.steps)
        run.start().wait()
        print(f"{dtype:10}{targets:14}{lengths:9}{_figures(run)}", flush=True)


def _figures(run: Any) -> str:
    """Loss of the first and last five steps, seconds of the first step, then medians after the warm-up."""
    reports = _reports(run)
    if run.status() != "finished":
        return f"failed after {len(reports)} steps: {_reason(run)}"
    tokens = np.diff([0, *(report.tokens for report in reports)])
    seconds = tokens / [report.tokens_per_second for report in reports]
    losses = [report.loss for report in reports]
    warm = slice(min(WARM_STEPS, len(reports) // 2), None)
    return (
        f"{np.mean(losses[:5]):7.3f} ->{np.mean(losses[-5:]):6.3f}{seconds[0]:10.2f} s"
        f"{np.median(seconds[warm]) * 1e3:6.0f} ms{tokens[warm].sum() / seconds[warm].sum():10,.0f}"
        f"{max(report.peak_memory_bytes for report in reports) / 1e9:6.2f} GB"
    )


def _resume(args: argparse.Namespace, folder: Path) -> None:
    """Every loss to the bit, the adapter by SHA-256."""
    from droidft.home import Home
    from droidft.support.durable import sha256

    whole, parted = (
        _create(args, folder, "float32", "many", lora_targets="full-layer", iterations=args.steps) for _ in range(2)
    )
    whole.start().wait()
    worker = parted.start()
    while worker.poll() is None and len(_reports(parted)) < args.steps // 2:
        time.sleep(0.005)
    if worker.poll() is None:
        parted.stop()
    worker.wait()
    stopped = (parted.status(), len(_reports(parted)))
    parted.start().wait()
    for run in (whole, parted):
        if run.status() != "finished":
            print(f"failed after {len(_reports(run))} steps: {_reason(run)}")
            return
    losses = [{report.step: report.loss for report in _reports(run)} for run in (whole, parted)]
    differing = sum(losses[0][step] != losses[1].get(step) for step in losses[0])
    hashes = {sha256(Home.find().adapter(run.adapter_name()) / "adapters.safetensors") for run in (whole, parted)}
    print(f"{stopped[0]} after {stopped[1]} of {args.steps} steps, resumed: {differing} losses differ")
    print("adapters are the same to the bit" if len(hashes) == 1 else "adapters differ")


def _create(args: argparse.Namespace, folder: Path, dtype: str, lengths: str, **settings: Any) -> Any:
    from droidft.config import parse_config
    from droidft.home import Home
    from droidft.runs import folder as runs

    model, data = folder / f"llama-{dtype}", folder / f"{lengths}.jsonl"
    if not model.exists():
        code = f"from bench.device_check import write_model; write_model({str(model)!r}, {dtype!r}, {args.small})"
        subprocess.run([sys.executable, "-c", code], check=True)
    if not data.exists():
        _write_rows(data, range(SHORTEST, LONGEST + 1) if lengths == "many" else [(SHORTEST + LONGEST) // 2])
    places = {"model_path": str(model), "train_data_path": str(data)}
    return runs.create(Home.find(), parse_config(SETTINGS | places | settings))


def write_model(folder: str, dtype: str, small: bool) -> None:
    """A model folder with random weights, `dtype` a name of MLX's; in a process that ends, and frees the GPU."""
    import mlx.core as mx
    from tests import tiny

    path = tiny.write_model(Path(folder), **(SMALL if small else LLAMA)) / "model.safetensors"
    weights = {name: array.astype(getattr(mx, dtype)) for name, array in mx.load(str(path)).items()}
    mx.eval(weights)
    mx.save_safetensors(str(path), weights, metadata={"format": "mlx"})


def _write_rows(path: Path, words: Sequence[int], rows: int = 400) -> None:
    """Chats in which some words are said back in capitals."""
    generator = np.random.default_rng(0)
    with path.open("w") as file:
        for count in generator.choice(words, rows):
            letters = generator.integers(97, 123, (count, WORD), dtype=np.uint8)
            text = " ".join(bytes(word).decode() for word in letters)
            chat = [{"role": "user", "content": text}, {"role": "assistant", "content": text.upper()}]
            file.write(json.dumps({"messages": chat}) + "\n")


def _reports(run: Any) -> list[Any]:
    return [record.event for record in run.records()[0] if record.event.type == "train_report"]


def _reason(run: Any) -> str:
    last = run.last_record()
    return getattr(last.event, "message", run.status()) if last else _last_line(run.log_file.read_text())


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


if __name__ == "__main__":
    main()

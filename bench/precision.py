"""Validation losses after some steps in float32 and in bfloat16, on the same rows in the same order.

    python -m bench.precision gsm8k_train.jsonl examples/orders/train.jsonl

SmolLM2-135M-Instruct, LoRA rank 32 on all seven projections, rate 2e-4, on the first rows of each file; one in
nine of them is held out. Prints the losses before and after training, and their difference, which should stay
below 0.01.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from droidft.config import parse_config
from droidft.engine.machine.device import Device, computing
from droidft.events import EvalReport
from droidft.models import embedded
from droidft.support.places import Places

CACHE = Path(".cache")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="files of rows")
    parser.add_argument("--model", type=Path, help="model folder [SmolLM2-135M-Instruct, fetched]")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rows", type=int, default=270)
    args = parser.parse_args()
    model = args.model or embedded.install(CACHE, cache_dir=CACHE)
    with computing(CACHE.absolute()) as device:
        print(device.name)
        for data in args.data:
            losses = {dtype: _losses(args, model, data, dtype, device) for dtype in ("float32", "bfloat16")}
            off = losses["bfloat16"][-1] - losses["float32"][-1]
            print(f"{data.name}: bfloat16 - float32 after {args.steps} steps: {off:+.5f}", flush=True)


def _losses(args: argparse.Namespace, model: Path, data: Path, dtype: str, device: Device) -> list[float]:
    from droidft.engine.assemble import assembled
    from droidft.engine.training.loop import train

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        rows = root / "rows.jsonl"
        rows.write_text("".join(line + "\n" for line in data.read_text().splitlines()[: args.rows]))
        settings = {
            "model_path": str(model), "train_data_path": str(rows), "mask_prompt": True, "compute_dtype": dtype,
            "iterations": args.steps, "batch_size": args.batch, "learning_rate": 2e-4, "steps_per_eval": args.steps,
            "save_every": 10**6, "early_stop": False, "validation_fraction": 1 / 9,
        }  # fmt: skip
        begin = time.perf_counter()
        job = assembled(parse_config(settings), Places(root, root, root, root / "kept", root), device).job
        losses = [event.loss for event in train(job) if isinstance(event, EvalReport)]
        shown = ", ".join(f"{loss:.5f}" for loss in losses)
        print(f"{data.name} {dtype:10}{shown}   {time.perf_counter() - begin:.0f} s", flush=True)
    return losses


if __name__ == "__main__":
    main()

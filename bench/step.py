"""A step's cost to the host, and our loop against mlx-lm's: python -m bench.step [--model MODEL] [--data FILE]

host      processor time of Python and MLX until a step's work is handed over, nothing computed: eager and compiled
reads     how often the host waits for the device between two reports, and how often a function was compiled
speed     tokens/s of our loop on plain MLX and of mlx-lm's own trainer, with the same BLAS and the same rows

No kernels of ours are in place here: plain MLX on a CPU stands in for a GPU. Without --data rows are random.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PARTS = ("host", "reads", "speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--steps", type=int, default=20, help="steps of the host's time")
    parser.add_argument("--trained", type=int, default=24, help="steps of our loop and of mlx-lm's")
    parser.add_argument("--width", type=int, default=128, help="tokens of a row of the host's time; the batch has 4")
    parser.add_argument("--model", type=Path, help="model folder for `speed` [SmolLM2-135M-Instruct, fetched]")
    parser.add_argument("--data", type=Path, help="rows with question and answer for `speed`")
    args = parser.parse_args()
    os.environ["DROIDFT_KERNELS"] = "off"
    chosen = args.parts.split(",")
    if "host" in chosen:
        _host(args.steps, args.width)
    if "reads" in chosen:
        _reads()
    if "speed" in chosen:
        given = [f"--{name}={value}" for name in ("model", "data") if (value := getattr(args, name))]
        command = [sys.executable, "-m", "bench.train", "--sides", "ours,mlx-lm", "--steps", str(args.trained)]
        subprocess.run([*command, *given], check=True)


def _host(steps: int, width: int) -> None:
    """Least processor time of building the graph of a step of SmolLM2-135M's shapes with random weights."""
    times = {"eager": _timed(_eager, steps, width), "compiled": _timed(_compiled, steps, width)}
    print(f"SmolLM2-135M's shapes, LoRA on all projections, batch 4 x {width}, AdamW; least of {steps}")
    print(f"host time of a step, nothing computed: eager {times['eager'] * 1e3:.1f} ms, ", end="")
    print(f"compiled {times['compiled'] * 1e3:.1f} ms: {times['compiled'] / times['eager']:.2f} x")


def _timed(make: Any, steps: int, width: int) -> float:
    step = make(*_job(width))
    step(1)
    seconds = []
    for number in range(2, steps + 2):
        began = time.thread_time()  # of this thread alone: other work on the machine is not in it
        step(number)
        seconds.append(time.thread_time() - began)
    return min(seconds)


def _job(width: int) -> tuple[Any, Any, Any]:
    """Model, method and settings; the weights are random, and never computed."""
    from bench import peft_counts
    from droidft.config import TrainingConfig
    from droidft.engine.machine.device import prepare

    prepare(Path(".cache").absolute())
    from tests import tiny

    from droidft.engine.methods.sft import Supervised
    from droidft.engine.model import lora
    from droidft.engine.model.architectures import build_lazily

    config = TrainingConfig(model_path="bench", train_data_path="bench", batch_size=4)
    model = build_lazily(peft_counts.config(peft_counts.SHAPES["SmolLM2-135M"]))
    lora.attach(model, lora.targets_of(model, config), config)
    rows = tiny.Rows(4, longest=width + 2)
    rows._rows = [row for row in tiny.Rows(400, longest=width + 2)._rows if len(row.tokens) > width - 8][:4]
    return model, Supervised(config, rows, rows), config


def _eager(model: Any, method: Any, config: Any) -> Any:
    """What the eager step does, its evaluations left out."""
    from mlx.utils import tree_flatten

    from droidft.engine.model.recompute import seed_dropout
    from droidft.engine.training import optimizer, steps

    eager = steps.Eager(_unsplit(model), method, config)
    batch = method.batches(1)[0]

    def step(number: int) -> None:
        weights = tree_flatten(model.trainable_parameters())
        seed_dropout(steps.step_seed(0, number, 0))
        (_, _), gradients = eager.value_and_gradients(batch, method.weight([batch]))
        eager.optimizer.learning_rate = 1e-4
        eager.optimizer.update(model, optimizer.clip(gradients, norm=2.0, limit=1.0))
        model.load_weights(weights, strict=False)  # the graph of a step, not of all steps so far

    return step


def _compiled(model: Any, method: Any, config: Any) -> Any:
    """The compiled step's own call, with what is handed over to be computed thrown away."""
    import mlx.core as mx

    from droidft.engine.training import steps

    compiled = steps.Compiled(_unsplit(model), method, config)
    batch = method.batches(1)[0]
    hand_over = mx.async_eval

    def step(number: int) -> None:
        weights, state = [holder[key] for holder, key in compiled._places], compiled._optimizer
        mx.async_eval = lambda *_: None
        try:
            compiled.start(number, [batch], method.weight([batch]), 1e-4, lambda: False)
        finally:
            mx.async_eval = hand_over
        compiled._put(weights)
        compiled._optimizer, compiled._alive = state, mx.array(True)
        compiled._unread.clear()

    return step


def _unsplit(model: Any) -> Any:
    """Backbone and head, looked for on a small model of the same kind: this one's weights are never computed."""
    from tests import tiny

    from droidft.engine.model.loss import SplitModel

    split = SplitModel(tiny.llama())
    split.model, split._projection = model, None
    return split


def _reads() -> None:
    """A run of 60 steps on the tests' tiny model, with rows of 4 to 200 tokens, two reports."""
    import mlx.core as mx

    from droidft.engine.machine.device import prepare

    prepare(Path(".cache").absolute())
    from tests import tiny
    from tests.engine import jobs

    from droidft.engine.training import loop, steps
    from droidft.events import TrainReport

    settings = jobs.config(
        iterations=60, steps_per_report=30, steps_per_eval=1000, save_every=1000, validation="none"
    )
    reads: list[float] = []
    made: list[Any] = []
    evaluate, kind = mx.eval, steps.steps_for

    def counted(*arrays: Any) -> None:
        reads.append(time.perf_counter())
        evaluate(*arrays)

    def remembered(*given: Any, **options: Any) -> Any:
        made.append(kind(*given, **options))
        return made[-1]

    loop.steps_for = remembered  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        job = jobs.job(Path(folder) / "run", settings, train=tiny.Rows(120, longest=200), compiled=True)
        mx.eval, at_report = counted, []
        for event in loop.train(job):
            if isinstance(event, TrainReport):
                at_report.append(len(reads))
        mx.eval = evaluate
    shapes = {
        (batch.inputs.shape, batch.targets.shape) for step in range(1, 61) for batch in job.method.batches(step)
    }
    between = at_report[1] - at_report[0] - 1  # the report itself reads once
    print(f"between two reports, 30 steps: {between} reads ({between / 30:.2f} a step), and 1 for the report")
    print(f"60 steps of {len(shapes)} shapes: {made[0].compilations} compilations")


if __name__ == "__main__":
    main()

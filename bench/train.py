"""Training speed and memory: ours, stock mlx-lm, mlx-lm with our BLAS, torch + PEFT in float32 and in bfloat16.

"ours" is `compute_dtype: auto`; "4 bits" is QLoRA on the same model quantised.

    python -m bench.train --model MODEL --data gsm8k_train.jsonl --torch-python OTHER_VENV/bin/python
    python -m bench.train --shapes qwen2.5-0.5b --dtype bfloat16          # on a GPU, random weights
    python -m bench.train --sides ours,mlx-lm                             # some of them only

Prints one table, in ratios, under the processor's name.

Every side trains the same weights with the same LoRA (rank 32, all seven projections, scale 1, AdamW) on the same
rows, batch 4, prompts masked, each with its own batching, in a process of its own. Speed is counted in real tokens
(no padding) over the steps after the warm-up; memory is the process's largest resident set (on a GPU: what the
framework says it held).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from droidft.models import embedded

CACHE = Path(".cache")

OURS = ("ours", "ours float32", "ours 4 bits", "ours 4 bits float32")
SIDES = (*OURS, "mlx-lm", "mlx-lm stock", "torch + PEFT", "torch + PEFT bfloat16")
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": {
        "hidden_size": 896,
        "num_hidden_layers": 24,
        "intermediate_size": 4864,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "qwen2.5-7b": {
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
}
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
BATCH, RANK, RATE = 4, 32, 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder [SmolLM2-135M-Instruct, fetched]")
    parser.add_argument("--shapes", choices=sorted(SHAPES), help="random weights of these shapes instead")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--data", type=Path, help="rows with question and answer; without it, random rows")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--stock-steps", type=int, default=2, help="steps of stock mlx-lm, which is slow on a CPU")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has torch and peft")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="on one thread, in seconds of the processor's and not of the wall's: for a machine that others use too",
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, default=CACHE / "bench")
    args = parser.parse_args()
    if args.side:
        print("RESULT " + json.dumps(_side(args)))
        return
    args.work.mkdir(parents=True, exist_ok=True)
    if args.model is None and args.shapes is None:
        sys.argv += ["--model", str(embedded.install(CACHE, cache_dir=CACHE))]
        args = parser.parse_args()
    _write_rows(args)
    chosen = [side for side in SIDES if side in args.sides.split(",")]
    results = {side: found for side in chosen if (found := _run_side(side, args))}
    _print_table(results)
    (args.work / "train.json").write_text(json.dumps(results, indent=1))


def _side(args: argparse.Namespace) -> dict[str, float]:
    rows = [json.loads(line) for line in (args.work / "rows.jsonl").read_text().splitlines()]
    match args.side:
        case side if side.startswith("ours"):
            return _ours(args, rows)
        case "torch + PEFT":
            return _torch(args, rows, args.dtype)
        case "torch + PEFT bfloat16":
            return _torch(args, rows, "bfloat16")
    return _mlx_lm(args, rows, fast=args.side == "mlx-lm")


def _run_side(side: str, args: argparse.Namespace) -> dict[str, float]:
    python = args.torch_python if side.startswith("torch") else sys.executable
    command = [python, "-m", "bench.train", *sys.argv[1:], "--side", side]
    print(f"{side} …", flush=True)
    # A BLAS tuned down by the shell would tune down some sides and not others.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    if args.processor_time:
        clean |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=clean)
    for line in result.stdout.splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    print(f"{side} is left out, it failed: {(result.stderr.strip() or result.stdout.strip())[-400:]}")
    return {}


def _print_table(results: dict[str, dict[str, float]]) -> None:
    ours = results.get("ours")
    from droidft.engine.machine.host import cpu_flags, processor

    with_bfloat16 = sorted({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())
    print(f"{processor()}; instructions for bfloat16: {', '.join(with_bfloat16) or 'none'}")
    print(f"{'':22}{'tokens/s':>10}{'trained/s':>11}{'peak GB':>9}{'ours is':>12}{'memory':>9}{'steps':>7}")
    for side, found in results.items():
        ratio = f"{ours['tokens_per_second'] / found['tokens_per_second']:.2f} x" if ours else "-"
        memory = f"{ours['peak_bytes'] / found['peak_bytes']:.2f} x" if ours else "-"
        print(
            f"{side:22}{found['tokens_per_second']:10.1f}{found['supervised_per_second']:11.1f}"
            f"{found['peak_bytes'] / 1e9:9.2f}{ratio:>12}{memory:>9}{found['steps']:7.0f}"
        )


def _write_rows(args: argparse.Namespace) -> None:
    """Token rows and the length of each prompt, the same for every side."""
    import numpy as np

    rows: list[dict[str, Any]] = []
    if args.data:
        from mlx_lm.utils import load_tokenizer

        tokenizer = load_tokenizer(args.model)
        for line in args.data.read_text().splitlines()[: args.rows]:
            row = json.loads(line)
            user = [{"role": "user", "content": row["question"]}]
            whole = [*user, {"role": "assistant", "content": row["answer"]}]
            prompt = tokenizer.apply_chat_template(user, add_generation_prompt=True, return_dict=False)
            rows.append({"tokens": tokenizer.apply_chat_template(whole, return_dict=False), "prompt": len(prompt)})
    else:
        generator = np.random.default_rng(0)
        for length in generator.integers(128, 512, args.rows).tolist():
            rows.append({"tokens": generator.integers(0, 30000, length).tolist(), "prompt": length // 2})
    (args.work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _mlx_model(args: argparse.Namespace) -> Any:
    import mlx.core as mx

    from droidft.engine.model.architectures import build_lazily

    if args.model:
        from mlx_lm.utils import load_model

        model, _ = load_model(args.model)
    else:
        common = {"model_type": "qwen2", "rms_norm_eps": 1e-6, "max_position_embeddings": 32768}
        model = build_lazily(common | SHAPES[args.shapes])
        model.set_dtype(getattr(mx, args.dtype))
    mx.eval(model.parameters())
    return model


def _our_model(args: argparse.Namespace, wanted: Any) -> Any:
    """As a run loads it; random weights, and what is quantised here, are brought to that."""
    from droidft.engine.model import loading
    from droidft.engine.model.precision import hold, precision

    if args.model and "4 bits" not in args.side:
        return loading.load_model(args.model, precision=precision(wanted))[0]
    model = _mlx_model(args)
    if "4 bits" in args.side:
        import mlx.nn as nn

        nn.quantize(model, group_size=64, bits=4)
    hold(model, precision(wanted))
    return model


def _ours(args: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, float]:
    from droidft.engine.machine.device import computing

    with computing(args.work.absolute()):
        return _train_ours(args, rows)


def _train_ours(args: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, float]:
    import numpy as np

    from droidft.config import TrainingConfig
    from droidft.data.tokens import TokenizedRow
    from droidft.engine.methods.sft import Supervised
    from droidft.engine.model import lora
    from droidft.engine.training.loop import Job, train
    from droidft.engine.training.method import Evaluation
    from droidft.events import TrainReport

    class Rows(list[TokenizedRow]):
        lengths = np.array([len(row["tokens"]) for row in rows], np.int64)
        supervised_counts = np.array([len(row["tokens"]) - row["prompt"] for row in rows], np.int32)

    source = Rows()
    for line, row in enumerate(rows, 1):
        tokens = np.array(row["tokens"], np.int32)
        source.append(TokenizedRow(tokens, np.arange(len(tokens)) >= row["prompt"], line, "rows.jsonl"))
    config = TrainingConfig(
        model_path="bench", train_data_path="bench", batch_size=BATCH, iterations=args.steps, steps_per_report=1,
        steps_per_eval=10**6, save_every=10**6, lora_rank=RANK, lora_alpha=RANK, learning_rate=RATE, early_stop=False,
        compute_dtype="float32" if args.side.endswith("float32") else "auto",
    )  # fmt: skip
    model = _our_model(args, config.compute_dtype)
    lora.attach(model, lora.targets_of(model, config), config)

    class Timed(Supervised):
        def evaluate(self, *_: Any, **__: Any) -> Evaluation:
            return Evaluation(0.0, 1)

    job = Job(config, model, Timed(config, source, source), args.work / "checkpoints", data_hash="")
    now = _clock(args)
    steps, tokens, supervised, before = [], 0, 0, now()
    for report in train(job):
        if isinstance(report, TrainReport):
            steps.append((report.tokens - tokens, report.supervised_tokens - supervised, now() - before))
            tokens, supervised, before = report.tokens, report.supervised_tokens, now()
    return _result(steps)


def _mlx_lm(args: argparse.Namespace, rows: list[dict[str, Any]], *, fast: bool) -> dict[str, float]:
    if fast:
        from droidft.engine.machine.device import prepare

        prepare(args.work.absolute())
    import mlx.optimizers as optimizers
    from mlx_lm.tuner import trainer
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model = _mlx_model(args)
    model.freeze()
    keys = [f"{'mlp' if name in PROJECTIONS[4:] else 'self_attn'}.{name}" for name in PROJECTIONS]
    linear_to_lora_layers(model, -1, {"rank": RANK, "scale": 1.0, "dropout": 0.0, "keys": keys})
    seen: list[tuple[int, int]] = []
    now = _clock(args)
    times = [now()]

    def batches(*positional: Any, **options: Any) -> Any:
        for batch, spans in trainer.iterate_batches(*positional, **options):
            spans_list = spans.tolist()
            seen.append((sum(end for _, end in spans_list), sum(end - start for start, end in spans_list)))
            yield batch, spans

    class Clock:
        def on_train_loss_report(self, _: dict[str, Any]) -> None:
            times.append(now())

        def on_val_loss_report(self, _: dict[str, Any]) -> None: ...

    steps = args.steps if fast or _on_gpu() else args.stock_steps
    data = trainer.CacheDataset(_Processed([(row["tokens"], row["prompt"]) for row in rows]))
    times[0] = now()
    trainer.train(
        model,
        optimizers.AdamW(RATE),
        data,
        args=trainer.TrainingArgs(
            batch_size=BATCH, iters=steps, steps_per_report=1, steps_per_eval=10**6, steps_per_save=10**6,
            max_seq_length=2048, adapter_file=str(args.work / "mlx_lm.safetensors"),
        ),
        iterate_batches=batches,
        training_callback=Clock(),
    )  # fmt: skip
    durations = [after - before for before, after in itertools.pairwise(times)]
    return _result([(*count, seconds) for count, seconds in zip(seen, durations, strict=False)])


class _Processed(list[Any]):
    """Rows that mlx-lm's cache has nothing left to do for."""

    def process(self, row: Any) -> Any:
        return row

    def itemlen(self, index: int) -> int:
        # What mlx-lm's chat data sets answer: the keys of the unprocessed row, the same for all.
        del index
        return 1


def _torch(args: argparse.Namespace, rows: list[dict[str, Any]], dtype_name: str) -> dict[str, float]:
    import random

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen2Config

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, dtype_name)
    if args.model:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype).to(device)
    else:
        model = AutoModelForCausalLM.from_config(Qwen2Config(**SHAPES[args.shapes]), dtype=dtype).to(device)
    adapted = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(PROJECTIONS)))
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=RATE)
    order, now = random.Random(0).sample(rows, len(rows)), _clock(args)
    steps = []
    for number in range(args.steps):
        chosen = [order[(number * BATCH + index) % len(order)] for index in range(BATCH)]
        begin = now()
        width = max(len(row["tokens"]) for row in chosen)
        tokens = torch.zeros((BATCH, width), dtype=torch.long)
        labels = torch.full((BATCH, width), -100)
        mask = torch.zeros((BATCH, width), dtype=torch.long)
        for index, row in enumerate(chosen):
            length = len(row["tokens"])
            tokens[index, :length] = labels[index, :length] = torch.tensor(row["tokens"])
            labels[index, : row["prompt"]] = -100
            mask[index, :length] = 1
        loss = adapted(
            input_ids=tokens.to(device), attention_mask=mask.to(device), labels=labels.to(device), use_cache=False
        ).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        supervised = sum(len(row["tokens"]) - row["prompt"] for row in chosen)
        steps.append((sum(len(row["tokens"]) for row in chosen), supervised, now() - begin))
    found = _result(steps, gpu=False)
    if device == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated()
    return found


def _clock(args: argparse.Namespace) -> Callable[[], float]:
    return time.process_time if args.processor_time else time.perf_counter


def _result(steps: list[tuple[int, int, float]], *, gpu: bool | None = None) -> dict[str, float]:
    """Speeds over the steps after the warm-up (half of them, at most 4)."""
    import resource

    warm = steps[min(4, len(steps) // 2) :]
    seconds = sum(step[2] for step in warm)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if gpu is None and _on_gpu():
        import mlx.core as mx

        peak = mx.get_peak_memory()
    return {
        "tokens_per_second": sum(step[0] for step in warm) / seconds,
        "supervised_per_second": sum(step[1] for step in warm) / seconds,
        "peak_bytes": peak,
        "steps": len(warm),
    }


def _on_gpu() -> bool:
    import mlx.core as mx

    return bool(mx.default_device() == mx.Device(mx.gpu))


if __name__ == "__main__":
    main()

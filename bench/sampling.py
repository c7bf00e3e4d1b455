"""Tokens per second of sampling groups of completions, and of the update they are for.

    python -m bench.sampling [--prompts 4] [--group 8] [--tokens 64] [--stock]

Against mlx-lm's own `generate`, one completion after the other, and its `batch_generate`, both on the same fast BLAS
with MLX's own operations; `--stock` adds `generate` as installed, with the BLAS that MLX brings. SmolLM2-135M,
temperature 1, all completions of the same length (end tokens are ignored). Run it when nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CACHE = Path(__file__).resolve().parents[1] / ".cache"
QUESTIONS = ("What is the capital of France?", "Why is the sky blue?", "What do bees make?", "How do fish breathe?")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--only-stock", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only_stock:
        print(_stock(args.tokens))
        return
    ours, update = _ours(args)
    one, batch = _mlx_lm(args)
    rows = [("sampling here", ours), ("mlx_lm.batch_generate", batch), ("mlx_lm.generate, one by one", one)]
    if args.stock:
        # Another process: BLAS and kernels of this one stay in place.
        command = [sys.executable, "-m", "bench.sampling", "--only-stock", "--tokens", str(min(args.tokens, 16))]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        rows.append(("the same, BLAS as installed", float(done.stdout.split()[-1])))
    print(f"{args.prompts} prompts x {args.group} completions x {args.tokens} tokens")
    print(f"{'':<30}{'tokens/s':>10}{'here is':>12}")
    for label, speed in rows:
        print(f"{label:<30}{speed:>10.1f}{ours / speed:>10.2f} x")
    print(f"{'update (prompt + completion)':<30}{update:>10.1f}")


def _prompts(tokenizer: Any, count: int) -> list[list[int]]:
    return [
        list(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": QUESTIONS[at % len(QUESTIONS)]}], add_generation_prompt=True
            )
        )
        for at in range(count)
    ]


def _ours(args: argparse.Namespace) -> tuple[float, float]:
    from droidft.engine.machine.device import computing

    with computing(CACHE) as device:
        print(f"{device.name}, {device.threads} threads, fused kernels {'on' if device.fused_kernels else 'off'}")
        import mlx.nn as nn
        import numpy as np

        from droidft.config import parse_config
        from droidft.engine.methods.rollouts import Sampler, streams
        from droidft.engine.model import loading, lora
        from droidft.engine.model.loss import SplitModel
        from droidft.models import embedded

        path = embedded.install(CACHE, cache_dir=CACHE)
        model, tokenizer = loading.load_model(path)[0], loading.load_tokenizer(path)
        config = parse_config(
            {"model_path": "m", "train_data_path": "t", "method": "grpo", "rewards": [{"kind": "tag_format"}]}
        )
        lora.attach(model, lora.targets_of(model, config), config)
        prompts = [np.array(tokens, np.int32) for tokens in _prompts(tokenizer, args.prompts)]
        sampler = Sampler(frozenset(), args.tokens, 1.0, args.prompts * args.group)
        numbers = lambda: streams(0, 0, args.prompts, args.group)  # noqa: E731
        model.eval()
        list(Sampler(frozenset(), 4, 1.0, 64).sample(model, prompts, numbers()))  # warm
        found: list[Any] = []
        took = _timed(lambda: found.extend(sampler.sample(model, prompts, numbers())))
        model.train()
        batches, tokens = _batches(prompts, found, config.batch_size)
        split = SplitModel(model)
        update = nn.value_and_grad(model, lambda batch: _surrogate(split, batch))
        return args.prompts * args.group * args.tokens / took, tokens / _timed(lambda: _update(update, batches))


def _batches(prompts: list[Any], found: list[Any], size: int) -> tuple[list[Any], int]:
    """Batches of prompts with their completions, and the tokens in them."""
    import numpy as np
    from tests.tiny import Row

    from droidft.data.batches import make_batch

    rows: Any = []
    for prompt, _, completion in found:
        tokens = np.concatenate([prompts[prompt], completion.tokens])
        rows.append(Row(tokens, np.arange(len(tokens)) >= len(prompts[prompt]), "", 1))
    batches = [make_batch(rows, range(at, min(at + size, len(rows)))) for at in range(0, len(rows), size)]
    return batches, sum(len(row.tokens) for row in rows)


def _surrogate(split: Any, batch: Any) -> Any:
    """As costly as a policy loss: every target has its own factor."""
    import mlx.core as mx

    from droidft.engine.model.loss import log_probabilities

    return (log_probabilities(split, batch) * mx.arange(batch.supervised)).mean()


def _update(update: Any, batches: list[Any]) -> None:
    import mlx.core as mx

    for batch in batches:
        mx.eval(update(batch))


def _mlx_lm(args: argparse.Namespace) -> tuple[float, float]:
    """Tokens per second of `generate` (of 4 completions) and of `batch_generate`."""
    from mlx_lm import batch_generate
    from mlx_lm.sample_utils import make_sampler

    from droidft.engine.model import loading
    from droidft.models import embedded

    path = CACHE / embedded.NAME
    model, tokenizer = loading.load_model(path)[0], loading.load_tokenizer(path)
    prompts = _prompts(tokenizer, args.prompts)
    one = _one_by_one(model, tokenizer, prompts[:4], args.tokens)
    tokenizer.eos_token_ids = set()
    rows = [prompt for prompt in prompts for _ in range(args.group)]
    sampler = make_sampler(temp=1.0)
    took = _timed(
        lambda: batch_generate(
            model, tokenizer, rows, max_tokens=args.tokens, sampler=sampler, completion_batch_size=len(rows)
        )
    )
    return one, len(rows) * args.tokens / took


def _one_by_one(model: Any, tokenizer: Any, prompts: list[list[int]], tokens: int) -> float:
    from mlx_lm import generate
    from mlx_lm.sample_utils import make_sampler

    tokenizer.eos_token_ids = set()
    sampler = make_sampler(temp=1.0)

    def work() -> None:
        for prompt in prompts:
            generate(model, tokenizer, prompt, max_tokens=tokens, sampler=sampler)

    return len(prompts) * tokens / _timed(work)


def _stock(tokens: int) -> float:
    from mlx_lm import load

    from droidft.models import embedded

    model, tokenizer = load(str(CACHE / embedded.NAME))[:2]
    return _one_by_one(model, tokenizer, _prompts(tokenizer, 1), tokens)


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()

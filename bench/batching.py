"""Which architectures of mlx-lm answer rows of unlike length in one batch as they answer each alone.

    python -m bench.batching            # all of them, tiny, with random weights
    python -m bench.batching gemma2     # or some

Rows join and leave while others go on. Those that differ belong into `engine.generation.batch.ALONE`.
"""

from __future__ import annotations

import argparse
import sys
import types
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from tests.engine.model.architectures import TABLE

from droidft.engine.generation import batch
from droidft.engine.model.architectures import build_lazily

LENGTHS = (2, 7, 23, 40)
STEPS = 12
CLOSE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="architectures; all without any")
    args = parser.parse_args()
    for name in args.names or TABLE:
        entry = TABLE[name]
        if entry.package is not None:
            sys.modules.setdefault(entry.package, types.ModuleType(entry.package))
        mx.random.seed(0)
        try:
            told = _compare(build_lazily({"model_type": entry.model_type, **entry.config}))
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            told = f"fails: {error}"
        print(f"{name:<24}{'(alone) ' if name in batch.ALONE else ''}{told}", flush=True)


def _compare(model: Any) -> str:
    model.eval()
    size = min(50, model(mx.array([[0]])).shape[-1])
    prompts = [np.random.default_rng(seed).integers(1, size, count).tolist() for seed, count in enumerate(LENGTHS)]
    alone = [_alone(model, prompt) for prompt in prompts]
    if not all(batch.joinable(layer) for layer in _read(model, prompts[0])):
        return "caches that do not join"
    rows, worst = batch._Batch(), 0.0
    for step in range(3 * STEPS):
        if step % 3 == 0 and step // 3 < len(prompts):
            number = step // 3
            row: Any = SimpleNamespace(last=prompts[number][-1], number=number, done=0)
            new = batch._Batch()
            new.join([row], [_read(model, prompts[number])])
            rows.absorb(new)
        if not rows.answers:
            break
        found = np.array(rows.logits(model))
        for answer, logits in zip(list(rows.answers), found, strict=True):
            each: Any = answer
            wanted = alone[each.number][each.done]
            worst = max(worst, float(np.abs(logits - wanted).max() / max(np.abs(wanted).max(), 1e-6)))
            each.last, each.done = _next(each.last, each.done), each.done + 1
        rows.leave(lambda answer: answer.done >= STEPS)  # type: ignore[attr-defined]
    return f"differs by {worst:.1e}" if worst > CLOSE else f"{worst:.1e}"


def _alone(model: Any, prompt: list[int]) -> list[Any]:
    cache, last, found = _read(model, prompt), prompt[-1], []
    for step in range(STEPS):
        found.append(np.array(model(mx.array([[last]]), cache=cache)[0, -1].astype(mx.float32)))
        last = _next(last, step)
    return found


def _read(model: Any, prompt: list[int]) -> list[Any]:
    cache: list[Any] = make_prompt_cache(model)
    if prompt[:-1]:
        model(mx.array([prompt[:-1]]), cache=cache)
        mx.eval([layer.state for layer in cache])
    return cache


def _next(token: int, step: int) -> int:
    return (7 * token + step) % 40 + 1


if __name__ == "__main__":
    main()

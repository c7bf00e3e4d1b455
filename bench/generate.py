"""Speed of answers: the base, an adapter, and three sides that answer at the same time, as the server has them.

    python -m bench.generate                         # SmolLM2-135M-Instruct, fetched once
    python -m bench.generate --model FOLDER --tokens 200

The adapter has rank 32 on every projection and random weights. A token's time is the median, with the tenth of the
fastest beside it: what else the machine does only adds to a time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from droidft.models import embedded

PROMPT = "Write a long story about the sea, the people who live by it, and the weather."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder")
    parser.add_argument("--tokens", type=int, default=100, help="length of each answer")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    args = parser.parse_args()

    from droidft.engine.machine.device import computing

    with computing(args.cache) as device, tempfile.TemporaryDirectory() as folder:
        from droidft.engine.generation import loaded

        path = args.model or embedded.install(args.cache, cache_dir=args.cache)
        begun = time.perf_counter()
        model = loaded.load(str(path), models_dir=path.parent, cache_dir=args.cache, offline=True)
        print(f"{device.name}, {device.threads} threads, fused kernels {'on' if device.fused_kernels else 'off'}")
        print(f"model {path.name} loaded in {time.perf_counter() - begun:.2f} s")
        adapters = [adapter(path, Path(folder) / name, seed) for seed, name in enumerate(("one", "two"))]
        ready = [
            _timed(f"adapter {number} read", lambda f=f: model.ready(f, "latest"))
            for number, f in enumerate(adapters)
        ]
        _switches(model, ready)
        print(f"{'':<28}{'median':>9}{'fastest':>9}{'tokens/s':>10}")
        _answer(model, "the base", [None], args.tokens)
        _answer(model, "an adapter", ready[:1], args.tokens)
        _answer(model, "base and two adapters", [None, *ready], args.tokens)


def _timed(label: str, work: Any) -> Any:
    begun = time.perf_counter()
    made = work()
    print(f"{label} in {time.perf_counter() - begun:.2f} s")
    return made


def _switches(model: Any, ready: list[Any]) -> None:
    times = []
    for _ in range(200):
        for side in (None, *ready):
            begun = time.perf_counter()
            model.put(side)
            times.append(time.perf_counter() - begun)
    print(f"another adapter put on in {statistics.median(times) * 1e6:.0f} microseconds")


def _answer(model: Any, label: str, sides: list[Any], length: int) -> None:
    """Times of a token, from after the prompt was read by all; sides take turns."""
    from droidft.engine.generation.generate import complete, wired
    from droidft.engine.generation.prompt import make_prompt
    from droidft.engine.generation.sampling import Sampling

    prompt = make_prompt(model.tokenizer, PROMPT)
    sampling = Sampling(max_tokens=length)
    tokens = [complete(model.model, model.tokenizer, prompt, sampling) for _ in sides]
    times: list[float] = []
    with wired(model.model):
        for turn in range(length):
            for side, steps in zip(sides, tokens, strict=True):
                begun = time.perf_counter()
                model.put(side)
                token = next(steps, None)
                if turn and token is not None:
                    times.append(time.perf_counter() - begun)
    model.put(None)
    median, fast = statistics.median(times), statistics.quantiles(times, n=10)[0]
    print(f"{label:<28}{median * 1e3:7.1f}ms{fast * 1e3:7.1f}ms{1 / median:10.1f}")


def adapter(model: Path, folder: Path, seed: int) -> Path:
    """An adapter for the model with random weights, in mlx-lm's format."""
    import json

    import mlx.core as mx
    from mlx.utils import tree_flatten

    from droidft.config import TrainingConfig
    from droidft.engine.model import lora
    from droidft.engine.model.loading import load_model

    config = TrainingConfig(model_path=str(model), train_data_path="unused.jsonl", seed=seed)
    base, _ = load_model(model)
    plan = lora.targets_of(base, config)
    lora.attach(base, plan, config)
    arrays = {
        name: array if name.endswith("lora_a") else 0.01 * mx.random.normal(array.shape, key=mx.random.key(seed))
        for name, array in tree_flatten(base.trainable_parameters())
    }
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapters.safetensors"), arrays)
    parameters = {"rank": config.lora_rank, "scale": 1.0, "dropout": 0.0, "keys": list(plan.keys)}
    settings = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": parameters, "model": str(model)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


if __name__ == "__main__":
    main()

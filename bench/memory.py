"""Memory of a training step against its estimate: python -m bench.memory

Small Llamas (and a Gemma 2) with a vocabulary of 49,152, 8 rows of 146 tokens, LoRA of rank 8 on all projections:
tied and untied heads, soft-capped logits, a head of 4 bits, one that is trained; with the CPU's kernels and without.
Each is measured in a process of its own; the 25 MB of logits that the kernels keep beside MLX's memory are added. The
whole logits of such a batch are 230 MB, and plain losses hold several.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HEADS = ("tied", "untied", "soft-capped", "quantised", "trained")
ROWS, TOKENS, VOCABULARY = 8, 146, 49152
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", default=",".join(HEADS))
    parser.add_argument("--inside", choices=HEADS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        print("RESULT " + json.dumps(_measured(args.inside)))
        return
    print(f"{'head':14}{'kernels':9}{'estimate':>10}{'peak':>10}{'peak is':>10}{'the loss alone':>16}")
    for head in args.heads.split(","):
        for kernels in ("on", "off"):
            command = [sys.executable, "-m", "bench.memory", "--inside", head]
            environment = os.environ | {"DROIDFT_KERNELS": kernels}
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
            if line is None:
                print(f"{head:14}{kernels:9}failed: {done.stderr.strip().splitlines()[-1]}")
                continue
            found = json.loads(line.removeprefix("RESULT "))
            print(
                f"{head:14}{kernels:9}{found['estimate'] / 1e6:7.0f} MB{found['peak'] / 1e6:7.0f} MB"
                f"{found['peak'] / found['estimate']:8.2f} x{found['loss'] / 1e6:13.0f} MB",
                flush=True,
            )


def _measured(head: str) -> dict[str, float]:
    from droidft.engine.machine.device import computing

    cache = Path(".cache").absolute()
    cache.mkdir(exist_ok=True)
    with computing(cache) as machine:
        return _of(head, fused=machine.fused_kernels)


def _of(head: str, *, fused: bool) -> dict[str, float]:
    import mlx.core as mx
    from tests import tiny
    from tests.engine import jobs

    from droidft.engine.model import lora
    from droidft.engine.model.estimate import Estimator
    from droidft.engine.model.loss import SplitModel
    from droidft.engine.model.targets import Survey
    from droidft.engine.training.loop import train

    model = _model(head)
    settings = jobs.config(
        batch_size=ROWS, iterations=2, lora_rank=8, steps_per_eval=100, save_every=100, validation="none",
        **({"lora_targets": "custom", "lora_keys": ["mlp.up_proj", "lm_head"]} if head == "trained" else {}),
    )  # fmt: skip
    rows = tiny.Rows(ROWS, longest=TOKENS + 1)
    rows._rows = [_row(number) for number in range(ROWS)]
    plan = lora.targets_of(model, settings)
    estimate = Estimator(Survey(model), bytes_per_value=4).peak(
        plan, batch_size=ROWS, seq_length=TOKENS, rank=8, supervised_fraction=1.0, fused_kernels=fused
    )
    with tempfile.TemporaryDirectory() as folder:
        job = jobs.job(Path(folder) / "run", settings, train=rows, model=model)
        loss = _loss_alone(SplitModel(model))
        mx.clear_cache()
        mx.reset_peak_memory()
        for _ in train(job):
            pass
    beside = estimate.loss if fused and head in ("tied", "untied") else 0
    return {"estimate": estimate.total, "peak": mx.get_peak_memory() + beside, "loss": loss + beside}


def _loss_alone(split: Any) -> float:
    """Bytes that the loss of 1,024 hidden states and their gradient take."""
    import mlx.core as mx

    from droidft.engine.model.loss import _token_losses

    hidden = mx.random.normal((1024, SHAPE["hidden_size"]))
    targets = mx.arange(1024) % VOCABULARY
    mx.eval(hidden, targets)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    function = mx.value_and_grad(lambda h: _token_losses(split, h, targets, 1.0).sum())
    mx.eval(function(hidden))
    return mx.get_peak_memory() - before


def _model(head: str) -> Any:
    import mlx.core as mx
    import mlx.nn as nn

    from droidft.engine.model.architectures import build_lazily

    common = {"rms_norm_eps": 1e-5, "max_position_embeddings": 512, "head_dim": 32}
    mx.random.seed(0)
    if head == "soft-capped":
        own = {"final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0, "query_pre_attn_scalar": 32.0}
        model = build_lazily({"model_type": "gemma2", **common, **SHAPE, **own})
    else:
        tied = head in ("tied", "quantised")
        model = build_lazily({"model_type": "llama", **common, **SHAPE, "tie_word_embeddings": tied})
    if head == "quantised":
        nn.quantize(model, group_size=64, bits=4)
    mx.eval(model.parameters())
    return model


def _row(number: int) -> Any:
    import numpy as np
    from tests import tiny

    tokens = np.random.default_rng(number).integers(0, VOCABULARY, TOKENS).astype(np.int32)
    return tiny.Row(tokens, np.arange(TOKENS) > 0, "rows.jsonl", number + 1)


if __name__ == "__main__":
    main()

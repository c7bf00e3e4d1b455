"""Full-layer LoRA against attention-only on real data: python -m bench.comparison DATA [--home FOLDER]

SmolLM2-135M-Instruct, three seeds, Q and V at the same rank and at the same trainable count. Writes the report (HTML,
Markdown, JSON) to docs/results/. Stopped or killed, it goes on where it was when started again with the same --home.

`orders` asks questions too, with the demo's learning rate for all arms; `orders-rates` tries two rates for each arm.
`gsm8k` needs the two files of GSM8K (Cobbe et al. 2021) in --gsm8k; rows are drawn from them by a seed.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

MODEL = "smollm2-135m-instruct"
RESULTS = Path(__file__).parents[1] / "docs" / "results"
COMMON: dict[str, Any] = {
    "template": "full-layer-vs-attention",
    "seeds": [0, 1, 2],
    "equivalence_margin": 0.02,
}
SETTINGS: dict[str, Any] = {
    "model_path": MODEL,
    "mask_prompt": True,
    "batch_size": 8,
    "lora_rank": 32,
    "lora_alpha": 32,
    "lr_schedule": "cosine",
    "early_stop": False,
    "save_every": 1000,
    "split_by": "row",  # as in the published results; no two rows of these sets open alike
}


ANSWERS = {
    "questions": {
        "check": {"kind": "exact_answer", "column": "completion"},
        "max_tokens": 64,
        "batch_size": 32,
    }
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("gsm8k", "orders", "orders-rates"))
    parser.add_argument("--home", type=Path, default=Path(".cache/comparison"), help="home folder of the experiment")
    parser.add_argument("--gsm8k", type=Path, default=Path("../shared/data"), help="folder with GSM8K's two files")
    parser.add_argument("--plan-only", action="store_true", help="show the plan with its cost")
    args = parser.parse_args()
    home = args.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"DROIDFT_HOME": str(home)}
    _droidft(environment, "models", "pull", MODEL)
    plan = {
        "gsm8k": lambda: _gsm8k(home, args.gsm8k),
        "orders": lambda: _orders(home, {"measurement": ANSWERS}),
        "orders-rates": lambda: _orders(home, {"learning_rates": [1e-3, 4e-3]}),
    }[args.data]()
    mark = home / f"{args.data}.id"
    if not mark.exists():
        file = home / f"{args.data}.yaml"
        file.write_text(yaml.safe_dump(plan, sort_keys=False))
        _droidft(environment, "experiment", str(file), "--plan-only")
        mark.write_text(_newest(home))
    if args.plan_only:
        return
    _droidft(environment, "experiment", mark.read_text(), "--yes")
    RESULTS.mkdir(exist_ok=True)
    for form in ("html", "md", "json"):
        out = RESULTS / f"{args.data}.{form}"
        _droidft(environment, "experiments", "report", mark.read_text(), "--form", form, "--out", str(out))


def _gsm8k(home: Path, folder: Path) -> dict[str, Any]:
    """192 of 7,473 training rows (160 to train on, 32 to validate on) and 128 of 1,319 test rows."""
    files = {
        "train": _drawn(folder / "gsm8k_train.jsonl", 192, home / "gsm8k_train.jsonl"),
        "test": _drawn(folder / "gsm8k_test.jsonl", 128, home / "gsm8k_test.jsonl"),
    }
    return COMMON | {
        "title": "GSM8K: is full-layer LoRA better than attention-only?",
        "settings": SETTINGS
        | {
            "train_data_path": str(files["train"]),
            "validation_fraction": 32 / 192,
            "batch_size": 4,
            "epochs": 1,
            "steps_per_eval": 40,
        },
        # A first run tried 5e-4 and 2e-3, and every arm chose 2e-3, the end of its grid.
        "learning_rates": [2e-3, 4e-3, 8e-3],
        "shares": [0.25, 1],
        # No questions: SmolLM2-135M answers hardly any of them rightly, with any adapter.
        "measurement": {"test_data_path": str(files["test"])},
    }


def _orders(home: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The demo's café orders: 160 of 640 rows to train on, 48 to validate on, 100 to test."""
    from droidft.data import orders

    paths = orders.write(home / "orders")
    return COMMON | {
        "title": "Café orders (the demo's data): is full-layer LoRA better than attention-only?",
        "settings": SETTINGS
        | {
            "train_data_path": str(_drawn(paths["train"], 160, home / "orders_train.jsonl")),
            "val_data_path": str(paths["valid"]),
            "epochs": 1,
            "steps_per_eval": 20,
        }
        | ({} if "learning_rates" in wanted else {"learning_rate": 1e-3}),
        **wanted,
        "measurement": {"test_data_path": str(paths["test"]), **wanted.get("measurement", {})},
    }


def _drawn(source: Path, rows: int, target: Path) -> Path:
    """`rows` lines of a file, drawn by a fixed seed, in the order of the file."""
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    chosen = sorted(random.Random(0).sample(range(len(lines)), rows))
    target.write_text("".join(lines[index] for index in chosen), encoding="utf-8")
    return target


def _newest(home: Path) -> str:
    return max(path.name for path in (home / "experiments").iterdir())


def _droidft(environment: dict[str, str], *words: str) -> None:
    print("$ droidft", *words, flush=True)
    subprocess.run([sys.executable, "-m", "droidft.cli", *words], check=True, env=environment)


if __name__ == "__main__":
    main()

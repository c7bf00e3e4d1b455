"""Checking and tokenising a large file of chats against Hugging Face `datasets` with the same tokenizer.

    python -m bench.tokenise [--megabytes 300] [--model DIR] [--rows FILE]

Conversations of one to three questions and answers are drawn, with their order as the only difference, from `--rows`
(a file with two text columns, such as GSM8K's) or else from the demo's orders. Each side is a process of its own:

- ours: `prepare`, which reads, checks, renders, tokenises, finds the assistant's turns, and hashes every row;
- theirs: `load_dataset` and a batched `map` of `apply_chat_template`, which gives tokens, without a mask.

Peak memory is the largest of the process and its children.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from droidft.data import orders
from droidft.engine.machine import host
from droidft.home import Home
from droidft.models import embedded


def main() -> None:
    """Print seconds and peak memory of both sides, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--model", type=Path, default=Home.find().models / embedded.NAME)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(_measured(args.side, args.file, args.model)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chats.jsonl"
        count = _write(file, args.megabytes, args.rows)
        print(f"{count:,} conversations, {file.stat().st_size / 1e6:.0f} MB; {host.processor()}")
        seconds = {}
        for side in SIDES:
            command = [sys.executable, "-m", "bench.tokenise", "--side", side, "--file", str(file)]
            done = subprocess.run([*command, "--model", str(args.model)], check=True, capture_output=True, text=True)
            made = json.loads(done.stdout.splitlines()[-1])
            seconds[side] = made["seconds"]
            print(f"{side:10} {made['seconds']:6.1f} s  {made['tokens']:,} tokens  peak {made['peak'] / 1e6:,.0f} MB")
    print(f"ours / datasets: {seconds['ours'] / seconds['datasets']:.2f}")


def _write(file: Path, megabytes: int, rows: Path | None) -> int:
    draw, written, count = random.Random(1), 0, 0
    pairs = list(_pairs(rows))
    with file.open("w") as out:
        while written < megabytes * 1e6:
            turns = [] if draw.random() < 0.5 else [{"role": "system", "content": f"You are tutor {count}."}]
            for question, answer in draw.sample(pairs, draw.choice((1, 1, 2, 3))):
                turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            written += out.write(json.dumps({"messages": turns}) + "\n")
            count += 1
    return count


def _pairs(rows: Path | None) -> Iterator[tuple[str, str]]:
    if rows is None:
        yield from ((order.spoken, order.line) for order in orders.orders("train"))
        return
    for line in rows.read_text().splitlines():
        question, answer, *_ = json.loads(line).values()
        yield question, answer


def _measured(side: str, file: Path, model: Path) -> dict[str, float]:
    began = time.perf_counter()
    tokens = SIDES[side](file, model)
    seconds = time.perf_counter() - began
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"seconds": seconds, "tokens": tokens, "peak": peak * (1 if sys.platform == "darwin" else 1024)}


def _ours(file: Path, model: Path) -> int:
    from transformers import AutoTokenizer

    from droidft.config import parse_config
    from droidft.data.prepare import prepare

    values = {"model_path": str(model), "train_data_path": str(file), "mask_prompt": True}
    sets = prepare(parse_config(values, source="bench"), AutoTokenizer.from_pretrained(model))
    return sets.train.token_count + sets.validation.token_count


def _theirs(file: Path, model: Path) -> int:
    import datasets
    import pyarrow.compute as compute
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=cache)

        def encode(batch: dict[str, list[object]]) -> dict[str, list[list[int]]]:
            return {"input_ids": tokenizer.apply_chat_template(batch["messages"], return_dict=False)}

        made = rows.map(encode, batched=True, remove_columns=rows.column_names)
        return int(compute.sum(compute.list_value_length(made.data.column("input_ids"))).as_py())


SIDES = {"ours": _ours, "datasets": _theirs}

if __name__ == "__main__":
    main()

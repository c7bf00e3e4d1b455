"""What `chat` and `compare` share: sampling options, loading with a progress bar, text that is safe to print."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from droidft.engine.generation.generate import Sampling
    from droidft.engine.generation.loaded import AdapterDetails, LoadedModel
    from droidft.home import Home
    from droidft.support.progress import Progress

# A model may write escape sequences; a terminal must not obey them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DRAWING_ONLY = ("top_p", "min_p", "top_k", "seed")


def add_sampling(parser: argparse.ArgumentParser, *, temperature: float) -> None:
    """Options that decide how the next token is chosen."""
    group = parser.add_argument_group("sampling")
    group.add_argument("--max-tokens", type=int, default=512, metavar="N", help="longest answer (default 512)")
    group.add_argument(
        "--temperature",
        type=float,
        default=temperature,
        metavar="T",
        help=f"0 takes the likeliest token, more is more varied (default {temperature:g})",
    )
    group.add_argument("--top-p", type=float, metavar="P", help="draw from this share of probability (default 0.9)")
    group.add_argument("--min-p", type=float, metavar="P", help="least probability beside the likeliest's (0.05)")
    group.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens (default 40)")
    group.add_argument(
        "--repetition-penalty",
        type=float,
        default=1.0,
        metavar="X",
        help="above 1: less likely to repeat (default 1)",
    )
    group.add_argument("--seed", type=int, metavar="N", help="the same seed draws the same answer")


def sampling_from(args: argparse.Namespace, console: Console) -> Sampling:
    """The options as given; says so where one has no effect."""
    from droidft.engine.generation.generate import Sampling

    given = {name: getattr(args, name) for name in _DRAWING_ONLY if getattr(args, name) is not None}
    if args.temperature == 0 and given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        console.print(f"note: without effect at temperature 0: {names}", style="yellow", highlight=False)
    return Sampling(
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        repetition_penalty=args.repetition_penalty,
        **given,
    )


@contextmanager
def loaded_base(ref: str, home: Home, console: Console, *, offline: bool) -> Iterator[LoadedModel]:
    """Make the device ready and load the model, for the length of a block; warnings go to `console`."""
    from droidft.engine.machine.device import computing

    with computing(home.cache) as device:
        for warning in device.warnings:
            console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)
        from droidft.engine.generation import loaded

        with progress_bar(console) as progress, console.status("loading the model"):
            model = loaded.load(ref, models_dir=home.models, cache_dir=home.cache, offline=offline, progress=progress)
        if model.code:
            message = f"warning: the model folder holds code that will not be run: {', '.join(model.code)}"
            console.print(message, style="yellow", highlight=False, markup=False)
        yield model


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """A bar that appears when the first report comes in."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = None

    def report(what: str, done: int, total: int) -> None:
        nonlocal task
        if task is None:
            bar.start()
            task = bar.add_task(what)
        bar.update(task, description=what, completed=done, total=total or None)

    try:
        yield report
    finally:
        bar.stop()


def details_lines(details: AdapterDetails) -> list[str]:
    """An adapter in two or three lines, and a line for each warning."""
    info = details.info
    factor = "" if info.rank is None else f", rank {info.rank}, alpha {info.alpha:g}, scale {info.scale:g}"
    which = info.which if isinstance(info.which, str) else f"step {info.which}"
    moved = details.difference
    return [
        f"{info.name} ({which}): {info.fine_tune_type}{factor}, "
        f"{len(info.modules)} modules in {len(info.layers)} of {details.expected_layers} blocks",
        f"moves the logits by up to {moved.max_logit:.3g}, {moved.mean_logit:.3g} on average",
        *(f"warning: {warning.message}" for warning in details.warnings),
    ]


def safe(text: str) -> str:
    """`text` without control characters other than line breaks and tabs."""
    return _CONTROL.sub("�", text.replace("\r\n", "\n"))


def consoles(*, as_json: bool) -> tuple[Any, Any]:
    """Consoles for answers and for everything else."""
    from rich.console import Console

    return Console(), Console(stderr=True, quiet=as_json)

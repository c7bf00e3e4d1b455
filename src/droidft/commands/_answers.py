"""What `chat` and `compare` share: options of sampling, loading, an adapter in a few lines."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from droidft.commands._terminal import line, progress_bar, spinner, warn
from droidft.config import parse_config
from droidft.engine.machine.device import computing
from droidft.home import Home
from droidft.support.words import count

if TYPE_CHECKING:
    from droidft.adapters.folder import AdapterInfo
    from droidft.data.template import TemplateOptions
    from droidft.engine.generation.loaded import AdapterDetails, LoadedModel
    from droidft.engine.generation.sampling import Sampling

_DRAWING_ONLY = ("top_p", "min_p", "top_k", "seed")


def add_options(parser: argparse.ArgumentParser, *, temperature: float) -> None:
    """The form of the prompt, and how the next token is chosen."""
    parser.add_argument("--raw", action="store_true", help="continue the text as it is, without the chat template")
    parser.add_argument(
        "--template-kwargs",
        metavar="JSON",
        help='variables of the chat template, such as {"enable_thinking": false}, over those of the training',
    )
    parser.add_argument(
        "--thinking",
        action=argparse.BooleanOptionalAction,
        help="let the model think first, or not, where its chat template can (enable_thinking)",
    )
    parser.add_argument(
        "--template-date", metavar="DAY", help="the day, for chat templates that write the date (default today)"
    )
    parser.add_argument("--offline", action="store_true", help="never use the network")
    parser.add_argument(
        "--allow-mismatch",
        action="store_true",
        help="use an adapter though it was trained on other weights than those of the model",
    )
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
    from droidft.engine.generation.sampling import Sampling

    given = {name: getattr(args, name) for name in _DRAWING_ONLY if getattr(args, name) is not None}
    if args.temperature == 0 and given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        line(console, f"note: without effect at temperature 0: {names}", style="yellow")
    return Sampling(
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        repetition_penalty=args.repetition_penalty,
        **given,
    )


def options_from(args: argparse.Namespace, model: LoadedModel, info: AdapterInfo | None) -> TemplateOptions:
    """How the chat template is used: as the adapter was trained, but for the options given.

    Raises:
        ConfigError: an option that cannot be read.
    """
    from droidft.engine.generation.prompt import options_for

    # The settings of a run know how these are written.
    given = {"chat_template_kwargs": args.template_kwargs, "template_date": args.template_date}
    read = parse_config({**given, "model_path": "-", "train_data_path": "-"}, source="command line")
    kwargs = dict(read.chat_template_kwargs or {})
    if args.thinking is not None:
        kwargs["enable_thinking"] = args.thinking
    day = datetime.date.fromisoformat(read.template_date) if read.template_date else None
    return options_for(model.tokenizer, info.record if info else None, kwargs=kwargs, day=day)


@contextmanager
def loaded_base(ref: str, home: Home, console: Console, *, offline: bool) -> Iterator[LoadedModel]:
    """The model, loaded on a device that is ready, for the length of a block; warnings go to `console`."""
    with computing(home.cache) as device:
        for warning in device.warnings:
            warn(console, warning)
        from droidft.engine.generation import loaded

        with progress_bar(console) as progress, spinner(console, "loading the model"):
            model = loaded.load(ref, models_dir=home.models, cache_dir=home.cache, offline=offline, progress=progress)
        if model.code:
            warn(console, f"the model folder holds code that will not be run: {', '.join(model.code)}")
        for warning in model.warnings:
            warn(console, warning)
        yield model


def show_details(details: AdapterDetails | None, console: Console) -> None:
    """An adapter in two lines, and a line for each warning; of the base model nothing."""
    if details is None:
        return
    info, moved = details.info, details.difference
    factor = "" if info.rank is None else f", rank {info.rank}, alpha {info.alpha:g}, scale {info.scale:g}"
    which = info.which if isinstance(info.which, str) else f"step {info.which}"
    modules = count(len(info.modules), "module")
    blocks = f"{len(info.layers)} of {details.expected_layers} blocks"
    line(console, f"{info.name} ({which}): {info.fine_tune_type}{factor}, {modules} in {blocks}")
    line(console, f"moves the logits by up to {moved.max_logit:.3g}, {moved.mean_logit:.3g} on average")
    for warning in details.warnings:
        warn(console, warning.message)

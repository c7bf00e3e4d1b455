"""`droidft rewards`: what completions can be scored by; `rewards try`: a few completions and what they earn."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from droidft.commands._settings import add_setting_flags, config_from
from droidft.commands._terminal import add_json, line, marked, one_line, print_json, progress_bar, terminal
from droidft.config import Family
from droidft.config.settings import Setting, reward_kinds
from droidft.engine.machine.device import computing
from droidft.errors import ConfigError
from droidft.home import Home
from droidft.rewards import own
from droidft.rewards.scorer import Scorer, Trial
from droidft.support.words import count

SHOWN = 400
"""Characters of a completion that are shown."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft rewards`."""
    add_json(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    what = "every kind with range, parameters and meaning; files of your own (the default)"
    add_json(actions.add_parser("list", help=what))
    trial = actions.add_parser("try", help="sample a few completions of the model as it is, and score them")
    trial.add_argument("file", nargs="?", type=Path, help="YAML or JSON file with settings; flags override it")
    trial.add_argument("--prompts", type=int, default=2, choices=range(1, 65), metavar="N", help="prompts [2]")
    trial.add_argument(
        "--completions", type=int, default=4, choices=range(1, 65), metavar="N", help="completions of each [4]"
    )
    add_json(trial)
    add_setting_flags(trial)


def run(args: argparse.Namespace) -> int:
    """List, or try."""
    if args.action == "try":
        _try(args, terminal())
    else:
        _list(terminal(), as_json=args.json)
    return 0


def _list(console: Console, *, as_json: bool) -> None:
    folder = Home.find().rewards
    files = own.listed(folder)
    if as_json:
        print_json(
            {"kinds": list(map(asdict, reward_kinds())), "files": list(map(asdict, files)), "folder": str(folder)}
        )
        return
    for kind in reward_kinds():
        marked(console, f"[bold]{kind.kind}[/]  {escape(kind.range)}")
        _paragraph(console, " ".join(kind.help.split()), indent=2)
        for parameter in kind.parameters:
            name = f"{parameter.name} [{_values(parameter)}; {parameter.shown_default}]"
            _paragraph(console, f"{name}  {parameter.help}", indent=4)
    line(console, f"\nfiles of your own: {folder}")
    for file in files:
        named = ", ".join(each.name + (f" ({each.help})" if each.help else "") for each in file.functions)
        _paragraph(console, f"{file.file}  {file.problem or named or 'defines no function'}", indent=2)
    if not files:
        console.print("  none yet; docs/rewards.md shows how to write one")


def _try(args: argparse.Namespace, console: Console) -> None:
    config = config_from(args, file=args.file)
    if config.method.family is not Family.REWARDS:
        hint = "choose grpo, gspo or dr_grpo"
        raise ConfigError(f"method '{config.method}' has no rewards to try", hint=hint, field="method")
    home = Home.find()
    with computing(home.cache):
        from droidft.engine.evaluation.trial import try_rewards

        with progress_bar(terminal(errors=True, quiet=args.json)) as progress:
            trial = try_rewards(
                config,
                home.places(checkpoints=home.runs),
                Scorer(config.rewards, home.rewards),
                prompts=args.prompts,
                completions=args.completions,
                seed=config.seed,
                report=progress,
            )
    if args.json:
        print_json(trial)
    else:
        _show(trial, console)


def _show(trial: Trial, console: Console) -> None:
    """The completions of each prompt with what each earned."""
    weights = dict(zip(trial.rewards, trial.weights, strict=True))
    for place in dict.fromkeys(row.place for row in trial.rows):
        rows = [row for row in trial.rows if row.place == place]
        console.print(Text(f"\n{place}  {one_line(rows[0].prompt, most=SHOWN)}", style="bold"))
        for row in rows:
            table = Table(box=None, pad_edge=False, show_header=False)
            parts = [f"{name} {value:.3g} x {weights[name]:g}" for name, value in row.rewards.items()]
            cut = ", cut off" if row.truncated else ""
            table.add_row(f"{row.reward:8.3f}", Text(one_line(row.completion, most=SHOWN) or "(empty)"))
            table.add_row("", Text(f"{' + '.join(parts)}; {count(row.tokens, 'token')}{cut}", style="dim"))
            console.print(table)
    speed = f"{trial.sampling_tokens_per_second:.0f} tok/s"
    completions = count(len(trial.rows), "completion")
    line(console, f"\n{completions} at {speed}; {trial.tied_groups:.0%} of prompts tied")
    if trial.tied_groups == 1:
        line(console, "all completions of each prompt earned the same: nothing would be learned")
    for warning in trial.warnings:
        line(console, f"warning  {warning}")


def _values(parameter: Setting) -> str:
    return " | ".join(parameter.choices) if parameter.choices else f"{parameter.kind} {parameter.limits}".rstrip()


def _paragraph(console: Console, text: str, *, indent: int) -> None:
    console.print(Padding(Text(text), (0, 0, 0, indent)))

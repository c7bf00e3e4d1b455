"""`droidft config`: every training setting, for reading, for an editor (JSON schema), or to start a file from."""

from __future__ import annotations

import argparse
import itertools
import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from rich.text import Text

from droidft.commands._terminal import print_json, terminal
from droidft.config import TrainingConfig
from droidft.config.settings import Setting, settings

YAML_WIDTH = 110


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the choice of form."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--yaml", action="store_true", help="a commented YAML file with the defaults")
    form.add_argument("--schema", action="store_true", help="the JSON schema, for editors and programs")
    form.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="the settings as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the settings in the form asked for."""
    if args.yaml:
        print(as_yaml(settings()), end="")
    elif args.schema:
        print(schema())
    elif args.json:
        print_json([asdict(setting) for setting in settings()])
    else:
        _show(settings())
    return 0


def schema() -> str:
    """The JSON schema of a configuration, as text."""
    return json.dumps(TrainingConfig.model_json_schema(), indent=2, ensure_ascii=False)


def as_yaml(chosen: Sequence[Setting]) -> str:
    """A YAML file that sets nothing but what is required: every other setting stands there as a comment."""
    lines = ["# Settings of a training run: `droidft train THIS-FILE`. Remove the # before a name to set it.", ""]
    for group, members in itertools.groupby(chosen, key=lambda setting: setting.group):
        lines += [f"# --- {group} ---", ""]
        for setting in members:
            limits = setting.shown_values if setting.choices or setting.limits else ""
            note = f"{setting.help} ({limits})" if limits else setting.help
            lines += [f"# {line}" for line in textwrap.wrap(note, YAML_WIDTH)]
            value = json.dumps(setting.default, ensure_ascii=False)
            lines += [f"{setting.name}:  # required" if setting.required else f"#{setting.name}: {value}", ""]
    return "\n".join(lines)


def _show(chosen: Sequence[Setting]) -> None:
    console = terminal()
    for group, members in itertools.groupby(chosen, key=lambda setting: setting.group):
        console.print(Text(f"\n{group}", style="bold underline"))
        for setting in members:
            default = setting.shown_default if setting.required else f"= {setting.shown_default}"
            head = Text.assemble((setting.name, "bold cyan"), " ", (default, "green"), "  ")
            console.print(head.append(setting.shown_values, style="dim"))
            own = f" Default of {setting.shown_by_method}." if setting.by_method else ""
            wrapped = textwrap.wrap(setting.help + own, console.width - 4)
            console.print(Text("\n".join(f"    {line}" for line in wrapped)))

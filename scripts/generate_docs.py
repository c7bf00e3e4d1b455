"""Write docs/cli.md, config.md, python.md and config.schema.json from the code; `--check` only compares.

So is tests/golden/public_api.txt, but only once CHANGELOG.md names what changed in it.

The pages are built from the parsers themselves, not from `--help`, whose layout differs between Python versions.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from droidft.cli import COMMANDS, load_command
from droidft.commands._settings import PREFIX
from droidft.commands.config_cmd import schema
from droidft.config.settings import settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from scripts.python_page import changed, public_api, python_page, unmentioned

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PUBLIC_API = ROOT / "tests" / "golden" / "public_api.txt"
NOTE = "<!-- Written by `make docs` from the code; edit the code. -->"


def main() -> int:
    """Write the pages, or with `--check` name those that are stale and return 1."""
    check = "--check" in sys.argv[1:]
    if missing := not_in_changelog():
        print(f"CHANGELOG.md, unreleased: name {', '.join(f'`{name}`' for name in missing)}, whose signature changed")
        return 1
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is stale: run `make docs`", file=sys.stderr)
        else:
            path.write_text(pages()[path], encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    return {
        DOCS / "cli.md": _joined(cli_page()),
        DOCS / "config.md": _joined(config_page()),
        DOCS / "config.schema.json": schema() + "\n",
        DOCS / "python.md": _joined(python_page()),
        PUBLIC_API: public_api(),
    }


def not_in_changelog() -> list[str]:
    """Public names whose signature changed, and of which CHANGELOG.md says nothing yet."""
    before = PUBLIC_API.read_text(encoding="utf-8") if PUBLIC_API.exists() else ""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return unmentioned(changed(before, public_api()), changelog) if before else []


def config_page() -> Iterator[str]:
    """All settings, a table per group."""
    yield from ["# Settings", "", NOTE, ""]
    yield "The same names serve in a YAML or JSON file (`name: value`), as flags (`--learning-rate 2e-4` or"
    yield "`--learning_rate 2e-4`; `--no-early-stop` for a boolean) and over HTTP. Flags win over the file. `none`"
    yield "takes an optional number back to its default. An unknown name or a value out of range is refused by name."
    yield "`droidft config --yaml` prints a file to start from."
    for group, members in itertools.groupby(settings(), key=lambda setting: setting.group):
        yield from ["", f"## {group}", "", "| setting | default | values | meaning |", "|---|---|---|---|"]
        for setting in members:
            default = f"`{setting.shown_default}`" + (f"; {setting.shown_by_method}" if setting.by_method else "")
            cells = f"`{setting.name}`", default, setting.shown_values, setting.help
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def cli_page() -> Iterator[str]:
    """All commands with their arguments."""
    yield from ["# Commands", "", NOTE, ""]
    yield "Exit status: 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted."
    for name in COMMANDS:
        parser, _ = load_command(name)
        yield from _command(parser, level=2)


def _command(parser: argparse.ArgumentParser, *, level: int) -> Iterator[str]:
    yield from ["", f"{'#' * level} `{parser.prog}`"]
    if parser.description:
        yield from ["", parser.description]
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    rows = [row for action in parser._actions if action not in nested for row in _argument(action)]
    if rows:
        yield from ["", "| argument | meaning |", "|---|---|", *rows]
    if any(action.dest.startswith(PREFIX) for action in parser._actions):
        yield from ["", "Every setting of [config.md](config.md) is a flag too, such as `--learning-rate 2e-4`."]
    for action in nested:
        helps = {choice.dest: choice.help for choice in action._choices_actions}
        for name, inner in action.choices.items():
            inner.description = inner.description or helps.get(name)
            yield from _command(inner, level=level + 1)


def _argument(action: argparse.Action) -> Iterator[str]:
    hidden = action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction)
    if hidden or action.dest.startswith(PREFIX):
        return
    values = str(action.metavar or action.dest.upper())
    if action.choices:
        values = ",".join(str(choice) for choice in action.choices)
    shown = f"{', '.join(action.option_strings)}" if action.option_strings else values
    if action.option_strings and action.nargs != 0:
        shown += f" {values}"
    text = (action.help or "") % {"default": action.default, "prog": "droidft"}
    yield f"| `{shown}` | {text.replace('|', chr(92) + '|')} |"


def _joined(lines: Iterator[str]) -> str:
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

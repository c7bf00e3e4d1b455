"""`droidft`: names the commands and imports the one that is called, so that `--help` answers at once.

To add a command: write `commands/<name>.py` with `configure(parser)` and `run(args) -> exit status`, and give it
a line in `COMMANDS`.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import sys
from contextlib import suppress
from types import ModuleType
from typing import NoReturn

from droidft import __version__
from droidft.errors import ConfigError, DroidError, StorageError
from droidft.home import Home
from droidft.support import network, streams
from droidft.support.imports import remember_transformers
from droidft.support.plain import safe

COMMANDS = {
    "demo": ("demo", "fetch a small model, train it, and show what it learned"),
    "serve": ("serve", "open the application in a browser"),
    "train": ("train", "train an adapter on your data"),
    "resume": ("resume", "continue a run, bit for bit, or make it longer"),
    "runs": ("runs", "list, show and delete runs"),
    "models": ("models", "list, fetch, import and inspect base models"),
    "adapters": ("adapters", "list, check and delete adapters"),
    "export": ("export", "make an adapter usable elsewhere, with a certificate"),
    "exports": ("exports", "list exports; show or delete one"),
    "data": ("data", "check training data, count its tokens, show what is trained on"),
    "rewards": ("rewards", "list what completions can be scored by, and try it on a few"),
    "chat": ("chat", "talk to a model, with or without an adapter"),
    "compare": ("compare", "answer a prompt with base and adapter, side by side"),
    "experiment": ("experiment", "compare arms with honest statistics: plan, run, report"),
    "experiments": ("experiments", "list experiments; show, stop, report or delete one"),
    "config": ("config_cmd", "list every training setting with default, limits and meaning"),
    "doctor": ("doctor", "check this machine and report how to fix what is missing"),
}
"""Command -> (module in `droidft.commands`, what it does)."""

OK, FAILED, MISUSED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes read like every other error of ours."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake with a hint, and exit with status 2."""
        _complain(f"error: {message}\nhint: `{self.prog} --help` lists what can be given")
        sys.exit(MISUSED)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status of the process.

    Nothing that lies outside the program ends in a traceback: not the terminal's encoding, not a stream that is
    closed or full, not the disk. What is left is a defect of ours, and keeps it.
    """
    os.umask(os.umask(0o022) | 0o022)  # nobody else may write to what is made here
    streams.prepare()
    network.keep_loopback_direct()
    words = sys.argv[1:] if argv is None else argv
    args = argparse.Namespace(json=False)
    try:
        try:
            status = _run(words, args)
        finally:  # argparse leaves through `SystemExit` when it has shown its help
            sys.stdout.flush()
    except DroidError as error:
        return _report(error, as_json=args.json)
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader left (`droidft runs | head`)
        streams.abandon_output()
        return BROKEN_PIPE
    except streams.OutputError as error:
        streams.abandon_output()
        _complain(f"error: cannot write to standard output: {error.strerror}")
        return FAILED
    except OSError as error:
        return _report(_outside(error), as_json=args.json)
    except MemoryError:
        hint = "end other programs, or choose something smaller"
        return _report(DroidError("there is not enough memory for this", hint=hint), as_json=args.json)
    return status


def overview() -> Parser:
    """The parser of `droidft` without a command: names, and a line about each."""
    parser = Parser(
        prog="droidft",
        description="Fine-tune language models on your own machine.",
        epilog="`droidft COMMAND --help` explains a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"droidft {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary)
    return parser


def load_command(name: str) -> tuple[Parser, ModuleType]:
    """Import the module of the command `name` and let it configure its parser.

    Raises:
        ConfigError: there is no such command.
    """
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f"; did you mean '{close[0]}'?" if close else ""
        raise ConfigError(f"'{name}' is not a command{meant}", hint="`droidft --help` lists the commands")
    module_name, summary = COMMANDS[name]
    module = importlib.import_module(f"droidft.commands.{module_name}")
    description = f"{summary[:1].upper()}{summary[1:]}."
    parser = Parser(prog=f"droidft {name}", description=description, allow_abbrev=False)
    module.configure(parser)
    return parser, module


def _run(words: list[str], args: argparse.Namespace) -> int:
    if words and not words[0].startswith("-"):
        remember_transformers(lambda: Home.find().cache)
        parser, module = load_command(words[0])
        parser.parse_args(words[1:], args)
        return int(module.run(args))
    parser = overview()
    parser.parse_args(words)
    parser.print_help()
    return MISUSED


def _outside(error: OSError) -> DroidError:
    """What the operating system refused and nobody foresaw, in a sentence."""
    place = f"{error.filename}: " if error.filename else ""
    if not place and isinstance(error, FileNotFoundError) and not _has_working_directory():
        return ConfigError("the working directory is gone", hint="`cd` to a folder that exists")
    return StorageError(
        f"{place}{error.strerror or error}",
        hint="check that the file or folder exists, may be read and written, and that the disk has room",
    )


def _has_working_directory() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _report(error: DroidError, *, as_json: bool) -> int:
    home = os.environ.get("DROIDFT_HOME") or os.path.expanduser("~/.droidft")
    if isinstance(error, StorageError) and home in error.message and "DROIDFT_HOME" not in error.hint:
        error.hint += "; DROIDFT_HOME names another home folder"
    if as_json:
        try:
            # In ASCII, which every terminal shows and no text can break.
            print(json.dumps({"error": error.as_dict()}), flush=True)
        except OSError:
            streams.abandon_output()
    else:
        _complain(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
    return MISUSED if isinstance(error, ConfigError) else FAILED


def _complain(text: str) -> None:
    """Print to standard error, if it can be written to."""
    with suppress(OSError):
        print(safe(text), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""`droidft data check | stats | show`: what training would make of a file, before anything is trained."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from droidft.commands import _data_display as display
from droidft.commands._settings import add_setting_flags, config_from, settings_from
from droidft.commands._terminal import add_json, print_json, terminal
from droidft.config import Family, Method, TrainingConfig
from droidft.config.settings import DATA_SETTINGS
from droidft.data.report import CheckReport, RowView, StructureReport
from droidft.errors import ConfigError
from droidft.home import Home
from droidft.models import catalog
from droidft.support.faults import Fault, InvalidData


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft data`."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    for name, what in (
        ("check", "find every faulty row; with --model also what its tokenizer makes of them"),
        ("stats", "count tokens: lengths, histogram, cut rows, duplicates"),
        ("show", "print rows token by token: trained, masked, cut"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("file", metavar="FILE", help="JSONL, JSON, CSV or Parquet file, folder, or hub:org/name")
        action.add_argument("--model", required=name != "check", help="model whose tokenizer and template are used")
        action.add_argument("--val", metavar="FILE", help="validation data; without it a part of FILE is held out")
        add_json(action)
        if name == "show":
            action.add_argument("--rows", metavar="N,N", help="row numbers, from 0 [0]")
            action.add_argument("--line", metavar="N,N", help="line numbers, from 1")
        add_setting_flags(action, DATA_SETTINGS)
        model = "[--model MODEL]" if name == "check" else "--model MODEL"
        action.usage = f"%(prog)s FILE {model} [--SETTING VALUE ...]"


def run(args: argparse.Namespace) -> int:
    """Do the chosen action; 1 when the data has faults."""
    # The data can be read before rewards are chosen; the one given here needs no column.
    config = config_from(
        args,
        model_path=args.model or "-",
        train_data_path=args.file,
        val_data_path=args.val,
        rewards=[{"kind": "length_window"}] if _is_rewarded(args) else [],
    )
    console = terminal()
    match args.action:
        case "check":
            return _check(config, console, with_model=args.model is not None, as_json=args.json)
        case "stats":
            return _stats(config, console, as_json=args.json)
        case _:
            return _show(config, console, rows=args.rows, lines=args.line, as_json=args.json)


def _is_rewarded(args: argparse.Namespace) -> bool:
    method = settings_from(args).get("method")
    return method in set(Method) and Method(method).family is Family.REWARDS


def _check(config: TrainingConfig, console: Console, *, with_model: bool, as_json: bool) -> int:
    checked = _checked(config, with_model=with_model, rewards=Home.find().rewards)
    faults = {"fault_count": checked.fault_count, "faults": checked.faults}
    report = None if checked.fault_count else checked.tokens or checked.structure
    if as_json:
        # Scripts may read the faults of the structure in its own report too, where they always were.
        inner = asdict(report) | faults if isinstance(report, StructureReport) else report
        print_json({"ok": not checked.fault_count, **faults, "report": inner})
    else:
        display.show_faults(console, checked.faults, checked.fault_count)
        if report is not None:
            display.show_check(console, report)
    return 1 if checked.fault_count else 0


def _stats(config: TrainingConfig, console: Console, *, as_json: bool) -> int:
    checked = _checked(config, with_model=True)
    if checked.tokens is None:
        return _refused(checked.faults, checked.fault_count, console, as_json=as_json)
    if as_json:
        print_json(checked.tokens)
    else:
        display.show_statistics(console, checked.tokens)
    return 0


def _checked(config: TrainingConfig, *, with_model: bool, rewards: Path | None = None) -> CheckReport:
    """The checks, with a bar on the terminal while a large file is read."""
    from droidft.data.check import check_data  # slow to import

    console = terminal(errors=True)
    shown = ("reading", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*shown, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        return check_data(
            config,
            (lambda: _tokenizer(config)) if with_model else None,
            progress=lambda _, done, total: bar.update(task, completed=done, total=total or None),
            rewards=rewards,
        )


def _show(config: TrainingConfig, console: Console, *, rows: str | None, lines: str | None, as_json: bool) -> int:
    from droidft.data.view import view_rows  # slow to import

    numbers = _numbers("--rows", rows, first=0)
    places = _numbers("--line", lines, first=1)
    if rows is None and lines is None:
        numbers = [0]
    tokenizer, context_length = _tokenizer(config)
    try:
        views: list[RowView] = view_rows(config, tokenizer, rows=numbers, lines=places, context_length=context_length)
    except InvalidData as error:
        return _refused(error.faults, error.count, console, as_json=as_json)
    if as_json:
        print_json(views)
    else:
        display.show_rows(console, views)
    return 0


def _tokenizer(config: TrainingConfig) -> tuple[Any, int | None]:
    """The model's tokenizer and context length; no weights are read."""
    from droidft.engine.model import loading

    folder = catalog.find_config(config.model_path, models_dir=Home.find().models, offline=config.offline)
    return loading.load_tokenizer(folder), catalog.context_length(catalog.load_config(folder))


def _refused(faults: list[Fault], count: int, console: Console, *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": False, "fault_count": count, "faults": faults})
    else:
        display.show_faults(console, faults, count)
    return 1


def _numbers(option: str, given: str | None, *, first: int) -> list[int]:
    """`0,5,7` as numbers.

    Raises:
        ConfigError: something in it is no number, or too small.
    """

    words = given.split(",") if given else []
    if not all(word.strip().isdecimal() and int(word) >= first for word in words):
        raise ConfigError(f"{option}: {given!r} is not a list of numbers from {first}", hint=f"write {option} 3,7")
    return [int(word) for word in words]

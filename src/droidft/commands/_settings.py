"""Training settings as flags of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

from droidft.config import TrainingConfig, load_config_file, parse_config
from droidft.config.settings import Setting, settings
from droidft.errors import ConfigError
from droidft.support import strict_json, strict_yaml

PREFIX = "setting_"


def add_setting_flags(
    parser: argparse.ArgumentParser, names: Collection[str] | None = None, *, shown: Collection[str] | None = None
) -> None:
    """Add a flag for every setting (or those of `names`), `--learning-rate` and `--learning_rate` alike.

    With `shown`, the help names those alone; the others are understood, so that they can be refused with a reason.
    Values are taken as text: `config_from` has them checked by the one place that knows the limits.
    """
    parser.usage = "%(prog)s [FILE] [--SETTING VALUE ...]"  # argparse would list fifty flags
    group = None
    for setting in settings():
        if names is not None and setting.name not in names:
            continue
        hidden = shown is not None and setting.name not in shown
        if not hidden and (group is None or group.title != setting.group):
            group = parser.add_argument_group(setting.group)
        text = setting.help.replace("%", "%%")
        common: dict[str, Any] = {"dest": PREFIX + setting.name, "default": argparse.SUPPRESS}
        if setting.kind == "boolean":
            common["action"] = argparse.BooleanOptionalAction
        else:
            common["metavar"] = "{" + ",".join(setting.choices) + "}" if setting.choices else setting.kind.upper()
        place = parser if hidden or group is None else group
        wording = argparse.SUPPRESS if hidden else f"{text} [{setting.shown_default}]"
        place.add_argument(setting.flag, help=wording, **common)
        if (alias := f"--{setting.name}") != setting.flag:
            place.add_argument(alias, help=argparse.SUPPRESS, **common)


def settings_from(args: argparse.Namespace) -> dict[str, Any]:
    """The settings given as flags, by name, unchecked."""
    given = vars(args)
    return {
        setting.name: _value(setting, given[PREFIX + setting.name])
        for setting in settings()
        if PREFIX + setting.name in given
    }


def config_from(args: argparse.Namespace, *, file: Path | None = None, **more: Any) -> TrainingConfig:
    """The configuration: `more` under the settings of `file`, under the flags.

    Raises:
        ConfigError: a name or value is refused; the message names each.
    """

    flags = settings_from(args)
    values = more | (load_config_file(file) if file else {}) | flags
    sources = [str(file)] * (file is not None) + ["command line"] * (bool(flags) or file is None)
    return parse_config(values, source=" and ".join(sources))


def _value(setting: Setting, given: str | bool) -> Any:
    if isinstance(given, bool):
        return given
    if setting.kind == "list":
        return [word.strip() for word in given.split(",") if word.strip()]
    if setting.kind in ("text", "object"):
        return None if setting.kind == "object" and given.lower() in {"none", "null"} else given
    if setting.kind == "objects":
        try:
            return strict_yaml.parse(given)
        except strict_json.Refused as why:
            raise ConfigError(
                f"{setting.flag} {why.reason}",
                hint="write it like [{kind: lexical_f1, weight: 0.5}], in quotes for the shell",
                field=setting.name,
            ) from None
    if setting.optional and given.lower() in {"none", "null"}:
        return None
    for number in (int, float):
        try:
            return number(given)
        except ValueError:
            continue
    return given

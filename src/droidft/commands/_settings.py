"""Training settings as flags, tables and documents: all made from `TrainingConfig`, nothing written twice."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from droidft.config import TrainingConfig

GROUPS = {
    "model_path": "Model and data",
    "iterations": "Length of the run",
    "learning_rate": "Optimizer",
    "fine_tune_type": "LoRA",
    "steps_per_report": "Reports, evaluation, checkpoints",
    "grad_checkpoint": "The rest",
}
"""First setting of a group -> the group's title, in the order of `TrainingConfig`."""

PREFIX = "setting_"
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class Setting:
    """One field of `TrainingConfig`, as a person sees it."""

    name: str
    group: str
    kind: str
    """`text`, `integer`, `number`, `boolean` or `list`."""
    required: bool
    optional: bool
    """Whether `none` (`null` in files) is a value, the default."""
    default: Any
    choices: tuple[str, ...]
    limits: str
    """Such as `≥ 0, < 1`; empty without limits."""
    help: str

    @property
    def flag(self) -> str:
        """Such as `--learning-rate`."""
        return "--" + self.name.replace("_", "-")

    @property
    def shown_default(self) -> str:
        """The default as it is written in YAML; `required` where there is none."""
        return "required" if self.required else json.dumps(self.default, ensure_ascii=False).strip('"')

    @property
    def shown_values(self) -> str:
        """What may be given, in a few words."""
        if self.choices:
            return " | ".join(self.choices)
        return f"{self.kind} {self.limits}".rstrip()


def settings() -> list[Setting]:
    """Every setting, in the order of `TrainingConfig`."""
    from droidft.config import TrainingConfig

    schema = TrainingConfig.model_json_schema()
    return list(_read(schema))


def add_setting_flags(parser: argparse.ArgumentParser, names: Collection[str] | None = None) -> None:
    """Add a flag for every setting (or those of `names`), `--learning-rate` and `--learning_rate` alike.

    Values are taken as text: `config_from` has them checked by the one place that knows the limits.
    """
    parser.usage = "%(prog)s [FILE] [--SETTING VALUE ...]"  # argparse would list fifty flags
    group = None
    for setting in settings():
        if names is not None and setting.name not in names:
            continue
        if group is None or group.title != setting.group:
            group = parser.add_argument_group(setting.group)
        text = setting.help.replace("%", "%%")
        common: dict[str, Any] = {"dest": PREFIX + setting.name, "default": argparse.SUPPRESS}
        if setting.kind == "boolean":
            common["action"] = argparse.BooleanOptionalAction
        else:
            common["metavar"] = "{" + ",".join(setting.choices) + "}" if setting.choices else setting.kind.upper()
        group.add_argument(setting.flag, help=f"{text} [{setting.shown_default}]", **common)
        if (alias := f"--{setting.name}") != setting.flag:
            group.add_argument(alias, help=argparse.SUPPRESS, **common)


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
    from droidft.config import load_config_file, parse_config

    flags = settings_from(args)
    values = more | (load_config_file(file) if file else {}) | flags
    sources = [str(file)] * (file is not None) + ["command line"] * (bool(flags) or file is None)
    return parse_config(values, source=" and ".join(sources))


def _value(setting: Setting, given: str | bool) -> Any:
    if isinstance(given, bool):
        return given
    if setting.kind == "list":
        return [word.strip() for word in given.split(",") if word.strip()]
    if setting.kind == "text":
        return given
    if setting.optional and given.lower() in {"none", "null"}:
        return None
    for number in (int, float):
        try:
            return number(given)
        except ValueError:
            continue
    return given


def _read(schema: dict[str, Any]) -> Iterator[Setting]:
    group = ""
    for name, field in schema["properties"].items():
        group = GROUPS.get(name, group)
        options = [_resolve(option, schema) for option in field.get("anyOf", [field])]
        main = next(option for option in options if option.get("type") != "null")
        yield Setting(
            name=name,
            group=group,
            kind={"string": "text", "array": "list"}.get(main["type"], main["type"]),
            required=name in schema["required"],
            optional=len(options) > 1,
            default=field.get("default"),
            choices=tuple(main.get("enum", ())),
            limits=", ".join(f"{sign} {main[key]:.10g}" for key, sign in _BOUNDS.items() if key in main),
            help=" ".join(field["description"].split()),
        )


def _resolve(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in field:
        return field
    definition: dict[str, Any] = schema["$defs"][field["$ref"].rsplit("/", 1)[1]]
    return definition

"""Training settings as people see them: fields with limits and help, a command line, a YAML file.

All made from `TrainingConfig`, nothing is written twice.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

GROUPS = {
    "model_path": "Model and data",
    "iterations": "Length of the run",
    "learning_rate": "Optimizer",
    "fine_tune_type": "LoRA",
    "steps_per_report": "Reports, evaluation, checkpoints",
    "grad_checkpoint": "The rest",
}
"""First setting of a group -> the group's title, in the order of `TrainingConfig`."""

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

    def words(self, value: Any) -> list[str]:
        """The flag that sets this to `value`, as words of a command line."""
        if self.kind == "boolean":
            return [self.flag if value else self.flag.replace("--", "--no-", 1)]
        text = ",".join(value) if self.kind == "list" else str(value)
        # A text that begins with a dash would be taken for a flag of its own.
        return (
            [f"{self.flag}={text}"] if text.startswith("-") and self.kind in ("text", "list") else [self.flag, text]
        )


@cache
def settings() -> tuple[Setting, ...]:
    """Every setting, in the order of `TrainingConfig`."""
    from droidft.config import TrainingConfig

    schema = TrainingConfig.model_json_schema()
    return tuple(_read(schema))


def command_line(values: Mapping[str, Any]) -> str:
    """`droidft train` with a flag for each of `values`, quoted for a shell; those that are None are left out."""
    words = ["droidft", "train"]
    for setting in settings():
        if (value := values.get(setting.name)) is not None:
            words += setting.words(value)
    return shlex.join(words)


def to_yaml(values: Mapping[str, Any]) -> str:
    """A settings file with `values`, in the order of `TrainingConfig`; those that are None are left out."""
    import yaml

    known = [setting.name for setting in settings()]
    kept = {name: values[name] for name in known if values.get(name) is not None}
    if not kept:
        return ""
    return str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110))


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

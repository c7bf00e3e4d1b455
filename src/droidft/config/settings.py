"""Settings and rewards as people see them: fields with limits and help, a command line, a YAML file.

All of it is made from `TrainingConfig` and the classes of rewards.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

GROUPS = {
    "method": "Method",
    "model_path": "Model and data",
    "iterations": "Length of the run",
    "learning_rate": "Optimizer",
    "fine_tune_type": "LoRA",
    "rewards": "Rollouts and rewards",
    "beta": "Policy and preference loss",
    "steps_per_report": "Reports, evaluation, checkpoints",
    "grad_checkpoint": "The rest",
}
"""First setting of a group -> the group's title, in the order of `TrainingConfig`."""

DATA_SETTINGS = (
    "method",
    "validation",
    "validation_fraction",
    "split_by",
    "split_column",
    "data_format",
    "text_column",
    "prompt_column",
    "completion_column",
    "messages_column",
    "system_prompt",
    "system_role",
    "chat_template_kwargs",
    "template_date",
    "mask_prompt",
    "train_on",
    "max_seq_length",
    "long_rows",
    "rewards",
    "max_prompt_length",
    "max_completion_length",
    "seed",
    "offline",
)
"""Settings that decide what rows and their tokens are, besides the model and the files."""


@dataclass(frozen=True)
class Bounds:
    """Between which numbers a value lies; None where there is no end."""

    min: float | None
    max: float | None
    above: bool
    """Whether `min` itself is refused."""
    below: bool
    """Whether `max` itself is refused."""

    def __str__(self) -> str:
        ends = ((">" if self.above else "≥", self.min), ("<" if self.below else "≤", self.max))
        return ", ".join(f"{sign} {end:.10g}" for sign, end in ends if end is not None)


@dataclass(frozen=True)
class Setting:
    """One field of `TrainingConfig`, as a person sees it."""

    name: str
    group: str
    kind: str
    """`text`, `integer`, `number`, `boolean`, `list` (of texts), `object` or `objects` (a list of them)."""
    required: bool
    optional: bool
    """Whether `none` (`null` in files) is a value, the default."""
    default: Any
    choices: tuple[str, ...]
    bounds: Bounds
    help: str
    by_method: dict[str, Any]
    """Defaults of the methods that have their own."""

    @property
    def limits(self) -> str:
        """Such as `≥ 0, < 1`; empty without limits."""
        return str(self.bounds)

    @property
    def flag(self) -> str:
        """Such as `--learning-rate`."""
        return "--" + self.name.replace("_", "-")

    @property
    def shown_default(self) -> str:
        """The default as it is written in YAML; `required` where there is none."""
        return "required" if self.required else _written(self.default)

    @property
    def shown_by_method(self) -> str:
        """Such as `grpo, gspo: 0; dpo: 0.1`; empty where every method has the same default."""
        groups: dict[str, list[str]] = {}
        for method, value in self.by_method.items():
            groups.setdefault(_written(value), []).append(method)
        return "; ".join(f"{', '.join(methods)}: {value}" for value, methods in groups.items())

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
        if value is None:
            return [self.flag, "none"]
        if self.kind in ("object", "objects"):
            return [self.flag, json.dumps(value, ensure_ascii=False)]
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
    """`droidft train` with a flag for each of `values`, quoted for a shell; those that are None are left out,
    unless their method has another default."""
    words = ["droidft", "train"]
    for setting in settings():
        if _is_given(setting, values):
            words += setting.words(values[setting.name])
    return shlex.join(words)


def to_yaml(values: Mapping[str, Any]) -> str:
    """A settings file with `values`, in the order of `TrainingConfig`; those that are None are left out, unless their
    method has another default."""
    import yaml

    kept = {setting.name: values[setting.name] for setting in settings() if _is_given(setting, values)}
    if not kept:
        return ""
    return str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110))


def _is_given(setting: Setting, values: Mapping[str, Any]) -> bool:
    """Whether the value has to be written down, because it is not the default."""
    if values.get(setting.name) is not None:
        return True
    return setting.name in values and setting.by_method.get(values.get("method", "")) is not None


def _read(schema: dict[str, Any]) -> Iterator[Setting]:
    from droidft.config import METHODS

    group = ""
    for setting in fields(schema):
        group = GROUPS.get(setting.name, group)
        by_method = {
            str(method): described.defaults[setting.name].value
            for method, described in METHODS.items()
            if setting.name in described.defaults and described.defaults[setting.name].value != setting.default
        }
        yield replace(setting, group=group, by_method=by_method)


def fields(schema: dict[str, Any]) -> Iterator[Setting]:
    """The fields of a class, given its JSON schema, without groups."""
    for name, field in schema["properties"].items():
        options = [_resolve(option, schema) for option in field.get("anyOf", [field])]
        main = next(option for option in options if option.get("type") != "null")
        yield Setting(
            name=name,
            group="",
            kind=_kind(main),
            required=name in schema.get("required", ()),
            optional=len(options) > 1,
            default=field.get("default"),
            choices=tuple(main.get("enum", ())),
            bounds=_bounds(main),
            help=" ".join(field.get("description", "").split()),
            by_method={},
        )


def _bounds(main: dict[str, Any]) -> Bounds:
    above, below = "exclusiveMinimum" in main, "exclusiveMaximum" in main
    low, high = "exclusiveMinimum" if above else "minimum", "exclusiveMaximum" if below else "maximum"
    return Bounds(min=main.get(low), max=main.get(high), above=above, below=below)


def _kind(main: dict[str, Any]) -> str:
    if main["type"] == "array":
        return "list" if main["items"].get("type") == "string" else "objects"
    return "text" if main["type"] == "string" else str(main["type"])


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).strip('"')


def _resolve(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in field:
        return field
    definition: dict[str, Any] = schema["$defs"][field["$ref"].rsplit("/", 1)[1]]
    return definition


COMMON = ("weight", "label")
"""Parameters that every kind has; they are shown last."""


@dataclass(frozen=True)
class RewardKind:
    """One kind of reward."""

    kind: str
    title: str
    range: str
    """Least and most that it gives, in words."""
    help: str
    parameters: tuple[Setting, ...]
    schema: dict[str, Any]
    """JSON schema of the whole object."""


@cache
def reward_kinds() -> tuple[RewardKind, ...]:
    """Every kind, in the order in which they are shown."""
    from droidft.config.rewards import REWARDS

    described = []
    for reward in REWARDS:
        schema = reward.model_json_schema()
        parameters = [setting for setting in fields(schema) if setting.name != "kind"]
        parameters.sort(key=lambda setting: setting.name in COMMON)
        described.append(
            RewardKind(
                kind=schema["properties"]["kind"]["const"],
                title=reward.title,
                range=reward.scale,
                help=schema["description"],
                parameters=tuple(parameters),
                schema=schema,
            )
        )
    return tuple(described)

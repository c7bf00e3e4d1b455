"""From texts and tables of settings to a `TrainingConfig`, or to every reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from droidft.config.rewards import REWARDS
from droidft.config.training import TrainingConfig
from droidft.config.wording import abbreviated, nearest, sentence, worded
from droidft.errors import ConfigError
from droidft.support import strict_json, strict_yaml


def parse_config(values: dict[str, Any], *, source: str = "configuration") -> TrainingConfig:
    """Build a `TrainingConfig`, turning every fault into one `ConfigError` that names each field.

    `source` says where the values came from (a file name, "command line") and leads the message.
    """
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        faults = [_sentence(detail) for detail in error.errors(include_url=False)]
        fields = [str(detail["loc"][0]) for detail in error.errors() if detail["loc"]]
        raise ConfigError(
            f"{source}: " + "; ".join(faults),
            hint=_HINTS["rewards" in fields],
            field=fields[0] if fields else None,
        ) from None


def problems(values: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    """Everything wrong with `values`, as (setting, sentence); the setting is None for a rule between several.

    Rules between settings are also looked at where others are faulty or missing.
    """
    faults: list[tuple[str | None, str]] = []
    for detail in _details(dict(values)):
        if detail["loc"]:
            faults.append((str(detail["loc"][0]), _fault(detail)))
    faulty = {name for name, _ in faults}
    fields = TrainingConfig.model_fields
    kept = {name: "-" for name, field in fields.items() if field.is_required()}
    kept |= {name: value for name, value in values.items() if name in fields and name not in faulty}
    for detail in _details(kept):
        faults += [(None, fault) for fault in detail["ctx"]["error"].faults]
    return faults


def _details(values: dict[str, Any]) -> list[ErrorDetails]:
    try:
        TrainingConfig.model_validate(values)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def load_config_file(path: Path) -> dict[str, Any]:
    """Read the settings of a YAML or JSON file, unvalidated, so that flags can be laid over them."""
    try:
        with path.open("rb") as file:
            text = file.read(strict_yaml.MAX_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from error
    return parse_config_text(text, source=str(path))


def parse_config_text(text: str, *, source: str) -> dict[str, Any]:
    """The settings in a YAML or JSON text, unvalidated. `source` leads the message of an error.

    Raises:
        ConfigError: no YAML, or no table of settings.
    """
    try:
        values = strict_yaml.parse(text)
    except strict_json.Refused as why:
        raise ConfigError(f"{source}: {why.reason}", hint=why.fix) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: holds {type(values).__name__}, not settings", hint="write `name: value` lines")
    return {str(name): value for name, value in values.items()}


_HINTS = {
    True: "`droidft rewards` lists every kind of reward with its parameters, `droidft config` every setting",
    False: "`droidft config` lists every setting with its limits",
}


def _sentence(detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if len(detail["loc"]) > 1:
        return f"{detail['loc'][0]}.{detail['loc'][1]}: {_fault(detail)}"
    if detail["type"] in ("extra_forbidden", "missing"):
        return f"{where} {_fault(detail)}"
    return f"{where}: {_fault(detail)}" if where else _fault(detail)


def _fault(detail: ErrorDetails) -> str:
    """What is wrong with one setting, without its name."""
    if len(detail["loc"]) > 2 or detail["type"].startswith("union_tag"):
        return _fault_of_reward(detail)
    if detail["type"] == "extra_forbidden":
        return f"is not a setting{nearest(str(detail['loc'][0]), list(TrainingConfig.model_fields))}"
    if detail["type"] == "missing":
        return "is required"
    return worded(detail) if detail["loc"] else sentence(detail)


def _fault_of_reward(detail: ErrorDetails) -> str:
    """What is wrong with one of the rewards."""
    kinds = {kind.model_fields["kind"].default: kind for kind in REWARDS}
    match detail["type"]:
        case "union_tag_not_found":
            return f"needs a kind: {', '.join(kinds)}"
        case "union_tag_invalid":
            tag = str(detail["ctx"]["tag"])
            return f"unknown kind {tag!r}{nearest(tag, list(kinds)) or '; use ' + ', '.join(kinds)}"
    kind, name = str(detail["loc"][2]), str(detail["loc"][3]) if len(detail["loc"]) > 3 else ""
    match detail["type"]:
        case "extra_forbidden":
            known = list(kinds[kind].model_fields) if kind in kinds else []
            return f"{kind} has no {name!r}{nearest(name, known)}"
        case "missing":
            return f"{kind} needs {name!r}"
        case "string_pattern_mismatch" if name == "file":
            wrong = abbreviated(detail["input"])
            return f"file must be a plain name such as mine.py, which lies in the home folder's rewards/, got {wrong}"
    return f"{kind} {name}: {worded(detail)}"

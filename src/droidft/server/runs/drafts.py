"""Drafts of a configuration, as they stand in a form: what is wrong with them, and how they look elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from droidft.config import TrainingConfig, parse_config_text, problems, schedule
from droidft.config.settings import command_line, settings, to_yaml
from droidft.data.batches import plan, steps_per_epoch
from droidft.errors import ConfigError
from droidft.server.schemas.data import StepPlan
from droidft.server.schemas.settings import DraftReport, FieldProblem

SCALING = {"lora_rank", "lora_alpha", "lora_scaling"}
BATCH = {"batch_size", "grad_accumulation_steps", "prompts_per_step", "num_iterations"}
LENGTH = {"method", "iterations", "epochs"} | BATCH


def check(values: Mapping[str, Any], *, rows: int | None = None) -> DraftReport:
    """Judge a draft, of a run on `rows` rows where the data has shown how many there are.

    What is faulty is left out of the command line and the file; the schedule needs a draft without faults.
    """
    required = [setting.name for setting in settings() if setting.required]
    given = {name: value for name, value in values.items() if value not in (None, "") or name not in required}
    faults = problems(given)
    faulty = {name for name, _ in faults}
    kept = {name: value for name, value in given.items() if name in TrainingConfig.model_fields.keys() - faulty}
    config = _Draft.model_validate(dict.fromkeys(required, "-") | kept)
    changed = {name: value for name, value in config.changed().items() if name in kept}
    length = None if faulty & LENGTH or rows is None else plan(config, steps_per_epoch(config, rows))
    steps = config.iterations if length is None else length.steps
    return DraftReport(
        ok=not faults,
        problems=[FieldProblem(field=_plain(name), message=_plain(text) or "") for name, text in faults],
        warnings=config.warnings() if not faults else [],
        changed=[name for name in changed if name not in required],
        scale=None if faulty & SCALING else config.lora_scale,
        plan=None if length is None else StepPlan.model_validate(length.model_dump(include={*StepPlan.model_fields})),
        steps=None if faulty & LENGTH else steps,
        command=command_line(changed),
        yaml=to_yaml(changed),
        schedule=schedule.curve(config, total=steps) if not faults and steps is not None else [],
    )


class _Draft(TrainingConfig):
    """Settings each of which is right; contradictions between them are not looked for."""

    def _contradictions(self) -> Iterator[str]:
        return iter(())


def parse(text: str) -> dict[str, Any]:
    """The settings in a YAML file, as values that JSON can carry.

    Raises:
        ConfigError: it is no YAML, or holds something else than settings.
    """
    values = parse_config_text(text, source="the file")
    _refuse_strange(values)
    return values


def _refuse_strange(value: Any) -> None:
    """Refuse what JSON has not."""
    match value:
        case str():
            if _plain(value) != value:
                raise ConfigError(f"the file holds half a character: {_plain(value)}", hint="save it as UTF-8")
        case bool() | int() | None:
            pass
        case float():
            if not math.isfinite(value):
                raise ConfigError(f"the file holds {value}, which is not a finite number")
        case list():
            for part in value:
                _refuse_strange(part)
        case dict():
            for name, part in value.items():
                _refuse_strange(str(name))
                _refuse_strange(part)
        case _:
            hint = "put quotes around it if it is a text"
            raise ConfigError(f"the file holds a {type(value).__name__}, which no setting is", hint=hint)


def _plain(text: str | None) -> str | None:
    """`text` with halves of characters written as escapes, so that it can be sent."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()

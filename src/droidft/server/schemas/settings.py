"""Training settings, as the form needs them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from droidft.server.schemas.base import Body, Wire
from droidft.server.schemas.data import StepPlan


class Bounds(Wire):
    """Between which numbers a value lies; null where there is no end."""

    min: float | None
    max: float | None
    above: bool
    """Whether `min` itself is refused."""
    below: bool
    """Whether `max` itself is refused."""


class SettingView(Wire):
    """One field of the configuration, as the form shows it."""

    name: str
    group: str
    kind: Literal["text", "integer", "number", "boolean", "list", "object", "objects"]
    required: bool
    optional: bool
    """Whether null is a value, the default."""
    default: Any
    choices: list[str]
    bounds: Bounds
    help: str
    by_method: dict[str, Any]
    """Defaults of the methods that have their own."""


class Settings(Wire):
    """Every setting, in order."""

    settings: list[SettingView]


class Draft(Body):
    """Settings as they stand in the form, possibly incomplete or wrong."""

    values: dict[str, Any]
    rows: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Rows, prompts or pairs to train on, where the data check has counted them."""


class FieldProblem(Wire):
    """What is wrong with one setting; `field` is None for a rule between several."""

    field: str | None
    message: str


class DraftReport(Wire):
    """What the server thinks of a draft."""

    ok: bool
    problems: list[FieldProblem]
    warnings: list[str]
    changed: list[str]
    scale: float | None
    """Factor on the update B·A."""
    plan: StepPlan | None
    """How long the run is, where the number of rows is known."""
    steps: int | None
    """Optimizer steps of the run; known without rows where `iterations` says so."""
    command: str
    yaml: str
    schedule: list[tuple[int, float]]
    """Learning rate over optimizer steps, as (step, rate); empty where the number of steps is unknown."""


class YamlText(Body):
    """A settings file."""

    text: Annotated[str, Field(max_length=100_000)]


class ParsedSettings(Wire):
    """The settings that a file names, unchecked."""

    values: dict[str, Any]

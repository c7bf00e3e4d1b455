"""The plan of an experiment, as a person writes it: arms that differ in named settings, seeds, a margin.

    settings: {model_path: …, train_data_path: …, mask_prompt: true}
    template: full-layer-vs-attention        # or arms, or a sweep
    seeds: [0, 1, 2]
    equivalence_margin: 0.02
    measurement: {questions: numeric_answer}

What it leaves open (ranks to be matched, steps) is settled by `workers/settle.py`, before the first step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from droidft.config import Family, Method, TrainingConfig, nearest, parse_config, problems
from droidft.config.measurement import Check, Harness, Measurement, Questions
from droidft.config.wording import abbreviated, sentence, worded
from droidft.errors import ConfigError

BASE = "base"
"""Name of the base model among the arms: the experiment's run zero."""
VERDICT_SEEDS = 3
"""With fewer, results are exploratory."""
MOST_ARMS = 64
GENERAL_TEXT = Path(__file__).with_name("general.jsonl")
"""Short paragraphs on many subjects, written for this purpose: what forgetting is measured on by default."""

ArmName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


SHARED = frozenset(
    {"model_path", "train_data_path", "val_data_path", "validation_fraction", "test_fraction", "split_seed"}
    | {"data_format", "text_column", "prompt_column", "completion_column", "messages_column", "system_prompt"}
    | {"system_role", "chat_template_kwargs", "template_date", "train_on"}
    | {"mask_prompt", "max_seq_length", "long_rows", "method", "offline", "split_by", "split_column"}
)
"""Settings that no arm can have of its own: their losses would not be those of the same tokens."""


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


class Template(StrEnum):
    """Questions that are asked often."""

    FULL_LAYER_VS_ATTENTION = "full-layer-vs-attention"


class Arm(_Model):
    """One side of a comparison: how its settings differ from those that all share."""

    settings: dict[str, Any] = {}
    """Settings of its own, laid over those of the plan."""
    match_count_of: ArmName | None = None
    """Another arm: `lora_rank` is chosen so that as many parameters are trained, at the same scale."""

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, values: Any) -> Any:
        """`{lora_targets: mlp, match_count_of: other}` will do."""
        if not isinstance(values, dict) or "settings" in values:
            return values
        own = {name: value for name, value in values.items() if name != "match_count_of"}
        return {"settings": own, "match_count_of": values.get("match_count_of")}


class Plan(_Model):
    """What is compared, on what data, how often, and how large a difference matters."""

    title: Annotated[str, Field(max_length=200)] = ""
    """The question, in words."""
    settings: dict[str, Any]
    """Settings that all arms share, by their names in docs/config.md."""
    template: Template | None = None
    """Arms for a common question: `full-layer-vs-attention` compares both at one rank and at one trainable count."""
    arms: Annotated[dict[ArmName, Arm], Field(max_length=MOST_ARMS)] = {}
    """Arms by name, each with the settings in which it differs."""
    sweep: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(max_length=8)] = {}
    """Values of some settings: every combination is an arm. Chosen by validation loss, judged on the test set."""
    contrasts: Annotated[list[tuple[ArmName, ArmName]], Field(min_length=1)] | None = None
    """Pairs of arms to compare. Default: the first arm with each other one; of a sweep, the best with the first."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=100)] = [0, 1, 2]
    """Each arm is trained once with each seed. A verdict takes three; fewer is exploratory."""
    learning_rates: Annotated[list[Rate], Field(min_length=1, max_length=16)] | None = None
    """Rates tried for each arm: chosen by validation loss, judged on the test set. Default: that of the settings."""
    shares: Annotated[list[Share], Field(min_length=1, max_length=16)] = [1.0]
    """Shares of the training data, each part of the next, for the data-efficiency curve: `[0.1, 0.25, 0.5, 1]`."""
    equivalence_margin: Annotated[float, Field(gt=0, le=10)] = 0.02
    """A difference in nats per token below this does not matter: set before the first step."""
    measurement: Measurement = Measurement()
    """What is measured of each trained model."""

    @field_validator("seeds", "shares", "learning_rates")
    @classmethod
    def _once(cls, values: list[Any] | None) -> list[Any] | None:
        if again := _repeated(values or []):
            raise ValueError(f"names {again[0]} twice")
        return values

    @field_validator("shares")
    @classmethod
    def _rising(cls, values: list[float]) -> list[float]:
        if 1.0 not in values:
            raise ValueError("must hold 1, all of the data")
        # Runs are named after shares, to six digits.
        if again := _repeated([f"{value:g}" for value in values]):
            one, other, *_ = [value for value in values if f"{value:g}" == again[0]]
            raise ValueError(f"{one} and {other} both come to {again[0]}; leave one out")
        return sorted(values)

    @field_validator("settings")
    @classmethod
    def _not_own(cls, values: dict[str, Any]) -> dict[str, Any]:
        _refuse_own(values)
        if "split_seed" in values and values["split_seed"] is None:
            raise ValueError("split_seed null would give each seed another test set; give a number, or leave it out")
        if part := next((name for name in values if name in cls.model_fields), None):
            raise ValueError(f"{part} is a part of the plan, not a setting: put it beside settings")
        if (method := values.get("method")) in list(Method) and Method(method).family is not Family.ANSWERS:
            raise ValueError(
                f"method '{method}' learns from {Method(method).family}; experiments compare supervised fine-tuning "
                "(leave method out, or write sft). Enhanced Setup and `droidft train` do the rest"
            )
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in ("template", "arms", "sweep") if getattr(self, name)]
        if len(given) != 1:
            what = "both " + " and ".join(given) if given else "neither template, arms nor sweep"
            raise ValueError(f"{what} given: one of them says what is compared")
        if twice := next((name for name, values in self.sweep.items() if _repeated(values)), None):
            raise ValueError(f"sweep: {twice} names {_repeated(self.sweep[twice])[0]!r} twice")
        arms = self.all_arms()
        if BASE in arms:
            raise ValueError(f"arm {BASE!r}: that is the model itself, run zero; choose another name")
        if len(arms) < 2:
            raise ValueError(f"a comparison takes two arms or more, got {', '.join(arms)}")
        if len(arms) > MOST_ARMS:
            raise ValueError(f"the sweep has {len(arms)} combinations; {MOST_ARMS} are the most")
        for name, arm in arms.items():
            where = "sweep" if self.sweep else f"arm {name}"
            _refuse_own(arm.settings, f"{where}: ")
            if not_own := sorted(SHARED & arm.settings.keys()):
                raise ValueError(f"{where}: {not_own[0]} must be the same for all arms; put it into settings")
            self._check_matching(name, arm, arms)
        for pair in self.contrasts or []:
            self._check_contrast(pair, arms)
        if again := _repeated([frozenset(pair) for pair in self.contrasts or []]):
            raise ValueError(f"contrasts: {' and '.join(sorted(again[0]))} are compared twice")
        if self.measurement.test_data_path is not None and self.settings.get("test_fraction"):
            raise ValueError(
                f"test_fraction {self.settings['test_fraction']:g} would set rows aside that are never used, since "
                "measurement.test_data_path is given; leave one of them out"
            )
        of_split, of_rows = self.settings.get("split_column"), self.measurement.cluster_column
        if None not in (of_split, of_rows) and of_split != of_rows:
            raise ValueError(
                f"split_column {of_split!r} and measurement.cluster_column {of_rows!r} differ: rows that belong "
                "together are one thing; leave split_column out"
            )
        if self.learning_rates is not None and any("learning_rate" in arm.settings for arm in arms.values()):
            raise ValueError("learning_rates are tried for every arm, so no arm can have a learning_rate of its own")
        return self

    @staticmethod
    def _check_matching(name: str, arm: Arm, arms: Mapping[str, Arm]) -> None:
        if (other := arm.match_count_of) is None:
            return
        if other not in arms or other == name:
            raise ValueError(f"arm {name}: match_count_of {other!r} is no other arm")
        if arms[other].match_count_of is not None:
            raise ValueError(
                f"arm {name}: match_count_of {other!r}, whose own rank is matched; name the arm behind it"
            )

    @staticmethod
    def _check_contrast(pair: tuple[str, str], arms: Mapping[str, Arm]) -> None:
        if unknown := [name for name in pair if name not in arms]:
            raise ValueError(f"contrasts: {unknown[0]!r} is no arm; there are {', '.join(arms)}")
        if pair[0] == pair[1]:
            raise ValueError(f"contrasts: {pair[0]!r} cannot be compared with itself")

    def all_arms(self) -> dict[str, Arm]:
        """The arms, those of the template or the sweep included."""
        if self.template is Template.FULL_LAYER_VS_ATTENTION:
            return {
                "full-layer": Arm(settings={"lora_targets": "full-layer"}),
                "attention-qv": Arm(settings={"lora_targets": "attention-qv"}),
                "attention-qv-matched": Arm(settings={"lora_targets": "attention-qv"}, match_count_of="full-layer"),
            }
        if self.sweep:
            names, values = zip(*self.sweep.items(), strict=True)
            grid = [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values)]
            return {f"s{number + 1:02}": Arm(settings=settings) for number, settings in enumerate(grid)}
        return dict(self.arms)

    def all_contrasts(self) -> list[tuple[str, str]]:
        """The pairs that are compared. Those of a sweep are known only when its best arm is."""
        if self.contrasts is not None:
            return list(self.contrasts)
        first, *others = self.all_arms()
        return [] if self.sweep else [(first, other) for other in others]

    def config(
        self, arm: str, *, seed: int, share: float = 1.0, learning_rate: float | None = None
    ) -> TrainingConfig:
        """The settings of one run, ranks not yet matched.

        Raises:
            ConfigError: a setting is refused; the message names the arm.
        """
        values = self.shared(seed=seed, share=share) | self.all_arms()[arm].settings
        if learning_rate is not None:
            values |= {"learning_rate": learning_rate}
        config = parse_config(values, source=self._where(arm))
        if config.iterations is not None and len(self.shares) > 1:
            where = "settings" if "iterations" in self.settings else self._where(arm)
            raise ConfigError(
                f"{where}: iterations {config.iterations} would train longer on a smaller share of the data",
                hint="give epochs instead, or leave shares out",
                field="iterations",
            )
        return config

    def check_shares(self, rows: Mapping[float, int]) -> None:
        """Refuse shares that come to the same number of rows, which `rows` holds: their runs would be equal.

        Raises:
            ConfigError: there are two such shares; the message names both.
        """
        for one, other in itertools.pairwise(self.shares):
            if rows[one] == rows[other]:
                raise ConfigError(
                    f"shares {one:g} and {other:g} both come to {rows[one]:,} of {rows[1.0]:,} training rows",
                    hint="leave one of them out",
                    field="shares",
                )

    def shared(self, *, seed: int, share: float = 1.0) -> dict[str, Any]:
        """What all arms share, with what the experiment itself sets."""
        own = {"seed": seed, "train_fraction": share, "keep_checkpoints": 1, "split_seed": 0}
        return own | self._test_part() | self.settings

    def _where(self, arm: str) -> str:
        if not self.sweep:
            return f"arm {arm}"
        return "sweep, " + ", ".join(f"{name} {value}" for name, value in self.all_arms()[arm].settings.items())

    def _test_part(self) -> dict[str, Any]:
        return {} if self.measurement.test_data_path is not None else {"test_fraction": 0.1}

    @property
    def exploratory(self) -> bool:
        """Whether there are too few seeds for a verdict."""
        return len(self.seeds) < VERDICT_SEEDS


def parse_plan(values: Mapping[str, Any], *, source: str) -> Plan:
    """A plan whose arms have settings that are legal.

    Raises:
        ConfigError: every fault, by its place.
    """
    try:
        plan = Plan.model_validate(dict(values))
    except ValidationError as error:
        where = next((str(each["loc"][0]) for each in error.errors() if each["loc"]), None)
        raise ConfigError(
            f"{source}: " + "; ".join(faults(error, Plan.model_fields)),
            hint="docs/experiments.md shows every part of a plan",
            field=where,
        ) from None
    try:
        _refuse_illegal(plan)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error.message}", hint=error.hint, field=error.field) from None
    return plan


def _refuse_illegal(plan: Plan) -> None:
    """Refuse settings that are illegal: as an arm's where its own are the reason, else as those that all share."""
    shared = plan.shared(seed=plan.seeds[0])
    alone = problems(shared)
    if any(name is not None for name, _ in alone):
        parse_config(shared, source="settings")
    for name, arm in plan.all_arms().items():
        if common := [fault for _, fault in problems(shared | arm.settings) if (None, fault) in alone]:
            raise ConfigError(
                f"settings: {'; '.join(common)}", hint="`droidft config` lists every setting with its limits"
            )
        plan.config(name, seed=plan.seeds[0])


def _repeated(values: Sequence[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value in values[:place]]


def _refuse_own(values: Mapping[str, Any], where: str = "") -> None:
    for name, instead in OWN.items():
        if name in values:
            raise ValueError(f"{where}{name} belongs to the experiment: {instead}")


OWN = {
    "seed": "give seeds",
    "train_fraction": "give shares",
    "validation": "weights and learning rates are chosen by validation loss",
    "adapter_name": "adapters are named after their runs",
    "resume": "an experiment resumes by itself",
}
"""Settings that belong to the experiment, and what to do instead."""
CHECKS: Mapping[str, type[BaseModel]] = {
    kind.model_fields["kind"].default: kind for kind in get_args(get_args(Check)[0])
}
"""How answers can be judged, by kind."""
PARTS: Mapping[str, type[BaseModel]] = {
    "measurement": Measurement,
    "measurement.questions": Questions,
    "measurement.harness": Harness,
}
"""Parts that have parts."""
MOST_MEANT = 20
"""Up to here a number in the place of the seeds is taken for how many there are to be."""
NAME = "use a to z, 0 to 9 and, between them, -; up to 24 characters"


def faults(error: ValidationError, parts: Iterable[str]) -> list[str]:
    """Every fault as a sentence that begins with its place; `parts` are those of a plan."""
    return [_sentence(detail, list(parts)) for detail in error.errors(include_url=False)]


def _sentence(detail: ErrorDetails, parts: list[str]) -> str:
    path, kind = detail["loc"], detail["type"]
    match path:
        case ("arms", *rest) if rest:
            return _of_arm(detail, rest)
        case ("contrasts", int(number), *_):
            return f"contrasts, item {number + 1}: {_of_contrast(detail)}"
        case ("measurement", "questions", "check", *_):
            return f"measurement.questions.check{_of_check(detail, path[3:])}"
        case ("seeds",) if kind == "list_type" and type(count := detail["input"]) is int and 0 < count <= MOST_MEANT:
            return f"seeds: must be a list such as [{', '.join(map(str, range(count)))}], got {count}"
        case (*_, name, "[key]"):
            return f"{place(path[:-2])}: {name!r} is not text; put it in quotes"
        case (*above, name) if kind == "extra_forbidden":
            return _unknown(str(name), place(above), parts)
    return f"{place(path)}{_wrong(detail)}".removeprefix(": ")


def place(path: Sequence[str | int]) -> str:
    """`sweep.lora_rank, item 2`."""
    return "".join(f", item {part + 1}" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _wrong(detail: ErrorDetails) -> str:
    """What is wrong with a value, to be put right behind its place."""
    match detail["type"]:
        case "value_error":
            return f": {sentence(detail)}"
        case "missing":
            return " is required"
        case "too_short":
            return f": {worded(detail)}; leave it out for the default"
        case "too_long":
            return f": {worded(detail)}; leave some out"
    return f": {worded(detail)}"


def _unknown(name: str, above: str, parts: list[str]) -> str:
    if not above and name in OWN:
        return f"{name} is not a part of a plan: {OWN[name]}"
    if not above and name in TrainingConfig.model_fields:
        return f"{name} is a setting, not a part of a plan: put it into settings"
    known = list(PARTS[above].model_fields) if above in PARTS else parts
    meant = nearest(name, known) or f"; there are {', '.join(known)}"
    return f"{above}{'.' * bool(above)}{name} is not a part of {above or 'a plan'}{meant}"


def _of_arm(detail: ErrorDetails, path: Sequence[str | int]) -> str:
    name, *inside = path
    match inside:
        case ["[key]"]:
            return f"arms: {name!r} is no name for an arm: {NAME if isinstance(name, str) else 'put it in quotes'}"
        case ["match_count_of"] if detail["type"] == "string_pattern_mismatch":
            return f"arms.{name}: match_count_of {abbreviated(detail['input'])} is no name for an arm: {NAME}"
        case [setting] if detail["type"] == "extra_forbidden":
            return f"arms.{name}: {setting} stands beside settings; put it into them"
        case []:
            own = "nothing" if detail["input"] is None else abbreviated(detail["input"])
            return f"arms.{name}: must hold settings of its own, or {{}} for those that all share, got {own}"
    return f"arms.{name}.{place(inside)}{_wrong(detail)}"


def _of_contrast(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "string_pattern_mismatch":
            return f"{abbreviated(detail['input'])} is no name for an arm: {NAME}"
        case "string_type":
            return f"{abbreviated(detail['input'])} is no name for an arm: put it in quotes"
    return f"must be two arms such as [a, b], got {abbreviated(detail['input'])}"


def _of_check(detail: ErrorDetails, path: Sequence[str | int]) -> str:
    kinds = ", ".join(CHECKS)
    match detail["type"]:
        case "missing" | "union_tag_not_found" if not path:
            return f" is required: {kinds}"
        case "union_tag_invalid":
            kind = str(detail["ctx"]["tag"])
            return f": unknown kind {kind!r}{nearest(kind, CHECKS)}; there are {kinds}"
        case "extra_forbidden":
            kind, name = map(str, path)
            known = CHECKS[kind].model_fields
            return f": {kind} has no {name!r}{nearest(name, known) or '; it has ' + ', '.join(known)}"
    return f"{''.join(f'.{part}' for part in path[1:])}{_wrong(detail)}"

"""What is wrong with a plan as it was written, part by part: the value, the limit, the fix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from droidft.config import TrainingConfig, nearest
from droidft.config.wording import abbreviated, sentence, worded
from droidft.measurement import Check, Harness, Measurement, Questions

OWN = {
    "seed": "give seeds",
    "train_fraction": "give shares",
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

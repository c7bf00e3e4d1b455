"""What an experiment has found, written down by hand: plausible numbers, for reports that need no training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, get_args

from droidft.config.measurement import Answers, Measurements, RowLosses
from droidft.experiments.findings.account import table
from droidft.experiments.findings.results import (
    Analysis,
    ArmResult,
    BaseResult,
    ContrastResult,
    Curve,
    CurvePoint,
    Interval,
    Kind,
    NoiseFloor,
    PerSeed,
    RateResult,
    Reaches,
    RunRow,
    ScoreResult,
    SweepRow,
)
from droidft.experiments.findings.stats import noise_floor
from droidft.experiments.plan.settled import FixedPlan
from droidft.support.words import signed

ID = "x20261126-090000"
TOTAL = 134_515_008
VERSIONS = {"python": "3.11.7", "droidft": "0.1.0", "mlx": "0.32.4"}
DEVICE = {"kind": "cpu", "name": "A processor", "memory_bytes": 16_000_000_000, "blas": {"path": "/opt/b/libblas.so"}}


def plan(arms: Sequence[str] = (), /, **changes: Any) -> FixedPlan:
    """The template's three arms unless `arms` are named; `changes` are those of the plan as written."""
    names = list(arms) or ["full-layer", "attention-qv", "attention-qv-matched"]
    written: dict[str, Any] = {
        "title": "Is full-layer LoRA better on my support mails?",
        "settings": {"model_path": "/models/tiny", "train_data_path": "/data/mails.jsonl", "learning_rate": 3e-4},
        "seeds": [0, 1, 2],
        "shares": [0.1, 0.25, 0.5, 1],
        "measurement": {"questions": "numeric_answer"},
        **({"arms": {name: {} for name in names}} if arms else {"template": "full-layer-vs-attention"}),
    }
    written |= changes
    values = {
        "id": ID,
        "created": 1_795_680_000.0,
        "plan": written,
        "arms": [_arm(name, written["shares"]) for name in names],
        "contrasts": [] if written.get("sweep") else [(names[0], other) for other in names[1:]],
        "sizes": SIZES,
        **{name: name[0] * 64 for name in ("data_hash", "test_hash", "general_hash", "base_hash")},
        "model": "/models/tiny",
        "versions": VERSIONS,
        "device": DEVICE,
        "warnings": ["12 test rows are also in the training data: memory counts as learning there"],
        "costs": [_cost(name) for name in names],
        "estimate": {"runs": 37, "seconds": 8700.0, "peak_bytes": 2_600_000_000, "disk_bytes": 700_000_000},
    }
    return FixedPlan.model_validate(values)


SIZES = {
    "train_rows": 640,
    "validation_rows": 48,
    "test_rows": 100,
    "general_rows": 44,
    "questions": 100,
    "clusters": 91,
    "train_tokens": 81_234,
    "validation_tokens": 6_012,
    "test_tokens": 12_700,
    "general_tokens": 3_153,
    "seen_in_training": 12,
    "split": "48 of 788 rows held out for validation at random (seed 0)",
}


def _arm(name: str, shares: Sequence[float]) -> dict[str, Any]:
    matched = name.endswith("-matched")
    return {
        "name": name,
        "differs": {"lora_targets": "attention-qv" if "attention" in name else "full-layer"},
        "rank": 170 if matched else 32,
        "alpha": 170.0 if matched else 32.0,
        "scale": 1.0,
        "trainable": 9_792_000 if matched else 1_843_200 if "attention" in name else 9_768_960,
        "total": TOTAL,
        "matched": "full-layer" if matched else None,
        "steps": {f"{share:g}": max(1, round(80 * share)) for share in shares},
    }


def _cost(name: str) -> dict[str, Any]:
    return {
        "arm": name,
        "seconds_per_token": 0.004,
        "evaluation_seconds_per_token": 0.001,
        "peak_bytes": 2_400_000_000,
        "seconds_per_run": 232.0,
    }


def analysis(fixed: FixedPlan | None = None, *, effect: float = 0.04, **changes: Any) -> Analysis:
    """All runs done; arms are `effect` nats per token apart."""
    fixed = fixed or plan()
    seeds, shares = fixed.plan.seeds, fixed.plan.shares
    base = BaseResult(
        test_loss=2.1347,
        test_interval=_interval(2.1347, 0.2),
        general_loss=3.7901,
        accuracy=0.04,
        questions=100,
    )
    arms = [_result(arm.name, fixed, 0.8 + effect * place) for place, arm in enumerate(fixed.arms)]
    by_name = {arm.arm: arm for arm in arms}
    contrasts = [_contrast(by_name[first], by_name[second], fixed) for first, second in fixed.contrasts]
    floor = noise_floor([arm.test_loss.values for arm in arms])
    values: dict[str, Any] = {
        "plan": fixed,
        "complete": True,
        "verdict": " ".join(each.sentence for each in contrasts) or "Nothing can be said yet.",
        "runs": list(_runs(fixed, arms)),
        "base": base,
        "arms": arms,
        "contrasts": contrasts,
        "noise_floor": NoiseFloor(sd=floor.sd, difference=floor.difference) if floor else None,
        "curves": [_curve(arm, shares, len(seeds)) for arm in arms] if len(shares) > 1 else [],
        "sweep": _sweep(fixed, arms) if fixed.plan.sweep else [],
        "table": table(base, arms, contrasts, seeds=len(seeds)),
        "notes": [*fixed.warnings, "Times are of this machine, together with whatever else it did."],
    }
    return Analysis.model_validate(values | changes)


def pending(fixed: FixedPlan | None = None) -> Analysis:
    """A plan that was fixed, and nothing done yet."""
    fixed = fixed or plan()
    fields = ContrastResult.model_fields.items()
    nothing = {name: None for name, field in fields if type(None) in get_args(field.annotation)}
    contrasts = [
        {"first": first, "second": second, "kind": Kind.PENDING, "exploratory": False, "per_seed": [], "scores": []}
        | {"sentence": f"{first} and {second} cannot be compared yet."}
        | nothing
        for first, second in fixed.contrasts
    ]
    waiting = _row("base", None, 1.0) | {"status": "waiting"}
    return analysis(
        fixed, complete=False, verdict="Nothing can be said yet.", runs=[waiting], base=None, arms=[], table=None,
        contrasts=contrasts, noise_floor=None, curves=[], sweep=[],
    )  # fmt: skip


def measured(fixed: FixedPlan) -> dict[str, Measurements]:
    """Rows of two runs."""
    rows = RowLosses(
        losses=[3.25, 1.5], tokens=[4, 2], clusters=[0, 1], places=["mails.jsonl:3", "mails.jsonl:9"], data_hash="t"
    )
    answered = Answers(check="numeric_answer", rows=[0], right=[True], answers=["</script> 42"])
    each = Measurements(
        step=80, test=rows, general=rows, questions=answered, seen_in_training=0, seconds=3.5
    )  # fmt: skip
    return {f"{fixed.id}.base": each, f"{fixed.id}.full-layer.s0": each}


def _interval(value: float, half: float) -> Interval:
    return Interval(value=value, low=value - half, high=value + half)


def _per_seed(mean: float, seeds: int, spread: float = 0.004) -> PerSeed:
    drawn = random.Random(f"{mean:.6f}")
    values = [mean + drawn.gauss(0, spread) for _ in range(seeds)]
    centre = sum(values) / seeds
    sd = (sum((value - centre) ** 2 for value in values) / (seeds - 1)) ** 0.5 if seeds > 1 else None
    return PerSeed(mean=centre, values=values, sd=sd)


def _result(name: str, fixed: FixedPlan, loss: float) -> ArmResult:
    arm, seeds = fixed.arm(name), fixed.plan.seeds
    tried = fixed.plan.learning_rates or []
    return ArmResult(
        arm=name,
        rank=arm.rank,
        trainable=arm.trainable,
        total=arm.total,
        learning_rate=3e-4,
        seeds=list(seeds),
        validation_loss=_per_seed(loss - 0.03, len(seeds)),
        test_loss=_per_seed(loss, len(seeds)),
        test_interval=_interval(loss, 0.06),
        general_loss=_per_seed(3.7901 + 0.01, len(seeds)),
        forgetting=_interval(0.01, 0.013),
        accuracy=_per_seed(0.41, len(seeds), 0.02),
        seconds=_per_seed(189.0, len(seeds), 5),
        tokens_per_second=_per_seed(201.0, len(seeds), 4),
        peak_bytes=2_640_000_000,
        adapter_bytes=39_100_000,
        steps=_per_seed(70.0, len(seeds), 2),
        rates=[
            RateResult(learning_rate=rate, validation_loss=_per_seed(loss + 0.02 * at, len(seeds)), chosen=at == 0)
            for at, rate in enumerate(tried)
        ],
    )


def _contrast(first: ArmResult, second: ArmResult, fixed: FixedPlan) -> ContrastResult:
    """The difference of two arms, half as wide as it is large."""
    sides = zip(first.test_loss.values, second.test_loss.values, strict=True)
    per_seed = [one - two for one, two in sides]
    value = sum(per_seed) / len(per_seed)
    half = 0.5 * abs(value) + 1e-3
    exploratory = len(per_seed) < 3
    shared = len(fixed.plan.shares) > 1
    numbers = f"{signed(value)} [{signed(value - half)}, {signed(value + half)}]"
    return ContrastResult(
        first=first.arm,
        second=second.arm,
        kind=Kind.BETTER if value < 0 else Kind.WORSE,
        exploratory=exploratory,
        sentence=f"{first.arm} is better than {second.arm}: test loss {numbers} nats per token.",
        difference=_interval(value, half),
        p=0.000021,
        adjusted_p=0.000042,
        equivalence_p=0.97,
        degrees_of_freedom=5.53,
        per_seed=per_seed,
        seed_sd=0.0044 if len(per_seed) > 1 else None,
        variance_of_seeds=3e-6,
        variance_of_examples=9e-6,
        perplexity_ratio=Interval(value=0.961, low=0.942, high=0.98),
        examples_better=0.73,
        forgetting=_interval(-0.002, 0.01),
        scores=[SCORE] if fixed.plan.measurement.questions else [],
        reaches=REACHES.model_copy(update={"sentence": REACHES.sentence.format(first.arm, second.arm)})
        if shared
        else None,
        needed=None,
    )


SCORE = ScoreResult(
    name="questions",
    first=0.413,
    second=0.377,
    difference=Interval(value=0.0367, low=-0.041, high=0.114),
    telling=18,
    only_first=11,
    only_second=7,
    mcnemar_p=0.481,
    adjusted_p=0.962,
    questions=100,
)
REACHES = Reaches(
    share=0.43,
    low=0.31,
    high=None,
    smallest=0.1,
    below=False,
    sentence="{} reaches {}'s loss with 43% of the data [95 % interval: 31% to more than 100%].",
)


def _curve(arm: ArmResult, shares: Sequence[float], seeds: int) -> Curve:
    points = []
    for share in shares:
        mean = arm.test_loss.mean * share**-0.12
        values = _per_seed(mean, seeds).values
        points.append(
            CurvePoint(share=share, rows=round(640 * share), loss=_interval(mean, 0.07 * mean), values=values)
        )
    return Curve(arm=arm.arm, points=points)


def _sweep(fixed: FixedPlan, arms: Sequence[ArmResult]) -> list[SweepRow]:
    losses = [arm.validation_loss.mean for arm in arms]
    return [
        SweepRow(
            arm=arm.arm,
            settings=fixed.arm(arm.arm).differs,
            validation_loss=arm.validation_loss,
            best_so_far=min(losses[: at + 1]),
        )
        for at, arm in enumerate(arms)
    ]


def _runs(fixed: FixedPlan, arms: Sequence[ArmResult]) -> list[RunRow]:
    rows = [_row("base", None, 1.0)]
    for at, seed in enumerate(fixed.plan.seeds):
        for arm in arms:
            rows += [_row(arm.arm, seed, share, arm.test_loss.values[at]) for share in fixed.plan.shares[::-1]]
    return [RunRow.model_validate(row) for row in rows]


def _row(arm: str, seed: int | None, share: float, loss: float | None = None) -> dict[str, Any]:
    part = "" if share == 1 else f".d{100 * share:g}"
    return {
        "run": f"{ID}.{arm}{part}" + ("" if seed is None else f".s{seed}"),
        "arm": arm,
        "seed": seed,
        "share": share,
        "learning_rate": None if seed is None else 3e-4,
        "status": "finished",
        "validation_loss": None if loss is None else loss - 0.03,
        "test_loss": loss,
        "general_loss": None if loss is None else 3.8,
        "right": None if loss is None else 41,
        "seconds": None if loss is None else 189.0,
        "whole_seconds": None if loss is None else 231.0,
        "step": None if loss is None else 70,
        "steps": None if seed is None else 80,
        "tokens": None if loss is None else 38_000,
        "peak_bytes": None if loss is None else 2_640_000_000,
        "adapter_bytes": None if loss is None else 39_100_000,
    }

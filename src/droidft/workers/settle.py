"""Settling a plan: ranks matched, data read and hashed, steps counted, a few of them timed.

Between `experiments`, which knows no engine, and the engine. What can be refused is refused before the first run.
A server asks a process for it, over `channel`: `python -m droidft.workers.settle`. It lives for one plan, since
timing steps takes memory that a server must not keep.
"""

from __future__ import annotations

import datetime
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droidft.config import FineTuneType, LoraScaling, SplitBy, TrainingConfig
from droidft.data.batches import plan as length_of
from droidft.data.batches import rows_of_share, steps_per_epoch
from droidft.data.prepare import Prepared, prepare
from droidft.data.template import ChatTemplate
from droidft.engine.machine.device import Device, computing
from droidft.engine.machine.host import versions
from droidft.errors import ConfigError
from droidft.experiments.plan.settled import (
    EVALUATIONS,
    LOADING_SECONDS,
    Cost,
    Estimate,
    FixedArm,
    FixedPlan,
    Sizes,
    count_of_runs,
    share_key,
)
from droidft.experiments.plan.written import GENERAL_TEXT, VERDICT_SEEDS, Plan
from droidft.experiments.runs import folder
from droidft.experiments.runs.folder import Experiment
from droidft.home import Home
from droidft.models import catalog
from droidft.models.fingerprint import fingerprint
from droidft.support.channel import Call, serve
from droidft.support.words import count, percent
from droidft.workers.accept import refuse_unacceptable

if TYPE_CHECKING:
    from droidft.engine.evaluation.measure import Material, Rehearsal
    from droidft.engine.model.describe import Shape

REHEARSED_STEPS = 3
FAR_OFF = 0.05
"""A matched count that is off by a larger part than this is warned of."""

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it, and of how much; what it raises ends the planning."""


def main() -> None:
    """Answer until the server is gone."""
    serve({"fix": _answer})


def _answer(call: Call) -> dict[str, Any]:
    """Parameters: `home`, `experiment`, `timed`. Events report progress; the settled plan is written down."""
    experiment = folder.find(Home(Path(call.params["home"])), call.params["experiment"])
    settle(experiment, report=call.report, timed=call.params["timed"])
    return {"experiment": experiment.id}


def settle(experiment: Experiment, *, report: Report, timed: bool) -> FixedPlan:
    """The plan of `experiment` with nothing left open, written down in its folder.

    Raises:
        DroidError: as `fix`.
    """
    home = experiment.home
    with computing(home.cache) as device:
        fixed = fix(
            experiment.plan(), experiment_id=experiment.id, home=home, device=device, report=report, timed=timed
        )
    return experiment.fix(fixed)


def fix(
    plan: Plan, *, experiment_id: str, home: Home, device: Device, report: Report, timed: bool = True
) -> FixedPlan:
    """Settle all that `plan` leaves open; with `timed`, also what it will cost.

    Raises:
        DroidError: of the kind that fits, naming value, limit and fix.
    """
    # These import mlx, which has to see the device as `computing` left it.
    from droidft.engine.evaluation.measure import prepare_measurement
    from droidft.engine.model import loading
    from droidft.engine.model.describe import open_shape
    from droidft.engine.model.trainable import examine_for_training

    column = plan.measurement.cluster_column
    configs = {name: _grouped(plan, plan.config(name, seed=plan.seeds[0]), column) for name in plan.all_arms()}
    first = next(iter(configs.values()))
    _refuse_unacceptable(configs, home)
    model = catalog.find_model(first.model_path, models_dir=home.models, offline=first.offline)
    context = catalog.context_length(catalog.load_config(model))
    notes = examine_for_training(model)
    shape = open_shape(model)
    report("reading data", 0, 0)
    tokenizer = loading.load_tokenizer(model)
    configs, data = _read(plan, _dated(configs, tokenizer), tokenizer, context)
    first = next(iter(configs.values()))
    material = prepare_measurement(
        first, plan.measurement, tokenizer, data, general=GENERAL_TEXT, context_length=context
    )
    _refuse_one_group(material)
    report("hashing the model", 0, 0)
    base = fingerprint(model, cache=home.cache / "fingerprints.json")["weights_sha256"]
    rows = {share: rows_of_share(data.split_keys, first, share) for share in plan.shares}
    plan.check_shares(rows)
    arms = _arms(plan, configs, shape, rows)
    warned = [*notes, *data.report.warnings, *_setting_warnings(configs)]
    warned += [*_weaknesses(plan, data, material, rows), *_mismatches(arms)]
    fixed = FixedPlan(
        id=experiment_id,
        created=time.time(),
        plan=plan,
        arms=arms,
        contrasts=plan.all_contrasts(),
        sizes=_sizes(data, material),
        data_hash=data.report.data_hash,
        test_hash=material.test.tokens.sha256(),
        general_hash=material.general.tokens.sha256(),
        base_hash=base,
        model=str(model),
        versions={**versions(), **device.identity()},
        device=device.as_dict(),
        warnings=list(dict.fromkeys(warned)),
    )
    return _costed(fixed, configs, material, home, device, report) if timed else fixed


def _refuse_unacceptable(configs: Mapping[str, TrainingConfig], home: Home) -> None:
    """Refuse arms that could not be trained, as every entrance does."""
    for config in configs.values():
        refuse_unacceptable(config, home)


def _dated(configs: dict[str, TrainingConfig], tokenizer: Any) -> dict[str, TrainingConfig]:
    """With one day for all runs, whenever each begins, where the chat template writes the date."""
    if not ChatTemplate(tokenizer).writes_date:
        return configs
    first = next(iter(configs.values()))
    today = {"template_date": first.template_date or datetime.date.today().isoformat()}
    return {name: config.model_copy(update=today) for name, config in configs.items()}


def _grouped(plan: Plan, config: TrainingConfig, column: str | None) -> TrainingConfig:
    """With rows that belong together, by a `column` or as the plan says, on one side of the split."""
    if column is not None or config.split_column is not None:
        return config.model_copy(update={"split_column": column or config.split_column})
    return config if "split_by" in plan.settings else config.model_copy(update={"split_by": SplitBy.CONVERSATION})


def _read(
    plan: Plan, configs: dict[str, TrainingConfig], tokenizer: Any, context: int | None
) -> tuple[dict[str, TrainingConfig], Prepared]:
    """The data, and the settings it was read with: a test file may have a column that the training data lacks."""
    first = next(iter(configs.values()))
    try:
        return configs, prepare(first, tokenizer, context_length=context)
    except ConfigError as error:
        own_test = plan.measurement.test_data_path is not None and "split_column" not in plan.settings
        if error.field != "split_column" or not own_test:
            raise
    own = {name: plan.config(name, seed=plan.seeds[0]).split_column for name in configs}
    without = {
        name: _grouped(plan, config.model_copy(update={"split_column": own[name]}), None)
        for name, config in configs.items()
    }
    return without, prepare(next(iter(without.values())), tokenizer, context_length=context)


def _arms(plan: Plan, configs: dict[str, TrainingConfig], shape: Shape, rows: Mapping[float, int]) -> list[FixedArm]:
    arms, sized = plan.all_arms(), dict[str, TrainingConfig]()
    ranks = {name: config.lora_rank for name, config in configs.items()}
    counts = {name: _trainable(shape, config, config.lora_rank) for name, config in configs.items()}
    for name, arm in arms.items():
        if arm.match_count_of is not None:
            ranks[name] = _rank_for(shape, configs[name], counts[arm.match_count_of])
            counts[name] = _trainable(shape, configs[name], ranks[name])
    settled = []
    for name, arm in arms.items():
        config, rank = configs[name], ranks[name]
        alpha = _alpha(config, rank)
        own = dict(arm.settings) | ({"lora_rank": rank, "lora_alpha": alpha} if arm.match_count_of else {})
        scaled = config.model_copy(update={"lora_rank": rank, "lora_alpha": alpha})
        if (twin := next((other for other, its in sized.items() if its == scaled), None)) is not None:
            raise ConfigError(
                f"arms {twin} and {name} have the same settings: with the same seeds their runs would be equal",
                hint="name a setting in which they differ, or leave one out",
                field="arms",
            )
        sized[name] = scaled
        steps = {share_key(share): _steps(config, part) for share, part in rows.items()}
        settled.append(
            FixedArm(
                name=name,
                differs=own,
                rank=rank,
                alpha=alpha,
                scale=scaled.lora_scale,
                trainable=counts[name],
                total=shape.survey.total,
                matched=arm.match_count_of,
                steps=steps,
                config=scaled.model_dump(mode="json", exclude={"seed", "train_fraction", "lora_rank", "lora_alpha"}),
            )
        )
    return settled


def _rank_for(shape: Shape, config: TrainingConfig, count: int) -> int:
    """The rank with which nearest to `count` parameters are trained; DoRA's magnitudes do not grow with it."""
    first, second = (_trainable(shape, config, rank) for rank in (1, 2))
    return max(1, 1 + round((count - first) / (second - first)))


def _mismatches(arms: list[FixedArm]) -> list[str]:
    counts = {arm.name: arm.trainable for arm in arms}
    warnings = []
    for arm in arms:
        if arm.matched is None:
            continue
        off = arm.trainable / counts[arm.matched] - 1
        if abs(off) > FAR_OFF:
            warnings.append(
                f"{arm.name} trains {arm.trainable:,} parameters at rank {arm.rank}, {abs(off):.0%} "
                f"{'more' if off > 0 else 'less'} than {arm.matched} ({counts[arm.matched]:,}): no rank fits better"
            )
    return warnings


def _trainable(shape: Shape, config: TrainingConfig, rank: int) -> int:
    if config.fine_tune_type is FineTuneType.FULL:
        raise ConfigError(
            "fine_tune_type 'full' cannot be part of an experiment: it keeps no adapter to compare",
            hint="use lora or dora",
            field="fine_tune_type",
        )
    keys = tuple(config.lora_keys or ())
    plan = shape.plan(config.lora_targets, config.lora_num_layers, config.lora_routers, keys)
    return plan.trainable(rank, dora=config.fine_tune_type is FineTuneType.DORA)


def _alpha(config: TrainingConfig, rank: int) -> float:
    """The alpha that keeps the scale of the update when the rank is changed."""
    match config.lora_scaling:
        case LoraScaling.STANDARD:
            return config.lora_alpha * rank / config.lora_rank
        case LoraScaling.RSLORA:
            return config.lora_alpha * math.sqrt(rank / config.lora_rank)
        case LoraScaling.RAW:
            return config.lora_alpha


def _steps(config: TrainingConfig, rows: int) -> int:
    return length_of(config, steps_per_epoch(config, rows)).steps


def _sizes(data: Prepared, material: Material) -> Sizes:
    return Sizes(
        train_rows=len(data.train),
        validation_rows=len(data.validation),
        test_rows=len(material.test.tokens),
        general_rows=len(material.general.tokens),
        questions=len(material.asked.rows) if material.asked else 0,
        clusters=len(set(material.test.clusters)),
        train_tokens=data.train.token_count,
        validation_tokens=data.validation.token_count,
        test_tokens=material.test.tokens.token_count,
        general_tokens=material.general.tokens.token_count,
        seen_in_training=material.seen_in_training,
        opened_in_training=material.opened_in_training,
        split=data.report.split,
    )


def _setting_warnings(configs: dict[str, TrainingConfig]) -> list[str]:
    return [warning for config in configs.values() for warning in config.warnings()]


def _refuse_one_group(material: Material) -> None:
    if len(set(material.test.clusters)) == 1:
        raise ConfigError(
            f"all {len(material.test.tokens):,} test rows belong together, as one group: they would show nothing "
            "about other rows",
            hint="give test rows of several conversations; 30 and more are usual",
            field="measurement",
        )


def _weaknesses(plan: Plan, data: Prepared, material: Material, rows: Mapping[float, int]) -> list[str]:
    """What makes the verdict weaker than it looks."""
    warnings = []
    clusters, tested = len(set(material.test.clusters)), len(material.test.tokens)
    if plan.exploratory:
        seeds = count(len(plan.seeds), "seed is", "seeds are")
        warnings.append(f"{seeds} too few for a verdict ({VERDICT_SEEDS} and more): results are exploratory")
    if clusters < 30:
        warnings.append(
            f"the test set has {clusters} independent groups of rows: intervals will be wide; 30 and more are usual"
        )
    warnings += _off_their_fractions(material.config, data)
    column = material.config.split_column
    for share, part in rows.items():
        if abs(part - share * rows[1.0]) > max(1.0, 0.1 * share * rows[1.0]):
            warnings.append(
                f"{percent(share)} of the {rows[1.0]:,} training rows comes to {part:,} "
                f"({percent(part / rows[1.0])}), since rows that belong together are drawn as one"
            )
        if part < material.config.batch_size:
            warnings.append(
                f"{percent(share)} of the {rows[1.0]:,} training rows is {part:,}: less than one batch of "
                f"{material.config.batch_size}"
            )
    if material.seen_in_training:
        warnings.append(
            f"{material.seen_in_training:,} of the {tested:,} test rows are also in the training or validation data: "
            "memory counts as learning there"
        )
    if material.opened_in_training is None:
        warnings.append(
            f"the training data has no column {plan.measurement.cluster_column!r}: test rows may belong together "
            "with rows that are trained on"
        )
    if material.opened_in_training:
        warnings.append(
            f"{material.opened_in_training:,} of the {tested:,} test rows belong together with training or "
            f"validation data ({f'one {column}' if column else 'they open alike'}): part of them was seen there"
        )
    return warnings


def _off_their_fractions(config: TrainingConfig, data: Prepared) -> list[str]:
    """Parts that are far from their fraction of the rows, since large groups stay together."""
    rows = len(data.train) + len(data.test) + (len(data.validation) if config.val_data_path is None else 0)
    wanted = {"test_fraction": (config.test_fraction, len(data.test))}
    if config.val_data_path is None:
        wanted["validation_fraction"] = (config.validation_fraction, len(data.validation))
    return [
        f"{name} {fraction:g} comes to {part:,} of {rows:,} rows ({percent(part / rows)}), since rows that belong "
        "together are drawn as one"
        for name, (fraction, part) in wanted.items()
        if part > 1.5 * fraction * rows + 2
    ]


def _costed(
    fixed: FixedPlan,
    configs: dict[str, TrainingConfig],
    material: Material,
    home: Home,
    device: Device,
    report: Report,
) -> FixedPlan:
    costs = []
    for number, arm in enumerate(fixed.arms):
        report(f"timing {arm.name}", number, len(fixed.arms))
        config = configs[arm.name].model_copy(update={"lora_rank": arm.rank, "lora_alpha": arm.alpha})
        rehearsal = _rehearsed(config, material, home, device, report)
        costs.append(_cost(fixed, arm, config, rehearsal))
    return fixed.model_copy(update={"costs": costs, "estimate": _estimate(fixed, costs)})


def _rehearsed(config: TrainingConfig, material: Material, home: Home, device: Device, report: Report) -> Rehearsal:
    from droidft.engine.assemble import assembled
    from droidft.engine.evaluation.measure import rehearse

    def check() -> None:
        report("", 0, 0)

    with tempfile.TemporaryDirectory(dir=home.cache) as checkpoints:
        assembly = assembled(config, home.places(checkpoints=Path(checkpoints)), device, check=check)
        material = replace(material, config=config)
        return rehearse(assembly.job, assembly.tokenizer, material, steps=REHEARSED_STEPS, report=check)


def _cost(fixed: FixedPlan, arm: FixedArm, config: TrainingConfig, rehearsal: Rehearsal) -> Cost:
    sizes = fixed.sizes
    an_epoch = _steps(config.model_copy(update={"epochs": 1.0, "iterations": None}), sizes.train_rows)
    measuring = (sizes.test_tokens + sizes.general_tokens) * rehearsal.evaluation_seconds_per_token
    answering = 0.0
    if (questions := fixed.plan.measurement.questions) and rehearsal.seconds_per_answer_token:
        answering = sizes.questions * questions.max_tokens * rehearsal.seconds_per_answer_token
    by_share = {}
    for share, steps in arm.steps.items():
        every = config.steps_per_eval if arm.evaluates_by_setting(fixed.plan) else -(-steps // EVALUATIONS)
        training = sizes.train_tokens * steps / an_epoch * rehearsal.training_seconds_per_token
        # At the start, every so many steps, and at the end.
        evaluating = sizes.validation_tokens * (1 + -(-steps // every)) * rehearsal.evaluation_seconds_per_token
        by_share[share] = LOADING_SECONDS + training + evaluating + measuring
    return Cost(
        arm=arm.name,
        seconds_per_token=rehearsal.training_seconds_per_token,
        evaluation_seconds_per_token=rehearsal.evaluation_seconds_per_token,
        peak_bytes=rehearsal.peak_bytes,
        seconds_per_run=by_share[share_key(1)] + answering,
        seconds_by_share=by_share,
        measuring_seconds=measuring + answering,
    )


def _estimate(fixed: FixedPlan, costs: list[Cost]) -> Estimate:
    """All runs, one after another, the base model's first."""
    plan = fixed.plan
    seconds = costs[0].base_seconds
    for cost in costs:
        of_shares = sum(part for share, part in cost.seconds_by_share.items() if share != share_key(1))
        seconds += len(plan.seeds) * (len(plan.learning_rates or [0]) * cost.seconds_per_run + of_shares)
    disk = sum(2 * 4 * arm.trainable for arm in fixed.arms) * count_of_runs(fixed) // len(fixed.arms)
    return Estimate(
        runs=count_of_runs(fixed),
        seconds=seconds,
        peak_bytes=max(cost.peak_bytes for cost in costs),
        disk_bytes=disk,
    )


if __name__ == "__main__":
    main()

"""From a configuration to a `Job` that the loop can run: checks first, weights last.

What can be refused without weights is refused before they load: targets on a lazily built model, every row of
the data, the length against the model's context.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn

from droidft.adapters.diagnostics import refuse_other_base
from droidft.adapters.folder import AdapterInfo, Origin
from droidft.config import ComputeDtype, Family, FineTuneType, TrainingConfig
from droidft.data.preferences import PreparedPairs, prepare_pairs
from droidft.data.prepare import Prepared, prepare
from droidft.data.prompts import PreparedPrompts, prepare_prompts
from droidft.data.report import TokenReport
from droidft.data.template import ChatTemplate
from droidft.engine.machine import host
from droidft.engine.machine.device import Device
from droidft.engine.methods.grpo import GroupRelative
from droidft.engine.methods.preference import Preference
from droidft.engine.methods.rollouts import Texts
from droidft.engine.methods.sft import Supervised
from droidft.engine.model import loading, lora
from droidft.engine.model.adapter_weights import keep_as_reference, template_hash
from droidft.engine.model.architectures import build_lazily
from droidft.engine.model.estimate import Estimator
from droidft.engine.model.precision import Precision, before, precision
from droidft.engine.model.starting import starting_adapter
from droidft.engine.model.targets import Survey, TargetPlan
from droidft.engine.model.trainable import examine_for_training
from droidft.engine.training import checkpoint, reference
from droidft.engine.training.loop import Job
from droidft.engine.training.method import Method
from droidft.errors import AdapterError, TargetError
from droidft.events import Event, LoraAttached, Phase, PhaseName, RunStarted, TargetCount, Warned
from droidft.models import catalog
from droidft.models.fingerprint import Fingerprint, fingerprint, meaning
from droidft.rewards.scorer import Scorer
from droidft.support.memory import LESS_MEMORY
from droidft.support.places import Places
from droidft.support.words import size

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper


@dataclass(frozen=True)
class Assembled:
    """A job, what its adapter records about its base, and what a measurement afterwards needs."""

    job: Job
    config: TrainingConfig
    """The run's settings as its data was read with: with the day that the chat template writes, if it does."""
    origin: Origin
    tokenizer: TokenizerWrapper
    context_length: int | None
    data: Prepared | None
    """None for methods that do not learn from answers."""
    attached: LoraAttached
    """The event that says what is trained."""


def assembled(
    config: TrainingConfig, places: Places, device: Device, *, check: Callable[[], None] = lambda: None
) -> Assembled:
    """What `assemble` returns, its events left out; what `check` raises between them ends the preparation."""
    events = assemble(config, places, device)
    while True:
        try:
            next(events)
        except StopIteration as end:
            result: Assembled = end.value
            return result
        check()


def assemble(config: TrainingConfig, places: Places, device: Device) -> Generator[Event, None, Assembled]:
    """Prepare the run that `config` describes, or its continuation where `places.checkpoints` holds one.

    Yields events; returns the assembled job.

    Raises:
        DroidError: whatever keeps the run from starting, with value, limit and fix.
    """
    saved = checkpoint.newest_good(places.checkpoints) if checkpoint.any_saved(places.checkpoints) else None
    numbers = _precision(config, saved[1] if saved else None)
    versions = host.versions() | device.identity() | _products(numbers)
    yield RunStarted(
        config=config.model_dump(mode="json"),
        versions=versions,
        device=device.as_dict() | _products(numbers),
        resumed_from_step=saved[1].step if saved else None,
    )
    yield from _first_warnings(config, device, numbers)
    yield from _resume_warnings(saved[1], saved[2], versions) if saved else ()
    model_path = catalog.find_model(config.model_path, models_dir=places.models, offline=config.offline)
    yield from _model_warnings(model_path)
    model_config = catalog.load_config(model_path)
    empty = build_lazily(model_config, stored=catalog.stored_names(model_path))
    plan = lora.targets_of(empty, config)
    checkpoint.check_space(plan, config, places.checkpoints)

    yield Phase(name=PhaseName.PREPARING_DATA, detail=config.train_data_path)
    tokenizer, context_length = loading.load_tokenizer(model_path), catalog.context_length(model_config)
    dated = _dated(config, tokenizer, saved[1] if saved else None)
    method, prepared, rewards = _method(dated, places, tokenizer, context_length)
    report = prepared.report
    yield report.event()
    yield from (Warned(code="data", message=message) for message in report.warnings)
    yield from _memory_warning(_estimator(empty, model_config, numbers), plan, config, report, device)
    model, identity, attached = yield from _load(config, places, model_path, numbers, fresh=saved is None)
    compared = yield from _reference(config, places, model, model_path, identity, fresh=saved is None)

    job = Job(
        config=config,
        model=model,
        method=method,
        checkpoints=places.checkpoints,
        data_hash=report.data_hash,
        base_hash=identity["weights_sha256"],
        model_config_hash=meaning(model_path),
        rewards_hash=rewards,
        template_date=dated.template_date,
        compute_dtype=numbers.recorded,
        reference_hash=compared,
        versions=versions,
        resume_from=saved[:2] if saved else None,
    )
    origin = Origin(
        model_path=model_path,
        fingerprint=identity,
        data_format=report.format,
        chat_template_sha256=template_hash(tokenizer.chat_template),
        versions=versions,
    )
    return Assembled(job, dated, origin, tokenizer, context_length, _answers(prepared), attached)


def _answers(prepared: Prepared | PreparedPrompts | PreparedPairs) -> Prepared | None:
    return prepared if isinstance(prepared, Prepared) else None


def _dated(config: TrainingConfig, tokenizer: TokenizerWrapper, saved: checkpoint.RunState | None) -> TrainingConfig:
    """The settings with the day that the chat template writes: a run keeps the one it was made with."""
    if config.template_date is not None or not ChatTemplate(tokenizer).writes_date:
        return config
    day = (saved.template_date if saved else None) or datetime.date.today().isoformat()
    return config.model_copy(update={"template_date": day})


def _method(
    config: TrainingConfig, places: Places, tokenizer: TokenizerWrapper, context_length: int | None
) -> tuple[Method, Prepared | PreparedPrompts | PreparedPairs, str]:
    """The method; its data, read, checked and tokenized; own rewards by hash."""
    match config.method.family:
        case Family.ANSWERS:
            data = prepare(config, tokenizer, context_length=context_length)
            return Supervised(config, data.train, data.validation), data, ""
        case Family.REWARDS:
            # The user's own files run before anything takes long, so that their errors come at once.
            scorer = Scorer(config.rewards, places.rewards)
            scorer.prepare()
            prompts = prepare_prompts(config, tokenizer, context_length=context_length)
            scorer.check(prompts.places_and_columns())
            method = GroupRelative(
                config, prompts.train, prompts.validation, scorer=scorer, texts=Texts.of(tokenizer)
            )
            return method, prompts, scorer.sources
        case Family.PREFERENCES:
            pairs = prepare_pairs(config, tokenizer, context_length=context_length)
            return Preference(config, pairs.train, pairs.validation), pairs, ""


def _load(
    config: TrainingConfig, places: Places, model_path: Path, numbers: Precision, *, fresh: bool
) -> Generator[Event, None, tuple[nn.Module, Fingerprint, LoraAttached]]:
    """The model with its adapters attached, those of `init_adapter` in a fresh run; its identity; what is trained."""
    yield Phase(name=PhaseName.LOADING, detail=str(model_path))
    model, _ = loading.load_model(model_path, precision=numbers)
    identity = fingerprint(model_path, cache=places.cache / "fingerprints.json", verify=not fresh)
    plan = lora.targets_of(model, config)
    lora.attach(model, plan, config)
    if config.init_adapter is not None and fresh:
        info = starting_adapter(config.init_adapter, model_path, places)
        assert info is not None, "the model is here"
        base = identity["weights_sha256"]
        refuse_other_base(info, base, ref=config.model_path, allowed=config.allow_mismatch)
        _start_from(model, info)
        yield from _origin_warnings(info, config, identity)
    yield from (Warned(code="targets", message=note) for note in plan.notes)
    attached = attached_event(model, plan, config)
    yield attached
    return model, identity, attached


def _precision(config: TrainingConfig, saved: checkpoint.RunState | None) -> Precision:
    """The numbers to compute in: a run that goes on keeps those that it began with."""
    wanted = config.compute_dtype
    if saved is not None and wanted is ComputeDtype.AUTO:
        wanted = before() if saved.compute_dtype is None else ComputeDtype(saved.compute_dtype)
    return precision(wanted, trains_base=config.fine_tune_type is FineTuneType.FULL)


def _estimator(empty: nn.Module, model_config: dict[str, Any], numbers: Precision) -> Estimator:
    each = loading.bytes_per_value(model_config)
    return Estimator(Survey(empty), bytes_per_value=each, short_products=numbers.short)


def _products(numbers: Precision) -> dict[str, str]:
    """What is recorded of products in less than float32; nothing where there are none."""
    if not numbers.short:
        return {}
    return {"products": f"bfloat16 ({numbers.instructions})" if numbers.instructions else "bfloat16 (in float32)"}


def _first_warnings(config: TrainingConfig, device: Device, numbers: Precision) -> Iterator[Event]:
    yield from (Warned(code="device", message=message) for message in device.warnings)
    if numbers.short and not numbers.instructions:
        message = "this processor has no instructions for bfloat16: its products take longer than those in float32"
        yield Warned(code="device", message=message)
    yield from (Warned(code="setting", message=message) for message in config.warnings())


def _model_warnings(model_path: Path) -> Iterator[Event]:
    if code := catalog.code_files(model_path):
        message = f"the model folder holds code that will not be run: {', '.join(code)}"
        yield Warned(code="model_code", message=message)
    yield from (Warned(code="model", message=message) for message in examine_for_training(model_path))


def _reference(
    config: TrainingConfig, places: Places, model: nn.Module, path: Path, identity: Fingerprint, *, fresh: bool
) -> Generator[Event, None, str]:
    """Give `model` the adapter that its loss compares with, if any; its hash. A run that goes on has a copy."""
    if not config.needs_reference:
        return ""
    if fresh:
        name = config.reference
        found = None if name is None else starting_adapter(name, path, places)
        reference.keep(places.checkpoints, found)
        if found is not None:
            refuse_other_base(found, identity["weights_sha256"], ref=config.model_path, allowed=config.allow_mismatch)
            yield Phase(name=PhaseName.LOADING, detail=f"adapter {name} as the reference")
    if (copy := reference.kept(places.checkpoints)) is None:
        return ""
    keep_as_reference(model, copy[0])
    return copy[1]


def attached_event(model: nn.Module, plan: TargetPlan, config: TrainingConfig) -> LoraAttached:
    """Exact counts, taken from the arrays that will be trained."""
    full = config.fine_tune_type is FineTuneType.FULL
    counts = [] if full else _target_counts(model, plan)
    if dead := [count.key for count in counts if count.trainable == 0]:
        raise TargetError(
            f"{', '.join(dead)} would not train", hint="leave these keys out with lora_targets 'custom'"
        )
    settings = (
        f"rank={config.lora_rank}, alpha={config.lora_alpha}, scale={config.lora_scale}, "
        f"dropout={config.lora_dropout}, layers={config.lora_num_layers}, keys={len(plan.keys)}"
    )
    return LoraAttached(
        targets=counts,
        trainable=lora.trainable_count(model),
        total=plan.total,
        rank=config.lora_rank,
        alpha=config.lora_alpha,
        scale=config.lora_scale,
        scaling=config.lora_scaling.value,
        dropout=config.lora_dropout,
        num_layers=config.lora_num_layers,
        log_line=f"Full fine-tuning: layers={config.lora_num_layers}" if full else f"LoRA Configuration: {settings}",
    )


def _target_counts(model: nn.Module, plan: TargetPlan) -> list[TargetCount]:
    sizes: dict[str, list[int]] = {key: [] for key in plan.keys}
    arrays = lora.trainable(model)
    for target in plan.targets:
        sizes[target.key].append(sum(a.size for name, a in arrays.items() if name.startswith(f"{target.path}.")))
    return [TargetCount(key=key, modules=len(each), trainable=sum(each)) for key, each in sizes.items()]


def _resume_warnings(
    state: checkpoint.RunState, complaints: Sequence[str], versions: Mapping[str, str]
) -> list[Event]:
    warnings: list[Event] = [Warned(code="damaged_checkpoint", message=complaint) for complaint in complaints]
    changed = [
        f"{name} {state.versions.get(name, '?')} -> {version}"
        for name, version in versions.items()
        if state.versions.get(name) != version
    ]
    if changed:
        message = "not bit-exact from here on: since the checkpoint was saved, " + ", ".join(changed)
        warnings.append(Warned(code="not_bit_exact", message=message))
    return warnings


def _trained_with(info: AdapterInfo) -> str:
    """The settings that make an adapter of the same shapes."""
    if info.rank is None:
        return "use the targets and layers that it was trained with"
    preset = info.record.get("targets")
    keys = json.dumps([*(info.keys or info.modules)])
    targets = preset if isinstance(preset, str) and preset != "custom" else f"custom, with lora_keys {keys}"
    return f"set lora_rank to {info.rank}, lora_num_layers to {info.num_layers} and lora_targets to {targets}"


def _start_from(model: nn.Module, info: AdapterInfo) -> None:
    """Load the weights of another adapter into the freshly attached one.

    Raises:
        AdapterError: it is of other shapes.
    """
    arrays = mx.load(str(info.file))
    assert isinstance(arrays, dict)
    present = lora.trainable(model)
    wrong = sorted(name for name in present.keys() | arrays.keys() if _shape(present, name) != _shape(arrays, name))
    if wrong:
        raise AdapterError(
            f"init_adapter: {info.file} does not fit: {wrong[0]} is {_shape(arrays, wrong[0])} there and "
            f"{_shape(present, wrong[0])} here ({len(wrong)} tensors differ)",
            hint=_trained_with(info),
            field="init_adapter",
        )
    model.load_weights(list(arrays.items()), strict=False)


def _origin_warnings(info: AdapterInfo, config: TrainingConfig, identity: Fingerprint) -> list[Event]:
    """Why a run that starts from this adapter may not begin at the adapter's loss."""
    faults = []
    if info.scale is not None and not math.isclose(info.scale, config.lora_scale):
        faults.append(f"it was trained at scale {info.scale:g}, this run has {config.lora_scale:g}")
    base = info.record.get("base") or {}
    if base.get("weights_sha256") not in (None, identity["weights_sha256"]):
        faults.append("it was trained on another base model")
    return [Warned(code="init_adapter", message=f"init_adapter {info.name}: {fault}") for fault in faults]


def _memory_warning(
    estimator: Estimator, plan: TargetPlan, config: TrainingConfig, report: TokenReport, device: Device
) -> list[Event]:
    """A warning if the longest batch will probably not fit."""
    family = config.method.family
    supervised = report.train.supervised_tokens / max(report.train.tokens, 1)
    if family is Family.REWARDS:
        supervised = config.max_completion_length / report.max_seq_length
    need = estimator.peak(
        plan,
        batch_size=config.batch_size * (2 if family is Family.PREFERENCES else 1),
        seq_length=report.max_seq_length,
        rank=config.lora_rank,
        grad_checkpoint=config.grad_checkpoint,
        optimizer=config.optimizer,
        fine_tune_type=config.fine_tune_type,
        supervised_fraction=supervised,
        fused_kernels=device.fused_kernels,
    ).total
    if need <= device.memory_bytes:
        return []
    message = (
        f"the longest batch may need about {size(need)} and the device has {size(device.memory_bytes)}: {LESS_MEMORY}"
    )
    return [Warned(code="memory", message=message)]


def _shape(arrays: Mapping[str, mx.array], name: str) -> str:
    return str(tuple(arrays[name].shape)) if name in arrays else "absent"

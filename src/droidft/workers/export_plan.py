"""What is checked before an export starts: everything that can be refused is refused here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from droidft.adapters.exports import forms
from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.factors import factors
from droidft.adapters.exports.forms import ExportRequest, Form
from droidft.adapters.exports.origins import Origins
from droidft.adapters.exports.updates import updates
from droidft.adapters.folder import AdapterInfo, find_adapter, read_adapter
from droidft.config import TrainingConfig
from droidft.data.sources import HUB
from droidft.errors import AdapterError, ConfigError, DroidError
from droidft.home import Home
from droidft.models import catalog, headers, hub
from droidft.models.factors import Factors
from droidft.models.gguf.write import refuse_unwritable
from droidft.runs import folder as runs
from droidft.support.durable import is_being_written
from droidft.support.room import check_room

BITS = {"F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8.5, "Q6_K": 6.6, "Q5_K_M": 5.7, "Q4_K_M": 4.9}
"""About, of a weight of a GGUF file."""
MARGIN = 64 << 20
"""Bytes beside the weights: tokenizer, settings, certificate."""
PACKED_IN_ONE = 8
READINGS = 3
"""Of the rows: base, base + adapter, export."""
TOKENS_A_ROW, ANSWER_TOKENS = 200, 256
EFFICIENCY = 0.5
"""Of the speed of a large matrix product, as a forward pass has it."""
MEMORY_BYTES_A_SECOND, DISK_BYTES_A_SECOND, PACKING_BYTES_A_SECOND = 5e9, 2e8, 5e7
START_SECONDS = 5.0
PACKED = (Form.GGUF, Form.OLLAMA)


@dataclass(frozen=True, eq=False)
class Plan:
    """An export that can be made."""

    request: ExportRequest
    info: AdapterInfo
    base: Path
    """Folder of the model that the adapter was trained on."""
    into: Path
    """Folder of the model that it is added to, or used on: the base, or another copy of it."""
    origins: Origins
    target: Path
    bytes: int
    """About what the export takes on the disk."""
    warnings: tuple[str, ...]

    @property
    def base_name(self) -> str:
        """What others call the base: its hub id, or the name of its folder."""
        return hub.repo_id_of(self.into) or self.into.name


def plan_export(request: ExportRequest, home: Home, *, offline: bool = False) -> Plan:
    """Check the whole request; nothing is written, and of weights only the headers are read.

    A model that is not on this machine is fetched, unless `offline`.

    Raises:
        NotFound, AdapterError, ModelError, DownloadError: no such adapter or model, or one that does not fit.
        AdapterError, ModelError: what the form cannot hold, and one that can.
        ConfigError: a setting that is none; a name that is taken; no rows for the certificate.
        StorageError: not enough room on the disk.
    """
    from droidft.engine.machine import device

    info = read_adapter(*find_adapter(request.adapter, adapters_dir=home.adapters))
    forms.refuse_unholdable(request, info)
    target = _target(request, info, home)
    _refuse_without_rows(request, info, home)
    device.prepare(home.cache)
    base, warnings = _base(request, info, home, offline=offline)
    into = base
    if request.into is not None:
        into = catalog.find_model(request.into, models_dir=home.models, offline=offline)
    origins = _trace(request, info, into)
    plan = Plan(request, info, base, into, origins, target, 0, tuple(warnings))
    size = _refuse_unwritable(plan)
    hint = "free some space, or set DROIDFT_HOME to another disk"
    check_room(size + MARGIN, target, what="the export", hint=hint)
    return replace(plan, bytes=size)


def _target(request: ExportRequest, info: AdapterInfo, home: Home) -> Path:
    target = home.export(request.name or forms.default_name(request, info.name))
    refuse_taken(target, replace=request.replace)
    return target


def refuse_taken(target: Path, *, replace: bool, part: Path | None = None) -> None:
    """Refuse a name that an export has, or one that is under way; `part` is the hidden folder of this one itself.

    Raises:
        ConfigError: names it, and the way out.
    """
    if is_being_written(target, but=part):
        raise ConfigError(
            f"an export named {target.name!r} is being made at this moment",
            hint="give another name, or wait for it (in the terminal --name)",
            field="name",
        )
    if target.exists() and not replace:
        raise ConfigError(
            f"there is already an export named {target.name!r}",
            hint="give another name, or replace it (in the terminal --name and --replace)",
            field="name",
        )


def _base(request: ExportRequest, info: AdapterInfo, home: Home, *, offline: bool) -> tuple[Path, list[str]]:
    """Folder of the model that the adapter was trained on, and warnings about the pair."""
    from droidft.engine.model.adapter_weights import judge

    ref = request.model or info.base
    if ref is None:
        raise AdapterError(
            f"{info.name} does not say which base model it was trained on",
            hint="name the model (in the terminal --model)",
        )
    path = catalog.find_model(ref, models_dir=home.models, offline=offline)
    found = judge(info, ref, models_dir=home.models, cache_dir=home.cache, offline=offline)
    if wrong := [each for each in found if each.code == "base_mismatch"]:
        raise AdapterError(f"{info.name} {wrong[0].message}", hint="name the model that it was trained on")
    return path, [f"{info.name} {each.message}" for each in found if each.code.startswith("base")]


def run_config(info: AdapterInfo, home: Home) -> TrainingConfig | None:
    """Settings of the run that trained an adapter, where it is still here."""
    run = info.record.get("run")
    if not isinstance(run, str):
        return None
    try:
        return runs.find(home, run).config()
    except DroidError:
        return None


def _refuse_without_rows(request: ExportRequest, info: AdapterInfo, home: Home) -> None:
    if request.rows is not None:
        return
    hint = "name a file with rows that it was not trained on (in the terminal --rows FILE)"
    if (config := run_config(info, home)) is None:
        why = f"the run that trained {info.name} is not here, so there are no rows to compare the export on"
        raise ConfigError(why, hint=hint, field="rows")
    for reference in (config.train_data_path, config.val_data_path):
        if reference is not None and not reference.startswith(HUB) and not Path(reference).exists():
            why = f"the data of the run that trained {info.name} is gone: there is no {reference}"
            raise ConfigError(why, hint=hint, field="rows")


def _unpackable(request: ExportRequest, into: Path) -> None:
    """Refuse a base whose weights are packed, for a form that needs whole ones or is for readers that do."""
    config = catalog.load_config(into)
    if not (config.get("quantization") or config.get("quantization_config")):
        return
    if request.form.alone:
        raise AdapterError(
            f"{into.name} is quantised in a way that what reads {request.form.value} does not know",
            hint="name the original model, which the adapter is to be used on (in the terminal --into)",
        )
    raise AdapterError(
        f"{into.name} is quantised, and {request.form.value} needs whole weights to add the adapter to",
        hint="name the original model too (in the terminal --into), or export to `mlx`, which unpacks it",
    )


def _trace(request: ExportRequest, info: AdapterInfo, into: Path) -> Origins:
    """Where the adapted weights lie in the files of `into`; the layout of mlx-lm needs no such map."""
    from droidft.engine.model import origins

    if request.form is Form.MLX:
        return Origins({}, {})
    _unpackable(request, into)
    if request.form in (Form.GGUF, Form.GGUF_ADAPTER, Form.OLLAMA):
        refuse_unwritable(into)
    whole = info.fine_tune_type == "full"
    names = dict.fromkeys(name if whole else name.rpartition(".")[0] for name in info.tensors)
    found = origins.trace(into, list(names), whole=whole)
    if found.unknown:
        name, why = next(iter(found.unknown.items()))
        raise AdapterError(
            f"{len(found.unknown)} of the adapter's weights cannot be traced to the files of {into.name}, such as "
            f"{name}: {why}",
            hint="export to `mlx`",
        )
    return found


def _refuse_unwritable(plan: Plan) -> int:
    """Refuse what the form cannot hold of this adapter and model; about how many bytes it will take."""
    base = sum(file.stat().st_size for file in catalog.weight_files(plan.into))
    match plan.request.form:
        case Form.PEFT | Form.GGUF_ADAPTER:
            pairs(plan)
            return plan.info.file.stat().st_size * 2
        case Form.MERGED:
            checkpoint(plan)
            return base
        case Form.MLX:
            from droidft.engine.model.merging import refuse_dropped

            config = catalog.load_config(plan.into)
            refuse_dropped(config)
            packed = config.get("quantization") is not None
            # Unpacked, four bits take four times the room; packed, half or a quarter of 16.
            return base * 4 if packed and plan.request.type is None else base
        case Form.GGUF | Form.OLLAMA:
            made = checkpoint(plan)
            values = sum(math.prod(made.shape(name)) for name in made.names)
            return int(values * BITS[plan.request.chosen_type or "F16"] / 8)


def checkpoint(plan: Plan) -> Checkpoint:
    """The tensors of the model that the adapter is added to, with its updates in them."""
    return Checkpoint(plan.into, updates(plan.info, plan.origins))


def pairs(plan: Plan) -> list[Factors]:
    """The adapter as pairs of factors of stored matrices."""
    made = Checkpoint(plan.into, [])
    return list(factors(updates(plan.info, plan.origins), {name: made.shape(name) for name in made.names}))


def facts(plan: Plan, gflops: float) -> dict[str, Any]:
    """What is known before an export starts, for whoever decides on it; `gflops`: the speed of this machine."""
    return {
        "name": plan.target.name,
        "path": str(plan.target),
        "bytes": plan.bytes,
        "seconds": about_seconds(plan, gflops),
        "base": plan.base_name,
        "warnings": list(plan.warnings),
    }


def about_seconds(plan: Plan, gflops: float) -> float:
    """About how long the export takes: three readings of the rows and of some answers, and the disk."""
    base = sum(file.stat().st_size for file in catalog.weight_files(plan.base))
    stored = headers.tensors(*catalog.weight_files(plan.base)).values()
    # Of packed weights each value in the file holds several.
    weights = sum(math.prod(each.shape) * (PACKED_IN_ONE if each.dtype == "U32" else 1) for each in stored)
    rows = READINGS * 2 * weights * plan.request.row_count * TOKENS_A_ROW / (EFFICIENCY * gflops * 1e9)
    answers = READINGS * ANSWER_TOKENS * base / MEMORY_BYTES_A_SECOND
    packing = 4 * weights / PACKING_BYTES_A_SECOND if plan.request.form in PACKED else 0.0
    return START_SECONDS + rows + answers + packing + (base + 3 * plan.bytes) / DISK_BYTES_A_SECOND

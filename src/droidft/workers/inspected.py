"""What the engine finds, as the JSON values that the server's schemas take."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from droidft.errors import AdapterError

if TYPE_CHECKING:
    from droidft.adapters.folder import AdapterInfo
    from droidft.data.report import CheckReport
    from droidft.engine.model.describe import ModelDescription, PresetDescription

T = TypeVar("T")
FITS, TIGHT = 0.8, 1.0


def verdict(needed: int, available: int) -> str:
    """`fits` up to 80 % of the memory that is free now, `tight` up to all of it, else `does not fit`.

    The estimate leaves out the allocator's cache and what the system adds, hence the margin.
    """
    if needed <= FITS * available:
        return "fits"
    return "tight" if needed <= TIGHT * available else "does not fit"


def described(found: ModelDescription, available: int) -> dict[str, Any]:
    """A model's description, judged against the memory that is available."""
    return {
        "model_type": found.model_type,
        "blocks": found.blocks,
        "parameters": found.parameters,
        "quantization": found.quantization,
        "rank": found.rank,
        "batch_size": found.batch_size,
        "seq_length": found.seq_length,
        "presets": [_preset(preset, available) for preset in found.presets],
    }


def _preset(preset: PresetDescription, available: int) -> dict[str, Any]:
    memory = preset.memory
    return {
        "preset": preset.preset.value,
        "keys": [
            {"key": key.key, "kind": key.kind.value, "modules": key.modules, "trainable": key.trainable}
            for key in preset.keys
        ],
        "trainable": preset.trainable,
        "share": preset.share,
        "adapter_bytes": memory.adapter if memory else 0,
        "notes": list(preset.notes),
        "memory": asdict(memory) | {"total": memory.total} if memory else None,
        "verdict": verdict(memory.total, available) if memory else None,
        "problem": preset.problem,
    }


def entry(folder: Path, info: AdapterInfo | None, problem: str) -> dict[str, Any]:
    """An adapter folder in the list; `info` is None where `problem` says why it cannot be used."""
    from droidft.adapters.folder import weights

    record = info.record if info else {}
    files = {file.resolve() for file in folder.glob("*adapters.safetensors") if file.is_file()}
    return {
        "name": folder.name,
        "problem": problem,
        "fine_tune_type": info.fine_tune_type if info else None,
        "method": _text(record.get("method")),
        "rank": info.rank if info else None,
        "alpha": info.alpha if info else None,
        "scale": info.scale if info else None,
        "modules": list(info.modules) if info else [],
        "blocks": len(info.layers) if info else 0,
        "parameters": info.parameters if info else 0,
        "base": info.base if info else None,
        "run": _text(record.get("run")),
        "weights": weights(folder),
        "bytes": sum(file.stat().st_size for file in files),
    }


def checked(report: CheckReport) -> dict[str, Any]:
    """A data check."""
    plan = report.plan.model_dump(exclude={"type"}) if report.plan is not None else None
    return sendable({**asdict(report), "ok": not report.fault_count, "token_problem": None, "plan": plan})


def _text(value: Any) -> str | None:
    """A recorded value, if it is what it should be: others may have written the file."""
    return value if isinstance(value, str) else None


def whole(error: AdapterError) -> str:
    """An error in one sentence, its hint included."""
    return f"{error.message}; {error.hint}" if error.hint else error.message


def sendable(value: T) -> T:
    """`value` without halves of characters, which names of files may hold and no answer can carry."""
    return cast(T, json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")))

"""Checkpoints: folders that are complete or absent, as their hashes prove.

    checkpoints/0000200/
      adapter.safetensors     the trained weights
      optimizer.safetensors   the optimizer's whole state
      method.safetensors      what the method keeps, if anything: completions sampled for more steps than one
      state.json              step, data position, best so far, counters, hashes of configuration and data
      manifest.json           size and SHA-256 of each of the above

A checkpoint is written as `.0000200.tmp`, synced and renamed. Nothing random needs saving: data order, dropout
and initialisation are functions of (seed, epoch), (seed, step) and (seed, module name).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from droidft.adapters.folder import non_finite
from droidft.config import FineTuneType, TrainingConfig
from droidft.engine.model.targets import TargetPlan
from droidft.errors import CheckpointError, NonFiniteError, StorageError
from droidft.support.durable import commit_folder, sha256, storage_errors
from droidft.support.room import check_room

FORMAT = 1
ADAPTER, OPTIMIZER, METHOD = "adapter.safetensors", "optimizer.safetensors", "method.safetensors"
STATE, MANIFEST = "state.json", "manifest.json"


class DamagedCheckpoint(CheckpointError):
    """A file of it is missing or not as it was written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="an older checkpoint is used if there is one")


class WindowState(BaseModel):
    """Sums since the last training report."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: float = 0.0
    """Summed over what `weight` counts."""
    weight: float = 0.0
    supervised_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    grad_norm: float = 0.0
    """Largest so far."""
    metrics: dict[str, tuple[float, int]] = {}
    """Sum over steps, and their number."""

    @model_validator(mode="before")
    @classmethod
    def _weight_of_tokens(cls, values: Any) -> Any:
        """Before there were other methods, a loss weighed as much as its supervised tokens."""
        if isinstance(values, dict) and "weight" not in values:
            return {**values, "weight": values.get("supervised_tokens", 0)}
        return values


class RunState(BaseModel):
    """All that a run knows besides its weights and its optimizer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    """Optimizer steps done; with the configuration it fixes epoch, data position, rate and dropout."""
    tokens: int = 0
    supervised_tokens: int = 0
    best_step: int | None = None
    best_loss: float | None = None
    reference_loss: float | None = None
    """Loss that the next evaluation has to undercut by `min_delta`."""
    last_loss: float | None = None
    evaluations_without_improvement: int = 0
    last_evaluated: int = -1
    """Step of the last finished evaluation, -1 before the first."""
    evaluation_seconds: float = 0.0
    """How long the last evaluation took."""
    window: WindowState = WindowState()
    """The report in the making, so that a resumed run reports the same means."""
    train_seconds: float = 0.0
    """In optimizer steps."""
    seconds: float = 0.0
    """In all, over every worker of the run."""
    config_hash: str
    core_hash: str = ""
    """Of the settings that cannot change when a run goes on; empty where an older version saved it."""
    data_hash: str
    base_hash: str = ""
    model_config_hash: str = ""
    """Of what the base model's config.json says; empty where an older version saved it."""
    rewards_hash: str = ""
    """Of the reward files of the user's own."""
    template_date: str | None = None
    """The day that the chat template wrote into the data, where it writes one."""
    compute_dtype: str | None = None
    """What frozen weights are multiplied in; None as stored, and where an older version saved it."""
    reference_hash: str = ""
    """Of the adapter that the loss compares with; empty where that is the base model."""
    versions: dict[str, str]


def folder_name(step: int) -> str:
    """Name of the checkpoint of `step`: `0000200`."""
    return f"{step:07d}"


def save(
    root: Path,
    state: RunState,
    adapter: dict[str, mx.array],
    optimizer: dict[str, mx.array],
    method: dict[str, mx.array] | None = None,
) -> Path:
    """Write the checkpoint of `state.step` below `root` and return its folder.

    Raises:
        NonFiniteError: a weight is NaN or infinite; no checkpoint is left behind.
        StorageError: the disk is full or failing; what was there before is untouched.
    """
    final = root / folder_name(state.step)
    temporary = root / f".{final.name}.tmp"
    with storage_errors(final):
        root.mkdir(exist_ok=True)  # not its parents: a run whose folder was removed must not come back as a ghost
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        _write_arrays(temporary / ADAPTER, adapter)
        _refuse_non_finite(temporary / ADAPTER, state.step)
        _write_arrays(temporary / OPTIMIZER, optimizer)
        if method:
            _write_arrays(temporary / METHOD, method)
        (temporary / STATE).write_text(state.model_dump_json(indent=1))
        files = {
            name: {"bytes": (temporary / name).stat().st_size, "sha256": sha256(temporary / name)}
            for name in (ADAPTER, OPTIMIZER, *([METHOD] if method else []), STATE)
        }
        (temporary / MANIFEST).write_bytes(_manifest({"format": FORMAT, "step": state.step, "files": files}))
    commit_folder(temporary, final)
    return final


def verify(folder: Path) -> RunState:
    """The state of a checkpoint whose every byte is as it was written.

    Raises:
        DamagedCheckpoint: a file is missing or differs from its hash; the message names it.
        CheckpointError: another version wrote it.
    """
    manifest = _read_manifest(folder / MANIFEST)
    if manifest["format"] != FORMAT:
        raise CheckpointError(
            f"{folder / MANIFEST} has format {manifest['format']!r}; this version reads {FORMAT}",
            hint="resume with the version that wrote it",
        )
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise DamagedCheckpoint(f"{path} is missing")
        if path.stat().st_size != entry["bytes"] or sha256(path) != entry["sha256"]:
            raise DamagedCheckpoint(f"{path} is damaged: its SHA-256 differs")
    try:
        return RunState.model_validate_json((folder / STATE).read_bytes())
    except ValidationError as error:
        raise CheckpointError(
            f"{folder / STATE} was written by another version: {error}", hint="resume with the version that wrote it"
        ) from error


def load_arrays(folder: Path) -> tuple[dict[str, mx.array], dict[str, mx.array], dict[str, mx.array]]:
    """Arrays of adapter, optimizer and method of a verified checkpoint."""
    method = _load(folder / METHOD) if (folder / METHOD).exists() else {}
    return _load(folder / ADAPTER), _load(folder / OPTIMIZER), method


def steps(root: Path) -> list[int]:
    """Steps of which a checkpoint folder exists, rising; half-written and quarantined ones left out."""
    if not root.is_dir():
        return []
    return sorted(int(path.name) for path in root.iterdir() if path.name.isdigit() and path.is_dir())


def any_saved(root: Path) -> bool:
    """Whether a checkpoint was ever completed there, good or since damaged."""
    _put_back(root)
    return bool(steps(root)) or any(root.glob("damaged-*"))


def newest_good(root: Path) -> tuple[Path, RunState, list[str]]:
    """The newest checkpoint that verifies, its state, and a sentence for each damaged one put aside.

    A damaged checkpoint is renamed to `damaged-0000200`, never deleted.

    Raises:
        CheckpointError: there is no checkpoint, or none that verifies.
    """
    _put_back(root)
    complaints: list[str] = []
    for step in reversed(steps(root)):
        folder = root / folder_name(step)
        try:
            return folder, verify(folder), complaints
        except DamagedCheckpoint as error:
            aside = root / f"damaged-{folder.name}"
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(folder, aside)
            complaints.append(f"{error.message}; kept as {aside.name}")
    complaints += [f"{path.name} was put aside" for path in root.glob("damaged-*") if not complaints]
    if complaints:
        raise CheckpointError("no undamaged checkpoint is left: " + "; ".join(complaints), hint="start a new run")
    raise CheckpointError(f"there is no checkpoint in {root}", hint="it ended before its first save; start a new run")


def _put_back(root: Path) -> None:
    """Undo a replacement that was cut short: the old checkpoint of that step takes its name again."""
    for aside in root.glob(".*.old.tmp") if root.is_dir() else ():
        final = root / aside.name.removeprefix(".").removesuffix(".old.tmp")
        if not final.exists():
            os.rename(aside, final)


def prune(root: Path, *, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints, and what crashes left behind."""
    for step in steps(root)[:-keep]:
        shutil.rmtree(root / folder_name(step))
    for leftover in root.glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _write_arrays(path: Path, arrays: dict[str, mx.array]) -> None:
    try:
        mx.save_safetensors(str(path), arrays, metadata={"format": "mlx"})
    except RuntimeError as error:
        free = shutil.disk_usage(path.parent).free
        shutil.rmtree(path.parent, ignore_errors=True)
        raise StorageError(
            f"cannot write {path}: {error} ({free / 1e6:.0f} MB are free)",
            hint="free some space, then `droidft resume` the run",
        ) from error


def _load(path: Path) -> dict[str, mx.array]:
    arrays = mx.load(str(path))
    assert isinstance(arrays, dict)
    return arrays


def _manifest(values: dict[str, Any]) -> bytes:
    """The manifest's bytes: canonical JSON that holds the hash of the rest of itself."""
    rest = json.dumps(values, indent=1, sort_keys=True)
    return json.dumps({**values, "sha256": hashlib.sha256(rest.encode()).hexdigest()}, indent=1).encode()


def _read_manifest(path: Path) -> dict[str, Any]:
    damaged = DamagedCheckpoint(f"{path} is damaged")
    try:
        content = path.read_bytes()
        values = json.loads(content)
    except FileNotFoundError:
        raise DamagedCheckpoint(f"{path} is missing") from None
    except ValueError:
        raise damaged from None
    if not isinstance(values, dict):
        raise damaged
    values.pop("sha256", None)
    if _manifest(values) != content:
        raise damaged
    return values


def _refuse_non_finite(adapter: Path, step: int) -> None:
    if (bad := non_finite(adapter)) is not None:
        shutil.rmtree(adapter.parent, ignore_errors=True)
        raise NonFiniteError(
            f"step {step}: {bad[0]} holds NaN or infinity; the checkpoint was not written",
            hint="lower learning_rate, then `droidft resume` continues from the last good checkpoint",
        )


def check_space(plan: TargetPlan, config: TrainingConfig, folder: Path) -> None:
    """Refuse to start where three checkpoints (float32 weights and two moments) do not fit."""
    dora = config.fine_tune_type is FineTuneType.DORA
    trained = (
        plan.total if config.fine_tune_type is FineTuneType.FULL else plan.trainable(config.lora_rank, dora=dora)
    )
    need = 3 * trained * 4 * 3
    folder.mkdir(parents=True, exist_ok=True)
    hint = "free some space, lower lora_rank, or set DROIDFT_HOME to a larger disk"
    check_room(need, folder, what="the run, for three checkpoints,", hint=hint)

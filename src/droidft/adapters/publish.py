"""The adapter folder of a run, in mlx-lm's format: what a checkpoint trained, under the names mlx-lm reads.

    adapters/<name>/
      adapter_config.json             what mlx-lm reads, and a `droidft` section: alpha, base, origin
      0000200_adapters.safetensors    the weights of step 200, never changed again
      adapters.safetensors            -> the latest of them
      best_adapters.safetensors       -> the one with the lowest validation loss

The numbered files share their bytes with the checkpoint (a hard link), so nothing is copied and deleting old
checkpoints loses no adapter. As many numbered files are kept as checkpoints are, and always the best one.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from droidft.adapters.folder import BEST, CONFIG, LATEST, OWNER, Origin, owner_of
from droidft.config import FineTuneType, TrainingConfig
from droidft.errors import AdapterError
from droidft.events import LoraAttached
from droidft.support.durable import point, storage_errors, sweep, sync_file, sync_folder, write_atomically


def numbered(step: int) -> str:
    """`0000200_adapters.safetensors`."""
    return f"{step:07d}_adapters.safetensors"


def prepare_folder(
    folder: Path, config: TrainingConfig, attached: LoraAttached, origin: Origin, *, run_id: str
) -> None:
    """Make the adapter folder and write its `adapter_config.json`.

    It holds the fingerprint of the base model, so that a moved folder is still recognised and another model in
    the same place is not.
    """
    if (owner := owner_of(folder)) not in (None, run_id):
        raise AdapterError(
            f"the adapter folder {folder} belongs to run {owner}", hint="start a run with another name"
        )
    with storage_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(folder)
        (folder / OWNER).write_text(run_id)  # the folder may have been deleted since the run was made
    values: dict[str, Any] = {
        "model": str(origin.model_path),
        "fine_tune_type": config.fine_tune_type.value,
        # mlx-lm adapts `layers[-num_layers:]`; its own "all" is -1 too.
        "num_layers": config.lora_num_layers,
        "droidft": {
            "run": run_id,
            "method": config.method.value,
            "alpha": config.lora_alpha,
            "scaling": config.lora_scaling.value,
            "targets": config.lora_targets.value,
            "trainable": attached.trainable,
            "base": {**origin.fingerprint, "path": str(origin.model_path)},
            "versions": dict(origin.versions),
            "data_format": origin.data_format,
            "chat_template_sha256": origin.chat_template_sha256,
            "mask_prompt": config.mask_prompt,
            "system_prompt": config.system_prompt,
            "system_role": config.system_role.value,
            "chat_template_kwargs": config.chat_template_kwargs,
            "train_on": config.train_on.value,
        },
    }
    if config.fine_tune_type is not FineTuneType.FULL:
        values["lora_parameters"] = {
            "rank": config.lora_rank,
            "scale": config.lora_scale,
            "dropout": config.lora_dropout,
            "keys": [target.key for target in attached.targets],
        }
    write_atomically(folder / CONFIG, json.dumps(values, indent=2).encode())


def publish(folder: Path, weights: Path, *, step: int, best: bool, keep: int) -> None:
    """Give the weights of `step` their numbered name and make latest (and best) point at it; drop older ones."""
    name = numbered(step)
    with storage_errors(folder / name):
        temporary = folder / f".{name}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            os.link(weights, temporary)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(weights, temporary)
            sync_file(temporary)
        os.replace(temporary, folder / name)
        # Of two links to one file, which a resumed run has here, renaming one over the other removes neither.
        temporary.unlink(missing_ok=True)
        sync_folder(folder)
    point(folder / LATEST, name)
    if best:
        point(folder / BEST, name)
    named = {os.readlink(link) for link in (folder / LATEST, folder / BEST) if link.is_symlink()}
    for old in sorted(folder.glob("[0-9]*_adapters.safetensors"))[:-keep]:
        if old.name not in named:
            old.unlink()

"""Which settings a run may take up with when it goes on, and why the others have to stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from droidft.config.parse import parse_config
from droidft.config.training import TrainingConfig
from droidft.config.wording import nearest
from droidft.errors import ConfigError

CHANGEABLE = (
    "epochs",
    "iterations",
    "steps_per_report",
    "steps_per_eval",
    "save_every",
    "keep_checkpoints",
    "early_stop",
    "patience",
    "min_delta",
    "shown_completions",
    "offline",
)
"""Settings on which no step depends that is done: how long the run is, how it reports, evaluates, saves and stops."""
_DATA = "the order of the rows and the place in it belong to the data"
_OPTIMIZER = "the optimizer's state was made with it"
_SHAPE = "the trained weights have its shape"
_STEP = "the steps that are done were made with it"
_REASONS: Mapping[str, str] = {
    **dict.fromkeys(("model_path", "fine_tune_type"), "the trained weights belong to it"),
    **dict.fromkeys(("lora_rank", "lora_num_layers", "lora_targets", "lora_keys", "lora_routers"), _SHAPE),
    **dict.fromkeys(("optimizer", "adam_beta1", "adam_beta2", "adam_eps", "adam_bias_correction"), _OPTIMIZER),
    **dict.fromkeys(("train_data_path", "val_data_path", "seed", "split_seed", "split_by", "split_column"), _DATA),
    **dict.fromkeys(("validation", "validation_fraction", "test_fraction", "train_fraction", "batch_size"), _DATA),
    **dict.fromkeys(("grad_accumulation_steps", "max_seq_length", "mask_prompt", "system_prompt"), _DATA),
    "method": "the loss and its state belong to it",
    "adapter_name": "its checkpoints are published under that name",
    "init_adapter": "it only says where a run starts",
    "reference_adapter": "the steps that are done were compared with it",
    "resume": "it names the run itself",
}


def continued(config: TrainingConfig, changes: Mapping[str, Any], *, run: str, adapter: str) -> TrainingConfig:
    """`config` with `changes`, for the run `run` and the adapter that it writes.

    Settings may be given with the value that they have. `epochs` takes the place of `iterations`, and the reverse.

    Raises:
        ConfigError: a setting is unknown, out of range, or cannot change; the message names each with its reason.
    """
    values = config.model_dump(mode="json")
    for name in changes:
        if name not in values:
            raise ConfigError(f"{name} is not a setting{nearest(name, list(values))}", field=name)
    wanted = {name: value for name, value in changes.items() if name != "resume" or value != run}
    if "epochs" in wanted and "iterations" not in wanted and wanted["epochs"] is not None:
        wanted["iterations"] = None
    elif "iterations" in wanted and "epochs" not in wanted and wanted["iterations"] is not None:
        wanted["epochs"] = None
    made = parse_config(values | wanted, source="changes")
    fixed = [name for name in differing(config, made) if name not in CHANGEABLE]
    if fixed:
        said = "; ".join(f"{name} cannot change: {_REASONS.get(name, _STEP)}" for name in fixed)
        raise ConfigError(
            f"run {run} goes on with the settings that it has. {said}",
            hint=f"start a new run with init_adapter: {adapter} and the new settings; a run that goes on takes "
            f"{', '.join(CHANGEABLE)}",
            field=fixed[0],
        )
    return made


def differing(one: TrainingConfig, other: TrainingConfig) -> dict[str, tuple[Any, Any]]:
    """The settings in which two configurations differ: name -> their values, as JSON."""
    first, second = one.model_dump(mode="json"), other.model_dump(mode="json")
    return {name: (first[name], second[name]) for name in first if first[name] != second[name]}

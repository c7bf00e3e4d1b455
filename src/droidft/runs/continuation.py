"""A run that goes on with other settings: longer, or with other reports, evaluations, checkpoints and stops.

`config.json` then holds the new settings; the log holds, with every start of a worker, those that it worked with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from droidft.config import TrainingConfig, parse_config
from droidft.config.continuation import CHANGEABLE, continued, differing
from droidft.data.batches import plan
from droidft.errors import ConfigError, DroidError, RunError
from droidft.runs.folder import Run, RunStatus
from droidft.runs.kept import summary_of
from droidft.runs.log import starts
from droidft.runs.summary import Summary


def prepare(run: Run, changes: Mapping[str, Any] | None = None) -> TrainingConfig:
    """Make a run ready to go on, with `changes` in its settings; a worker then continues it.

    Raises:
        ConfigError: a setting cannot change, or the new length is behind the run.
        RunError: it is running, or has finished and `changes` leave nothing to do.
    """
    status, config = run.status(), run.config()
    if status is RunStatus.RUNNING:
        run.refuse_to_resume()
    wanted = continued(config, changes or {}, run=run.id, adapter=run.adapter_name())
    if wanted != config and run.measurement() is not None:
        hint = f"start a new run with init_adapter: {run.adapter_name()}"
        raise RunError(f"run {run.id} is part of an experiment, whose settings are fixed", hint=hint)
    so_far = summary_of(run)
    _refuse_what_is_done(run, wanted, so_far, finished=status is RunStatus.FINISHED)
    if wanted != config:
        run.keep(wanted)
    return wanted


def changes_since(run: Run, config: TrainingConfig) -> str | None:
    """What differs from the settings that the last worker had, as a sentence; None where nothing does."""
    if not (earlier := former(run)):
        return None
    changed = {name: pair for name, pair in differing(earlier[-1], config).items() if name in CHANGEABLE}
    if not changed:
        return None
    listed = ", ".join(f"{name} {_text(old)} -> {_text(new)}" for name, (old, new) in changed.items())
    return f"settings changed from here on: {listed}"


def former(run: Run) -> list[TrainingConfig]:
    """The settings with which each worker so far began, oldest first; those of other versions are left out."""
    configs = []
    for start in starts(run.events_file):
        try:
            configs.append(parse_config(start.config))
        except DroidError:
            continue
    return configs


def _refuse_what_is_done(run: Run, config: TrainingConfig, so_far: Summary, *, finished: bool) -> None:
    if so_far.plan is None:
        return
    steps = plan(config, so_far.plan.steps_per_epoch).steps
    done = max([so_far.step, *run.checkpoint_steps()])
    longer = (
        f"give more than {done} iterations ({done / so_far.plan.steps_per_epoch:.6g} epochs): "
        f"`droidft resume {run.id} --iterations {2 * done}`"
    )
    length = "iterations" if config.iterations is not None else "epochs"
    if steps < done:
        given = f"{length} {config.iterations or config.epochs} is {steps} steps"
        raise ConfigError(f"{given}, and run {run.id} has done {done}", hint=longer, field=length)
    if not finished:
        return
    if (early := so_far.early_stop) is not None:
        waited = early.evaluations_without_improvement
        if config.early_stop and config.patience <= waited:
            raise RunError(
                f"run {run.id} is finished: it stopped early at step {early.step}, when the validation loss had not "
                f"improved for {waited} evaluation{'s' if waited != 1 else ''}",
                hint=f"`droidft resume {run.id} --no-early-stop` (or a higher --patience) goes on",
            )
    if steps <= done:
        raise RunError(
            f"run {run.id} is finished: it has done all {done} steps",
            hint=f"{longer}; or start a run with init_adapter: {run.adapter_name()}",
        )
    if not run.checkpoint_steps():
        raise RunError(
            f"run {run.id} is finished and holds no checkpoint to go on from",
            hint=f"start a run with init_adapter: {run.adapter_name()}",
        )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "default" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

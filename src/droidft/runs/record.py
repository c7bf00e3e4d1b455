"""What may be told elsewhere of a run: its settings and figures, without any place on this machine."""

from __future__ import annotations

from droidft.adapters.folder import AdapterInfo
from droidft.adapters.record import TrainingRecord, recorded, settings_without_places
from droidft.home import Home
from droidft.runs.folder import Run, is_run
from droidft.runs.kept import summary_of


def training_record(run: Run) -> TrainingRecord:
    """Settings and figures of `run`.

    Raises:
        RunError: its settings cannot be read.
    """
    summary = summary_of(run)
    data, best = summary.data, summary.newest_evaluation
    device = summary.start.device.get("device") if summary.start else None
    return TrainingRecord(
        settings=settings_without_places(run.config().model_dump(mode="json", exclude_defaults=False)),
        data_hash=data.data_hash if data else None,
        train_rows=data.train_rows if data else None,
        val_rows=data.val_rows if data else None,
        train_tokens=data.train_tokens if data else None,
        steps=summary.step or None,
        best_step=best.best_step if best else None,
        best_loss=best.best_loss if best else None,
        versions=dict(summary.start.versions) if summary.start else {},
        device=device if isinstance(device, str) else None,
    )


def record_of(home: Home, info: AdapterInfo) -> TrainingRecord | None:
    """How an adapter came to be: from its run, where that is here, or from what came with it; None if neither is.

    Raises:
        RunError, AdapterError: what is there is damaged.
    """
    run_id = info.record.get("run")
    if isinstance(run_id, str) and is_run(home.runs / run_id) and (home.runs / run_id).parent == home.runs:
        return training_record(Run(home.runs / run_id))
    return recorded(info.path)

"""Everything about one run but its reports."""

from __future__ import annotations

from droidft.config.settings import command_line, to_yaml
from droidft.errors import RunError
from droidft.home import Home
from droidft.server.runs.index import Entry, checkpoints
from droidft.server.schemas.runs import RunDetail, RunSummary


def detail(entry: Entry, view: RunSummary, home: Home) -> RunDetail:
    """The run's page.

    Raises:
        RunError: its folder cannot be read.
    """
    config, summary = entry.config, entry.summary
    if config is None:
        raise RunError(entry.fault, hint="delete the run, or put its config.json back")
    return RunDetail(
        summary=view,
        config=config,
        changed=config.changed(),
        command=command_line(config.changed()),
        yaml=to_yaml(config.changed()),
        start=summary.start,
        data=summary.data,
        lora=summary.lora,
        plan=summary.plan,
        evaluations=summary.evaluations,
        checkpoints=checkpoints(entry, home.adapter(view.adapter)),
        warnings=summary.warnings,
        folder=str(entry.run.path),
    )

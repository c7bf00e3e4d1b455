"""Training runs. A run is a folder and a worker process: the browser and the terminal see it too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from droidft.config import TrainingConfig, load_config_file, parse_config
from droidft.errors import RunError, error_of
from droidft.events import Event, Failed, RunStarted, TrainReport
from droidft.home import Home
from droidft.runs import continuation, log
from droidft.runs import folder as runs
from droidft.runs.folder import RunStatus
from droidft.runs.history import History, metrics
from droidft.runs.log import rewound
from droidft.workers.accept import refuse_unacceptable

if TYPE_CHECKING:
    import pandas

REPORTED = [name for name in TrainReport.model_fields if name not in ("type", "metrics")]
EVALUATED = ["step", "loss", "tokens"]


def train(
    config: TrainingConfig | Mapping[str, Any] | str | Path | None = None,
    *,
    home: str | Path | None = None,
    **settings: Any,
) -> Run:
    """Start a training run and return at once; a worker process does it, as for `droidft train`.

    A model that is not here is fetched first, by the worker: hub ids, and `smollm2-135m-instruct`.

    Args:
        config: settings as a `TrainingConfig`, a mapping, or the path of a YAML or JSON file.
        home: the home folder; `DROIDFT_HOME` or `~/.droidft` if it is not given.
        **settings: settings by name, over those of `config`; docs/config.md lists them with their limits. With
            `resume`, the id of a run, that run goes on, with the settings as `Run.resume` takes them.

    Returns:
        The run; `follow` shows its events, `wait` waits for its end.

    Raises:
        ConfigError: a setting is unknown, out of range or missing (`field` names it), or the adapter's name is taken.
        DroidError: the model, its targets, the data or `init_adapter` cannot be used. What only the worker can see,
            such as faults in large data, ends the run: `follow` and `wait` raise it.
    """
    values = _values(config, settings)
    if (old := values.pop("resume", None)) is not None:
        return Run.find(str(old), home=home).resume(**values)
    checked = parse_config(values, source=str(config) if isinstance(config, str | Path) else "settings")
    place = home_at(home)
    refuse_unacceptable(checked, place)
    run = Run(runs.create(place, checked))
    run._start()
    return run


class Run:
    """A training run, as it stands: everything is read from its folder whenever it is asked for.

    `train` makes one, `Run.find` opens one that is there.
    """

    def __init__(self, folder: runs.Run) -> None:
        self._folder = folder

    @classmethod
    def find(cls, run_id: str = "last", *, home: str | Path | None = None) -> Run:
        """The run of this id; the unambiguous beginning of one, or `last`, will do.

        Raises:
            NotFound: no run, or more than one, answers to it.
        """
        return cls(runs.find(home_at(home), run_id))

    def __repr__(self) -> str:
        return f"<droidft.Run {self.id}: {self.state}>"

    @property
    def id(self) -> str:
        """Its name among runs, such as `20260131-101500-smollm2`."""
        return self._folder.id

    @property
    def path(self) -> Path:
        """Its folder: settings, event log, what the worker printed, checkpoints."""
        return self._folder.path

    @property
    def config(self) -> TrainingConfig:
        """Its settings."""
        return self._folder.config()

    @property
    def adapter(self) -> str:
        """Name of the adapter it writes, for `load`."""
        return self._folder.adapter_name()

    @property
    def state(self) -> RunStatus:
        """`created`, `running`, `stopped`, `finished`, `failed`, or `crashed` (the worker died without a reason)."""
        return self._folder.status()

    def events(self) -> list[Event]:
        """Its events so far; of steps that were done twice, because a worker died, only the second time."""
        return _counting([record.event for record in self._folder.records()[0]])

    def follow(self) -> Iterator[Event]:
        """Its events from the first on, then further ones as they come, until the run ends.

        Each call begins at the beginning, and begins with what `events` gives. If a run is resumed while it is
        followed, a `RunStarted` says from which step on: later steps come again.

        Raises:
            DroidError: the run failed; of the kind, and with the message and hint, that its last event has.
            RunError: its worker died without a reason, or has not begun.
        """
        records, offset = self._folder.records()
        yield from _counting([record.event for record in records])
        for record in self._folder.follow(offset):
            yield record.event
        self._raise_unless_ended_well()

    def wait(self, timeout: float | None = None) -> Run:
        """Wait until it ends; returns the run itself.

        Args:
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: it still runs.
            DroidError: as `follow`.
        """
        end = None if timeout is None else time.monotonic() + timeout

        def check() -> None:
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"run {self.id} still runs after {timeout:g} seconds")

        for _ in self._folder.follow(log.end(self._folder.events_file), meanwhile=check):
            pass
        self._raise_unless_ended_well()
        return self

    def stop(self) -> None:
        """Ask the worker to save a checkpoint and end; `wait` waits until it has.

        Raises:
            RunError: it does not run.
        """
        self._folder.stop()

    def resume(self, **changes: Any) -> Run:
        """Continue it from its last checkpoint, bit for bit, and return at once; returns the run itself.

        Args:
            **changes: settings that are to be others from here on: `epochs` or `iterations`, which also make a
                finished run longer; `steps_per_report`, `steps_per_eval`, `save_every`, `keep_checkpoints`,
                `early_stop`, `patience`, `min_delta`.

        Raises:
            ConfigError: a setting cannot change when a run goes on; the message gives the reason.
            RunError: it runs, or is finished and there is nothing left to do.
        """
        continuation.prepare(self._folder, changes)
        self._start()
        return self

    @property
    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """Its reports as columns, a row for each `steps_per_report` steps. Each has the shape (reports,).

        - `step`, `epoch`
        - `loss`: nats per supervised token, a mean since the last report; rewards and preferences have their own loss
        - `learning_rate`; `grad_norm`: the largest since the last report, before clipping
        - `tokens_per_second`, `supervised_tokens_per_second`; `tokens`, `supervised_tokens`: since step 0
        - `peak_memory_bytes`, `rss_bytes`; `seconds_left`: NaN before the first step was timed
        - `seconds`: of work so far; `time`: since the epoch
        - what the method measures besides, by the names of `droidft.events.METRICS`; NaN where a report lacks it
        """
        return _metrics(History.of(self._folder))

    @property
    def evaluations(self) -> dict[str, NDArray[np.float64]]:
        """Its evaluations of the validation set as columns. Each has the shape (evaluations,).

        - `step`; `tokens`: of the validation set
        - `loss`: nats per supervised token, the loss of preferences, or minus the mean reward
        - `seconds`: of work so far; `time`: since the epoch
        - what the method measures besides, by name
        """
        return _evaluations(History.of(self._folder))

    def to_pandas(self) -> pandas.DataFrame:
        """`metrics` as a table with a row for each step that was reported or evaluated; `val_loss` is of the latter.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: `pip install pandas`, or use `run.metrics`") from error
        history = History.of(self._folder)  # once: the log of a run under way grows between two readings
        evaluations = _evaluations(history)
        table = pandas.DataFrame({"step": evaluations["step"], "val_loss": evaluations["loss"]})
        return pandas.DataFrame(_metrics(history)).merge(table, on="step", how="outer")

    def _start(self) -> None:
        worker = self._folder.start()
        # Somebody has to take note of its end, or it stays in the system's list of processes.
        threading.Thread(target=worker.wait, daemon=True).start()

    def _raise_unless_ended_well(self) -> None:
        record = self._folder.last_record()
        if record is not None and isinstance(event := record.event, Failed):
            raise error_of(event.code, event.message, hint=event.hint)
        match self.state:
            case RunStatus.CRASHED:
                raise RunError(
                    f"run {self.id}: the worker died without saying why (killed, or out of memory)",
                    hint=f"its log is {self._folder.log_file}; `resume()` continues from the last checkpoint",
                )
            case RunStatus.CREATED:
                hint = "`resume()` starts it, unless it waits in a server's queue"
                raise RunError(f"run {self.id} has not begun", hint=hint)


def home_at(path: str | Path | None) -> Home:
    """The home folder at `path`, or that of the user."""
    return Home.find() if path is None else Home(Path(path).expanduser().absolute())


def _values(
    given: TrainingConfig | Mapping[str, Any] | str | Path | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    match given:
        case None:
            values: dict[str, Any] = {}
        case TrainingConfig():
            values = given.changed()
        case str() | Path():
            values = load_config_file(Path(given).expanduser())
        case _:
            values = dict(given)
    merged = {**values, **settings}
    return {name: str(value) if isinstance(value, Path) else value for name, value in merged.items()}


def _counting(events: list[Event]) -> list[Event]:
    """Events without those of steps that came again."""
    kept: list[Event] = []
    for event in events:
        if isinstance(event, RunStarted):
            kept = rewound(kept, event, step=lambda each: -1 if (at := getattr(each, "step", None)) is None else at)
        kept.append(event)
    return kept


def _metrics(history: History) -> dict[str, NDArray[np.float64]]:
    return _columns(history.reports, [*REPORTED, "seconds", "time"]) | _arrays(metrics(history.reports))


def _evaluations(history: History) -> dict[str, NDArray[np.float64]]:
    evaluations = history.evaluations
    return _columns(evaluations, [*EVALUATED, "seconds", "time"]) | _arrays(metrics(evaluations))


def _columns(reports: list[dict[str, Any]], names: list[str]) -> dict[str, NDArray[np.float64]]:
    return _arrays({name: [report[name] for report in reports] for name in names})


def _arrays(columns: Mapping[str, list[float | None]]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(values, dtype=np.float64) for name, values in columns.items()}

"""python -m droidft.workers.train RUN_FOLDER: do one run, appending its events.

The only writer of the run folder. A first SIGTERM or SIGINT asks for a checkpoint and a clean end. Exit status:
0 finished or stopped, 1 failed, `NO_ROOM` and `REMOVED` (`runs/folder.py`) where it could not write how it ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from droidft.adapters import publish
from droidft.config import LrSchedule, TrainingConfig
from droidft.config.schedule import learning_rate
from droidft.data.batches import plan
from droidft.errors import DroidError, StorageError
from droidft.events import CheckpointSaved, Event, Failed, Finished, Stopped, Warned
from droidft.home import Home
from droidft.rewards import calls
from droidft.runs.continuation import changes_since, former
from droidft.runs.folder import HEARTBEAT_SECONDS, NO_ROOM, REMOVED, Run
from droidft.runs.writer import EventLog
from droidft.support.memory import LESS_MEMORY, RESUME_WITH_LESS, is_out_of_memory, is_watchdog

if TYPE_CHECKING:
    from droidft.engine.machine.device import Device
    from droidft.engine.training.loop import Job


class StoppedEarly(BaseException):
    """A stop was asked for before there was anything to save."""


class StopRequest:
    """Set by a signal, asked by the loop. Preparation, which asks nothing and saves nothing, is broken off."""

    def __init__(self) -> None:
        self._asked = False
        self._preparing = True
        self._breakable = False

    def heed_signals(self) -> None:
        """From now on SIGTERM and SIGINT set it."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self._asked

    def training_begins(self) -> None:
        """From now on the loop asks, and ends with a checkpoint."""
        self._preparing = False

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """While the block lasts, and as long as training has not begun, a signal raises `StoppedEarly`."""
        if self._asked and self._preparing:
            raise StoppedEarly
        self._breakable = True
        try:
            yield
        finally:
            self._breakable = False

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        if self._preparing and self._breakable:
            raise StoppedEarly
        calls.abandon()


def main(folder: Path) -> int:
    """Do the run in `folder`; everything that happens ends up in its event log, unless the disk refuses that."""
    os.umask(os.umask(0o022) | 0o022)  # nobody else may write to what is made here
    stop, run = StopRequest(), Run(folder)
    stop.heed_signals()
    try:
        log = EventLog(run)
        _beat(log)
        return work(run, log, stop)
    except StorageError as error:
        print(error, file=sys.stderr)
        return NO_ROOM


def work(run: Run, log: EventLog, stop: StopRequest) -> int:
    """Do the run, and close its log at the end: what of a worker could be done in any process."""
    step: int | None = None
    try:
        for event in _broken_off(events(run, run.home, stop), stop):
            step = getattr(event, "step", step)
            log.append(event)
            if isinstance(event, CheckpointSaved):
                log.sync()
    except StoppedEarly:
        log.append(Stopped(step=max(run.checkpoint_steps(), default=0)))
    except DroidError as error:
        log.append(Failed(code=error.code, message=error.message, hint=error.hint, step=step))
        return 1
    except Exception as error:  # noqa: BLE001 - the log must end with a reason
        traceback.print_exc()
        log.append(_unexpected(error, run, step))
        return 1
    finally:
        log.close()
    return 0


def _broken_off(source: Iterator[Event], stop: StopRequest) -> Iterator[Event]:
    """The events of `source`; a signal during the preparation breaks in, but never into the writing of an event."""
    while True:
        with stop.breakable():
            event = next(source, None)
        if event is None:
            return
        yield event


def _beat(log: EventLog) -> None:
    """Give a sign of life every few seconds, as long as the process lives and no reward holds it up."""

    def beat() -> None:
        stopping = False
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            if log.is_held():
                if not calls.overdue():
                    log.beat()
                continue
            if not log.is_whole():
                # Nothing can be kept any more; to save a checkpoint would make the folder again, as a ghost.
                print("the run's folder was removed, or its log was: the worker ends", file=sys.stderr, flush=True)
                os._exit(REMOVED)
            if not stopping:
                os.kill(os.getpid(), signal.SIGTERM)  # without its lock, another worker could begin
                stopping = True

    threading.Thread(target=beat, daemon=True).start()


def events(run: Run, home: Home, stop: StopRequest) -> Iterator[Event]:
    """The events of a run, while its adapter folder is kept up to date."""
    from droidft.engine.machine.device import computing

    with computing(home.cache) as device:
        yield from _events(run, home, stop, device)


def _events(run: Run, home: Home, stop: StopRequest, device: Device) -> Iterator[Event]:
    # Imports mlx, which has to find the BLAS that `computing` chose.
    from droidft.engine.assemble import assemble
    from droidft.engine.training.checkpoint import ADAPTER, folder_name
    from droidft.engine.training.loop import train
    from droidft.workers.measure import Measuring

    config, adapter = run.config(), home.adapter(run.adapter_name())
    earlier, changed = former(run), changes_since(run, config)
    assembled = yield from assemble(config, home.places(checkpoints=run.checkpoints), device)
    assembled.job.former = earlier
    if changed is not None:
        yield Warned(code="settings_changed", message=changed + _new_rate(assembled.job, earlier[-1]))
    measuring = Measuring.of(run, assembled)
    if measuring is not None and measuring.wanted.base:
        stop.training_begins()
        yield from measuring.base(stop)
        return
    stop.training_begins()
    training = train(assembled.job, should_stop=stop)
    # A run that cannot go on with this model or this data ends here; its adapter stays what it was trained on.
    first = next(training)
    publish.prepare_folder(adapter, config, assembled.attached, assembled.origin, run_id=run.id)
    if assembled.job.resume_from is not None:
        # The worker may have died between saving this checkpoint and publishing it.
        folder, state = assembled.job.resume_from
        best = state.best_step == state.step
        publish.publish(adapter, folder / ADAPTER, step=state.step, best=best, keep=config.keep_checkpoints)
    for event in chain([first], training):
        if isinstance(event, CheckpointSaved):
            weights = run.checkpoints / folder_name(event.step) / ADAPTER
            publish.publish(adapter, weights, step=event.step, best=event.best, keep=config.keep_checkpoints)
        if isinstance(event, Finished) and measuring is not None:
            yield from measuring.trained(adapter, event, stop)
        else:
            yield event


def _new_rate(job: Job, earlier: TrainingConfig) -> str:
    """What another length makes of the learning rate, where its schedule depends on the length."""
    config = job.config
    if job.resume_from is None or config.lr_schedule is LrSchedule.CONSTANT:
        return ""
    before, now = (plan(each, job.method.steps_per_epoch).steps for each in (earlier, config))
    step = job.resume_from[1].step + 1
    if before == now or step > now:
        return ""
    old = learning_rate(earlier, step=min(step, before), total=before)
    return (
        f"; lr_schedule '{config.lr_schedule}' now falls over {now} steps instead of {before}: "
        f"step {step} has the rate {learning_rate(config, step=step, total=now):.4g} instead of {old:.4g}"
    )


def _unexpected(error: Exception, run: Run, step: int | None) -> Failed:
    text = str(error)
    if is_out_of_memory(error):
        return Failed(
            code="out_of_memory",
            message=f"the device ran out of memory: {text}",
            hint=RESUME_WITH_LESS,
            step=step,
        )
    if is_watchdog(error):
        return Failed(
            code="gpu_watchdog",
            message=f"macOS ended the work on the GPU, which kept the screen from being drawn: {text}",
            hint="resume the run with the screen locked or no program that draws much; if it happens again, start "
            f"a new run whose steps are shorter: {LESS_MEMORY}",
            step=step,
        )
    return Failed(
        code="internal",
        message=f"{type(error).__name__}: {text}",
        hint=f"a defect of droidft; the traceback is in {run.log_file}",
        step=step,
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

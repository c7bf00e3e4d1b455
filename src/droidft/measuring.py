"""The measurement at the end of a run of an experiment: between the worker, its run folder and the engine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from droidft import publish
from droidft.config.measurement import RunMeasurement, Weights
from droidft.durable import write_atomically
from droidft.engine.assemble import Assembled
from droidft.engine.lora import base_only, load_trained
from droidft.engine.measure import Material, prepare_measurement, take
from droidft.engine.method import Interrupted
from droidft.events import Event, Finished, Stopped
from droidft.experiment import general
from droidft.runs import Run

ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Measuring:
    """What is measured once the run is trained. Its data was read before."""

    run: Run
    wanted: RunMeasurement
    assembled: Assembled
    material: Material

    @classmethod
    def of(cls, run: Run, assembled: Assembled) -> Measuring | None:
        """What `run` asks for, if anything.

        Raises:
            DroidError: the test data cannot be used.
        """
        if (wanted := run.measurement()) is None:
            return None
        assert assembled.data is not None, "experiments are made of methods that learn from answers"
        material = prepare_measurement(
            run.config(),
            wanted.measurement,
            assembled.tokenizer,
            assembled.data,
            general=general.PATH,
            context_length=assembled.context_length,
        )
        return cls(run, wanted, assembled, material)

    def base(self, should_stop: ShouldStop) -> Iterator[Event]:
        """The base model's figures, the experiment's run zero, and the end of the run."""
        began = time.perf_counter()
        with base_only(self.assembled.job.model):
            yield from self._take(0, should_stop)
        if self.run.measured_file.exists():
            seconds = time.perf_counter() - began
            yield Finished(step=0, best_step=None, best_loss=None, final_loss=None, seconds=seconds)
            shutil.rmtree(self.run.checkpoints, ignore_errors=True)

    def trained(self, adapter: Path, finished: Finished, should_stop: ShouldStop) -> Iterator[Event]:
        """The trained model's figures, then `finished`; nothing can be resumed after that, so checkpoints go."""
        step = finished.step
        if self.wanted.measurement.weights is Weights.BEST and finished.best_step is not None:
            step = finished.best_step
            load_trained(self.assembled.job.model, adapter / publish.BEST)
        yield from self._take(step, should_stop)
        if self.run.measured_file.exists():
            yield finished
            shutil.rmtree(self.run.checkpoints, ignore_errors=True)

    def _take(self, step: int, should_stop: ShouldStop) -> Iterator[Event]:
        model, tokenizer = self.assembled.job.model, self.assembled.tokenizer
        try:
            found = yield from take(model, tokenizer, self.material, step=step, should_stop=should_stop)
        except Interrupted:
            yield Stopped(step=step)
            return
        write_atomically(self.run.measured_file, found.model_dump_json().encode())

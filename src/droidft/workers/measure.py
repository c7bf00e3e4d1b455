"""The measurement at the end of a run of an experiment: between the worker, its run folder and the engine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from droidft.adapters.folder import BEST
from droidft.config.measurement import RunMeasurement, Weights
from droidft.engine.assemble import Assembled
from droidft.engine.evaluation.measure import Material, prepare_measurement, take
from droidft.engine.model.lora import base_only, load_trained
from droidft.engine.training.method import Interrupted
from droidft.errors import ExperimentError
from droidft.events import Event, Finished, Stopped
from droidft.experiments.plan.written import GENERAL_TEXT
from droidft.runs.folder import Run
from droidft.support.durable import write_atomically

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
            ExperimentError: data or model are not what they were when the experiment was planned.
            DroidError: the test data cannot be used.
        """
        if (wanted := run.measurement()) is None:
            return None
        assert assembled.data is not None, "experiments are made of methods that learn from answers"
        material = prepare_measurement(
            assembled.config,
            wanted.measurement,
            assembled.tokenizer,
            assembled.data,
            general=GENERAL_TEXT,
            context_length=assembled.context_length,
        )
        if wanted.expected is not None:
            _as_planned(wanted, assembled, material)
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
            load_trained(self.assembled.job.model, adapter / BEST)
        yield from self._take(step, should_stop)
        if self.run.measured_file.exists():
            yield finished
            shutil.rmtree(self.run.checkpoints, ignore_errors=True)

    def _take(self, step: int, should_stop: ShouldStop) -> Iterator[Event]:
        model, tokenizer = self.assembled.job.model, self.assembled.tokenizer
        try:
            measurements = yield from take(model, tokenizer, self.material, step=step, should_stop=should_stop)
        except Interrupted:
            yield Stopped(step=step)
            return
        write_atomically(self.run.measured_file, measurements.model_dump_json().encode())


def _as_planned(wanted: RunMeasurement, assembled: Assembled, material: Material) -> None:
    """Refuse a file that was changed, or a model that was replaced, since the plan was fixed."""
    expected, config, data = wanted.expected, material.config, assembled.data
    assert expected is not None
    assert data is not None
    test = wanted.measurement.test_data_path or config.train_data_path
    for what, planned, present in (
        (f"the base model {config.model_path}", expected.base, assembled.origin.fingerprint["weights_sha256"]),
        (f"the data of {config.train_data_path}", expected.training, data.report.data_hash),
        (f"the test data of {test}", expected.test, material.test.tokens.sha256()),
        ("the general text", expected.general, material.general.tokens.sha256()),
    ):
        if planned is not None and planned != present:
            raise ExperimentError(
                f"{what} is not what it was when experiment {wanted.experiment} was planned: "
                f"SHA-256 {present[:12]}…, then {planned[:12]}…",
                hint="put back what was there and start the experiment again, or plan a new one",
            )

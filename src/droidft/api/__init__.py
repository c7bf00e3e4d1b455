"""What scripts and notebooks use: train, load, compare. `droidft` itself exports these names and imports them late.

training    a run, which a worker process does         answering   a model in this process
comparing   experiments, run after run                 exporting   an adapter, for other programs
                                                       examples/own_method.py   the loop, with a method of one's own
"""

from __future__ import annotations

from droidft.api.answering import Model, Sampling, load
from droidft.api.comparing import Experiment, experiment
from droidft.api.exporting import Exported, export
from droidft.api.training import Run, train
from droidft.config import TrainingConfig
from droidft.config.measurement import RowLosses
from droidft.errors import DroidError

__all__ = [
    "DroidError",
    "Experiment",
    "Exported",
    "Model",
    "RowLosses",
    "Run",
    "Sampling",
    "TrainingConfig",
    "experiment",
    "export",
    "load",
    "train",
]

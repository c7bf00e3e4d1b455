"""What is checked before a run is accepted, the same at every entrance: terminal, HTTP, form, Python, experiments.

No weights load and no code of the user's runs. It takes a second or two whatever the data, so rows of large files are
left to the worker, which reads every row (`assemble`), and so is what is still to be fetched from a hub. Whether the
adapter's name is free is known where the run's folder is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from droidft.adapters.diagnostics import refuse_other_base
from droidft.config import Family, FineTuneType, TrainingConfig
from droidft.data.check import check_structure
from droidft.data.sources import HUB, fetch_dataset, locate
from droidft.engine.model import lora
from droidft.engine.model.architectures import build_lazily
from droidft.engine.model.starting import starting_adapter
from droidft.engine.model.trainable import examine_for_training
from droidft.engine.training.checkpoint import check_space
from droidft.errors import AdapterError, DataError, DroidError
from droidft.models import catalog, hub
from droidft.rewards.scorer import Scorer
from droidft.support.faults import InvalidData
from droidft.support.places import Places

MOST_BYTES = 4 << 20
"""Data beyond this is checked by the worker alone."""


@dataclass
class Acceptance:
    """What keeps a run from being accepted, and what it is warned of."""

    faults: list[DroidError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self) -> None:
        """Raise the first fault, if there is one; its message names the others too."""
        if not self.faults:
            return
        first, *others = self.faults
        if others:
            first.message = "; ".join([first.message, *(other.message for other in others)])
            first.args = (first.message,)
        raise first

    @contextmanager
    def part(self, setting: str) -> Iterator[None]:
        """Note what the block refuses, as a fault of `setting` where it names none."""
        try:
            yield
        except DroidError as error:
            error.field = error.field or setting
            self.faults.append(error)


def check(config: TrainingConfig, places: Places) -> Acceptance:
    """Hold a new run to everything that can be known before it begins; nothing is raised, all faults are listed."""
    found = Acceptance(warnings=list(config.warnings()))
    path: Path | None = None
    trainable = False
    with found.part("model_path"):
        if (path := _model(config, places)) is not None:
            examine_for_training(path)
            trainable = True
    if path is not None and trainable:
        with found.part("lora_targets"):
            _targets(config, places, path)
    with found.part("train_data_path"):
        _data(config)
    if config.method.family is Family.REWARDS:
        with found.part("rewards"):
            Scorer(config.rewards, places.rewards)
    if config.init_adapter is not None:
        with found.part("init_adapter"):
            _start(config, places, path)
    return found


def _model(config: TrainingConfig, places: Places) -> Path | None:
    """The model's folder; None where it is still to be fetched."""
    ref = config.model_path
    if hub.why_offline(offline=config.offline) is None and catalog.is_to_fetch(ref, models_dir=places.models):
        return None
    return catalog.find_model(ref, models_dir=places.models, offline=True)


def _targets(config: TrainingConfig, places: Places, path: Path) -> None:
    """Refuse an architecture, modules or a number of blocks that cannot be trained, and checkpoints without room."""
    empty = build_lazily(catalog.load_config(path), stored=catalog.stored_names(path))
    plan = lora.targets_of(empty, config)
    check_space(plan, config, places.checkpoints)


def _data(config: TrainingConfig) -> None:
    """Refuse data that is not there, and in files that are not large, every row that cannot be used."""
    references = [config.train_data_path, *([config.val_data_path] if config.val_data_path is not None else [])]
    offline = hub.why_offline(offline=config.offline) is not None
    if not offline and any(reference.startswith(HUB) for reference in references):
        return  # fetched by the worker
    files = [file for part in locate(config, lambda ref: fetch_dataset(ref, offline=True)) for file in part]
    for file in files:
        if not file.is_file():
            raise DataError(f"{file} is not there", hint="check the path")
    if sum(file.stat().st_size for file in files) > MOST_BYTES:
        return
    report = check_structure(config)
    if report.fault_count:
        raise InvalidData(report.faults, report.fault_count, "the training data")


def _start(config: TrainingConfig, places: Places, path: Path | None) -> None:
    """Refuse an adapter that a run cannot start from."""
    assert config.init_adapter is not None
    info = starting_adapter(config.init_adapter, path, places, check_values=False)
    if info is None:
        return
    if info.fine_tune_type != config.fine_tune_type.value:
        raise AdapterError(
            f"init_adapter {info.name} is of the kind {info.fine_tune_type}, and this run trains "
            f"{config.fine_tune_type.value}",
            hint=f"set fine_tune_type to {info.fine_tune_type}",
        )
    if config.fine_tune_type is not FineTuneType.FULL and info.rank != config.lora_rank:
        raise AdapterError(
            f"init_adapter {info.name} has rank {info.rank}, and this run {config.lora_rank}",
            hint=f"set lora_rank to {info.rank}",
        )
    if path is not None:
        base = catalog.fingerprint(path, cache=places.cache / "fingerprints.json")["weights_sha256"]
        refuse_other_base(info, base, ref=config.model_path, allowed=config.allow_mismatch)

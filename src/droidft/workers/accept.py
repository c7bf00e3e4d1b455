"""Whether a run is accepted, for entrances in this process: makes mlx ready first, as every computation does."""

from __future__ import annotations

from droidft.config import TrainingConfig
from droidft.home import Home


def refuse_unacceptable(config: TrainingConfig, home: Home) -> None:
    """Refuse a new run that could not begin.

    Raises:
        DroidError: the first of its faults; the message names the others.
    """
    from droidft.engine.machine import device

    device.prepare(home.cache)
    from droidft.engine.training import acceptance

    acceptance.check(config, home.places(checkpoints=home.runs)).refuse()

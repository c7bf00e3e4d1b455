"""Whether a run is accepted: makes mlx ready first, as every computation does."""

from __future__ import annotations

from droidft.config import TrainingConfig
from droidft.home import Home


def refuse_unacceptable(config: TrainingConfig, home: Home) -> list[str]:
    """Refuse a new run that could not begin; what deserves attention of one that can, as sentences.

    Raises:
        DroidError: the first of its faults; the message names the others.
    """
    from droidft.engine.machine import device

    device.prepare(home.cache)
    from droidft.engine.training import acceptance

    found = acceptance.check(config, home.places(checkpoints=home.runs))
    found.refuse()
    return found.warnings

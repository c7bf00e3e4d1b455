"""Record the losses of 60 steps on the tiny model: python -m bench.tiny_losses (only when a change is meant)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from droidft.engine.machine.device import prepare

TARGET = Path(__file__).parent.parent / "tests/golden/tiny_losses.txt"


def losses() -> dict[int, float]:
    """Loss of each step, as this device computes it."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        from tests.engine import jobs

        from droidft.engine.training.loop import train
        from droidft.events import TrainReport

        settings = jobs.config(iterations=60, lora_dropout=0.05, grad_accumulation_steps=2, steps_per_eval=20)
        job = jobs.job(Path(folder) / "run", settings, compiled=False)
        return {event.step: event.loss for event in train(job) if isinstance(event, TrainReport)}


def main() -> None:
    lines = "".join(f"{step} {loss:.7f}\n" for step, loss in losses().items())
    TARGET.write_text(f"# step, loss of tests.engine.jobs with 60 iterations; made by bench/tiny_losses.py\n{lines}")


if __name__ == "__main__":
    main()

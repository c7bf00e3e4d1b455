"""What a run tells elsewhere: its settings and figures, without places."""

from __future__ import annotations

import json
from pathlib import Path

from droidft.adapters.folder import read_adapter
from droidft.adapters.record import FILE, TrainingRecord
from droidft.cli import main
from droidft.home import Home
from droidft.runs.folder import Run
from droidft.runs.record import record_of, training_record


def test_a_run_and_the_adapter_that_it_made(home: Path, material: dict[str, str]) -> None:
    settings = [word for name, value in material.items() for word in (f"--{name.replace('_', '-')}", value)]
    flags = ["--iterations", "4", "--steps-per-eval", "2", "--lora-rank", "4", "--batch-size", "4"]
    assert main(["train", *settings, *flags, "--adapter-name", "mine"]) == 0
    [folder] = (home / "runs").iterdir()
    record = training_record(Run(folder))
    assert record.settings["lora_rank"] == 4
    assert (record.settings["model_path"], record.settings["train_data_path"]) == ("model", "chat.jsonl")
    assert str(home) not in record.model_dump_json()
    assert material["model_path"] not in record.model_dump_json()
    prepared = next(
        event for line in (folder / "events.jsonl").read_text().splitlines()
        if (event := json.loads(line)["event"])["type"] == "data_prepared"
    )  # fmt: skip
    assert record.data_hash == prepared["data_hash"]
    assert (record.train_rows, record.val_rows) == (prepared["train_rows"], prepared["val_rows"])
    assert record.steps == 4
    assert record.best_loss is not None
    assert record.versions["droidft"]
    info = read_adapter(home / "adapters" / "mine", "best")
    assert record_of(Home(home), info) == record
    folder.rename(home / "gone")
    assert record_of(Home(home), info) is None
    (info.path / FILE).write_text(TrainingRecord(settings={}, steps=3).model_dump_json())
    assert record_of(Home(home), info) == TrainingRecord(settings={}, steps=3)

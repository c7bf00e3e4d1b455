"""A run whose chat template writes the date keeps the day that it was made with."""

import datetime
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from droidft.config import parse_config
from droidft.engine import assemble
from droidft.engine.machine.device import computing
from droidft.engine.training.loop import train
from droidft.events import Event, Finished, TrainReport, Warned
from droidft.support.places import Places
from tests.conftest import CACHE
from tests.tiny import CHAT_TEMPLATE, write_chat, write_model


def on(day: datetime.date) -> Any:
    """A `datetime` module on which it is that day."""
    return SimpleNamespace(date=SimpleNamespace(today=lambda: day))


def run(root: Path, name: str, *, stop_after: int | None = None) -> list[Event]:
    places = Places(root, root, root, root / name, root)
    settings = {"model_path": str(root / "dated"), "train_data_path": str(root / "chat.jsonl"), "iterations": 6}
    config = parse_config({**settings, "steps_per_report": 1, "save_every": 1, "early_stop": False})
    events: list[Event] = []
    with computing(CACHE) as device:
        steps = assemble.assemble(config, places, device)
        while True:
            try:
                events.append(next(steps))
            except StopIteration as end:
                job = end.value.job
                break

        def stop() -> bool:
            return stop_after is not None and sum(isinstance(event, TrainReport) for event in events) >= stop_after

        for event in train(job, should_stop=stop):
            events.append(event)
    return events


def test_a_run_over_midnight_goes_on_with_its_own_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "dated")
    settings = json.loads((model / "tokenizer_config.json").read_text())
    dated = "<|im_start|>system\n{{ strftime_now('%d %b %Y') }}<|im_end|>\n" + CHAT_TEMPLATE
    (model / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": dated}))
    write_chat(tmp_path / "chat.jsonl")
    monkeypatch.setattr(assemble, "datetime", on(datetime.date(2025, 1, 1)))
    whole = run(tmp_path, "whole")
    first = run(tmp_path, "stopped", stop_after=2)
    monkeypatch.setattr(assemble, "datetime", on(datetime.date(2025, 1, 2)))
    rest = run(tmp_path, "stopped")
    assert any("every row has 2025-01-01" in event.message for event in rest if isinstance(event, Warned))
    assert isinstance(rest[-1], Finished)
    expected = {event.step: event.loss for event in whole if isinstance(event, TrainReport)}
    losses = {event.step: event.loss for event in [*first, *rest] if isinstance(event, TrainReport)}
    assert losses == expected
    new = run(tmp_path, "new", stop_after=1)
    assert any("every row has 2025-01-02" in event.message for event in new if isinstance(event, Warned))

"""A log that is read while it grows, and what a resume leaves of it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from droidft.config import TrainingConfig
from droidft.events import EvalReport, Finished, RunStarted, Warned
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.runs import log
from droidft.runs.folder import Run
from droidft.runs.writer import EventLog


@pytest.fixture
def run(home: Path) -> Run:
    return runs.create(Home.find(), TrainingConfig(model_path="model", train_data_path="data"))


def write(run: Run, *messages: str) -> None:
    events = EventLog(run)
    for message in messages:
        events.append(Warned(code="x", message=message))
    events.close()


def test_a_resume_is_named_with_the_last_step_that_counts() -> None:
    lines = [
        b'{"seq":1,"time":1.0,"event":{"type":"run_started","resumed_from_step":null}}',
        b'{"seq":2,"time":2.0,"event":{"type":"warning","code":"w","message":"\\"run_started\\""}}',
        b'{"seq":3,"time":3.0,"event":{"type":"run_started","resumed_from_step":20}}',
    ]
    assert log.rewinds(lines) == {1: -1, 3: 20}


def report(step: int) -> EvalReport:
    return EvalReport(step=step, loss=1, tokens=1, best=True, best_loss=1, best_step=step, seconds=0)


def test_a_chunk_ends_with_a_whole_line_and_says_whether_there_are_more(run: Run) -> None:
    write(run, *(f"message {number}" for number in range(50)))
    file, taken, offset, after, more = run.events_file, 0, 0, 0, True
    while more:
        lines = log.read(file, offset, after=after, most=300)
        assert all(line.endswith(b"}") for line in lines.records)
        taken, offset, after, more = taken + len(lines.records), lines.end, lines.last, lines.more
    assert (taken, offset, after) == (50, file.stat().st_size, 50)


def test_a_line_longer_than_a_chunk_is_read_whole(run: Run) -> None:
    write(run, "long" * 500, "short")
    assert len(log.read(run.events_file, 0, after=0, most=100).records) == 1
    assert [len(line) > 2000 for line in log.all_lines(run.events_file)] == [True, False]


def test_half_a_line_and_damaged_ones_are_left_out_and_numbers_only_go_up(run: Run) -> None:
    write(run, "one", "two")
    first = run.events_file.read_bytes().splitlines()[0]
    with run.events_file.open("ab") as file:
        file.write(b'{"seq":3,"time":\n' + first + b"\n" + b"\x00\n" + b'{"seq":4,"time":1.0')
    assert len(list(log.all_lines(run.events_file))) == 2
    assert len(list(log.all_lines(run.events_file, after=1))) == 1
    records, offset = run.records()
    assert [record.seq for record in records] == [1, 2, 1]
    assert run.events_file.read_bytes()[offset:] == b'{"seq":4,"time":1.0'


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    missing = tmp_path / "events.jsonl"
    assert log.records(missing, 7) == ([], 7)
    assert list(log.all_lines(missing)) == []
    assert log.last_record(missing) is None


def test_later_steps_than_the_checkpoints_come_again() -> None:
    done = [report(step) for step in (0, 5, 10)]
    start = RunStarted(config={}, versions={}, device={})
    assert log.rewound(done, start.model_copy(update={"resumed_from_step": 5})) == done[:2]
    assert log.rewound(done, start.model_copy(update={"resumed_from_step": 0})) == done[:1]
    assert log.rewound(done, start) == [], "without a checkpoint even step 0 is evaluated again"
    assert log.rewound([0, 5, 10], start.model_copy(update={"resumed_from_step": 7}), step=int) == [0, 5]


def test_a_run_is_followed_until_its_worker_is_gone(run: Run) -> None:
    write(run, "before")
    _, offset = run.records()
    worker = EventLog(run)
    looks = threading.Event()

    def work() -> None:
        worker.append(Warned(code="x", message="during"))
        assert looks.wait(10)
        worker.append(Finished(step=1, best_step=None, best_loss=None, final_loss=None, seconds=1))
        worker.close()

    thread = threading.Thread(target=work)
    thread.start()
    records = list(run.follow(offset, meanwhile=looks.set))
    thread.join()
    assert [(record.seq, record.event.type) for record in records] == [(2, "warning"), (3, "finished")]
    assert [record.seq for record in run.follow()] == [1, 2, 3], "one that is over is told from its beginning"
